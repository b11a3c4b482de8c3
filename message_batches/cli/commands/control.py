"""The commands `cancel` and `resolve`; the run carries them out, so a worker must be available."""

from message_batches.cli import next_steps
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.json_output import AbandonedRun, CancelledBatch, ResolvedRun
from message_batches.models import Resolution
from message_batches.runs.control import Refused, check_batch_id


async def cancel(context: CommandContext, identity: str, *, abandon: bool) -> CommandResult:
    """Stop a run's batch and land the finished results; or cancel the run itself."""
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


async def resolve(context: CommandContext, identity: str, *, adopt: str | None, submit_again: bool) -> CommandResult:
    """Decide which batch is a run's after a lost reply."""
    if bool(adopt) == submit_again:
        raise Refused("Give either --adopt MSGBATCH_ID or --submit-again")
    if adopt:
        check_batch_id(adopt)
    runs = await context.runs()
    view = await runs.describe_running(identity)
    await runs.resolve(view.workflow_id, Resolution(adopt=adopt, submit_again=submit_again))
    decided = f"continues with {adopt}" if adopt else "sends its requests again"
    shown = f"{view.workflow_id} {decided}. To see it: {next_steps.watch(view.workflow_id)}"
    return CommandResult(ResolvedRun(workflow_id=view.workflow_id, adopted=adopt, submit_again=submit_again), shown)
