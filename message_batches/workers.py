"""The Temporal workers of one process, as one: they begin, fail and end together."""

import asyncio

from temporalio.worker import Worker

from message_batches.errors import MessageBatchesError


class WorkerFailed(MessageBatchesError):
    """Temporal refused what the worker cannot go on without, such as its namespace."""


class MessageBatchWorker:
    """The workers of a process: one for runs and their calls, one for the landings, which wait for each other alone.

    Where one of them fails, the block that they were entered for is cancelled, and left with `WorkerFailed`.
    """

    def __init__(self, *workers: Worker) -> None:
        self._workers = workers
        self._running: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None
        self._leaving = False

    @property
    def runs(self) -> bool:
        """Whether all of them are at work."""
        return not any(running.done() for running in self._running)

    async def __aenter__(self) -> "MessageBatchWorker":
        """Begin to poll."""
        block = asyncio.current_task()
        assert block is not None
        self._running = [asyncio.create_task(self._run(worker, block)) for worker in self._workers]
        return self

    async def __aexit__(self, *error: object) -> None:
        """Let what is under way finish."""
        self._leaving = True
        await asyncio.gather(*(worker.shutdown() for worker in self._workers))
        await asyncio.gather(*self._running)
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
