"""Schedules as `--json` documents and as text."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Self

from rich.console import Group, RenderableType
from rich.text import Text

from message_batches.cli.jobs.tables import next_commands
from message_batches.cli.json_output import Time
from message_batches.cli.tables import STATUS_STYLES, grid
from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE
from message_batches.formatting import format_money, format_time, plural
from message_batches.runs.describe import RunStatus
from message_batches.schedules.models import ScheduledRun, ScheduleView
from message_batches.serialization import ContractModel, Seconds
from message_batches.temporal.search_attributes import BatchStatus
from message_batches.uri_template import UTC_NAME, zone_of

_UNITS = {"h": 3600, "m": 60}


class ScheduledRunDocument(ContractModel):
    """A run that a schedule has started; `status` is null where Temporal no longer has it."""

    workflow_id: str
    due: Time
    status: str | None

    @classmethod
    def of(cls, run: ScheduledRun) -> Self:
        """Convert a run."""
        return cls(workflow_id=run.workflow_id, due=run.due, status=run.status and run.status.value)


class ListedSchedule(ContractModel):
    """A schedule in the list; `requestsFrom` and `requests` are null for one that was created otherwise."""

    name: str
    workflow_type: str
    every: Seconds | None
    cron: tuple[str, ...]
    time_zone: str
    paused: bool
    reason: str | None
    requests_from: str | None
    requests: int | None
    next: tuple[Time, ...]

    @classmethod
    def of(cls, view: ScheduleView) -> Self:
        """Convert a schedule."""
        return cls(**_common(view))


class ScheduleDocument(ListedSchedule):
    """A schedule.

    Attributes:
        overlap, pause_on_failure: its policies.
        requests_uri, wait_for_requests, api_key, max_cost: of the input of its runs.
        runs: the last ones, the newest first.
        fired, skipped, missed: how many times it has started a run, found the last one under way, come too late.
    """

    overlap: str
    pause_on_failure: bool
    requests_uri: str | None
    wait_for_requests: Seconds | None
    api_key: str | None
    max_cost: Decimal | None
    runs: tuple[ScheduledRunDocument, ...]
    fired: int
    skipped: int
    missed: int

    @classmethod
    def of(cls, view: ScheduleView) -> Self:
        """Convert a schedule."""
        given = view.given
        return cls(
            **_common(view),
            overlap=view.overlap,
            pause_on_failure=view.pause_on_failure,
            requests_uri=given and given.requests_uri,
            wait_for_requests=given and given.wait_for_requests,
            api_key=given and given.api_key,
            max_cost=given and given.max_cost,
            runs=tuple(map(ScheduledRunDocument.of, view.runs)),
            fired=view.fired,
            skipped=view.skipped,
            missed=view.missed,
        )


class FiredSchedule(ContractModel):
    """A schedule that was fired: the run, or the run after which another one is started."""

    schedule: str
    workflow_id: str | None
    after: str | None


class DeletedSchedule(ContractModel):
    """A schedule that was removed."""

    schedule: str
    deleted: bool = True


def _common(view: ScheduleView) -> dict[str, Any]:
    return {
        "name": view.name,
        "workflow_type": JOB_WORKFLOW_TYPE if view.job else WORKFLOW_TYPE,
        "every": view.every,
        "cron": view.note.cron,
        "time_zone": view.time_zone,
        "paused": view.paused,
        "reason": _reason(view) or None,
        "requests_from": view.note.requests_from or None,
        "requests": view.note.requests,
        "next": view.next_times,
    }


def shown(view: ScheduleView, commands: Sequence[str] = ()) -> RenderableType:
    """Show a schedule; then the commands to be given next."""
    paused = Text(f", paused: {_reason(view)}" if _reason(view) else ", paused", style="yellow")
    rows = grid()
    for name, value in _facts(view).items():
        if value:
            rows.add_row(name, Text(value))
    rows.add_row("due", Text("\n".join(_local(view, time) for time in view.next_times) or "never"))
    if view.runs:
        rows.add_row("runs", Group(*map(_run, view.runs)))
    head = Text.assemble((view.name, "bold"), paused if view.paused else "")
    return Group(head, rows, *next_commands(commands))


def listed(schedules: Sequence[ScheduleView]) -> RenderableType:
    """Show schedules, a line each; not squeezed into a narrow terminal."""
    rows = [("schedule", "next", "times", "sends")]
    rows += [
        (each.name, "paused" if each.paused else next_time(each), _times(each), _sends(each)) for each in schedules
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for number, row in enumerate(rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, [*widths, 0], strict=True)]
        lines.append(Text("  ".join(cells).rstrip(), style="" if number else "bold", no_wrap=True, overflow="ignore"))
    return Group(*lines)


def next_time(view: ScheduleView) -> str:
    """Return the next time of a schedule."""
    return _local(view, view.next_times[0]) if view.next_times else "never"


def _facts(view: ScheduleView) -> dict[str, str]:
    given = view.given
    counted = {"skipped": view.skipped, "missed": view.missed}
    not_started = ", ".join(f"{count:,} {what}" for what, count in counted.items() if count)
    return {
        "times": _times(view),
        "sends": f"{_sends(view)}, {'a job' if view.job else 'a run'} each time",
        "waits": f"up to {_every(given.wait_for_requests)} for the file" if given and given.wait_for_requests else "",
        "key": given.api_key if given else "",
        "max cost": f"{format_money(given.max_cost)} each time" if given and given.max_cost else "",
        "overlap": view.overlap,
        "failures": "pause it" if view.pause_on_failure else "",
        "fired": f"{plural(view.fired, 'time')}{f'; {not_started}' if not_started else ''}",
    }


def _times(view: ScheduleView) -> str:
    if view.every:
        dates = f", dates in {view.time_zone}" if view.time_zone != UTC_NAME else ""
        return f"every {_every(view.every)}{dates}"
    return f"{' and '.join(view.note.cron) or 'by calendar'}, {view.time_zone}"


def _sends(view: ScheduleView) -> str:
    note = view.note
    source = note.requests_from or (view.given and view.given.requests_uri) or "its input"
    return f"{plural(note.requests, 'request')} from {source}" if note.requests else source


def _run(run: ScheduledRun) -> Text:
    words = {None: "no longer known", RunStatus.COMPLETED: BatchStatus.LANDED.value}
    status = words.get(run.status) or str(run.status)
    style = STATUS_STYLES.get(run.status, "red") if run.status else "dim"
    return Text.assemble(f"{run.workflow_id}  ", (status, style), no_wrap=True, overflow="ignore")


def _reason(view: ScheduleView) -> str:
    return view.reason.strip() if view.paused else ""


def _local(view: ScheduleView, time: datetime) -> str:
    """Return a time in the schedule's time zone, and in UTC too where that is another one."""
    if view.time_zone == UTC_NAME or view.every:
        return f"{format_time(time)} UTC"
    local = time.astimezone(zone_of(view.time_zone))
    return f"{local:%Y-%m-%d %H:%M:%S} {view.time_zone}, {time.astimezone(UTC):%H:%M} UTC"


def _every(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    for unit, size in _UNITS.items():
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
