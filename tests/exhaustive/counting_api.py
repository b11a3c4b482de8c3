"""An API whose batch ends after a number of polls, for runs whose clock is skipped."""

from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec

from message_batches.api.keys import Account
from message_batches.api.models import ApiProfile, BatchPage, KeyOwner, MessageBatch, RequestCounts


class ApiByCount:
    """An API with one batch, which is `ended` at the given poll; None means never."""

    def __init__(self, *, ends_at_poll: int | None) -> None:
        self.ends_at_poll = ends_at_poll
        self.polls = 0
        self.posts = 0
        self._ids: list[str] = []

    @property
    def servers(self) -> Collection[str]:
        """Return none: no key has a base URL of its own."""
        return ()

    def check(self, profile: ApiProfile) -> None:
        """Accept every key."""

    def account(self, profile: ApiProfile) -> Account:
        """Return the account of a key at a server of its own."""
        return Account(api_key=profile.api_key, base_url="by-count:")

    def server(self, profile: ApiProfile) -> str | None:
        """Return None: no key has a base URL of its own."""

    def hidden(self, profile: ApiProfile) -> Sequence[str]:
        """Return none: there is no key."""
        return ()

    def owner(self, profile: ApiProfile) -> KeyOwner | None:
        """Return an owner without a name, as the answers here have none."""
        return KeyOwner()

    async def create(self, profile: ApiProfile, body: AsyncIterable[bytes], length: int) -> MessageBatch:
        """Accept the requests."""
        self.posts += 1
        content = b"".join([chunk async for chunk in body])
        assert len(content) == length
        self._ids = [item["custom_id"] for item in msgspec.json.decode(content)["requests"]]
        return self._batch(ended=False)

    async def poll_turn(self) -> None:
        """Return at once."""

    async def retrieve(self, profile: ApiProfile, batch_id: str, *, in_turn: bool = False) -> MessageBatch:
        """Count a poll of the batch."""
        self.polls += 1
        return self._batch(ended=self.ends_at_poll is not None and self.polls >= self.ends_at_poll)

    async def list(
        self, profile: ApiProfile, *, limit: int, after_id: str | None = None, in_turn: bool = False
    ) -> BatchPage:
        """Return no batch but the run's own."""
        data = (self._batch(ended=False),) if self._ids else ()
        return BatchPage(data=data, has_more=False, date=datetime.now(UTC))

    async def cancel(self, profile: ApiProfile, batch_id: str) -> MessageBatch:
        """End the batch at the next poll."""
        self.ends_at_poll = self.polls + 1
        return self._batch(ended=False)

    async def delete(self, profile: ApiProfile, batch_id: str) -> None:
        """Fail: none of these runs deletes its batch."""
        raise NotImplementedError

    @asynccontextmanager
    async def results(self, profile: ApiProfile, batch_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield one canceled result for each request."""

        async def lines() -> AsyncIterator[bytes]:
            for custom_id in self._ids:
                yield msgspec.json.encode({"custom_id": custom_id, "result": {"type": "canceled"}}) + b"\n"

        yield lines()

    def _batch(self, *, ended: bool) -> MessageBatch:
        created = datetime(2026, 11, 22, tzinfo=UTC)
        count = len(self._ids)
        return MessageBatch(
            id="msgbatch_bycount",
            processing_status="ended" if ended else "in_progress",
            request_counts=RequestCounts(canceled=count) if ended else RequestCounts(processing=count),
            created_at=created,
            expires_at=created + timedelta(hours=24),
        )
