"""The shapes of runs that tell of their events, and of the workflow that delivers one; the first attempts fail."""

from datetime import timedelta
from uuid import uuid4

from temporalio.client import WorkflowHandle

from message_batches.contract import DELIVERY, NOTIFICATION_WORKFLOW_TYPE
from message_batches.models import BatchOutput
from message_batches.webhooks.events import notification_id
from tests.harness import waiting
from tests.harness.requests import requests
from tests.harness.running_jobs import Job, job_when, start_job
from tests.harness.stack import Stack
from tests.histories.jobs import ENDLESS, QUICK, Shape
from tests.unit.webhooks.events import notification

FAILED_ATTEMPTS = 5
"""Of the receiver: more than the first activity has."""


async def notified(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Tell of a submission that does not arrive at once, then of the end, also a workflow that is not there."""
    target = {"workflowId": f"nobody-{uuid4()}", "signal": "batchEnded"}
    run = await live.start(requests(), notify=["ops"], notify_signal=target)
    await _reported(run)
    live.emulator.clock.advance(ENDLESS)
    await run.result()
    return run


async def job_notified(live: Stack) -> Job:
    """Tell of a job."""
    job = await start_job(live, requests(4), notify=["ops"])
    await job_when(job, lambda seen: len(seen.alive) == 2)
    await _reported(job)
    live.emulator.clock.advance(ENDLESS)
    await job.result()
    return job


async def notification_delivered_late(live: Stack) -> WorkflowHandle[object, None]:
    """Deliver an event after the first attempts; its run has ended."""
    given = notification().model_copy(update={"retry_after": timedelta(seconds=0.02)})
    run = await live.client.start_workflow(
        NOTIFICATION_WORKFLOW_TYPE,
        given,
        id=notification_id(str(uuid4()), given.event.type, given.webhook),
        task_queue=live.task_queue,
        result_type=type(None),
    )
    await run.result()
    return run


NOTIFICATIONS: dict[Shape, timedelta] = {
    notified: ENDLESS,
    job_notified: ENDLESS,
    notification_delivered_late: QUICK,
}


async def _reported(run: WorkflowHandle[object, object]) -> None:
    """Wait until a run has heard that an event does not arrive."""

    async def heard() -> bool:
        events = [each.workflow_execution_signaled_event_attributes async for each in run.fetch_history_events()]
        return any(each.signal_name == DELIVERY for each in events)

    await waiting.eventually(heard, "a signal of the delivery")
