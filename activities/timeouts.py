"""Heartbeats of activities, the deadline of a call's reply, and that of the POST.

A lost worker, or a silent API, is noticed long before Temporal's own timeout, which would not name it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity

from message_batches.errors import NotSent, ReplyLost, WorkersLost

CALL_SHARE = 0.9
"""Share of the activity's time that the call may take: the rest is for reporting its outcome."""


MAX_LOST_ATTEMPTS = 3
"""Attempts in a row that began and never ended, after which the work is not given to another worker."""

SURVIVED = 600
"""Seconds after which a worker does not die of its work, but waits for something: each request has long been read."""


@asynccontextmanager
async def heartbeats(*, details: Callable[[], Sequence[Any]] = tuple) -> AsyncIterator[None]:
    """Heartbeat in the background with these details, four times within the activity's heartbeat timeout."""
    timeout = activity.info().heartbeat_timeout
    if not timeout:
        yield
        return
    beating = asyncio.create_task(_beat(timeout.total_seconds() / 4, details))
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


@asynccontextmanager
async def heartbeats_counting_lost_attempts() -> AsyncIterator[None]:
    """Heartbeat; `WorkersLost` if the last attempts began and never ended, since the work may be what ends workers.

    The heartbeats of an attempt say how many they are should it not end either. Its end, however it ends, takes that
    back: an unavailable store may be tried for as long as it takes.
    """
    last = activity.info().heartbeat_details
    lost = last[0] if last and isinstance(last[0], int) else 0
    if lost >= MAX_LOST_ATTEMPTS:
        raise WorkersLost(
            f"{lost} workers in a row ended while they checked these requests: they were killed, or ran out of memory. "
            "Nothing was sent. Look at their logs and their memory; if it is for these requests, make them smaller or "
            "fewer, then start again"
        )
    began = time.monotonic()
    try:
        async with heartbeats(details=lambda: [lost + 1 if time.monotonic() - began < SURVIVED else 0]):
            yield
    finally:
        activity.heartbeat(0)


@asynccontextmanager
async def reply_deadline() -> AsyncIterator[None]:
    """Raise `ReplyLost` before Temporal ends the activity, whose own timeout would not name the API.

    An activity with a heartbeat timeout heartbeats, except one that is over sooner: most polls are.
    """
    info = activity.info()
    limit = info.start_to_close_timeout
    seconds = limit.total_seconds() * CALL_SHARE if limit else None
    loop = asyncio.get_running_loop()
    interval = info.heartbeat_timeout.total_seconds() / 4 if info.heartbeat_timeout else None
    beating: asyncio.TimerHandle | None = None

    def beat_later() -> None:
        nonlocal beating
        if interval:
            beating = loop.call_later(interval, beat)

    def beat() -> None:
        activity.heartbeat()
        beat_later()

    beat_later()
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ReplyLost(f"The API did not answer within {seconds:g} s") from error
    finally:
        if beating:
            beating.cancel()


class Upload:
    """The body of a POST, `length` bytes, to be sent before a deadline on the server's clock and on this process's own.

    After a freeze of the worker both clocks have passed it; after a late start of the task, only the first has.

    Attributes:
        complete: whether its last chunk was sent; before that no batch can have been created.
    """

    def __init__(self, body: AsyncIterator[bytes], length: int, *, started: datetime, timeout: timedelta) -> None:
        self._body = body
        self._length = self._left = length
        self._timeout = timeout
        self._at = started + timeout
        self._monotonic = time.monotonic() + timeout.total_seconds()
        self.complete = False

    def time_left(self) -> float:
        """Return the seconds until the deadline, 0 after it."""
        by_clock = (self._at - datetime.now(UTC)).total_seconds()
        return max(0.0, min(by_clock, self._monotonic - time.monotonic()))

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """End the POST at the deadline: with `ReplyLost` if all of the body was sent by then, else with `NotSent`."""
        try:
            async with asyncio.timeout(self.time_left()):
                yield
        except (TimeoutError, ReplyLost, asyncio.CancelledError) as error:
            if self.complete:
                if isinstance(error, TimeoutError):
                    raise ReplyLost(f"The API did not answer the POST within {self._timeout}") from error
                raise
            # A body cut short is no request: nothing was created, whatever happened to the connection.
            why = str(error) or "the time was up, or the worker is stopping"
            lost = ". If this happens each time, a gateway may refuse so many" if isinstance(error, ReplyLost) else ""
            raise NotSent(
                f"The POST was interrupted before all of its {self._length:,} bytes were sent; nothing was created: "
                f"{why}{lost}"
            ) from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body, each chunk only before the deadline; `NotSent` if that cuts it short."""
        async for chunk in self._body:
            if not self.time_left():
                raise NotSent(
                    "The deadline of the POST passed before all of it was sent, so nothing was created. If this "
                    "happens again, give it more time, or compare this worker's clock with the Temporal server's"
                )
            self._left -= len(chunk)
            self.complete = self._left <= 0
            yield chunk


async def _beat(interval: float, details: Callable[[], Sequence[Any]]) -> None:
    while True:
        activity.heartbeat(*details())
        await asyncio.sleep(interval)
