"""Work in threads on behalf of the event loop: when one side ends or fails, the other does not keep running."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

BATCH_BYTES = 1024 * 1024
LARGE_CHUNK = 64 * 1024
"""Bytes of a chunk, on average, from which on those of a batch are not joined: a copy would cost more than a call."""

T = TypeVar("T")


async def process_in_thread(chunks: AsyncIterable[bytes], work: Callable[[bytes], None]) -> None:
    """Process a stream by `work` in a thread, 1 MiB or more at a time, while the next chunks are read.

    However this ends, `work` is no longer running, so that the file that it writes to can be closed.

    Args:
        chunks: chunks of any size.
        work: called with large chunks as they are, and with small ones joined, never twice at the same time.
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
            pieces = batch if size >= LARGE_CHUNK * len(batch) else [b"".join(batch)]
            running = loop.run_in_executor(None, _each, work, pieces)
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


def _each(work: Callable[[bytes], None], pieces: list[bytes]) -> None:
    for piece in pieces:
        work(piece)


async def run_in_thread(work: Callable[[], Any]) -> Any:
    """Return the result of `work` in a thread; a cancellation waits until it has ended."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    finally:
        await wait_until_done(running)
        del running


@asynccontextmanager
async def enter_in_thread(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter a context, and leave it, in a thread: where a file is opened, or one of hundreds of megabytes closed."""
    entered = await run_in_thread(context.__enter__)
    try:
        yield entered
    finally:
        await run_in_thread(partial(context.__exit__, None, None, None))


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


async def consume_in_thread(
    chunks: AsyncIterable[bytes] | Iterable[bytes], work: Callable[[Iterable[bytes]], Any], executor: Executor
) -> asyncio.Future[Any]:
    """Run `work` on chunks in a thread, and return its future once it is done.

    Chunks of the event loop are passed on to the thread, whose own `work` is told by `FeedAborted` when they fail, or
    this is cancelled; others are taken in the thread itself, and their error is that of `work`.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(chunks, AsyncIterable):
        stop = threading.Event()
        running = loop.run_in_executor(executor, work, _until_set(stop, chunks))
        try:
            await asyncio.wait([running])
        finally:
            stop.set()
            await wait_until_done(running)
        return running
    feed = ThreadFeed()
    running = loop.run_in_executor(executor, work, feed)
    running.add_done_callback(feed.consumer_done)
    try:
        async for chunk in chunks:
            if not await feed.put(chunk):
                break
        feed.close()
        await asyncio.wait([running])
    except BaseException:
        feed.close(FeedAborted())
        await asyncio.wait([running])
        raise
    return running


def _until_set(stop: threading.Event, chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if stop.is_set():
            raise FeedAborted
        yield chunk


class FeedAborted(Exception):
    """No more chunks come, and those so far are not all: raised in the consuming thread, which then undoes its work."""


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


async def run_unless_set(event: asyncio.Event, coroutine: Coroutine[Any, Any, T]) -> T | None:
    """Return the result, or None if the event was set first, in which case the coroutine is cancelled."""
    tasks = running, stopped = asyncio.create_task(coroutine), asyncio.create_task(event.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return running.result() if running.done() else None
    finally:
        running.cancel()
        stopped.cancel()
