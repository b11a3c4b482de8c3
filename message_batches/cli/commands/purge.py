"""The command `purge`: what the store holds of runs long over is shown, and with --delete removed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from message_batches.cli.context import DONE, FAILED, Answer, Desk
from message_batches.retention.inventory import Tally, survey
from message_batches.retention.purge import SHORTEST, Plan, Removed, decide, remove
from message_batches.retention.references import InUse, clients_of
from message_batches.runs.control import Refused
from message_batches.storage.object_store import IDENTITY
from message_batches.storage.paths import Key, Kind
from message_batches.temporal.namespaces import address_of

BOUGHT_ANEW = "the same content, started again, is bought again"

_SHOWN_FAILURES = 5


@dataclass(frozen=True)
class Found:
    """What is asked of which store, and whose runs were looked at."""

    store: str
    in_use: list[InUse]
    older_than: timedelta
    before: datetime
    plan: Plan


async def purge(desk: Desk, older_than: timedelta, *, delete: bool) -> Answer:
    """Show what may go from the store; with `delete` remove it."""
    if older_than < SHORTEST:
        raise Refused(
            f"--older-than must be at least {_words(SHORTEST)}: a batch may be processed for 24 hours, and its results "
            "can be fetched for 29 days after it was created. Nothing was removed"
        )
    before = datetime.now(UTC) - older_than
    root = desk.store.uri("")
    if await desk.store.read(IDENTITY) is None:
        raise Refused(f"There is no store at {root}: set MESSAGE_BATCHES_STORE to the workers' store")
    in_use = [InUse(client) for client in await clients_of(desk.store, await desk.client())]

    async def look() -> set[Key]:
        return {key for namespace in in_use for key in await namespace.look()}

    holdings = await survey(desk.store, before)
    # Asked after the store was read: what a run that began meanwhile has written is not among what was found.
    found = Found(root, in_use, older_than, before, decide(holdings, await look()))
    if not delete:
        return Answer(_document(found), _shown(found))
    done = await remove(desk.store, found.plan, look)
    exit_code = FAILED if done.failures or done.stopped else DONE
    return Answer(_document(found, done), _shown(found, done), exit_code)


def _shown(found: Found, done: Removed | None = None) -> RenderableType:
    going = done.gone if done else found.plan.going
    lines = [
        Text(f"{found.store}, what is from before {found.before:%Y-%m-%d %H:%M} UTC ({_words(found.older_than)})"),
        *map(_known, found.in_use),
        _row("gone" if done else "would go", "objects", "bytes", "last modified", style="bold"),
        *(_row(kind, *_counts(going[kind]), _days(going[kind])) for kind in Kind if kind in going),
    ]
    if not going:
        lines.append(_row("nothing", "", "", ""))
    if found.plan.kept:
        lines.append(_row("stays", "objects", "bytes", "why", style="bold"))
        kept = sorted(found.plan.kept.items(), key=lambda item: list(Kind).index(item[0][0]))
        lines += [_row(kind, *_counts(tally), why) for (kind, why), tally in kept]
    if done:
        lines += _left(done)
    elif going:
        lines.append(Text(f"Nothing was removed; with --delete it is. After that {BOUGHT_ANEW}"))
    for line in lines:
        line.no_wrap, line.overflow = True, "ignore"
    return Group(*lines)


def _left(done: Removed) -> list[Text]:
    lines = []
    if done.spared.objects:
        lines.append(f"{done.spared.objects:,} objects stay after all: a run that needs them has begun meanwhile")
    if done.failures:
        lines.append(f"{len(done.failures):,} could not be removed, nor what goes after them; try again:")
        lines += [f"  {why}" for why in list(done.failures.values())[:_SHOWN_FAILURES]]
    if done.stopped:
        lines.append(f"{done.untried:,} more were not tried: {done.stopped}")
    return [Text(line) for line in lines]


def _known(in_use: InUse) -> Text:
    count = len(in_use.runs)
    runs = f"{count:,} run{'' if count == 1 else 's'}"
    return Text(f"{runs} known in namespace {in_use.client.namespace} at {address_of(in_use.client)}")


def _row(name: str, objects: str, size: str, rest: str, *, style: str = "") -> Text:
    return Text(f"{name:<18}  {objects:>9}  {size:>17}  {rest}".rstrip(), style=style)


def _counts(tally: Tally) -> tuple[str, str]:
    return f"{tally.objects:,}", f"{tally.bytes:,}"


def _days(tally: Tally) -> str:
    days = sorted({f"{moment:%Y-%m-%d}" for moment in (tally.oldest, tally.newest) if moment})
    return " to ".join(days)


def _words(duration: timedelta) -> str:
    return f"{duration / timedelta(days=1):,g} days"


def _document(found: Found, done: Removed | None = None) -> dict[str, Any]:
    going = done.gone if done else found.plan.going
    document: dict[str, Any] = {
        "store": found.store,
        "olderThan": found.older_than.total_seconds(),
        "before": found.before.isoformat(),
        "namespaces": [
            {"namespace": known.client.namespace, "address": address_of(known.client), "runs": len(known.runs)}
            for known in found.in_use
        ],
        "deleted": done is not None,
        "goes": [{"kind": kind.value, **_tally(tally)} for kind, tally in going.items()],
        "stays": [
            {"kind": kind.value, "why": why.value, **_tally(tally)} for (kind, why), tally in found.plan.kept.items()
        ],
    }
    if done:
        document |= {"spared": _tally(done.spared), "failures": done.failures, "untried": done.untried}
        document["stopped"] = done.stopped or None
    return document


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "objects": tally.objects,
        "bytes": tally.bytes,
        "oldest": tally.oldest.isoformat() if tally.oldest else None,
        "newest": tally.newest.isoformat() if tally.newest else None,
    }
