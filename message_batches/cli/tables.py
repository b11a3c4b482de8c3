"""Tables for users, with Rich: a run at one moment, a check, a list."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from message_batches.cli.next_steps import failure_text, no_worker, resolve, setup, warning_text
from message_batches.cli.requests_document import ModelFinding
from message_batches.contract import ActivityType
from message_batches.formatting import (
    PHASE_LABELS,
    capitalize_first,
    describe_estimate,
    describe_unknown_end,
    format_duration,
    format_time,
    plural,
)
from message_batches.jobs.files import JobRequests
from message_batches.models import Phase, Progress
from message_batches.results.structured_output import SchemaReport
from message_batches.runs.describe import ExecutionView, RunStatus, RunView
from message_batches.runs.list import ListedRun
from message_batches.runs.obstacles import BAD_SEARCH_ATTRIBUTES, Cause, Obstacle

_SILENT = (Cause.WORKFLOW_TASK_FAILING, Cause.PAUSED)
"""Obstacles for which a run does not answer, although a worker is there."""

_GIVE_KEY = ". To mend it, give the workers that key"

STATUS_STYLES = {RunStatus.COMPLETED: "green", RunStatus.RUNNING: "cyan"}


def run_rows(view: RunView, now: datetime) -> RenderableType:
    """Show a run at one moment: its state, and the reason why it waits."""
    rows = grid()
    progress = view.progress
    rows.add_row("run", Text(view.workflow_id))
    rows.add_row("state", _state(view))
    if view.batch_id:
        status = f"  {progress.processing_status}" if progress and progress.processing_status and view.running else ""
        rows.add_row("batch", Text(f"{view.batch_id}{status}"))
    elapsed = (view.closed or now) - view.started
    ended = f", ended {format_time(view.closed)} UTC" if view.closed else ""
    rows.add_row("elapsed", f"{format_duration(elapsed)}{ended}")
    if view.running and progress:
        _add_waiting(rows, progress, now)
        if progress.unread_fields:
            names = ", ".join(progress.unread_fields)
            rows.add_row("not read", Text(f"{names}: the worker's version knows no such field of the input"))
    for line in (*attention(view, now), *decisions(view)):
        rows.add_row("", Text(line, style="yellow"))
    if view.failure:
        rows.add_row("failure", Text(f"{view.failure.kind}: {failure_text(view.failure)}", style="red"))
    return rows


def attention(view: RunView, now: datetime) -> list[str]:
    """Return the reasons why a run waits, a sentence each."""
    known = _from_progress(view.progress) if view.running and view.progress else []
    return [*obstacles(view, now, known), *known]


def obstacles(view: ExecutionView[Any, Any], now: datetime, known: Sequence[str] = ()) -> list[str]:
    """Return what is in the way of a run or a job, a sentence each, but for what it has said itself."""
    found = []
    if not view.reachable:
        found.append("Temporal does not answer just now, trying again; this is the last known state")
    elif view.running and view.worker and not view.answered and not view.has(*_SILENT):
        found.append("No worker answers just now; this is the last known state, from the history")
    return [*found, *(_obstacle(each, view.task_queue, now) for each in view.obstacles if not _is_told(each, known))]


def _is_told(obstacle: Obstacle, known: Sequence[str]) -> bool:
    """Return whether the run itself names an activity's failure, for which it waits."""
    failure = obstacle.failure[:100]
    return bool(failure) and not obstacle.attempt and any(failure in sentence for sentence in known)


def _obstacle(obstacle: Obstacle, task_queue: str, now: datetime) -> str:
    """Say what is in a run's way, and what removes it."""
    name, reason = obstacle.activity, f": {obstacle.failure}" if obstacle.failure else ""
    match obstacle.cause:
        case Cause.NO_WORKER:
            return no_worker(task_queue)
        case Cause.OTHER_BUILD if obstacle.build:
            return (
                f"No worker of build {obstacle.build!r} polls task queue {task_queue!r}, and the run stays on that "
                "build: start one of it, or move the run to another (docs/upgrading.md)"
            )
        case Cause.OTHER_BUILD:
            return (
                f"The workers on task queue {task_queue!r} are of builds that get no new runs: make one of them the "
                "current version (docs/upgrading.md)"
            )
        case Cause.WORKFLOW_TASK_FAILING if obstacle.lacks_key:
            return f"The workers cannot continue it{reason}{_GIVE_KEY}"
        case Cause.WORKFLOW_TASK_FAILING:
            mends = (
                f"register it again: `{setup()}`"
                if obstacle.failed_as == BAD_SEARCH_ATTRIBUTES
                else "after a deploy, go back to the build before it (docs/upgrading.md); the workers' log has more"
            )
            tried = f"attempt {obstacle.attempt} of its workflow task"
            return f"The workers cannot continue it, {tried}{reason}. To mend it, {mends}"
        case Cause.PAUSED:
            return f"{name or 'The run'} is paused{reason}. Nothing continues it but an unpause"
        case Cause.ACTIVITY_FAILING:
            again = f", again in {format_duration(obstacle.next_attempt - now)}" if obstacle.next_attempt else ""
            number = f", attempt {obstacle.attempt}" if obstacle.attempt else ""
            return f"{name} has failed{number}{again}{reason}{_GIVE_KEY if obstacle.lacks_key else ''}"
        case Cause.WAITING_FOR_TURN if name in (ActivityType.RETRIEVE_RESULTS, ActivityType.DELETE_BATCH):
            return f"{name} waits for its turn: each worker lands one batch at a time"
        case Cause.WAITING_FOR_TURN:
            return f"{name} waits for its turn: all workers are busy, or their calls are bounded in rate"


def decisions(view: RunView) -> list[str]:
    """Return the decisions on a run that are open to an operator."""
    if not (view.running and view.progress and view.progress.candidates):
        return []
    return [f"To decide it yourself: {resolve(view.workflow_id)}"]


def checked(requests: JobRequests, name: str, findings: Sequence[ModelFinding] | None = None) -> RenderableType:
    """Show the content of a file of requests, and what the API says of their models."""
    rows = grid()
    rows.add_row("requests", f"{requests.count:,}")
    rows.add_row("body", f"{requests.body_bytes:,} bytes")
    if len(requests.shards) > 1:
        rows.add_row("job", f"{len(requests.shards):,} batches, since one cannot take them all")
    rows.add_row("models", Text("\n".join(f"{model}  {count:,}" for model, count in requests.models.items())))
    rows.add_row("max_tokens", f"{requests.max_tokens:,} in all, the most that can come back")
    if requests.estimate:
        rows.add_row("cost", Text(describe_estimate(requests.estimate)))
    for warning in requests.warnings:
        rows.add_row("warning", Text(warning_text(warning), style="yellow"))
    for finding in findings or ():
        rows.add_row("model", Text(f"{finding.message} ({plural(finding.count, 'request')})", style="yellow"))
    if findings == []:
        rows.add_row("model", Text("the API takes batches for each of them, with these `max_tokens`"))
    come = "come" if any(warning.certain for warning in requests.warnings) else "may come"
    verdict = (
        f"can be sent; the requests that are warned of {come} back errored" if requests.warnings else "can be sent"
    )
    return Group(Text(f"{name}: {verdict}", style="bold"), rows)


def listed(runs: Sequence[ListedRun]) -> RenderableType:
    """Show runs, newest first; not squeezed into a narrow terminal, since an id that is cut short is useless."""
    widest = max(len(run.workflow_id) for run in runs)
    column = max(16, *(len(run.status_text) for run in runs))
    lines = [Text(f"{'status':<{column}}  {'started (UTC)':<19}  {'took':>8}  {'run':<{widest}}  batch", style="bold")]
    for run in runs:
        took = format_duration(run.closed - run.started) if run.closed else ""
        batch = (
            f"job of {plural(run.requests, 'request')}"
            if run.job and run.requests
            else "job"
            if run.job
            else run.batch_id
        )
        rest = f"  {format_time(run.started)}  {took:>8}  {run.workflow_id:<{widest}}  {batch or ''}".rstrip()
        lines.append(Text.assemble((f"{run.status_text:<{column}}", STATUS_STYLES.get(run.status, "red")), rest))
    for line in lines:
        line.no_wrap, line.overflow = True, "ignore"
    return Group(*lines)


def schema_report(report: SchemaReport, command: str) -> RenderableType:
    """Show how answers compare with their schemas; `command` is the one that gets the results."""
    name = report.job or report.batch_id
    if not report.asked:
        return f"No request of {name} asks for structured output (output_config.format, or a forced tool)"
    counts = {
        "valid": report.valid,
        f"invalid ({report.not_json:,} of them no JSON)" if report.not_json else "invalid": report.invalid,
        "cut off": report.cut_off,
        "without an answer": report.no_answer,
        "not compared": report.unchecked,
    }
    counted = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count or name in ("valid", "invalid"))
    of = f"{'Job' if report.job else 'Batch'} {name}"
    head = f"{of}: {plural(report.asked, 'request')} asked for structured output, {counted}"
    parts: list[RenderableType] = [Text(head, style="bold")]
    rows = [(f"{each.path}  {each.rule}", each.count, each.message, each.custom_ids) for each in report.failures]
    rows += [("not compared", each.count, each.reason, each.custom_ids) for each in report.unchecked_reasons]
    if rows:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("failures", overflow="fold", style="red")
        table.add_column("", justify="right", no_wrap=True)
        table.add_column("such as", overflow="fold")
        for what, count, message, ids in rows:
            table.add_row(Text(what), f"{count:,}", Text(f"{message} ({', '.join(ids)})"))
        parts += ["", table]
    steps = {"--failed=invalid": report.invalid, "--failed=unusable --max-tokens N": report.cut_off}
    for option in (option for option, count in steps.items() if count):
        parts += [
            "",
            Text.assemble(("next     ", "dim"), f"{command} {option} -o retry.jsonl", no_wrap=True, overflow="ignore"),
        ]
    return Group(*parts)


def grid() -> Table:
    """Return an empty table of a name and a value in each row."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    return rows


def _state(view: RunView) -> Text:
    if view.running and view.progress:
        stopping = ", to be cancelled" if view.progress.cancel_requested else ""
        return Text(f"{PHASE_LABELS[view.progress.phase]}{stopping}", style="cyan")
    style = STATUS_STYLES.get(view.status, "red")
    return Text("landed" if view.output else view.status, style=style)


def _add_waiting(rows: Table, progress: Progress, now: datetime) -> None:
    if progress.phase in (Phase.POLLING, Phase.RETRIEVING) or progress.polls:
        due = f", next in {format_duration(progress.next_poll - now)}" if progress.next_poll else ""
        missing = f", then {plural(progress.not_found, '404')}" if progress.not_found else ""
        rows.add_row("polls", f"{progress.polls:,}{missing}{due}")
    elif progress.next_poll:
        rows.add_row("next", f"in {format_duration(progress.next_poll - now)}")
    if progress.deadline:
        canceled = ": the batch was canceled" if progress.canceled_at_deadline else ""
        rows.add_row("deadline", f"{describe_deadline(progress.deadline, now)}{canceled}")
    if progress.expires_at and progress.phase is not Phase.RETRIEVING:
        rows.add_row(
            "expires", f"in {format_duration(progress.expires_at - now)}, {format_time(progress.expires_at)} UTC"
        )


def describe_deadline(deadline: datetime, now: datetime) -> str:
    """Say when a deadline is, or that it has passed."""
    left = deadline - now
    when = "has passed" if left < timedelta(0) else f"in {format_duration(left)}"
    return f"{when}, {format_time(deadline)} UTC"


def _from_progress(progress: Progress) -> list[str]:
    if progress.phase is not Phase.UNDECIDED:
        waiting = [capitalize_first(progress.waiting_for)] if progress.waiting_for else []
        return [*_from_batch(progress), *waiting]
    submission = progress.submission or "No usable reply to the POST: looking for the batch"
    found = [f"{capitalize_first(submission)} (sent {'once' if progress.posts <= 1 else f'{progress.posts} times'})"]
    found += [
        f"May be ours: {c.batch_id}, {c.processing_status}, created {format_time(c.created_at)}"
        + (f". {c.doubt}" if c.doubt else "")
        for c in progress.candidates
    ]
    return found


def _from_batch(progress: Progress) -> list[str]:
    """Say what the API's answers about the batch leave open."""
    found = []
    if progress.not_found_since:
        since = format_time(progress.not_found_since)
        seen = f"; it was there until {format_time(progress.last_seen)} UTC" if progress.last_seen else ""
        found.append(
            f"The API has no results of the batch since {since} UTC"
            if progress.phase is Phase.RETRIEVING
            else f"The API has not found the batch since {since} UTC{seen}"
        )
    if progress.unknown_status and progress.phase is Phase.POLLING:
        found.append(
            f"The status {progress.processing_status!r} is not known to this version, and "
            f"{describe_unknown_end(progress.ended_at)}. Look at it in the Console"
        )
    return found
