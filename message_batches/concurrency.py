"""Work in threads on behalf of the event loop: when one side ends or fails, the other does not keep running."""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

BATCH_BYTES = 1024 * 1024


async def process_in_thread(chunks: AsyncIterable[bytes], work: Callable[[bytes], None]) -> None:
    """Process a stream by `work` in a thread, 1 MiB or more at a time, while the next chunks are read.

    However this ends, `work` is no longer running, so that the file that it writes to can be closed.

    Args:
        chunks: chunks of any size.
        work: called with joined chunks, never twice at the same time.
    """
    loop = asyncio.get_running_loop()
    running: asyncio.Future[None] | None = None
    batch: list[bytes] = []
    size = 0

    async def hand_over() -> None:
        nonlocal running, batch, size
        if running:
            await wait_for_result(running)
        if batch:
            running = loop.run_in_executor(None, work, b"".join(batch))
            batch, size = [], 0

    try:
        try:
            async for chunk in chunks:
                batch.append(chunk)
                size += len(chunk)
                if size >= BATCH_BYTES:
                    await hand_over()
        except Exception:
            # The chunks before the source failed are processed too.
            await hand_over()
            raise
        await hand_over()
        if running:
            await wait_for_result(running)
    finally:
        if running:
            await wait_until_done(running)
        running = None  # It holds an error, whose traceback holds this frame: a cycle, and with it all that failed.


async def prefetch(chunks: Iterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the chunks of an iterator, each read in a thread while the consumer uses the one before.

    A consumer that stops early must close it (`aclosing`): until then the iterator may be running.
    """

    def take() -> bytes | None:
        return next(chunks, None)

    loop = asyncio.get_running_loop()
    taking = loop.run_in_executor(None, take)
    try:
        while True:
            await wait_for_result(taking)
            if (chunk := taking.result()) is None:
                return
            taking = loop.run_in_executor(None, take)
            yield chunk
    finally:
        await wait_until_done(taking)
        del taking


async def run_in_thread(work: Callable[[], Any]) -> Any:
    """Return the result of `work` in a thread; a cancellation waits until it has ended."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    finally:
        await wait_until_done(running)
        del running


class WorkStopped(Exception):
    """Work in a thread that nobody waits for any more: raised there, so that it ends."""


async def run_stoppable(work: Callable[[], Any], stop: threading.Event) -> Any:
    """Return the result of `work` in a thread; a cancellation sets `stop`, and waits until it has ended.

    Args:
        work: raises `WorkStopped` once `stop` is set.
        stop: is set when this returns, however it ends.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await wait_for_result(running)
        return running.result()
    finally:
        stop.set()
        await wait_until_done(running)
        del running


async def wait_for_result(running: asyncio.Future[Any]) -> None:
    """Wait for a thread's result; when cancelled, do not cancel it, which would only make it seem to have ended."""
    try:
        await asyncio.wait([running])
        running.result()
    finally:
        del running


async def wait_until_done(running: asyncio.Future[Any]) -> None:
    """Wait until a thread's work has ended; a cancellation is raised only afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    running.exception()  # Retrieved, or asyncio would log it again.
    if cancelled:
        raise cancelled


class FeedAborted(Exception):
    """The source of a `ThreadFeed` failed: raised in the consuming thread, which then undoes its work."""


class ThreadFeed:
    """An iterable for a thread, filled from the event loop, at most two chunks ahead."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks: queue.SimpleQueue[bytes | FeedAborted | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(2)
        self._done = False

    async def put(self, chunk: bytes) -> bool:
        """Add a chunk when there is room; return False once the consumer has ended."""
        if chunk:
            await self._room.acquire()
            self._chunks.put(chunk)
        return not self._done

    def close(self, error: FeedAborted | None = None) -> None:
        """End the iterable, or make it raise an error."""
        self._chunks.put(error)

    def consumer_done(self, consumer: asyncio.Future[Any]) -> None:
        """Stop waiting for the consumer: the done callback of its future."""
        if not consumer.cancelled():
            consumer.exception()  # Retrieved, or asyncio would log it again.
        self._done = True
        self._room.release()

    def __iter__(self) -> Iterator[bytes]:
        while (chunk := self._chunks.get()) is not None:
            if isinstance(chunk, FeedAborted):
                raise chunk
            yield chunk
            self._loop.call_soon_threadsafe(self._room.release)


T = TypeVar("T")


async def run_unless_set(event: asyncio.Event, coroutine: Coroutine[Any, Any, T]) -> T | None:
    """Return the result, or None if the event was set first, in which case the coroutine is cancelled."""
    tasks = running, stopped = asyncio.create_task(coroutine), asyncio.create_task(event.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return running.result() if running.done() else None
    finally:
        running.cancel()
        stopped.cancel()
