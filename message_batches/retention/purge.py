"""A purge of the store: the plan of what may be removed and why the rest is kept, and its execution."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from message_batches.errors import MessageBatchesError, StoreUnavailable
from message_batches.retention.inventory import Inventory, ObjectGroup, ObjectTotals
from message_batches.storage.groups import GroupKey, ObjectCategory, PathKind
from message_batches.storage.interface import Store, StoredObject

MIN_AGE = timedelta(days=30)
"""A batch is processed for 24 hours at most, and its results are available for 29 days, both from its creation."""

OBJECTS_AT_ONCE = 1000
"""Objects that are removed between two checks of what is in use."""


class KeepReason(StrEnum):
    """The reason why a group is kept."""

    RECENT = "not old enough"
    IN_USE = "of a run that Temporal knows"
    BELONGS = "belongs to something that stays"
    UNREADABLE = "cannot be read, so what it is about is not known"
    FOREIGN = "not of a run: never touched"


@dataclass(frozen=True)
class Removal:
    """Objects that are removed together, in this order; `keys` names every group that may still need them."""

    keys: frozenset[GroupKey]
    objects: Sequence[tuple[PathKind, StoredObject]]


@dataclass
class PurgePlan:
    """The objects that may be removed, and the totals of those that are kept."""

    removals: list[Removal] = field(default_factory=list)
    kept: dict[tuple[ObjectCategory, KeepReason], ObjectTotals] = field(
        default_factory=lambda: defaultdict(ObjectTotals)
    )

    @property
    def removable(self) -> dict[ObjectCategory, ObjectTotals]:
        """The totals of the objects that may be removed."""
        return _totals(objects for removal in self.removals for objects in removal.objects)

    def keep(self, group: ObjectGroup, reason: KeepReason) -> None:
        """Count a group that is kept."""
        for kind, stored in group.objects:
            self.kept[kind.category, reason].add(stored)


def plan_purge(inventory: Inventory, in_use: AbstractSet[GroupKey]) -> PurgePlan:
    """Plan the removal of all groups that are old and not in use; groups that refer to each other go together.

    Args:
        inventory: the groups of the store.
        in_use: the runs that Temporal knows, and the batches and manifests that they name.
    """
    plan = PurgePlan()
    plan.kept.update({(category, KeepReason.RECENT): totals for category, totals in inventory.recent.items()})
    if inventory.foreign.objects:
        plan.kept[ObjectCategory.OTHER, KeepReason.FOREIGN] = inventory.foreign
    referenced: set[GroupKey] = set()
    for connected in _connected_groups(inventory):
        reasons = {
            group.key: reason for group in connected if (reason := _keep_reason(group, in_use, inventory.before))
        }
        if not reasons:
            plan.removals.append(_removal(connected))
            continue
        for group in connected:
            plan.keep(group, reasons.get(group.key, KeepReason.BELONGS))
            referenced |= group.references
    # Last, and on their own: runs with the same requests share a manifest.
    for group in inventory.groups.values():
        if group.key.group in ("manifest", "leftover"):
            reason = _keep_reason(group, in_use, inventory.before)
            if reason is None and group.key in referenced:
                reason = KeepReason.BELONGS
            if reason:
                plan.keep(group, reason)
            else:
                plan.removals.append(_removal([group]))
    return plan


@dataclass
class PurgeResult:
    """The result of a purge: the objects removed, those that a new run needs after all, and the failures.

    Attributes:
        failures: the names of objects that could not be removed, and why.
        stop_reason: why the rest was not attempted; empty if nothing stopped the purge.
        not_attempted: the number of those objects.
    """

    removed: dict[ObjectCategory, ObjectTotals] = field(default_factory=lambda: defaultdict(ObjectTotals))
    needed_again: ObjectTotals = field(default_factory=ObjectTotals)
    failures: dict[str, str] = field(default_factory=dict)
    stop_reason: str = ""
    not_attempted: int = 0


async def execute_purge(
    store: Store,
    plan: PurgePlan,
    in_use: Callable[[], Awaitable[AbstractSet[GroupKey]]],
    *,
    at_once: int = OBJECTS_AT_ONCE,
) -> PurgeResult:
    """Remove the objects of a plan, so many at once; one that fails stays for the next purge, with its group.

    `in_use` is asked again before each chunk, since a run may have started. A run that starts during a chunk, with
    requests that are old enough to be purged, may still lose them: it fails as `RequestsNotFound` before it submits,
    or, if it had sent them already, before its results land; a run that attaches to the batch with the requests lands
    them. If `in_use` fails, nothing more is removed.
    """
    result = PurgeResult()
    removals = iter(plan.removals)
    for chunk in _chunks(removals, at_once):
        try:
            needed = await in_use()
        except MessageBatchesError as error:
            result.stop_reason = str(error)
            result.not_attempted = sum(len(removal.objects) for removal in (*chunk, *removals))
            break
        removed_before = sum(totals.objects for totals in result.removed.values())
        await asyncio.gather(*(_remove(store, removal, needed, result) for removal in chunk))
        if result.failures and sum(totals.objects for totals in result.removed.values()) == removed_before:
            result.stop_reason = (
                "none of the last objects could be removed: the store is unavailable, or does not permit it"
            )
            result.not_attempted = sum(len(removal.objects) for removal in removals)
            break
    return result


async def _remove(store: Store, removal: Removal, needed: AbstractSet[GroupKey], result: PurgeResult) -> None:
    for kind, stored in removal.objects:
        if removal.keys & needed:
            result.needed_again.add(stored)
            continue
        try:
            await store.remove(stored.name)
        except StoreUnavailable as error:
            result.failures[stored.name] = str(error)
            return
        result.removed[kind.category].add(stored)


def _keep_reason(group: ObjectGroup, in_use: AbstractSet[GroupKey], before: datetime) -> KeepReason | None:
    """Return why a group is kept for its own sake, None if it is not."""
    if group.newest >= before:
        return KeepReason.RECENT
    if not group.readable:
        return KeepReason.UNREADABLE
    return KeepReason.IN_USE if any(key in in_use for key in (group.key, *_related(group))) else None


def _connected_groups(inventory: Inventory) -> Iterator[list[ObjectGroup]]:
    """Yield the runs, batches and jobs that refer to each other: they are kept or removed together."""
    neighbours: dict[GroupKey, list[GroupKey]] = defaultdict(list)
    for key, group in inventory.groups.items():
        for related in _related(group):
            neighbours[key].append(related)
            neighbours[related].append(key)
    seen: set[GroupKey] = set()
    for start in inventory.groups:
        if start.group not in ("run", "batch", "job") or start in seen:
            continue
        connected, pending = [], [start]
        while pending:
            key = pending.pop()
            if key not in seen:
                seen.add(key)
                pending += neighbours.get(key, ())
                # A batch that is only named, without claim or results, connects its runs too.
                connected += [inventory.groups[key]] if key in inventory.groups else []
        yield connected


def _removal(groups: Sequence[ObjectGroup]) -> Removal:
    objects = [found for group in groups for found in group.objects]
    # By length before name: the tenth POST of a run comes after its ninth.
    ordered = tuple(sorted(objects, key=lambda found: (found[0], len(found[1].name), found[1].name)))
    own = {group.key for group in groups}
    related = {key for group in groups for key in _related(group)}
    return Removal(frozenset(own | related), ordered)


def _related(group: ObjectGroup) -> list[GroupKey]:
    """Return the runs and batches that a group refers to."""
    return [key for key in group.references if key.group in ("run", "batch")]


def _chunks(removals: Iterator[Removal], at_once: int) -> Iterator[list[Removal]]:
    """Split removals into chunks of at least so many objects."""
    chunk: list[Removal] = []
    count = 0
    for removal in removals:
        chunk.append(removal)
        count += len(removal.objects)
        if count >= at_once:
            yield chunk
            chunk, count = [], 0
    if chunk:
        yield chunk


def _totals(objects: Iterable[tuple[PathKind, StoredObject]]) -> dict[ObjectCategory, ObjectTotals]:
    totals: dict[ObjectCategory, ObjectTotals] = defaultdict(ObjectTotals)
    for kind, stored in objects:
        totals[kind.category].add(stored)
    return totals
