"""The interface of a store: named objects, put once or streamed."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a listing; the time is by the store's clock."""

    name: str
    bytes: int
    modified: datetime


class Store(Protocol):
    """Named objects that outlive workers and histories; every failure of the store raises `StoreUnavailable`.

    Names are relative paths such as `manifests/ab12.jsonl`.
    """

    async def identity(self) -> str:
        """Return the store's own id, which is written into it at first use."""
        ...

    async def known_identity(self) -> str | None:
        """Return the store's own id, None if it has none yet; writes nothing."""
        ...

    def uri(self, name: str) -> str:
        """Return the address of an object, such as `s3://bucket/prefix/name`."""
        ...

    def name(self, uri: str) -> str:
        """Return the name of the object at an address; `RequestsNotFound` if that is outside this store."""
        ...

    async def create(self, name: str, data: bytes) -> bool:
        """Put an object if there is none of that name, atomically; return whether it was put."""
        ...

    async def write(self, name: str, chunks: AsyncIterable[bytes] | Iterable[bytes]) -> None:
        """Put an object from a stream in place of any old one, completely or not at all.

        Args:
            name: of the object.
            chunks: its content; those of no asynchronous iterable are taken in the thread that writes them.
        """
        ...

    async def read(self, name: str) -> bytes | None:
        """Read a small object; None if there is none."""
        ...

    def stream(self, name: str) -> AsyncIterator[bytes]:
        """Read a large object in chunks; `FileNotFoundError` if there is none."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """List the names that begin with `prefix`, which ends in a slash."""
        ...

    def listing(self, folder: str) -> AsyncIterator[Sequence[StoredObject]]:
        """List the objects in a folder, unordered, in pages; in a directory, unfinished uploads (`name#1`) too."""
        ...

    async def remove(self, name: str) -> None:
        """Remove an object, if it exists."""
        ...
