"""The Temporal workers of one process as one: they start, fail and stop together."""

import asyncio
from datetime import timedelta

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from message_batches.errors import MessageBatchesError
from message_batches.settings import Release

SHUTDOWN_LIMIT = timedelta(seconds=28)
"""For the grace of activities and for the SDK, which waits for the server to end its polls: a server that does not
would hold the process until it is killed, usually after 30 s."""


class WorkerFailed(MessageBatchesError):
    """Temporal refused something that the worker needs, such as its namespace."""


class MessageBatchWorker:
    """The workers of a process: one for runs and polls, one for other calls, one for landings that wait for each other.

    If one of them fails, the block that they were entered for is cancelled, and left with `WorkerFailed`.
    """

    def __init__(self, *workers: Worker, shutdown_limit: timedelta = SHUTDOWN_LIMIT) -> None:
        self._workers = workers
        self._shutdown_limit = shutdown_limit
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None
        self._leaving = False

    @property
    def running(self) -> bool:
        """Whether all of them are running."""
        return not any(task.done() for task in self._tasks)

    @property
    def stopped(self) -> bool:
        """Whether the SDK has stopped; if not, only the end of the process stops it."""
        return all(task.done() for task in self._tasks)

    async def __aenter__(self) -> "MessageBatchWorker":
        """Start to poll."""
        block = asyncio.current_task()
        assert block is not None
        self._tasks = [asyncio.create_task(self._run(worker, block)) for worker in self._workers]
        return self

    async def __aexit__(self, *error: object) -> None:
        """Let the activities under way finish."""
        self._leaving = True
        stopping = [asyncio.create_task(worker.shutdown()) for worker in self._workers]
        done, _ = await asyncio.wait([*stopping, *self._tasks], timeout=self._shutdown_limit.total_seconds())
        for task in done:
            task.result()
        if self._failure:
            # The rest repeats the gRPC status in its internal form.
            text = str(self._failure).partition(": Status {")[0]
            check = ". Check TEMPORAL_NAMESPACE, and the rights of its credentials" if "Namespace" in text else ""
            raise WorkerFailed(f"The worker cannot continue: {text}{check}") from self._failure

    async def _run(self, worker: Worker, block: asyncio.Task[object]) -> None:
        try:
            await worker.run()
        except Exception as error:
            self._failure = self._failure or error
            if not self._leaving:
                self._leaving = True
                block.cancel()


def deployment_config(release: Release) -> WorkerDeploymentConfig:
    """Return the configuration of both workers: a run's landing is done by the build that the run is on."""
    # Each poll has the build id five times, and the deployment's name twice. The SDK's default is a hash of all code.
    named = (release.deployment, release.build_id) if release.build_id else ("", "")
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(*named),
        use_worker_versioning=release.build_id is not None,
        default_versioning_behavior=VersioningBehavior.PINNED if release.build_id else VersioningBehavior.UNSPECIFIED,
    )
