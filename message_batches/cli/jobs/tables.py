"""A job at one moment, for users: its waves with a bar of the shards that have landed, cost, expected end, failures."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from message_batches.cli.next_steps import failure_text, resume, settle
from message_batches.cli.tables import STATUS_STYLES, describe_deadline, grid, obstacles
from message_batches.formatting import (
    JOB_PHASE_LABELS,
    capitalize_first,
    format_duration,
    format_money,
    format_time,
    plural,
)
from message_batches.job_models import FailedShard, JobProgress, JobWave
from message_batches.jobs.describe import JobView

_BAR = 12
"""Characters of a bar: with 10,000 shards and millions of requests the table is as wide as a terminal."""

_NAMED = 3
"""Shards under way that are named; the others are counted."""


def job_rows(view: JobView, now: datetime) -> RenderableType:
    """Show a job at one moment: its state, its waves, and what an operator has to do."""
    rows, progress = grid(), view.progress
    rows.add_row("job", Text(view.workflow_id))
    rows.add_row("state", _state(view))
    elapsed = (view.closed or now) - view.started
    ended = f", ended {format_time(view.closed)} UTC" if view.closed else ""
    rows.add_row("elapsed", f"{format_duration(elapsed)}{ended}")
    if progress:
        _add_progress(rows, view, progress, now)
    for line in standing(view, now):
        rows.add_row("", Text(line, style="yellow"))
    if view.failure:
        rows.add_row("failure", Text(f"{view.failure.kind}: {failure_text(view.failure)}", style="red"))
    parts: list[RenderableType] = [rows]
    if progress and progress.waves:
        parts += ["", _waves(progress.waves)]
    if progress and progress.failed_shards:
        parts += ["", failed_shards(view.workflow_id, progress.failed_shards, progress.failed_shard_count)]
    return Group(*parts)


def job_lines(view: JobView, now: datetime) -> list[str]:
    """Say how a job stands in a line for each fact, of which only those are printed that have changed."""
    progress = view.progress
    state = "landed" if view.output else view.status.value
    lines = [f"{view.workflow_id}: {state}"]
    if view.running and progress:
        wave = progress.waves[-1] if progress.waves else None
        landed = f", wave {wave.number}: {wave.landed:,} of {plural(wave.shards, 'shard')} landed" if wave else ""
        lines = [f"{view.workflow_id}: {JOB_PHASE_LABELS[progress.phase]}{landed}"]
        failed = progress.failed_shards
        lines += [f"{each.workflow_id} has failed: {each.type}: {each.message}" for each in failed]
    return [*lines, *standing(view, now)]


def standing(view: JobView, now: datetime) -> list[str]:
    """Return the reasons why a job waits, a sentence each, and the command that helps."""
    paused = view.running and view.progress and view.progress.paused
    return [*reasons(view, now), *([f"Once that is settled: {resume(view.workflow_id)}"] if paused else [])]


def reasons(view: JobView, now: datetime) -> list[str]:
    """Return the reasons why a job waits, a sentence each."""
    progress = view.progress if view.running else None
    found = obstacles(view, now)
    if progress and progress.paused:
        since = f" since {format_time(progress.paused_since)} UTC" if progress.paused_since else ""
        found.append(f"Paused{since}, for {progress.paused}")
    if progress and progress.waiting_for:
        found.append(capitalize_first(f"waits for {progress.waiting_for}"))
    return found


def failed_shards(job_id: str, shards: Sequence[FailedShard], count: int) -> RenderableType:
    """Show the shards without results, each with why; then the commands that settle them."""
    lines = [Text(f"{plural(count, 'shard')} without results", style="bold")]
    lines += [Text.assemble((each.workflow_id, "red"), f"  {each.type}: {each.message}") for each in shards]
    if count > len(shards):
        lines.append(Text(f"and {count - len(shards):,} more", style="dim"))
    commands = (settle(each) for each in shards)
    return Group(*lines, *next_commands([*dict.fromkeys(filter(None, commands)), resume(job_id)]))


def next_commands(commands: Iterable[str]) -> Iterable[Text]:
    """Show commands to be given next, each on a line that is not folded: a terminal can copy it whole."""
    heads = ["next"]
    for command in commands:
        head = heads.pop() if heads else ""
        yield Text.assemble((f"{head:<9}", "dim"), command, no_wrap=True, overflow="ignore")


def _state(view: JobView) -> Text:
    if view.running and view.progress:
        stopping = ", to be stopped: what has finished is landed" if view.progress.stopping else ""
        style = "yellow" if view.progress.paused else "cyan"
        return Text(f"{JOB_PHASE_LABELS[view.progress.phase]}{stopping}", style=style)
    return Text("landed" if view.output else view.status, style=STATUS_STYLES.get(view.status, "red"))


def _add_progress(rows: Table, view: JobView, progress: JobProgress, now: datetime) -> None:
    if progress.requests is not None:
        rows.add_row("requests", f"{progress.requests:,}")
    if progress.cost is not None:
        rows.add_row("cost so far", format_money(progress.cost))
    if progress.deadline:
        rows.add_row("deadline", Text(describe_deadline(progress.deadline, now)))
    if progress.alive:
        more = f" and {len(progress.alive) - _NAMED:,} more" if len(progress.alive) > _NAMED else ""
        named = ", ".join(sorted(progress.alive, key=lambda each: (len(each), each))[:_NAMED])
        rows.add_row("under way", Text(f"{plural(len(progress.alive), 'shard')}: {named}{more}"))
    if progress.unread_fields:
        names = ", ".join(progress.unread_fields)
        rows.add_row("not read", Text(f"{names}: the worker's version knows no such field of the input"))
    if view.expected_end:
        left = format_duration(view.expected_end - now)
        wave = progress.waves[-1].number
        rows.add_row(
            "expected", f"wave {wave} ends in {left}, {format_time(view.expected_end)} UTC, at the pace so far"
        )


def _waves(waves: Sequence[JobWave]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("wave", "shards landed", ""):
        table.add_column(name, no_wrap=True)
    for name in ("requests", "usable", "failing"):
        table.add_column(name, justify="right", no_wrap=True)
    for wave in waves:
        done = int(_BAR * wave.landed / max(1, wave.shards))
        bar = f"[{'#' * done}{'.' * (_BAR - done)}]"
        counted = f"{wave.landed:,} of {wave.shards:,} ({100 * wave.landed // max(1, wave.shards)}%)"
        # How many requests the landed shards have is not known before all have landed.
        failing = f"{wave.sent - wave.usable:,}" if wave.landed == wave.shards else ""
        table.add_row(
            str(wave.number), Text(bar, style="green"), counted, f"{wave.sent:,}", f"{wave.usable:,}", failing
        )
    return table
