"""What the activities need from the world: the API and a store."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from message_batches.models import Account
from message_batches.wire import BatchPage, MessageBatch


class BatchApi(Protocol):
    """The Message Batches API: each method makes one call and raises an `ApiError` for anything but its 200.

    The account's key is a name; a name the API holds no key for raises `UnknownKey` before any call.
    """

    def check(self, account: Account) -> None:
        """Raise `UnknownKey` unless the account's key is held."""
        ...

    async def create(self, account: Account, body: AsyncIterable[bytes], length: int) -> MessageBatch:
        """POST a body of exactly `length` bytes, as it is produced."""
        ...

    async def retrieve(self, account: Account, batch_id: str) -> MessageBatch:
        """GET a batch."""
        ...

    async def list(self, account: Account, *, limit: int, after_id: str | None = None) -> BatchPage:
        """GET a page of batches, newest first, older than `after_id`."""
        ...

    async def cancel(self, account: Account, batch_id: str) -> MessageBatch:
        """POST to a batch's `/cancel`."""
        ...

    async def delete(self, account: Account, batch_id: str) -> None:
        """DELETE a batch that has ended, and its results; `BatchNotFound` for one that is gone."""
        ...

    def results(self, account: Account, batch_id: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """GET the results as chunks of JSONL, decoded from any transfer compression; a cut raises `ReplyLost`."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a store lists it; the time is by the store's clock."""

    name: str
    bytes: int
    modified: datetime


class Store(Protocol):
    """Named objects that outlive workers and histories; every failure of the store raises `StoreUnavailable`.

    Names are relative paths such as `manifests/ab12.jsonl`.
    """

    async def identity(self) -> str:
        """The store's own id, written into it at first use."""
        ...

    def uri(self, name: str) -> str:
        """The address of an object, such as `s3://bucket/prefix/name`."""
        ...

    def name(self, uri: str) -> str:
        """The name behind an address; `RequestsNotFound` if it lies outside this store."""
        ...

    async def create(self, name: str, data: bytes) -> bool:
        """Put an object if there is none of that name; whether it was put. Atomic."""
        ...

    async def write(self, name: str, chunks: AsyncIterable[bytes]) -> None:
        """Put an object from a stream, over any old one; it appears whole or not at all."""
        ...

    async def read(self, name: str) -> bytes | None:
        """A small object whole, or None if there is none."""
        ...

    def stream(self, name: str) -> AsyncIterator[bytes]:
        """A large object in chunks; `FileNotFoundError` if there is none."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """The names that begin with `prefix`, which ends in a slash."""
        ...

    def listing(self, folder: str) -> AsyncIterator[Sequence[Stored]]:
        """The objects in a folder, in no order, a page at a time; of a directory also broken-off uploads (`name#1`)."""
        ...

    async def remove(self, name: str) -> None:
        """Remove an object; one that is gone already is no failure."""
        ...
