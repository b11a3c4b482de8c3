"""The commands that show a run or a job: `status` and `watch`; neither of them needs a worker."""

from datetime import UTC, datetime

from message_batches.cli import tables
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.follow import end_result, follow_run, stored_result
from message_batches.cli.jobs.documents import JobDocument
from message_batches.cli.jobs.follow import end_job, follow_job, stored_job
from message_batches.cli.jobs.tables import job_rows
from message_batches.cli.json_output import RunDocument
from message_batches.jobs.describe import find_stored_job
from message_batches.runs.control import find_stored_results, is_batch_id
from message_batches.runs.describe import RunNotFound


async def status(context: CommandContext, identity: str) -> CommandResult:
    """Show the status of a run or a job; where Temporal no longer knows it, the results that the store has."""
    if await context.is_job(identity):
        job = await (await context.jobs()).describe(identity)
        if not job.running:
            return await end_job(context, job)
        return CommandResult(JobDocument.of(job), job_rows(job, datetime.now(UTC)))
    runs = await context.runs()
    try:
        view = await runs.describe(identity)
    except RunNotFound as error:
        return await _forgotten(context, identity, error)
    if not view.running:
        return await end_result(context, view)
    return CommandResult(RunDocument.of(view), tables.run_rows(view, datetime.now(UTC)))


async def watch(context: CommandContext, identity: str, *, strict: bool) -> CommandResult:
    """Follow a run or a job to its end."""
    if await context.is_job(identity):
        return await follow_job(context, identity, strict=strict)
    runs = await context.runs()
    try:
        view = await runs.describe(identity)
    except RunNotFound as error:
        return await _forgotten(context, identity, error, strict=strict)
    if not view.running:
        return await end_result(context, view, strict=strict)
    return await follow_run(context, runs, view.workflow_id, strict=strict)


async def _forgotten(
    context: CommandContext, identity: str, error: RunNotFound, *, strict: bool = False
) -> CommandResult:
    """Report the results that the store has of a run or a job; raise the error if there are none."""
    if found := await find_stored_results(context.store, identity):
        context.say(f"{error}. Its results are in the store", style="yellow")
        return await stored_result(context, identity, found.landed, strict=strict)
    job = None if is_batch_id(identity) else await find_stored_job(context.store, identity)
    if job is None or job.merged is None:
        raise error
    context.say(f"{error}. Its results are in the store", style="yellow")
    return await stored_job(context, job, strict=strict)
