"""The Temporal workers of one process as a group: they start, fail and stop together."""

import asyncio
from datetime import timedelta

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from message_batches import __version__
from message_batches.errors import MessageBatchesError
from message_batches.settings import Release

SHUTDOWN_LIMIT = timedelta(seconds=28)
"""Limit of a shutdown: the grace of running activities, and the SDK's wait for the server to end its polls, which can
hang; the process would then be killed, by default after 30 s."""


class WorkerFailed(MessageBatchesError):
    """Temporal refused something that the worker needs, such as its namespace."""


class MessageBatchWorker:
    """The workers of a process: one for runs and their calls, one for landings, which run one at a time.

    If one of them fails, the `async with` block is cancelled and raises `WorkerFailed`.
    """

    def __init__(self, *workers: Worker, shutdown_limit: timedelta = SHUTDOWN_LIMIT) -> None:
        self._workers = workers
        self._shutdown_limit = shutdown_limit
        self._running: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None
        self._leaving = False

    @property
    def runs(self) -> bool:
        """Whether all workers are running."""
        return not any(running.done() for running in self._running)

    @property
    def ended(self) -> bool:
        """Whether all workers have stopped; if not, only the end of the process stops them."""
        return all(running.done() for running in self._running)

    async def __aenter__(self) -> "MessageBatchWorker":
        """Start polling."""
        block = asyncio.current_task()
        assert block is not None
        self._running = [asyncio.create_task(self._run(worker, block)) for worker in self._workers]
        return self

    async def __aexit__(self, *error: object) -> None:
        """Finish the tasks under way, then stop."""
        self._leaving = True
        stopping = [asyncio.create_task(worker.shutdown()) for worker in self._workers]
        done, _ = await asyncio.wait([*stopping, *self._running], timeout=self._shutdown_limit.total_seconds())
        for task in done:
            task.result()
        if self._failure:
            # The gRPC status follows, repeated in its internal form.
            text = str(self._failure).partition(": Status {")[0]
            raise WorkerFailed(f"The worker cannot continue: {text}") from self._failure

    async def _run(self, worker: Worker, block: asyncio.Task[object]) -> None:
        try:
            await worker.run()
        except Exception as error:
            self._failure = self._failure or error
            if not self._leaving:
                self._leaving = True
                block.cancel()


def deployment_config(release: Release) -> WorkerDeploymentConfig:
    """Return the deployment of both queues: a run is landed by the build that it is pinned to."""
    # Instead of the SDK's hash of all code, which would add 32 characters to five events of every poll.
    build_id = release.build_id or __version__
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(release.deployment, build_id),
        use_worker_versioning=release.build_id is not None,
        default_versioning_behavior=VersioningBehavior.PINNED if release.build_id else VersioningBehavior.UNSPECIFIED,
    )
