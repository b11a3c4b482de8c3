"""The command `purge`: shows the objects of runs that ended long ago, and with --delete removes them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from rich.console import Group, RenderableType
from rich.text import Text

from message_batches.cli.context import DONE, FAILED, CommandContext, CommandResult
from message_batches.cli.json_output import Time
from message_batches.retention.inventory import ObjectTotals, scan
from message_batches.retention.purge import MIN_AGE, KeepReason, PurgePlan, PurgeResult, execute_purge, plan_purge
from message_batches.retention.references import RunReferences, clients_of_store
from message_batches.runs.control import Refused
from message_batches.serialization import ContractModel, Seconds
from message_batches.storage.groups import GroupKey, ObjectCategory
from message_batches.storage.paths import STORE_ID
from message_batches.temporal.namespaces import address_of

_SHOWN_FAILURES = 5


class ObjectsDocument(ContractModel):
    """Objects in the store, counted."""

    objects: int
    bytes: int
    oldest: Time | None
    newest: Time | None

    @classmethod
    def of(cls, totals: ObjectTotals) -> Self:
        """Convert a count."""
        return cls(**_fields(totals))


class RemovableObjects(ContractModel):
    """Objects of one kind that go."""

    kind: str
    objects: int
    bytes: int
    oldest: Time | None
    newest: Time | None

    @classmethod
    def of(cls, kind: str, totals: ObjectTotals) -> Self:
        """Convert a count."""
        return cls(kind=kind, **_fields(totals))


class KeptObjects(ContractModel):
    """Objects of one kind that stay for one reason."""

    kind: str
    why: str
    objects: int
    bytes: int
    oldest: Time | None
    newest: Time | None

    @classmethod
    def of(cls, kind: str, why: str, totals: ObjectTotals) -> Self:
        """Convert a count."""
        return cls(kind=kind, why=why, **_fields(totals))


class KnownNamespace(ContractModel):
    """A namespace that works with the store, and the number of its runs."""

    namespace: str
    address: str
    runs: int


class PurgePreviewDocument(ContractModel):
    """The objects that a purge would remove, and those that stay."""

    store: str
    older_than: Seconds
    before: Time
    namespaces: tuple[KnownNamespace, ...]
    deleted: bool
    goes: tuple[RemovableObjects, ...]
    stays: tuple[KeptObjects, ...]


class PurgeDocument(PurgePreviewDocument):
    """The objects that a purge has removed, and those that it could not remove."""

    spared: ObjectsDocument
    failures: dict[str, str]
    untried: int
    stopped: str | None


@dataclass(frozen=True)
class Found:
    """The request, the store, the namespaces whose runs were read, and the plan."""

    store: str
    in_use: list[RunReferences]
    older_than: timedelta
    before: datetime
    plan: PurgePlan


async def purge(context: CommandContext, older_than: timedelta, *, delete: bool) -> CommandResult:
    """Show the objects that may be removed from the store; with `delete` remove them."""
    if older_than < MIN_AGE:
        raise Refused(
            f"--older-than must be at least {_words(MIN_AGE)}: a batch may be processed for 24 hours, and its results "
            "can be fetched for 29 days after it was created. Nothing was removed"
        )
    before = datetime.now(UTC) - older_than
    root = context.store.uri("")
    if await context.store.read(STORE_ID) is None:
        raise Refused(f"There is no store at {root}: set MESSAGE_BATCHES_STORE to the workers' store")
    in_use = [RunReferences(client) for client in await clients_of_store(context.store, await context.client())]

    async def groups_in_use() -> set[GroupKey]:
        return {key for namespace in in_use for key in await namespace.refresh()}

    holdings = await scan(context.store, before)
    # The runs are read after the store: objects of a run that began meanwhile are not in the inventory.
    found = Found(root, in_use, older_than, before, plan_purge(holdings, await groups_in_use()))
    if not delete:
        return CommandResult(_document(found), _shown(found))
    done = await execute_purge(context.store, found.plan, groups_in_use)
    exit_code = FAILED if done.failures or done.stop_reason else DONE
    return CommandResult(_document(found, done), _shown(found, done), exit_code)


def _shown(found: Found, done: PurgeResult | None = None) -> RenderableType:
    going = done.removed if done else found.plan.removable
    lines = [
        Text(f"{found.store}, objects from before {found.before:%Y-%m-%d %H:%M} UTC ({_words(found.older_than)})"),
        *map(_known, found.in_use),
        _row("gone" if done else "would go", "objects", "bytes", "last modified", style="bold"),
        *(_row(kind, *_counts(going[kind]), _days(going[kind])) for kind in ObjectCategory if kind in going),
    ]
    if not going:
        lines.append(_row("nothing", "", "", ""))
    if found.plan.kept:
        lines.append(_row("stays", "objects", "bytes", "why", style="bold"))
        lines += [_row(kind, *_counts(totals), why) for (kind, why), totals in _kept(found.plan)]
    if done:
        lines += _left(done)
    elif going:
        lines.append(
            Text(
                "Nothing was removed; with --delete it is. After that the same content, started again, is charged again"
            )
        )
    for line in lines:
        line.no_wrap, line.overflow = True, "ignore"
    return Group(*lines)


def _kept(plan: PurgePlan) -> list[tuple[tuple[ObjectCategory, KeepReason], ObjectTotals]]:
    """Return the kept objects in the order of their categories."""
    return sorted(plan.kept.items(), key=lambda item: list(ObjectCategory).index(item[0][0]))


def _left(done: PurgeResult) -> list[Text]:
    lines = []
    if done.needed_again.objects:
        lines.append(f"{done.needed_again.objects:,} objects stay: a run that needs them has started meanwhile")
    if done.failures:
        lines.append(f"{len(done.failures):,} could not be removed, nor the objects after them; try again:")
        lines += [f"  {why}" for why in list(done.failures.values())[:_SHOWN_FAILURES]]
    if done.stop_reason:
        lines.append(f"{done.not_attempted:,} more were not tried: {done.stop_reason}")
    return [Text(line) for line in lines]


def _known(in_use: RunReferences) -> Text:
    count = len(in_use.runs)
    runs = f"{count:,} run{'' if count == 1 else 's'}"
    return Text(f"{runs} known in namespace {in_use.client.namespace} at {address_of(in_use.client)}")


def _row(name: str, objects: str, size: str, rest: str, *, style: str = "") -> Text:
    return Text(f"{name:<18}  {objects:>9}  {size:>17}  {rest}".rstrip(), style=style)


def _counts(totals: ObjectTotals) -> tuple[str, str]:
    return f"{totals.objects:,}", f"{totals.bytes:,}"


def _days(totals: ObjectTotals) -> str:
    days = sorted({f"{moment:%Y-%m-%d}" for moment in (totals.oldest, totals.newest) if moment})
    return " to ".join(days)


def _words(duration: timedelta) -> str:
    return f"{duration / timedelta(days=1):,g} days"


def _document(found: Found, done: PurgeResult | None = None) -> PurgePreviewDocument:
    going = done.removed if done else found.plan.removable
    preview = PurgePreviewDocument(
        store=found.store,
        older_than=found.older_than,
        before=found.before,
        namespaces=tuple(
            KnownNamespace(namespace=known.client.namespace, address=address_of(known.client), runs=len(known.runs))
            for known in found.in_use
        ),
        deleted=done is not None,
        goes=tuple(RemovableObjects.of(kind.value, going[kind]) for kind in ObjectCategory if kind in going),
        stays=tuple(KeptObjects.of(kind.value, why.value, totals) for (kind, why), totals in _kept(found.plan)),
    )
    if done is None:
        return preview
    return PurgeDocument(
        **dict(preview),
        spared=ObjectsDocument.of(done.needed_again),
        failures=done.failures,
        untried=done.not_attempted,
        stopped=done.stop_reason or None,
    )


def _fields(totals: ObjectTotals) -> dict[str, Any]:
    return {"objects": totals.objects, "bytes": totals.bytes, "oldest": totals.oldest, "newest": totals.newest}
