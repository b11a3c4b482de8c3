"""Bytes handed from the event loop to threads; whatever ends the one, the other is not left at work."""

import asyncio
import queue
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

BATCH_BYTES = 1024 * 1024


async def work_through(chunks: AsyncIterable[bytes], work: Callable[[bytes], None], beat: Callable[[], None]) -> None:
    """Give a stream to `work` in a thread, 1 MiB or more at a time, while the next of it is read.

    However this ends, `work` is not running any more: what it writes to may be closed.

    Args:
        chunks: pieces of any size.
        work: takes them joined, never two at once.
        beat: called on the event loop, for each piece.
    """
    loop = asyncio.get_running_loop()
    at_work: asyncio.Future[None] | None = None
    batch: list[bytes] = []
    size = 0

    async def hand_over() -> None:
        nonlocal at_work, batch, size
        if at_work:
            await ended(at_work)
        if batch:
            at_work = loop.run_in_executor(None, work, b"".join(batch))
            batch, size = [], 0

    try:
        try:
            async for chunk in chunks:
                batch.append(chunk)
                size += len(chunk)
                beat()
                if size >= BATCH_BYTES:
                    await hand_over()
        except Exception:
            # A source that breaks off has still given what it gave.
            await hand_over()
            raise
        await hand_over()
        if at_work:
            await ended(at_work)
    finally:
        if at_work:
            await settled(at_work)


async def read_ahead(chunks: Iterator[bytes]) -> AsyncGenerator[bytes]:
    """What an iterator gives, each taken from it in a thread while the one before is made use of.

    To be closed by who stops early (`aclosing`): until then the iterator may be running.
    """

    def take() -> bytes | None:
        return next(chunks, None)

    loop = asyncio.get_running_loop()
    taking = loop.run_in_executor(None, take)
    try:
        while True:
            await ended(taking)
            if (chunk := taking.result()) is None:
                return
            taking = loop.run_in_executor(None, take)
            yield chunk
    finally:
        await settled(taking)


async def in_thread(work: Callable[[], Any]) -> Any:
    """The result of `work` in a thread; a cancellation waits for it."""
    at_work = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(at_work)
    finally:
        await settled(at_work)


async def ended(at_work: asyncio.Future[Any]) -> None:
    """Wait for a thread's result, leaving it alone when cancelled: cancelling would only make it look ended."""
    await asyncio.wait([at_work])
    at_work.result()


async def settled(at_work: asyncio.Future[Any]) -> None:
    """Wait until a thread's work is over, through any cancellation, which is passed on afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not at_work.done():
        try:
            await asyncio.wait([at_work])
        except asyncio.CancelledError as error:
            cancelled = error
    at_work.exception()  # Looked at, or asyncio logs it once more.
    if cancelled:
        raise cancelled


class Abandoned(Exception):
    """Raised inside a thread that takes from a `Feed`, so that it takes back what it has done."""


class Feed:
    """An iterable for a thread, filled from the event loop, two chunks ahead of it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks: queue.SimpleQueue[bytes | Abandoned | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(2)
        self._over = False

    async def offer(self, chunk: bytes) -> bool:
        """Add a chunk when there is room; False once nobody takes any more."""
        if chunk:
            await self._room.acquire()
            self._chunks.put(chunk)
        return not self._over

    def end(self, error: Abandoned | None = None) -> None:
        """End the iterable, or break it."""
        self._chunks.put(error)

    def over(self, taker: asyncio.Future[Any]) -> None:
        """Stop waiting for a taker that has ended: its done callback."""
        if not taker.cancelled():
            taker.exception()  # Looked at, or asyncio logs it once more.
        self._over = True
        self._room.release()

    def __iter__(self) -> Iterator[bytes]:
        while (chunk := self._chunks.get()) is not None:
            if isinstance(chunk, Abandoned):
                raise chunk
            yield chunk
            self._loop.call_soon_threadsafe(self._room.release)


T = TypeVar("T")


async def unless(given_up: asyncio.Event, beginning: Coroutine[Any, Any, T]) -> T | None:
    """What comes of it, or None where the event is set before: then it is cancelled."""
    tasks = begun, stopped = asyncio.create_task(beginning), asyncio.create_task(given_up.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return begun.result() if begun.done() else None
    finally:
        begun.cancel()
        stopped.cancel()
