"""The commands that decide about a run or a job: `cancel`, `resolve`, `resume` and `retry`.

The run or the job carries the first three out itself, so a worker must be available.
"""

from decimal import Decimal

from message_batches.cli import next_steps
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.follow import WaitOptions, waits
from message_batches.cli.jobs.documents import ResumedJob, RetriedJob, SettledShard, StoppedJob
from message_batches.cli.jobs.follow import follow
from message_batches.cli.json_output import AbandonedRun, CancelledBatch, ResolvedRun
from message_batches.job_models import Retries
from message_batches.library.outcomes import Stopped
from message_batches.runs.control import Refused


async def cancel(context: CommandContext, identity: str, *, abandon: bool) -> CommandResult:
    """Stop a run's batch, or a job's, and land the finished results; or cancel the run or the job itself."""
    stopped = await context.runs.get(identity).cancel(abandon=abandon)
    workflow_id, batch_id = stopped.workflow_id, stopped.batch_id
    if stopped.job:
        return _stopped_job(stopped, abandon=abandon)
    if abandon:
        shown = f"{workflow_id} is being cancelled: its batch is stopped first, nothing will be landed"
        return CommandResult(AbandonedRun(workflow_id=workflow_id, batch_id=batch_id), shown)
    status = stopped.batch.processing_status if stopped.batch else "being stopped"
    shown = f"{batch_id} is {status}: the finished results will be landed. To see it: {next_steps.watch(workflow_id)}"
    return CommandResult(CancelledBatch(workflow_id=workflow_id, batch_id=batch_id, processing_status=status), shown)


def _stopped_job(stopped: Stopped, *, abandon: bool) -> CommandResult:
    job_id = stopped.workflow_id
    if abandon:
        shown = f"{job_id} is being cancelled: its batches are stopped, nothing more will be landed or merged"
    else:
        shown = (
            f"{job_id} is being stopped: nothing more is sent, the finished results will be landed and merged. To see "
            f"it: {next_steps.watch(job_id)}"
        )
    return CommandResult(StoppedJob(workflow_id=job_id, abandoned=abandon), shown)


async def resolve(context: CommandContext, identity: str, *, adopt: str | None, submit_again: bool) -> CommandResult:
    """Decide which batch is a run's after a lost reply; also of a job's shard whose run has ended without knowing."""
    if bool(adopt) == submit_again:
        raise Refused("Give either --adopt MSGBATCH_ID or --submit-again")
    resolved = await context.runs.get(identity).resolve(adopt=adopt, submit_again=submit_again)
    decided = f"continues with {adopt}" if adopt else "sends its requests again"
    workflow_id, job_id = resolved.workflow_id, resolved.job_id
    if job_id:
        shown = (
            f"{workflow_id} {decided}, in another run. Once {job_id} has ended, this has it take the results up: "
            f"{next_steps.resume(job_id)}"
        )
        document = SettledShard(workflow_id=workflow_id, job=job_id, adopted=adopt, submit_again=submit_again)
        return CommandResult(document, shown)
    shown = f"{workflow_id} {decided}. To see it: {next_steps.watch(workflow_id)}"
    return CommandResult(ResolvedRun(workflow_id=workflow_id, adopted=adopt, submit_again=submit_again), shown)


async def resume(context: CommandContext, job_id: str, waiting: WaitOptions) -> CommandResult:
    """Let a paused job go on; start one again that has ended without a result for each request."""
    job = context.runs.get(job_id)
    again = await job.resume()
    if waits(context, waiting):
        return await follow(context, job, strict=waiting.strict)
    how = "is started again: it takes up what there is and sends the rest" if again else "goes on"
    document = ResumedJob(workflow_id=job_id, started_again=again)
    return CommandResult(document, f"{job_id} {how}. To see it: {next_steps.watch(job_id)}")


async def retry(
    context: CommandContext, identity: str, *, retries: Retries, max_cost: Decimal | None, waiting: WaitOptions
) -> CommandResult:
    """Send again what has failed of a run or a job, in a job whose results are those of both, merged.

    Args:
        context: of the command.
        identity: of the run or the job.
        retries: what is sent again, and how often.
        max_cost: the most, in USD, that it may cost by the estimate; None is the limit that there was.
        waiting: whether to wait for the job's end.
    """
    job = await context.runs.get(identity).retry(
        retries.what, max_tokens=retries.max_tokens, retry_waves=retries.waves, max_cost=max_cost
    )
    if waits(context, waiting):
        return await follow(context, job, strict=waiting.strict)
    failed = "what has failed" if job.id == identity else f"what has failed of {identity}"
    shown = f"{job.id} sends {failed} again. To see it: {next_steps.watch(job.id)}"
    return CommandResult(RetriedJob(workflow_id=job.id, base=identity), shown)
