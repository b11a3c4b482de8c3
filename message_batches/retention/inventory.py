"""What a store holds: its objects by what belongs together, how old that is, and what it names."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from message_batches.models import Landed
from message_batches.storage.interface import Store, Stored
from message_batches.storage.names import FOLDERS
from message_batches.storage.paths import Key, Kind, Step, batch_of, place
from message_batches.storage.submission_records import Claim, Intent, Outcome

Record = Intent | Outcome | Claim

_RECORDS: dict[Step, type[Intent] | type[Outcome] | type[Claim]] = {
    Step.INTENT: Intent,
    Step.OUTCOME: Outcome,
    Step.CLAIM: Claim,
}


@dataclass(slots=True)
class Holding:
    """Objects that belong to one run, batch or manifest.

    Attributes:
        newest: of them all: an intent by its own time, the rest by the store's.
        objects: none of them once one is young.
        names: the batches that a run's outcomes name, the run that a batch's claim names, and the manifests that were
            sent, or that results were checked against.
        readable: whether every intent and every outcome among them is.
    """

    key: Key
    newest: datetime
    objects: list[tuple[Step, Stored]] = field(default_factory=list)
    names: frozenset[Key] = frozenset()
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
        batches: those that are known to be batches: the names of claims and results could be anybody's.
    """

    before: datetime
    by_key: dict[Key, Holding] = field(default_factory=dict)
    young: dict[Kind, Tally] = field(default_factory=lambda: defaultdict(Tally))
    other: Tally = field(default_factory=Tally)
    batches: set[Key] = field(default_factory=set)

    def add(self, stored: Stored, record: Record | None = None) -> None:
        """Take up an object, an intent, an outcome or a claim with what it says; without, it could not be read."""
        found = place(stored.name)
        if found is None or (found.step is Step.CLAIM and record is None):
            self.other.add(stored)
            return
        key, step, manifest = found
        time = record.time + record.timeout if isinstance(record, Intent) else stored.modified
        holding = self.by_key.setdefault(key, Holding(key, time))
        holding.newest = max(holding.newest, time)
        holding.objects.append((step, stored))
        if manifest:
            holding.names |= {manifest}
        match record:
            case Intent():
                holding.names |= {Key.of_manifest(record.sha256)}
            case Outcome(batch_id=str(batch_id)):
                holding.names |= {Key.of_batch(batch_id)}
                self.batches.add(Key.of_batch(batch_id))
            case Claim():
                holding.names |= {Key.of_run(record.owner, record.first_run_id)}
                self.batches.add(key)
        if record is None and step in _RECORDS:
            holding.readable = False
        if holding.newest >= self.before:
            for young_step, young in holding.objects:
                self.young[young_step.kind].add(young)
            holding.objects.clear()

    def doubtful(self) -> list[Holding]:
        """Old results and broken-off uploads under the name of something that nothing yet shows to be a batch."""
        old = [holding for holding in self.by_key.values() if holding.newest < self.before]
        return [holding for holding in old if (batch := batch_of(holding.key)) and batch not in self.batches]

    def disown(self) -> None:
        """Count what remains doubtful as somebody else's."""
        for holding in self.doubtful():
            for _, stored in holding.objects:
                self.other.add(stored)
            del self.by_key[holding.key]


async def survey(store: Store, before: datetime) -> Holdings:
    """List a store's runs and read their records; what is older than `before` takes less than 1 KB of memory each."""
    found = Holdings(before)
    for folder in FOLDERS:
        async for page in store.listing(folder):
            # As many at once as the store has threads.
            records = await asyncio.gather(*(_record(store, stored.name) for stored in page))
            for stored, record in zip(page, records, strict=True):
                found.add(stored, record)
    for holding in found.doubtful():
        # One by one: a publication may hold results, and there is hardly one without a claim.
        for step, stored in holding.objects:
            if step is Step.PUBLICATION and await _is_of(store, stored.name, holding.key):
                found.batches.add(holding.key)
    found.disown()
    return found


async def _record(store: Store, name: str) -> Record | None:
    found = place(name)
    if found is None or found.step not in _RECORDS:
        return None
    try:
        record = _RECORDS[found.step].model_validate_json(await store.read(name) or b"")
        if isinstance(record, Intent):
            _ = record.time + record.timeout
    except (ValidationError, OverflowError):
        return None
    return record


async def _is_of(store: Store, name: str, batch: Key) -> bool:
    """Whether these are published results of that batch."""
    try:
        return Key.of_batch(Landed.model_validate_json(await store.read(name) or b"").batch_id) == batch
    except ValidationError:
        return False
