"""The commands that show a run or a job: `status` and `watch`; neither of them needs a worker."""

from datetime import UTC, datetime

from message_batches.cli import tables
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.jobs.documents import JobDocument
from message_batches.cli.jobs.follow import end, follow, stored
from message_batches.cli.jobs.tables import job_rows
from message_batches.cli.json_output import RunDocument
from message_batches.cli.notifications.sending import with_notifications
from message_batches.jobs.describe import JobView
from message_batches.runs.describe import RunNotFound


async def status(context: CommandContext, identity: str) -> CommandResult:
    """Show the status of a run or a job; where Temporal no longer knows it, the results that the store has."""
    return await with_notifications(context, await _status(context, identity))


async def _status(context: CommandContext, identity: str) -> CommandResult:
    try:
        view = await context.runs.get(identity).progress()
    except RunNotFound as error:
        return await _forgotten(context, identity, error)
    if not view.running:
        return await end(context, view)
    now = datetime.now(UTC)
    if isinstance(view, JobView):
        return CommandResult(JobDocument.of(view), job_rows(view, now))
    return CommandResult(RunDocument.of(view), tables.run_rows(view, now))


async def watch(context: CommandContext, identity: str, *, strict: bool) -> CommandResult:
    """Follow a run or a job to its end."""
    try:
        view = await context.runs.get(identity).progress()
    except RunNotFound as error:
        return await _forgotten(context, identity, error, strict=strict)
    if view.running or isinstance(view, JobView):
        return await follow(context, context.runs.get(view.workflow_id), strict=strict)
    return await end(context, view, strict=strict)


async def _forgotten(
    context: CommandContext, identity: str, error: RunNotFound, *, strict: bool = False
) -> CommandResult:
    """Report the results that the store has of a run or a job; raise the error if there are none."""
    landed = await context.runs.get(identity).stored()
    if landed is None:
        raise error
    context.say(f"{error}. Its results are in the store", style="yellow")
    return await stored(context, identity, landed, strict=strict)
