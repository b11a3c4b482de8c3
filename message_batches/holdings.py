"""What a store holds: its objects by what belongs together, how old that is, and what it names.

    a run        its intents and outcomes   submissions/<key>/<count>-<hash>/<run>-<n>.json, ....outcome.json
    a batch      its claim and results      claims/<batch>.json, results/<batch>/...
    requests     a manifest                 manifests/<sha256>.jsonl, <sha256>.ids
    a leftover   a broken-off upload        any of these names with #<n> behind it, in a directory

Everything else in the store is somebody else's.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple
from urllib.parse import unquote

from pydantic import ValidationError

from message_batches.ledger import Intent, Ledger, Record, file_part, run_part
from message_batches.ports import Store, Stored
from message_batches.store import IDENTITY


class Kind(StrEnum):
    """What an object is to a person."""

    REQUESTS = "requests"
    RECORDS = "records"
    RESULTS = "results"
    LEFTOVERS = "broken-off uploads"
    OTHER = "other files"


class Step(IntEnum):
    """What an object is to its run, in the order in which they go: a purge that breaks off must not mislead.

    An intent goes before its outcome: without it, it would count as undecided for ever. Records go before results: a
    batch that is known and has none would be taken over again. The publication goes before the file that it names.
    Requests go before their ids: a run that has yet to send them shall notice before it buys.
    """

    INTENT = 0
    OUTCOME = 1
    CLAIM = 2
    PUBLICATION = 3
    RESULTS = 4
    REQUESTS = 5
    IDS = 6
    LEFTOVER = 7

    @property
    def kind(self) -> Kind:
        """Under what it is counted."""
        match self:
            case Step.INTENT | Step.OUTCOME | Step.CLAIM:
                return Kind.RECORDS
            case Step.PUBLICATION | Step.RESULTS:
                return Kind.RESULTS
            case Step.REQUESTS | Step.IDS:
                return Kind.REQUESTS
            case Step.LEFTOVER:
                return Kind.LEFTOVERS


class Key(NamedTuple):
    """What names a `run`, a `batch`, a `manifest` or a `leftover`."""

    what: str
    name: str

    @classmethod
    def of_run(cls, workflow_id: str, first_run_id: str) -> "Key":
        """A run, over its chain."""
        return cls("run", run_part(workflow_id, first_run_id))

    @classmethod
    def of_batch(cls, batch_id: str) -> "Key":
        """A batch."""
        return cls("batch", file_part(batch_id))

    @classmethod
    def of_manifest(cls, sha256: str) -> "Key":
        """Requests."""
        return cls("manifest", sha256)


@dataclass(slots=True)
class Holding:
    """Objects that belong to one run, batch or manifest.

    Attributes:
        newest: of them all: an intent by its own time, the rest by the store's.
        objects: none of them once one is young.
        names: the batches that a run's outcomes name; the manifests that it sent, or that results were checked against.
        workflow_id: of a run, as its intents have it.
        readable: whether every intent among them is.
    """

    key: Key
    newest: datetime
    objects: list[tuple[Step, Stored]] = field(default_factory=list)
    names: frozenset[Key] = frozenset()
    workflow_id: str | None = None
    readable: bool = True


@dataclass
class Tally:
    """Objects counted together."""

    objects: int = 0
    bytes: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, stored: Stored) -> None:
        """Count one more."""
        self.objects += 1
        self.bytes += stored.bytes
        self.oldest = min(self.oldest or stored.modified, stored.modified)
        self.newest = max(self.newest or stored.modified, stored.modified)


@dataclass
class Holdings:
    """What a store holds, and how much of it is young: not older than `before`.

    Attributes:
        young: what belongs to a young holding; only counted, since it stays whatever else is found.
        other: what is no part of any run.
    """

    before: datetime
    by_key: dict[Key, Holding] = field(default_factory=dict)
    young: dict[Kind, Tally] = field(default_factory=lambda: defaultdict(Tally))
    other: Tally = field(default_factory=Tally)

    def add(self, stored: Stored, record: Record | None = None) -> None:
        """Take up an object, an intent with its record; without one it could not be read."""
        if stored.name == IDENTITY:
            return
        place = _place(stored.name)
        if place is None:
            self.other.add(stored)
            return
        key, step, manifest = place
        time = _last_sent(record.intent) if record else stored.modified
        holding = self.by_key.setdefault(key, Holding(key, time))
        holding.newest = max(holding.newest, time)
        holding.objects.append((step, stored))
        if manifest:
            holding.names |= {manifest}
        if record:
            holding.names |= _named_by(record)
            holding.workflow_id = record.intent.workflow_id
        elif step is Step.INTENT:
            holding.readable = False
        if holding.newest >= self.before:
            for young_step, young in holding.objects:
                self.young[young_step.kind].add(young)
            holding.objects.clear()


async def survey(store: Store, before: datetime) -> Holdings:
    """List a store and read its intents; what is older than `before` takes less than 1 KB of memory an object."""
    ledger = Ledger(store)
    found = Holdings(before)
    async for page in store.listing():
        # As many at once as the store has threads.
        for stored, record in zip(page, await _records(ledger, page), strict=True):
            found.add(stored, record)
    return found


async def _records(ledger: Ledger, page: Sequence[Stored]) -> list[Record | None]:
    async def read(stored: Stored) -> Record | None:
        place = _place(stored.name)
        if place is None or place.step is not Step.INTENT:
            return None
        try:
            return await ledger.record(stored.name)
        except ValidationError:
            return None

    return await asyncio.gather(*map(read, page))


def _named_by(record: Record) -> set[Key]:
    batch_id = record.outcome.batch_id if record.outcome else None
    return {Key.of_manifest(record.intent.sha256), *([Key.of_batch(batch_id)] if batch_id else [])}


def _last_sent(intent: Intent) -> datetime:
    """Until when its POST may have created a batch."""
    return intent.time + intent.timeout


class _Place(NamedTuple):
    key: Key
    step: Step
    manifest: Key | None = None


_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SHA256 = "[0-9a-f]{64}"
_LAYOUT = re.compile(
    rf"submissions/[^/]+/\d+-{_SHA256}/(?P<run>[^/]+)-\d+(?P<outcome>\.outcome)?\.json"
    r"|claims/(?P<claimed>[^/]+)\.json"
    rf"|results/(?P<batch>[^/]+)/(?:(?:incomplete-)?{_UUID}\.jsonl|(?P<published>{_SHA256}|unverified)\.json)"
    rf"|manifests/(?P<requests>{_SHA256})\.(?:jsonl|(?P<ids>ids))"
)
_STAGED = re.compile(r"#\d+$")


def _place(name: str) -> _Place | None:
    """Where an object belongs; None if it is somebody else's."""
    whole = _STAGED.sub("", name)
    found = _LAYOUT.fullmatch(whole)
    if found is None:
        return None
    if whole != name:
        return _Place(Key("leftover", name), Step.LEFTOVER)
    if run := found["run"]:
        return _Place(Key("run", run), Step.OUTCOME if found["outcome"] else Step.INTENT)
    if batch := found["claimed"]:
        return _Place(Key("batch", batch), Step.CLAIM)
    if sha256 := found["requests"]:
        return _Place(Key.of_manifest(sha256), Step.IDS if found["ids"] else Step.REQUESTS)
    batch_key = Key.of_batch(unquote(found["batch"]))
    if not name.endswith(".json"):
        return _Place(batch_key, Step.RESULTS)
    published = found["published"]
    return _Place(batch_key, Step.PUBLICATION, Key.of_manifest(published) if published else None)


def manifest_at(uri: str) -> Key | None:
    """The manifest that is at an address, if that is of one."""
    place = _place("/".join(uri.rsplit("/", 2)[-2:]))
    return place.key if place and place.step is Step.REQUESTS else None
