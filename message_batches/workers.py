"""The Temporal workers of one process, as one: they begin, fail and end together."""

import asyncio
from datetime import timedelta

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from message_batches import __version__
from message_batches.errors import MessageBatchesError
from message_batches.settings import Release

MOST_TO_STOP = timedelta(seconds=28)
"""For the grace of what is under way, and the SDK's own end, which waits for the server to end its polls: one that does
not would hold the process until it is killed, after 30 s as a rule."""


class WorkerFailed(MessageBatchesError):
    """Temporal refused what the worker cannot go on without, such as its namespace."""


class MessageBatchWorker:
    """The workers of a process: one for runs and their calls, one for the landings, which wait for each other alone.

    Where one of them fails, the block that they were entered for is cancelled, and left with `WorkerFailed`.
    """

    def __init__(self, *workers: Worker, most_to_stop: timedelta = MOST_TO_STOP) -> None:
        self._workers = workers
        self._most_to_stop = most_to_stop
        self._running: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None
        self._leaving = False

    @property
    def runs(self) -> bool:
        """Whether all of them are at work."""
        return not any(running.done() for running in self._running)

    @property
    def ended(self) -> bool:
        """Whether the SDK has come to its end; where not, only the end of the process ends it."""
        return all(running.done() for running in self._running)

    async def __aenter__(self) -> "MessageBatchWorker":
        """Begin to poll."""
        block = asyncio.current_task()
        assert block is not None
        self._running = [asyncio.create_task(self._run(worker, block)) for worker in self._workers]
        return self

    async def __aexit__(self, *error: object) -> None:
        """Let what is under way finish."""
        self._leaving = True
        stopping = [asyncio.create_task(worker.shutdown()) for worker in self._workers]
        done, _ = await asyncio.wait([*stopping, *self._running], timeout=self._most_to_stop.total_seconds())
        for task in done:
            task.result()
        if self._failure:
            # What follows is the gRPC status once more, in its internal form.
            text = str(self._failure).partition(": Status {")[0]
            raise WorkerFailed(f"The worker cannot go on: {text}") from self._failure

    async def _run(self, worker: Worker, block: asyncio.Task[object]) -> None:
        try:
            await worker.run()
        except Exception as error:
            self._failure = self._failure or error
            if not self._leaving:
                self._leaving = True
                block.cancel()


def deployment_of(release: Release) -> WorkerDeploymentConfig:
    """Of both queues: a run's landing is done by the build that the run is on."""
    # In place of a hash of all code, 32 characters in five events of every poll.
    build_id = release.build_id or __version__
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(release.deployment, build_id),
        use_worker_versioning=release.build_id is not None,
        default_versioning_behavior=VersioningBehavior.PINNED if release.build_id else VersioningBehavior.UNSPECIFIED,
    )
