"""The inventory of a store: its objects in the groups that are purged as a whole, their age and their references."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from message_batches.job_models import ShardRecord
from message_batches.models import Manifest
from message_batches.requests.first_read import FirstReadRecord
from message_batches.result_models import LandedResults
from message_batches.storage.groups import (
    GroupKey,
    ObjectCategory,
    PathKind,
    batch_at,
    batch_of,
    manifest_at,
    parse_path,
)
from message_batches.storage.interface import Store, StoredObject
from message_batches.storage.paths import FOLDERS, id_part, key_of_intent
from message_batches.storage.submission_records import BatchClaim, SubmissionIntent, SubmissionOutcome

_Plan = tuple[Manifest, ...]
StoredRecord = SubmissionIntent | SubmissionOutcome | BatchClaim | ShardRecord | FirstReadRecord | _Plan

_RECORDS: dict[PathKind, Callable[[bytes], StoredRecord]] = {
    PathKind.FIRST_READ: FirstReadRecord.model_validate_json,
    PathKind.INTENT: SubmissionIntent.model_validate_json,
    PathKind.OUTCOME: SubmissionOutcome.model_validate_json,
    PathKind.CLAIM: BatchClaim.model_validate_json,
    PathKind.SHARD: ShardRecord.model_validate_json,
    PathKind.PLAN: lambda content: tuple(map(Manifest.model_validate_json, content.splitlines())),
}


@dataclass(slots=True)
class ObjectGroup:
    """The objects of one run, batch, manifest, job or unfinished upload.

    Attributes:
        newest: the latest time of any of them: of an intent its own, of others the store's.
        objects: the objects, none of them once one is recent.
        references: the batches that a run's outcomes or a job's landed shards name, the run that a batch's claim
            names, and the manifests that were read, sent or planned, or that results were checked against.
        readable: whether every record among them can be read.
    """

    key: GroupKey
    newest: datetime
    objects: list[tuple[PathKind, StoredObject]] = field(default_factory=list)
    references: frozenset[GroupKey] = frozenset()
    readable: bool = True


@dataclass
class ObjectTotals:
    """The number, size and age of objects counted together."""

    objects: int = 0
    bytes: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, stored: StoredObject) -> None:
        """Count one more object."""
        self.objects += 1
        self.bytes += stored.bytes
        self.oldest = min(self.oldest or stored.modified, stored.modified)
        self.newest = max(self.newest or stored.modified, stored.modified)


@dataclass
class Inventory:
    """The groups of a store, and the totals of its recent objects: those that are not older than `before`.

    Attributes:
        recent: the objects of recent groups by category; only counted, since they stay in any case.
        foreign: the objects that belong to no group.
        batches: the keys that are known to be batches: anybody could have chosen the names of claims and results.
    """

    before: datetime
    groups: dict[GroupKey, ObjectGroup] = field(default_factory=dict)
    recent: dict[ObjectCategory, ObjectTotals] = field(default_factory=lambda: defaultdict(ObjectTotals))
    foreign: ObjectTotals = field(default_factory=ObjectTotals)
    batches: set[GroupKey] = field(default_factory=set)

    def add(self, stored: StoredObject, record: StoredRecord | None = None) -> None:
        """Add an object; a record with its content, or without it if it cannot be read."""
        found = parse_path(stored.name)
        if found is None or (found.kind is PathKind.CLAIM and record is None):
            self.foreign.add(stored)
            return
        key, kind, manifest = found
        time = record.time + record.timeout if isinstance(record, SubmissionIntent) else stored.modified
        group = self.groups.setdefault(key, ObjectGroup(key, time))
        group.newest = max(group.newest, time)
        group.objects.append((kind, stored))
        if manifest:
            group.references |= {manifest}
        match record:
            case SubmissionIntent():
                group.references |= {GroupKey.of_manifest(record.sha256)}
            case SubmissionOutcome(batch_id=str(batch_id)):
                batch = GroupKey.of_batch(key_of_intent(stored.name), batch_id)
                group.references |= {batch}
                self.batches.add(batch)
            case BatchClaim():
                group.references |= {GroupKey.of_run(record.owner, record.first_run_id)}
                self.batches.add(key)
            case ShardRecord():
                if batch_of_shard := batch_at(record.results_file.uri):
                    group.references |= {batch_of_shard}
                    self.batches.add(batch_of_shard)
            case FirstReadRecord():
                if read := manifest_at(record.requests):
                    group.references |= {read}
            case tuple():
                group.references |= {GroupKey.of_manifest(manifest.sha256) for manifest in record}
        if record is None and kind in _RECORDS:
            group.readable = False
        if group.newest >= self.before:
            for recent_kind, recent in group.objects:
                self.recent[recent_kind.category].add(recent)
            group.objects.clear()

    def unconfirmed(self) -> list[ObjectGroup]:
        """Return old results and unfinished uploads under a name that nothing yet shows to be that of a batch."""
        old = [group for group in self.groups.values() if group.newest < self.before]
        return [group for group in old if (batch := batch_of(group.key)) and batch not in self.batches]

    def drop_foreign(self) -> None:
        """Count the groups that are still unconfirmed as foreign objects."""
        for group in self.unconfirmed():
            for _, stored in group.objects:
                self.foreign.add(stored)
            del self.groups[group.key]


async def scan(store: Store, before: datetime) -> Inventory:
    """List the objects of a store and read its records; each that is older than `before` takes up to 1 KB of memory."""
    found = Inventory(before)
    for folder in FOLDERS:
        async for page in store.listing(folder):
            # As many at once as the store has threads.
            records = await asyncio.gather(*(_record(store, stored.name) for stored in page))
            for stored, record in zip(page, records, strict=True):
                found.add(stored, record)
    for group in found.unconfirmed():
        # One by one: a publication may hold results, and very few are without a claim.
        for kind, stored in group.objects:
            if kind is PathKind.PUBLICATION and await _is_of(store, stored.name, group.key):
                found.batches.add(group.key)
    found.drop_foreign()
    return found


async def _record(store: Store, name: str) -> StoredRecord | None:
    found = parse_path(name)
    if found is None or found.kind not in _RECORDS:
        return None
    try:
        record = _RECORDS[found.kind](await store.read(name) or b"")
        if isinstance(record, SubmissionIntent):
            _ = record.time + record.timeout
    except (ValidationError, OverflowError):
        return None
    return record


async def _is_of(store: Store, name: str, batch: GroupKey) -> bool:
    """Return whether an object is the publication of that batch."""
    try:
        landed = LandedResults.model_validate_json(await store.read(name) or b"")
        return batch.name.endswith(f"/{id_part(landed.batch_id)}")
    except ValidationError:
        return False
