"""What may go from a store, and why the rest stays; and how it goes."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from message_batches.errors import MessageBatchesError, StoreUnavailable
from message_batches.retention.inventory import Holding, Holdings, Tally
from message_batches.storage.interface import Store, Stored
from message_batches.storage.paths import Key, Kind, Step

SHORTEST = timedelta(days=30)
"""A batch is processed for 24 hours at most and its results can be had for 29 days, both counted from its creation."""

AT_ONCE = 1000
"""Objects that are removed between two looks at what is in use."""


class Why(StrEnum):
    """Why something stays."""

    YOUNG = "not old enough"
    IN_USE = "of a run that Temporal knows"
    BELONGS = "belongs to something that stays"
    UNREADABLE = "cannot be read, so what it is about is not known"
    FOREIGN = "not of a run: never touched"


@dataclass(frozen=True)
class Removal:
    """Objects that go together, in the order in which they go; `keys` is who may still want them."""

    keys: frozenset[Key]
    objects: Sequence[tuple[Step, Stored]]


@dataclass
class Plan:
    """What may go, and what stays."""

    removals: list[Removal] = field(default_factory=list)
    kept: dict[tuple[Kind, Why], Tally] = field(default_factory=lambda: defaultdict(Tally))

    @property
    def going(self) -> dict[Kind, Tally]:
        """What may go, counted."""
        return _counted(objects for removal in self.removals for objects in removal.objects)

    def keep(self, holding: Holding, why: Why) -> None:
        """Count what stays."""
        for step, stored in holding.objects:
            self.kept[step.kind, why].add(stored)


def decide(holdings: Holdings, in_use: AbstractSet[Key]) -> Plan:
    """What is old, whole families at a time, and in no run's use.

    Args:
        holdings: what the store holds.
        in_use: the runs that Temporal knows, and the batches and manifests that they name.
    """
    plan = Plan()
    plan.kept.update({(kind, Why.YOUNG): tally for kind, tally in holdings.young.items()})
    if holdings.other.objects:
        plan.kept[Kind.OTHER, Why.FOREIGN] = holdings.other
    wanted: set[Key] = set()
    for family in _families(holdings):
        held = {holding.key: why for holding in family if (why := _held(holding, in_use, holdings.before))}
        if not held:
            plan.removals.append(_removal(family))
            continue
        for holding in family:
            plan.keep(holding, held.get(holding.key, Why.BELONGS))
            wanted |= holding.names
    # Last, and on their own: runs with the same requests share a manifest.
    for holding in holdings.by_key.values():
        if holding.key.what in ("manifest", "leftover"):
            why = _held(holding, in_use, holdings.before) or (Why.BELONGS if holding.key in wanted else None)
            if why:
                plan.keep(holding, why)
            else:
                plan.removals.append(_removal([holding]))
    return plan


@dataclass
class Removed:
    """What became of a plan: gone, left for a run that came meanwhile, or not removed and why.

    Attributes:
        stopped: why the rest was not tried; empty if nothing stopped it.
        untried: how many objects that is.
    """

    gone: dict[Kind, Tally] = field(default_factory=lambda: defaultdict(Tally))
    spared: Tally = field(default_factory=Tally)
    failures: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    untried: int = 0


async def remove(
    store: Store, plan: Plan, in_use: Callable[[], Awaitable[AbstractSet[Key]]], *, at_once: int = AT_ONCE
) -> Removed:
    """Remove what may go, in steps; what fails is left for the next purge, with all that goes after it.

    Before each step it is asked again what is in use: a run may have begun since. There remains a run that begins
    within the seconds of a step and takes up requests that have lain there for as long as it takes to be purged: it
    fails as `RequestsNotFound` before it buys, or, having sent them already, before its results land; then
    `starter.py attach` with the requests lands them. Where the question has no answer any more, nothing more goes.
    """
    done = Removed()
    removals = iter(plan.removals)
    for some in _some(removals, at_once):
        try:
            wanted = await in_use()
        except MessageBatchesError as error:
            done.stopped = str(error)
            done.untried = sum(len(removal.objects) for removal in (*some, *removals))
            break
        gone_before = sum(tally.objects for tally in done.gone.values())
        await asyncio.gather(*(_carry_out(store, removal, wanted, done) for removal in some))
        if done.failures and sum(tally.objects for tally in done.gone.values()) == gone_before:
            done.stopped = "none of the last could be removed: the store is away, or does not permit it"
            done.untried = sum(len(removal.objects) for removal in removals)
            break
    return done


async def _carry_out(store: Store, removal: Removal, in_use: AbstractSet[Key], done: Removed) -> None:
    for step, stored in removal.objects:
        if removal.keys & in_use:
            done.spared.add(stored)
            continue
        try:
            await store.remove(stored.name)
        except StoreUnavailable as error:
            done.failures[stored.name] = str(error)
            return
        done.gone[step.kind].add(stored)


def _held(holding: Holding, in_use: AbstractSet[Key], before: datetime) -> Why | None:
    """Why it stays for its own sake."""
    if holding.newest >= before:
        return Why.YOUNG
    if not holding.readable:
        return Why.UNREADABLE
    return Why.IN_USE if any(key in in_use for key in (holding.key, *_kin(holding))) else None


def _families(holdings: Holdings) -> Iterator[list[Holding]]:
    """Runs and batches that name each other: they go or stay together."""
    neighbours: dict[Key, list[Key]] = defaultdict(list)
    for key, holding in holdings.by_key.items():
        for named in _kin(holding):
            neighbours[key].append(named)
            neighbours[named].append(key)
    seen: set[Key] = set()
    for start in holdings.by_key:
        if start.what not in ("run", "batch") or start in seen:
            continue
        family, todo = [], [start]
        while todo:
            key = todo.pop()
            if key not in seen:
                seen.add(key)
                todo += neighbours.get(key, ())
                # A batch that is only named, without claim or results, holds its runs together all the same.
                family += [holdings.by_key[key]] if key in holdings.by_key else []
        yield family


def _removal(holdings: Sequence[Holding]) -> Removal:
    objects = [found for holding in holdings for found in holding.objects]
    # By length before name: the tenth POST of a run comes after its ninth.
    ordered = tuple(sorted(objects, key=lambda found: (found[0], len(found[1].name), found[1].name)))
    own = {holding.key for holding in holdings}
    named = {key for holding in holdings for key in _kin(holding)}
    return Removal(frozenset(own | named), ordered)


def _kin(holding: Holding) -> list[Key]:
    """The runs and batches that it names."""
    return [key for key in holding.names if key.what in ("run", "batch")]


def _some(removals: Iterator[Removal], at_once: int) -> Iterator[list[Removal]]:
    """A step's worth of removals."""
    some: list[Removal] = []
    count = 0
    for removal in removals:
        some.append(removal)
        count += len(removal.objects)
        if count >= at_once:
            yield some
            some, count = [], 0
    if some:
        yield some


def _counted(objects: Iterable[tuple[Step, Stored]]) -> dict[Kind, Tally]:
    counted: dict[Kind, Tally] = defaultdict(Tally)
    for step, stored in objects:
        counted[step.kind].add(stored)
    return counted
