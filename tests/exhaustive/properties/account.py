"""An account of the API and a store, both in memory and on a clock that only the test moves."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from message_batches.api.models import ApiProfile, BatchPage, MessageBatch, RequestCounts
from message_batches.errors import BatchNotFound
from message_batches.storage.interface import StoredObject

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class Clock:
    """The time everywhere but at the API, whose clock may be ahead or behind."""

    now: datetime = START
    api_ahead: timedelta = timedelta(0)

    @property
    def at_the_api(self) -> datetime:
        """The time that the API puts on its batches and answers."""
        return self.now + self.api_ahead


@dataclass
class Made:
    """A batch; `by` is who sent it, which the API does not tell."""

    id: str
    by: str
    ids: tuple[str, ...]
    created: datetime
    visible: datetime
    ends: datetime
    deleted: bool = False


@dataclass
class ModelAccount:
    """What a submission meets of the API: results, and a list that lags behind and lacks a batch now and then."""

    clock: Clock
    batches: list[Made] = field(default_factory=list)
    overlooked: set[str] = field(default_factory=set)
    """What the next look at the list does not see."""

    def make(self, by: str, ids: tuple[str, ...], *, lag: timedelta, processing: timedelta) -> Made:
        """Create a batch."""
        number = len(self.batches) + 1
        now = self.clock.now
        made = Made(f"msgbatch_{number:03}", by, ids, self.clock.at_the_api, now + lag, now + processing)
        self.batches.append(made)
        return made

    def by(self, who: str) -> list[Made]:
        """What somebody has created, and pays for."""
        return [made for made in self.batches if made.by == who]

    def made_at(self, made: Made) -> datetime:
        """When it was created, on the clock of everybody else."""
        return made.created - self.clock.api_ahead

    def named(self, batch_id: str) -> Made:
        """The batch of that id."""
        return next(made for made in self.batches if made.id == batch_id)

    async def list(self, account: ApiProfile, *, limit: int, after_id: str | None = None) -> BatchPage:
        """A page of what can be seen now, newest first."""
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

    @asynccontextmanager
    async def results(self, account: ApiProfile, batch_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The results of a batch that has ended."""
        made = self.named(batch_id)
        if not self._seen(made) or self.clock.now < made.ends:
            raise BatchNotFound(f"{batch_id} has no available results")
        yield self._lines(made.ids)

    async def _lines(self, ids: Sequence[str]) -> AsyncIterator[bytes]:
        for custom_id in reversed(ids):
            yield f'{{"custom_id":"{custom_id}","result":{{"type":"expired"}}}}\n'.encode()

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


class MemoryStore:
    """The `Store` port over a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def identity(self) -> str:
        """The id of a store that there is once."""
        return "memory"

    def uri(self, name: str) -> str:
        """The address of an object."""
        return f"memory:///{name}"

    def name(self, uri: str) -> str:
        """The name behind an address."""
        return uri.removeprefix("memory:///")

    async def create(self, name: str, data: bytes) -> bool:
        """Put an object if there is none."""
        return self.objects.setdefault(name, data) is data

    async def write(self, name: str, chunks: AsyncIterable[bytes]) -> None:
        """Put an object."""
        self.objects[name] = b"".join([chunk async for chunk in chunks])

    async def read(self, name: str) -> bytes | None:
        """An object, or None."""
        return self.objects.get(name)

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """An object in one piece."""
        if name not in self.objects:
            raise FileNotFoundError(name)
        yield self.objects[name]

    async def names(self, prefix: str) -> list[str]:
        """The names that begin so."""
        return sorted(name for name in self.objects if name.startswith(prefix))

    async def listing(self, folder: str) -> AsyncIterator[Sequence[StoredObject]]:
        """All objects in a folder."""
        yield [StoredObject(name, len(self.objects[name]), START) for name in await self.names(f"{folder}/")]

    async def remove(self, name: str) -> None:
        """Remove an object."""
        self.objects.pop(name, None)
