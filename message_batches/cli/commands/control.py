"""The commands that decide: `cancel` and `resolve`; the run carries them out, so a worker must be there."""

from message_batches.cli.context import Answer, Desk
from message_batches.cli.screen import called
from message_batches.cli.tables import no_worker
from message_batches.models import Resolution
from message_batches.runs.control import NoAnswer, Refused, Runs, check_batch_id
from message_batches.runs.describe import RunView


async def cancel(desk: Desk, identity: str, *, abandon: bool) -> Answer:
    """Stop a run's batch and land what had finished; or give up the run itself."""
    runs = await desk.runs()
    view = await _running(runs, identity)
    if abandon:
        await runs.abandon(view.workflow_id)
        said = f"{view.workflow_id} is being cancelled: its batch is stopped first, nothing will be landed"
        return Answer({"workflowId": view.workflow_id, "batchId": view.batch_id, "abandoned": True}, said)
    batch = await runs.cancel_batch(view.workflow_id)
    status = batch.processing_status if batch else "being stopped"
    document = {"workflowId": view.workflow_id, "batchId": view.batch_id, "processingStatus": status}
    said = (
        f"{view.batch_id} is {status}: what had finished will be landed. To see it: {called()} watch {view.workflow_id}"
    )
    return Answer(document, said)


async def resolve(desk: Desk, identity: str, *, adopt: str | None, submit_again: bool) -> Answer:
    """Decide which batch is a run's after a lost reply."""
    if bool(adopt) == submit_again:
        raise Refused("Say either --adopt MSGBATCH_ID or --submit-again")
    if adopt:
        check_batch_id(adopt)
    runs = await desk.runs()
    view = await _running(runs, identity)
    await runs.resolve(view.workflow_id, Resolution(adopt=adopt, submit_again=submit_again))
    what = f"goes on with {adopt}" if adopt else "sends its requests again"
    said = f"{view.workflow_id} {what}. To see it: {called()} watch {view.workflow_id}"
    return Answer({"workflowId": view.workflow_id, "adopted": adopt, "submitAgain": submit_again}, said)


async def _running(runs: Runs, identity: str) -> RunView:
    view = await runs.look(identity)
    if not view.running:
        raise Refused(f"{view.workflow_id} is over ({view.status}): there is nothing to stop or to decide")
    if view.worker is False:
        raise NoAnswer(f"{no_worker(view.task_queue)}. Nothing was stopped or decided")
    return view
