"""What a person is shown, with Rich: a run at one moment, a check, a list."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from message_batches.cli.screen import called
from message_batches.formatting import PHASES, clock, moment, sentence
from message_batches.models import Phase, Progress
from message_batches.requests.reader import Requests
from message_batches.runs.describe import RunStatus, RunView
from message_batches.runs.list import Listed

_STATUS_STYLES = {RunStatus.COMPLETED: "green", RunStatus.RUNNING: "cyan"}


def run_rows(view: RunView, now: datetime) -> RenderableType:
    """A run at one moment: where it stands, and what it waits for."""
    grid = _grid()
    progress = view.progress
    grid.add_row("run", Text(view.workflow_id))
    grid.add_row("state", _state(view))
    if view.batch_id:
        status = f"  {progress.processing_status}" if progress and progress.processing_status and view.running else ""
        grid.add_row("batch", Text(f"{view.batch_id}{status}"))
    elapsed = (view.closed or now) - view.started
    ended = f", ended {moment(view.closed)} UTC" if view.closed else ""
    grid.add_row("elapsed", f"{clock(elapsed)}{ended}")
    if view.running and progress:
        _add_waiting(grid, progress, now)
    for line in (*attention(view, now), *decisions(view)):
        grid.add_row("", Text(line, style="yellow"))
    if view.failure:
        grid.add_row("failure", Text(f"{view.failure.kind}: {view.failure.message}", style="red"))
    return grid


def attention(view: RunView, now: datetime) -> list[str]:
    """What keeps a run from going on, a sentence each."""
    found = []
    if not view.reachable:
        found.append("Temporal does not answer just now, trying again; this is the last that was seen")
    elif view.worker is False:
        found.append(no_worker(view.task_queue))
    elif view.running and not view.answered:
        found.append("No worker answers just now; this is the last that the history tells")
    for trouble in view.troubles:
        again = f", again in {clock(trouble.next_attempt - now)}" if trouble.next_attempt else ""
        found.append(f"{trouble.activity} has failed, attempt {trouble.attempt}{again}: {trouble.failure}")
    if view.running and view.progress:
        found += _said_by_the_run(view.progress)
    return found


def decisions(view: RunView) -> list[str]:
    """What a person can decide about a run."""
    if not (view.running and view.progress and view.progress.candidates):
        return []
    return [f"To decide it yourself: {called()} resolve {view.workflow_id} --adopt MSGBATCH_ID | --submit-again"]


def no_worker(task_queue: str) -> str:
    """What to do about a queue that nobody polls."""
    return f"No worker polls task queue {task_queue!r}: start one with `python worker.py`; the run waits for it"


def checked(requests: Requests, name: str) -> RenderableType:
    """What a file of requests holds."""
    grid = _grid()
    grid.add_row("requests", f"{requests.count:,}")
    grid.add_row("body", f"{requests.body_bytes:,} bytes")
    grid.add_row("models", Text("\n".join(f"{model}  {count:,}" for model, count in requests.models.items())))
    grid.add_row("max_tokens", f"{requests.max_tokens:,} in all, the most that can come back")
    for warning in requests.warnings:
        grid.add_row("warning", Text(str(warning), style="yellow"))
    verdict = "can be sent" if not requests.warnings else "can be sent; what is warned of comes back errored"
    return Group(Text(f"{name}: {verdict}", style="bold"), grid)


def listed(runs: Sequence[Listed]) -> RenderableType:
    """Runs, newest first; not squeezed into a narrow terminal, since an id cut short is none."""
    widest = max(len(run.workflow_id) for run in runs)
    column = max(16, *(len(run.standing) for run in runs))
    lines = [Text(f"{'status':<{column}}  {'started (UTC)':<19}  {'took':>8}  {'run':<{widest}}  batch", style="bold")]
    for run in runs:
        took = clock(run.closed - run.started) if run.closed else ""
        rest = f"  {moment(run.started)}  {took:>8}  {run.workflow_id:<{widest}}  {run.batch_id or ''}".rstrip()
        lines.append(Text.assemble((f"{run.standing:<{column}}", _STATUS_STYLES.get(run.status, "red")), rest))
    for line in lines:
        line.no_wrap, line.overflow = True, "ignore"
    return Group(*lines)


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _state(view: RunView) -> Text:
    if view.running and view.progress:
        stopping = ", to be cancelled" if view.progress.cancel_requested else ""
        return Text(f"{PHASES[view.progress.phase]}{stopping}", style="cyan")
    style = _STATUS_STYLES.get(view.status, "red")
    return Text("landed" if view.output else view.status, style=style)


def _add_waiting(grid: Table, progress: Progress, now: datetime) -> None:
    if progress.phase in (Phase.POLLING, Phase.RETRIEVING) or progress.polls:
        due = f", next in {clock(progress.next_poll - now)}" if progress.next_poll else ""
        grid.add_row("polls", f"{progress.polls:,}{due}")
    elif progress.next_poll:
        grid.add_row("next", f"in {clock(progress.next_poll - now)}")
    if progress.expires_at and progress.processing_status != "ended":
        grid.add_row("expires", f"in {clock(progress.expires_at - now)}, {moment(progress.expires_at)} UTC")


def _said_by_the_run(progress: Progress) -> list[str]:
    if progress.phase is not Phase.UNDECIDED:
        return [sentence(progress.waiting_for)] if progress.waiting_for else []
    said = progress.submission or "No reply to the POST: looking for the batch"
    found = [f"{sentence(said)} (sent {'once' if progress.posts <= 1 else f'{progress.posts} times'})"]
    found += [
        f"May be ours: {c.batch_id}, {c.processing_status}, created {moment(c.created_at)}" for c in progress.candidates
    ]
    return found
