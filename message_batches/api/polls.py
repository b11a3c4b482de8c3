"""Polls of an account that fall together: one read of its list answers all, since an item is what a retrieve returns.

A poll by itself is a retrieve. So is one of a batch that the list does not have: batches are missing from it for a
while, and who reads only the list would not see a 404.
"""

import asyncio
import copy
import logging
import math
import time
from collections import Counter
from collections.abc import Mapping
from contextvars import Context
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from itertools import takewhile

from message_batches.api.interface import BatchApi
from message_batches.api.models import BATCH_LIFETIME, MAX_BATCHES, ApiProfile, BatchPage, MessageBatch
from message_batches.errors import (
    ApiError,
    ApiUnavailable,
    BatchNotFound,
    NotSent,
    RateLimited,
    RefusedForNow,
    ReplyLost,
)

LONGEST_WINDOW = 1.5
"""Seconds for which a poll waits at most for others; further ones wait for the next read."""

WINDOW_GROWTH = 0.26
"""Seconds of the window for each fourth root of the further batches that are polled: one alone waits for nobody.

With 200 it is below a second, with 1,000 an account's polls are below 40 calls a minute, and with fewer hardly more."""

LIVE_SECONDS = 90
"""A batch that was not polled for so long does not count: its run has ended, or polls seldom."""

MAX_PAGES = 10
"""Pages of a read: a thousand batches each, back to those of a day ago."""

PAGE_SECONDS = 4
"""The time in which a page must come: the least that a poll has is 9."""

READ_SECONDS = 5
"""The time after which a read asks for no further page, so that what is on those is retrieved in time."""

LIST_PAUSE = 60
"""Seconds for which batches are retrieved where the list fails, and goes on to."""

_OF_ALL = {BatchNotFound: 0, ApiUnavailable: 1, ReplyLost: 1, RateLimited: 5, RefusedForNow: 5}
"""How often in a row an error of the list is that of all polls, before it is taken for one of the list alone."""

MAX_POLLS = 500
"""Polls of one server at a time, beyond which no more wait: those that it leaves unanswered must not keep a worker's
activities from other servers."""

MAX_RETRIEVES = 20
"""Retrieves of an account at a time: as many as there are connections."""

_logger = logging.getLogger(__name__)

_MARGIN = timedelta(hours=1)


class _Retrieve(Enum):
    """What a poll is told whose batch no list has: to retrieve it, at once or when its own turn comes."""

    NOW = auto()
    IN_TURN = auto()


_Poll = asyncio.Future[MessageBatch | _Retrieve]
"""A poll that waits for its batch."""


class BatchPolls:
    """The polls of a worker: of each account those together that fall together."""

    def __init__(self, api: BatchApi) -> None:
        self._api = api
        self._accounts: dict[ApiProfile, _AccountPolls] = {}
        self._under_way: Counter[str | None] = Counter()

    async def retrieve(self, profile: ApiProfile, batch_id: str) -> MessageBatch:
        """Return a batch as `BatchApi.retrieve` does, at most `LONGEST_WINDOW` and one read of the list later.

        The error of a read reaches all that wait for it, if it passes by itself; any other is a retrieve's own.
        """
        self._api.check(profile)
        # A call that only reads is sent without betas.
        profile, server = profile.model_copy(update={"anthropic_beta": ()}), self._api.server(profile)
        account = self._accounts.get(profile)
        if account is None:
            account = self._accounts[profile] = _AccountPolls(self._api, profile)
        if self._under_way[server] >= MAX_POLLS:
            raise NotSent(f"{MAX_POLLS} polls wait for an answer of the server already")
        self._under_way[server] += 1
        try:
            return await account.retrieve(batch_id)
        finally:
            self._under_way[server] -= 1


class _AccountPolls:
    """The polls of one account."""

    def __init__(self, api: BatchApi, profile: ApiProfile) -> None:
        self._api = api
        self._profile = profile
        self._retrieves = asyncio.Semaphore(MAX_RETRIEVES)
        # When each batch under way was last polled, and when it was created; the one that was polled last is last.
        self._live: dict[str, tuple[float, datetime]] = {}
        # The polls that no read has begun for, since the first of them came.
        self._waiting: dict[_Poll, str] = {}
        self._since = 0.0
        # All that wait for a list, one that is being read included.
        self._polls = 0
        self._reading: asyncio.Task[None] | None = None
        self._calling = False
        self._failures = 0
        self._list_from = 0.0

    async def retrieve(self, batch_id: str) -> MessageBatch:
        """Return a batch, from the list if that has it."""
        batch = await self._found(batch_id)
        self._live.pop(batch_id, None)
        if not batch.ended:
            self._live[batch_id] = time.monotonic(), batch.created_at
        return batch

    async def _found(self, batch_id: str) -> MessageBatch:
        found = await self._in_list(batch_id)
        if isinstance(found, MessageBatch):
            return found
        async with self._retrieves:
            if found is _Retrieve.IN_TURN:
                await self._api.poll_turn()
            return await self._api.retrieve(self._profile, batch_id, in_turn=True)

    async def _in_list(self, batch_id: str) -> MessageBatch | _Retrieve:
        poll: _Poll = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting[poll] = batch_id
        self._polls += 1
        if self._reading is None or self._reading.done():
            # In a context of its own: it is nobody's alone, and may outlive the poll that began it.
            self._reading = asyncio.create_task(self._read(), context=Context())
        try:
            return await poll
        finally:
            self._waiting.pop(poll, None)
            self._polls -= 1
            if not self._polls and self._reading:
                if self._calling:
                    # All have given up on it: an error of the list, too.
                    self._failure_of_all(TimeoutError())
                self._reading.cancel()
                self._reading = None

    async def _read(self) -> None:
        """Read the list for those that wait, again and again, as long as any do."""
        while self._waiting:
            await asyncio.sleep(max(0.0, self._since + self._window() - time.monotonic()))
            polls: dict[_Poll, str] = {}
            rest: ApiError | _Retrieve = _Retrieve.IN_TURN
            try:
                rest = await self._answered(polls)
            except Exception:
                _logger.exception("The list could not be read for the polls that wait")
            finally:
                for poll in polls:
                    if poll.done():
                        continue
                    if isinstance(rest, ApiError):
                        poll.set_exception(copy.copy(rest))
                    else:
                        poll.set_result(rest)

    async def _answered(self, polls: dict[_Poll, str]) -> ApiError | _Retrieve:
        """Take those that wait to `polls`, answer what the list has, and return what the rest of them get."""
        if time.monotonic() < self._list_from:
            self._take(polls)
            return _Retrieve.IN_TURN
        try:
            await self._api.poll_turn()
        except RateLimited as error:
            return error
        finally:
            # Also those that have come meanwhile.
            self._take(polls)
        if len(polls) == 1:
            return _Retrieve.NOW
        self._calling = True
        try:
            await self._answer(polls)
        except (ApiError, TimeoutError) as error:
            return self._failure_of_all(error) or _Retrieve.IN_TURN
        finally:
            self._calling = False
        self._failures = 0
        return _Retrieve.IN_TURN

    def _window(self) -> float:
        """Return the seconds for which polls wait for each other."""
        oldest = time.monotonic() - LIVE_SECONDS
        for batch_id in [*takewhile(lambda each: self._live[each][0] < oldest, self._live)]:
            del self._live[batch_id]
        further = max(0, len(self._live) - 1)
        return min(LONGEST_WINDOW, WINDOW_GROWTH * math.pow(further, 0.25))

    def _take(self, polls: dict[_Poll, str]) -> None:
        """Move those that wait to the polls of a read; later ones wait for the next: this one may be older."""
        polls |= self._waiting
        self._waiting.clear()

    async def _answer(self, polls: Mapping[_Poll, str]) -> None:
        """Read the list as far back as the oldest batch was created, and answer the polls whose batches are in it."""
        wanted: dict[str, list[_Poll]] = {}
        for poll, batch_id in polls.items():
            wanted.setdefault(batch_id, []).append(poll)
        until = time.monotonic() + READ_SECONDS
        page = await self._page()
        # One that is not known yet is under way, or not worth the search.
        unknown = datetime.now(UTC) - BATCH_LIFETIME - _MARGIN
        oldest = min((self._live[each][1] if each in self._live else unknown for each in wanted), default=unknown)
        for pages in range(1, MAX_PAGES + 1):
            for batch in page.data:
                for poll in wanted.pop(batch.id, ()):
                    if not poll.done():
                        poll.set_result(batch)
            # A further page is a call, as the retrieve of a batch is.
            if pages == MAX_PAGES or pages >= len(wanted) or not (page.data and page.has_more and page.last_id):
                return
            if page.data[-1].created_at < oldest:
                return
            await self._api.poll_turn()
            if time.monotonic() > until:
                return
            page = await self._page(page.last_id)

    async def _page(self, after_id: str | None = None) -> BatchPage:
        async with asyncio.timeout(PAGE_SECONDS):
            return await self._api.list(self._profile, limit=MAX_BATCHES, after_id=after_id, in_turn=True)

    def _failure_of_all(self, error: ApiError | TimeoutError) -> ApiError | None:
        """Return the error of a read if it is that of each poll: not one for good, nor one of the list alone."""
        self._failures += 1
        if isinstance(error, ApiError) and error.retryable and self._failures <= _OF_ALL.get(type(error), math.inf):
            return error
        self._list_from = time.monotonic() + LIST_PAUSE
        _logger.warning(
            "Batches are polled one by one for %d s: their list fails (%s)", LIST_PAUSE, type(error).__name__
        )
        return None
