"""The pace of calls: so many a minute, evenly, in the order of their urgency."""

import asyncio
import time
from collections import deque
from contextvars import Context
from datetime import timedelta

from message_batches.errors import RateLimited

MINUTE = 60.0

MAX_WAIT = 8.0
"""Seconds that a poll waits for its turn: less than the least time that its activity has."""

OTHERS_BEFORE_POLL = 3
"""Other calls in a row, after which a poll that waits has its turn."""


class CallPace:
    """Spaces the calls of one worker, so that all workers together stay within a limit of calls a minute.

    Each worker has the same share. In any minute it makes at most one call more than its share, since calls come
    evenly: the shares leave room for that. A limit below the number of workers holds on average only.

    Args:
        calls_per_minute: of all workers; without a limit, no call waits.

    Attributes:
        workers: how many share the limit.
    """

    def __init__(self, calls_per_minute: int | None = None) -> None:
        self.calls_per_minute = calls_per_minute
        self.workers = 1
        self._next = 0.0
        self._others: deque[asyncio.Future[None]] = deque()
        self._polls: deque[asyncio.Future[None]] = deque()
        self._since_poll = 0
        self._serving: asyncio.Task[None] | None = None

    @property
    def spacing(self) -> float:
        """The seconds between two calls of this worker."""
        if self.calls_per_minute is None:
            return 0.0
        of_all = max(self.calls_per_minute + 1 - self.workers, self.calls_per_minute / 2)
        return MINUTE * self.workers / of_all

    async def turn(self, *, poll: bool = False) -> None:
        """Wait until a call may be made, a `poll` behind all others, but at least at each fourth turn.

        `RateLimited` if a poll has no turn for `MAX_WAIT` seconds: it is to be made again later.
        """
        if self.calls_per_minute is None:
            return
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._polls if poll else self._others
        waiting.append(asked)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve(), context=Context())
        try:
            async with asyncio.timeout(MAX_WAIT if poll else None):
                await asked
        except TimeoutError as error:
            later = timedelta(seconds=self.spacing * (len(self._polls) + 1))
            raise RateLimited(
                f"The limit of {self.calls_per_minute} calls a minute leaves no turn yet; no call was made",
                retry_after=later,
            ) from error
        finally:
            if asked in waiting:
                waiting.remove(asked)

    def hold(self, seconds: float) -> None:
        """Make no call for so long."""
        self._next = max(self._next, time.monotonic() + seconds)

    async def _serve(self) -> None:
        while self._others or self._polls:
            if (left := self._next - time.monotonic()) > 0:
                await asyncio.sleep(left)
                continue
            polls_turn = bool(self._polls) and (not self._others or self._since_poll >= OTHERS_BEFORE_POLL)
            asked = (self._polls if polls_turn else self._others).popleft()
            if not asked.done():
                self._since_poll = 0 if polls_turn else self._since_poll + 1
                asked.set_result(None)
                self._next = time.monotonic() + self.spacing
