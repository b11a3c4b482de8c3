"""An account of the API and a store, both in memory and on a clock that only the test advances."""

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from message_batches.api.keys import Account
from message_batches.api.models import ApiProfile, BatchPage, MessageBatch, RequestCounts
from message_batches.errors import BatchNotFound
from message_batches.storage.interface import StoredObject

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class Clock:
    """The clock of everything but the API, whose own clock may be ahead or behind."""

    now: datetime = START
    api_ahead: timedelta = timedelta(0)

    @property
    def at_the_api(self) -> datetime:
        """The time that the API gives its batches and responses."""
        return self.now + self.api_ahead


@dataclass
class Made:
    """A batch; `by` is its sender, which the API does not report."""

    id: str
    by: str
    ids: tuple[str, ...]
    created: datetime
    visible: datetime
    ends: datetime
    deleted: bool = False


@dataclass
class ModelAccount:
    """The part of the API that a submission calls: results, and a list that lags and occasionally lacks a batch."""

    clock: Clock
    batches: list[Made] = field(default_factory=list)
    overlooked: set[str] = field(default_factory=set)
    """The batches that the next read of the list lacks."""

    def make(self, by: str, ids: tuple[str, ...], *, lag: timedelta, processing: timedelta) -> Made:
        """Create a batch."""
        number = len(self.batches) + 1
        now = self.clock.now
        made = Made(f"msgbatch_{number:03}", by, ids, self.clock.at_the_api, now + lag, now + processing)
        self.batches.append(made)
        return made

    def by(self, who: str) -> list[Made]:
        """Return the batches that a sender has created, and pays for."""
        return [made for made in self.batches if made.by == who]

    def made_at(self, made: Made) -> datetime:
        """Return when it was created, on the clock of everything but the API."""
        return made.created - self.clock.api_ahead

    def named(self, batch_id: str) -> Made:
        """Return the batch of that id."""
        return next(made for made in self.batches if made.id == batch_id)

    async def list(self, *, limit: int, after_id: str | None = None) -> BatchPage:
        """Return a page of the visible batches, newest first."""
        seen = [made for made in self.batches if self._seen(made) and made.id not in self.overlooked]
        seen.sort(key=lambda made: (made.created, made.id), reverse=True)
        if after_id:
            seen = seen[[made.id for made in seen].index(after_id) + 1 :]
        page = tuple(map(self._described, seen[:limit]))
        return BatchPage(
            data=page,
            has_more=len(seen) > limit,
            last_id=page[-1].id if page else None,
            date=self.clock.at_the_api.replace(microsecond=0),
        )

    async def retrieve(self, batch_id: str) -> MessageBatch:
        """Return a batch."""
        return self._described(self._existing(batch_id))

    async def cancel(self, batch_id: str) -> MessageBatch:
        """End a batch."""
        made = self._existing(batch_id)
        made.ends = min(made.ends, self.clock.now)
        return self._described(made)

    async def delete(self, batch_id: str) -> None:
        """Delete a batch."""
        self._existing(batch_id).deleted = True

    @asynccontextmanager
    async def results(self, batch_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Return the results of a batch that has ended."""
        made = self._existing(batch_id)
        if self.clock.now < made.ends:
            raise BatchNotFound(f"{batch_id} has no available results", status=404)
        yield _each(reversed(self.lines_of(made)))

    def lines_of(self, made: Made) -> Sequence[bytes]:
        """Return the results of a batch in the order of its requests; no other batch has the same."""
        line = '{"custom_id":"%s","of":"%s","result":{"type":"expired"}}\n'
        return [(line % (custom_id, made.id)).encode() for custom_id in made.ids]

    def _existing(self, batch_id: str) -> Made:
        for made in self.batches:
            if made.id == batch_id and self._seen(made):
                return made
        raise BatchNotFound(f"{batch_id} is not there", status=404)

    def _seen(self, made: Made) -> bool:
        return made.visible <= self.clock.now and not made.deleted

    def _described(self, made: Made) -> MessageBatch:
        ended = made.ends <= self.clock.now
        counts = RequestCounts(expired=len(made.ids)) if ended else RequestCounts(processing=len(made.ids))
        return MessageBatch(
            id=made.id,
            processing_status="ended" if ended else "in_progress",
            request_counts=counts,
            created_at=made.created,
            expires_at=made.created + timedelta(hours=24),
        )


async def _each(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


class ModelApi:
    """The `BatchApi` port over the accounts of several keys, each at a server of its own."""

    def __init__(self, accounts: Mapping[str, ModelAccount]) -> None:
        self._of = accounts

    @property
    def servers(self) -> Collection[str]:
        """Return the names of the servers."""
        return tuple(self._of)

    def check(self, profile: ApiProfile) -> None:
        """Accept every key."""

    def account(self, profile: ApiProfile) -> Account:
        """Return the account of a key."""
        return Account(api_key=profile.api_key, base_url=f"model:{profile.api_key}")

    def server(self, profile: ApiProfile) -> str | None:
        """Return the name of the server of a key."""
        return profile.api_key

    def hidden(self, profile: ApiProfile) -> Sequence[str]:
        """Return none: there is no key."""
        return ()

    async def poll_turn(self) -> None:
        """Return at once."""

    async def list(
        self, profile: ApiProfile, *, limit: int, after_id: str | None = None, in_turn: bool = False
    ) -> BatchPage:
        """Return a page of the batches of a key."""
        return await self._of[profile.api_key].list(limit=limit, after_id=after_id)

    async def retrieve(self, profile: ApiProfile, batch_id: str, *, in_turn: bool = False) -> MessageBatch:
        """Return a batch."""
        return await self._of[profile.api_key].retrieve(batch_id)

    async def cancel(self, profile: ApiProfile, batch_id: str) -> MessageBatch:
        """End a batch."""
        return await self._of[profile.api_key].cancel(batch_id)

    async def delete(self, profile: ApiProfile, batch_id: str) -> None:
        """Delete a batch."""
        await self._of[profile.api_key].delete(batch_id)

    def results(self, profile: ApiProfile, batch_id: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Return the results of a batch."""
        return self._of[profile.api_key].results(batch_id)


class MemoryStore:
    """The `Store` port over a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def identity(self) -> str:
        """Return the id of the only store."""
        return "memory"

    async def known_identity(self) -> str:
        """Return the same."""
        return "memory"

    def uri(self, name: str) -> str:
        """Return the address of an object."""
        return f"memory:///{name}"

    def name(self, uri: str) -> str:
        """Return the name of the object at an address."""
        return uri.removeprefix("memory:///")

    async def create(self, name: str, data: bytes) -> bool:
        """Put an object if there is none."""
        return self.objects.setdefault(name, data) is data

    async def write(self, name: str, chunks: AsyncIterable[bytes] | Iterable[bytes]) -> None:
        """Put an object."""
        if isinstance(chunks, AsyncIterable):
            chunks = [chunk async for chunk in chunks]
        self.objects[name] = b"".join(chunks)

    async def read(self, name: str) -> bytes | None:
        """Return an object, or None."""
        return self.objects.get(name)

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """Yield an object in one piece."""
        if name not in self.objects:
            raise FileNotFoundError(name)
        yield self.objects[name]

    async def names(self, prefix: str) -> list[str]:
        """Yield the names that begin with the prefix."""
        return sorted(name for name in self.objects if name.startswith(prefix))

    async def listing(self, folder: str) -> AsyncIterator[Sequence[StoredObject]]:
        """Yield all objects in a folder."""
        yield [StoredObject(name, len(self.objects[name]), START) for name in await self.names(f"{folder}/")]

    async def remove(self, name: str) -> None:
        """Remove an object."""
        self.objects.pop(name, None)
