"""The commands that decide about a run or a job: `cancel`, `resolve`, `resume` and `retry`.

The run or the job carries the first three out itself, so a worker must be available.
"""

from decimal import Decimal

from message_batches.cli import next_steps
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.follow import WaitOptions, waits
from message_batches.cli.jobs.documents import ResumedJob, RetriedJob, SettledShard, StoppedJob
from message_batches.cli.jobs.follow import follow_job
from message_batches.cli.json_output import AbandonedRun, CancelledBatch, ResolvedRun
from message_batches.job_models import Retries
from message_batches.models import Resolution
from message_batches.runs.control import Refused, check_batch_id


async def cancel(context: CommandContext, identity: str, *, abandon: bool) -> CommandResult:
    """Stop a run's batch, or a job's, and land the finished results; or cancel the run or the job itself."""
    if await context.is_job(identity):
        return await _cancel_job(context, identity, abandon=abandon)
    runs = await context.runs()
    view = await runs.describe_running(identity)
    if abandon:
        await runs.abandon(view.workflow_id)
        shown = f"{view.workflow_id} is being cancelled: its batch is stopped first, nothing will be landed"
        return CommandResult(AbandonedRun(workflow_id=view.workflow_id, batch_id=view.batch_id), shown)
    batch = await runs.cancel_batch(view.workflow_id)
    status = batch.processing_status if batch else "being stopped"
    shown = (
        f"{view.batch_id} is {status}: the finished results will be landed. To see it: "
        f"{next_steps.watch(view.workflow_id)}"
    )
    document = CancelledBatch(workflow_id=view.workflow_id, batch_id=view.batch_id, processing_status=status)
    return CommandResult(document, shown)


async def _cancel_job(context: CommandContext, job_id: str, *, abandon: bool) -> CommandResult:
    jobs = await context.jobs()
    if abandon:
        await jobs.abandon(job_id)
        shown = f"{job_id} is being cancelled: its batches are stopped, nothing more will be landed or merged"
    else:
        await jobs.cancel(job_id)
        shown = (
            f"{job_id} is being stopped: nothing more is sent, the finished results will be landed and merged. To see "
            f"it: {next_steps.watch(job_id)}"
        )
    return CommandResult(StoppedJob(workflow_id=job_id, abandoned=abandon), shown)


async def resolve(context: CommandContext, identity: str, *, adopt: str | None, submit_again: bool) -> CommandResult:
    """Decide which batch is a run's after a lost reply; also of a job's shard whose run has ended without knowing."""
    if bool(adopt) == submit_again:
        raise Refused("Give either --adopt MSGBATCH_ID or --submit-again")
    if adopt:
        check_batch_id(adopt)
    resolution = Resolution(adopt=adopt, submit_again=submit_again)
    decided = f"continues with {adopt}" if adopt else "sends its requests again"
    if shard := await (await context.jobs()).settle(identity, resolution):
        shown = (
            f"{identity} {decided}, in another run. Once {shard.job_id} has ended, this has it take the results up: "
            f"{next_steps.resume(shard.job_id)}"
        )
        document = SettledShard(workflow_id=identity, job=shard.job_id, adopted=adopt, submit_again=submit_again)
        return CommandResult(document, shown)
    runs = await context.runs()
    view = await runs.describe_running(identity)
    await runs.resolve(view.workflow_id, resolution)
    shown = f"{view.workflow_id} {decided}. To see it: {next_steps.watch(view.workflow_id)}"
    return CommandResult(ResolvedRun(workflow_id=view.workflow_id, adopted=adopt, submit_again=submit_again), shown)


async def resume(context: CommandContext, job_id: str, waiting: WaitOptions) -> CommandResult:
    """Let a paused job go on; start one again that has ended without a result for each request."""
    before = await (await context.jobs()).resume(job_id)
    if waits(context, waiting):
        return await follow_job(context, job_id, strict=waiting.strict)
    how = "goes on" if before.running else "is started again: it takes up what there is and sends the rest"
    document = ResumedJob(workflow_id=job_id, started_again=not before.running)
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
    jobs = await context.jobs()
    if await context.is_job(identity):
        await jobs.retry(await jobs.describe(identity), retries, max_cost)
        job_id = identity
    else:
        run = await (await context.runs()).describe(identity)
        job_id = await jobs.retry_run(run, retries, max_cost)
    if waits(context, waiting):
        return await follow_job(context, job_id, strict=waiting.strict)
    failed = "what has failed" if job_id == identity else f"what has failed of {identity}"
    shown = f"{job_id} sends {failed} again. To see it: {next_steps.watch(job_id)}"
    return CommandResult(RetriedJob(workflow_id=job_id, base=identity), shown)
