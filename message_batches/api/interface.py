"""The Message Batches API as activities see it."""

from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from message_batches.api.keys import Account
from message_batches.api.models import ApiProfile, BatchPage, KeyOwner, MessageBatch


class BatchApi(Protocol):
    """The Message Batches API: each method makes one call and raises an `ApiError` for anything but its 200.

    The profile's key is a name; a name the API holds no key for raises `UnknownKey` before any call.
    """

    @property
    def servers(self) -> Collection[str]:
        """The names of the servers of keys with a base URL of their own."""
        ...

    def check(self, profile: ApiProfile) -> None:
        """Raise `UnknownKey` unless the profile's key is held."""
        ...

    def account(self, profile: ApiProfile) -> Account:
        """Return the account that the profile's batches are of."""
        ...

    def server(self, profile: ApiProfile) -> str | None:
        """Return the name of the server of the profile's key; None for the one of all keys."""
        ...

    def hidden(self, profile: ApiProfile) -> Sequence[str]:
        """Return the secrets that no answer to a call with the profile's key may repeat."""
        ...

    def owner(self, profile: ApiProfile) -> KeyOwner | None:
        """Return the owner of the profile's key, as the answers so far name it; None before any answer."""
        ...

    async def create(self, profile: ApiProfile, body: AsyncIterable[bytes], length: int) -> MessageBatch:
        """POST a body of exactly `length` bytes, as it is produced."""
        ...

    async def poll_turn(self) -> None:
        """Wait until a poll may be made, behind other calls; `RateLimited` if its turn does not come soon."""
        ...

    async def retrieve(self, profile: ApiProfile, batch_id: str, *, in_turn: bool = False) -> MessageBatch:
        """GET a batch; `in_turn` if it is a poll whose turn has come."""
        ...

    async def list(
        self, profile: ApiProfile, *, limit: int, after_id: str | None = None, in_turn: bool = False
    ) -> BatchPage:
        """GET a page of batches, newest first, older than `after_id`; `in_turn` if it is a poll whose turn has come."""
        ...

    async def cancel(self, profile: ApiProfile, batch_id: str) -> MessageBatch:
        """POST to a batch's `/cancel`."""
        ...

    async def delete(self, profile: ApiProfile, batch_id: str) -> None:
        """DELETE a batch that has ended, and its results; raise `BatchNotFound` if it no longer exists."""
        ...

    def results(self, profile: ApiProfile, batch_id: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """GET the results as chunks of JSONL, unpacked from gzip; `ReplyLost` for a cut, or a download that crawls."""
        ...
