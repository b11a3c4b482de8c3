"""Following a run or a job to its end, and reporting how a job ended."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from message_batches.cli import next_steps
from message_batches.cli.context import FAILED, UNFINISHED, CommandContext, CommandResult
from message_batches.cli.follow import SHOWN_REPLIES, end_result, exit_code_of, stored_result
from message_batches.cli.jobs.documents import FinishedJob, JobDocument
from message_batches.cli.jobs.tables import failed_shards, job_lines, job_rows, next_commands
from message_batches.cli.json_output import DetachedRun
from message_batches.cli.live_progress import display, display_view
from message_batches.cli.report import MAX_REPLY, job_report
from message_batches.errors import MessageBatchesError
from message_batches.job_models import JobOutput, MergedResults
from message_batches.jobs.describe import JobView, first_lines
from message_batches.library.batch_run import BatchRun
from message_batches.library.outcomes import Landed
from message_batches.results.reader import ResultsChanged
from message_batches.results.replies import ReplyCell, read_reply
from message_batches.runs.describe import RunView

HINT = "Ctrl-C stops watching; the job continues"


async def follow(context: CommandContext, run: BatchRun, *, strict: bool = False) -> CommandResult:
    """Follow a run or a job to its end and report it; Ctrl-C leaves it to itself."""
    job = await run.is_job()
    try:
        with display_view(context.err, HINT, job_rows, job_lines) if job else display(context.err) as show:
            view = await last_view(run, show)
    except asyncio.CancelledError:
        context.say(f"The {'job' if job else 'run'} continues. To come back: {next_steps.watch(run.id)}")
        return CommandResult(DetachedRun(workflow_id=run.id))
    return await end(context, view, strict=strict)


async def last_view(run: BatchRun, show: Callable[[Any], None]) -> RunView | JobView:
    """Show a run or a job while it is followed, and return it as it was at its end."""
    async with aclosing(run.follow()) as views:
        async for view in views:
            show(view)
    return view


async def end(context: CommandContext, view: RunView | JobView, *, strict: bool = False) -> CommandResult:
    """Report how a run or a job ended."""
    if isinstance(view, JobView):
        return await end_job(context, view, strict=strict)
    return await end_result(context, view, strict=strict)


async def stored(context: CommandContext, identity: str, landed: Landed, *, strict: bool = False) -> CommandResult:
    """Report results that had landed before, by the id of their run, their batch or their job."""
    if isinstance(landed, MergedResults):
        return await stored_job(context, identity, landed, strict=strict)
    return await stored_result(context, identity, landed, strict=strict)


async def end_job(context: CommandContext, view: JobView, *, strict: bool = False) -> CommandResult:
    """Report how a job ended: with results, or why it has none."""
    if view.output is None:
        why = Group(job_rows(view, datetime.now(UTC)), "", *next_commands([next_steps.resume(view.workflow_id)]))
        return CommandResult(JobDocument.of(view), why, FAILED)
    shown, whole = await _merged_report(context, view.workflow_id, view.output)
    return CommandResult(JobDocument.of(view), shown, _exit_code(view.output, strict=strict) if whole else FAILED)


async def stored_job(
    context: CommandContext, job_id: str, merged: MergedResults, *, strict: bool = False
) -> CommandResult:
    """Report the results of a job that Temporal no longer knows."""
    shown, whole = await _merged_report(context, job_id, merged)
    document = FinishedJob(workflow_id=job_id, output=merged)
    return CommandResult(document, shown, _exit_code(merged, strict=strict) if whole else FAILED)


async def _merged_report(context: CommandContext, job_id: str, merged: MergedResults) -> tuple[RenderableType, bool]:
    """Build the report of merged results, with the first of the replies; False if they are not what was merged."""
    replies: list[ReplyCell] = []
    whole = True
    try:
        replies = [
            read_reply(line, 2 * MAX_REPLY) for line in await first_lines(context.store, job_id, merged, SHOWN_REPLIES)
        ]
    except (MessageBatchesError, ValueError) as error:
        whole = not isinstance(error, ResultsChanged)
        why = next_steps.error_text(error) if isinstance(error, MessageBatchesError) else str(error)
        context.say(f"The results cannot be shown: {why}", style="yellow")
    parts = [job_report(merged, replies, job_id=job_id)]
    if isinstance(merged, JobOutput):
        parts += _of_output(job_id, merged)
    return Group(*parts), whole


def _of_output(job_id: str, output: JobOutput) -> Sequence[RenderableType]:
    parts: list[RenderableType] = []
    if output.stopped:
        parts.append(Text(f"No further wave was sent: {output.stopped}", style="yellow"))
    if output.failed_shards:
        parts += ["", failed_shards(job_id, output.failed_shards, output.failed_shard_count)]
    return parts


def _exit_code(merged: MergedResults, *, strict: bool) -> int:
    """Return the exit code for merged results: 1 for shards without any, 3 where a job that was stopped left requests.

    Otherwise that for landed results.
    """
    output = merged if isinstance(merged, JobOutput) else None
    if output and output.failed_shard_count:
        return FAILED
    stopped = output is not None and output.stopped is not None and merged.summary.counts.canceled
    return UNFINISHED if merged.unfinished or stopped else exit_code_of(merged, strict=strict)
