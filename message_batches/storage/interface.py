"""The store as everything above it sees it: named objects, put once or streamed."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


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
