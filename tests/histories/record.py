"""Records the histories that the replay test replays: `python -m tests.histories.record`.

Run it for a new shape of run, under a new name. A recorded history is never recorded again: a change that breaks its
replay would break the runs that are open, and needs a patch in the workflow.
"""

import asyncio
import gzip
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from aiohttp import web
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from message_batches.contract import CANCEL_BATCH, RESOLVE_SUBMISSION
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchOutput, Phase, Resolution, SubmissionSchedule
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import dev_server
from tests.harness.gateway import Answer, gateway_to
from tests.harness.project import HISTORIES, ROOT
from tests.harness.receiver import receiving, webhooks
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, Stack, progress_when, running_stack
from tests.histories.awaited import AWAITED
from tests.histories.jobs import ENDLESS, JOBS, QUICK, Shape
from tests.histories.notifications import FAILED_ATTEMPTS, NOTIFICATIONS

WHERE = re.compile(r"\d+@[\w.-]+")
"""A process and its host, as the SDK identifies a worker: a replay does not need them."""
PLACES = (str(ROOT), sys.prefix, sys.base_prefix)
"""The folders of the code and of Python on the recording machine, which stack traces name."""


async def plain(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Submit, poll a few times, land."""
    run = await live.start(requests())
    await run.result()
    return run


async def unknown_status(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Poll a batch whose status is not known for a while."""
    return await plain(live)


def paused_in_three_polls() -> Callable[[Answer], None]:
    """Return a gateway's change of the first polls."""
    left = [1, 2, 3]

    def change(answer: Answer) -> None:
        if answer.is_batch and answer.operation.startswith("GET") and left:
            answer.set(processing_status="paused", ended_at=None, results_url=None)
            left.pop()

    return change


async def retried(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Refuse or cut every step for a while."""
    for fault, operation in (("429", "create"), ("529", "retrieve"), ("404", "retrieve"), ("missing-line", "results")):
        live.emulator.faults.add(fault, operation=operation, times=2)
    return await plain(live)


async def reconciled(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Lose the reply; the batch is found and verified."""
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    return await plain(live)


async def submitted_again(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Find nothing during the quiet period, and make a second POST."""
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    return await plain(live)


async def resolved(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Let an operator decide to submit again."""
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    quiet = SubmissionSchedule(timeout=timedelta(seconds=5), quiet_period=timedelta(minutes=5))
    run = await live.start(requests(), submission=quiet)
    await progress_when(run, lambda seen: seen.phase is Phase.UNDECIDED)
    await run.execute_update(RESOLVE_SUBMISSION, Resolution(submit_again=True))
    await run.result()
    return run


async def continued(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Make more than 100 polls, and a landing that fails for a while."""
    live.emulator.faults.add("missing-line", operation="results", times=3)
    rapid = QUICK_POLL.model_copy(update={"retry_after": timedelta(milliseconds=10)})
    live.emulator.clock.advance(timedelta(0))
    run = await live.start(requests(), poll=rapid)
    await progress_when(run, lambda seen: seen.polls > 105)
    live.emulator.clock.advance(timedelta(hours=1))
    await run.result()
    return run


async def continued_sooner(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Make more polls than a run has, of which an earlier version made a hundred."""
    rapid = QUICK_POLL.model_copy(update={"retry_after": timedelta(milliseconds=10)})
    run = await live.start(requests(), poll=rapid)
    await progress_when(run, lambda seen: seen.polls > 55)
    live.emulator.clock.advance(timedelta(hours=1))
    await run.result()
    return run


async def cancelled(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Cancel the run while it polls."""
    run = await live.start(requests())
    await progress_when(run, lambda seen: seen.polls > 1)
    await run.cancel()
    with suppress(WorkflowFailureError):
        await run.result()
    return run


async def stopped(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Cancel the batch by an update; the finished results are landed."""
    run = await live.start(requests())
    await progress_when(run, lambda seen: seen.polls > 1)
    await run.execute_update(CANCEL_BATCH)
    await run.result()
    return run


async def canceled_at_deadline(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Let the deadline come during a poll that the API does not answer, and refuse to cancel once."""
    run = await live.start(requests(), deadline=datetime.now(UTC) + timedelta(seconds=3))
    await progress_when(run, lambda seen: seen.polls > 1)
    live.emulator.faults.add("529", operation="retrieve", times=1, retry_after=60)
    live.emulator.faults.add("error", operation="cancel", status=403, times=1)
    await run.result()
    return run


async def passed_before_the_post(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Let the deadline come while the POST is refused for now."""
    live.emulator.faults.add("429", operation="create", retry_after=60)
    run = await live.start(requests(), deadline=datetime.now(UTC) + timedelta(seconds=2))
    with suppress(WorkflowFailureError):
        await run.result()
    return run


async def unsearchable(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Make a plain run in a namespace without the search attributes."""
    return await plain(live)


async def deleted(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Delete the batch at the provider once its results are landed."""
    run = await live.start(requests(), delete_after_landing=True)
    await run.result()
    return run


async def attached(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Land another run's batch once more, without deleting it."""
    batch_id = (await live.run(requests())).batch_id
    run = await live.start(requests(), batch_id=batch_id, delete_after_landing=True)
    await run.result()
    return run


async def failed_after_two_posts(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Let the first batch appear only after the second POST, and the run poll once too few."""
    live.emulator.faults.add("invisible", operation="create", seconds=4, times=1)
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    live.emulator.faults.add("slow", operation="retrieve", seconds=4, times=1)
    brief = SubmissionSchedule(timeout=timedelta(seconds=5), quiet_period=timedelta(seconds=0.5))
    run = await live.start(requests(), poll=QUICK_POLL.model_copy(update={"retry_limit": 0}), submission=brief)
    with suppress(WorkflowFailureError):
        await run.result()
    return run


async def cancelled_unrecorded(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Cancel while the store does not accept the claim."""
    await open_store(live.store_url).identity()
    claims = live.store_folder / "claims"
    claims.write_text("no folder")
    run = await live.start(requests())
    await progress_when(run, lambda seen: seen.batch_id is not None)
    await run.cancel()
    await progress_when(run, lambda seen: seen.phase is Phase.CANCELED)
    claims.unlink()
    with suppress(WorkflowFailureError):
        await run.result()
    return run


async def adopted_then_reset(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Adopt a batch, forget it by a reset, and find it in the store."""
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await live.start(requests())
    (candidate,) = (await progress_when(run, lambda seen: bool(seen.candidates))).candidates
    await run.execute_update(RESOLVE_SUBMISSION, Resolution(adopt=candidate.batch_id))
    await progress_when(run, lambda seen: seen.polls > 1)
    await reset_to_unknown_outcome(run, live)
    live.emulator.clock.advance(timedelta(hours=1))
    await live.client.get_workflow_handle(run.id).result()
    return run


async def sent_again_then_reset(live: Stack) -> WorkflowHandle[object, BatchOutput]:
    """Forget a second POST by a reset, and find both batches."""
    live.emulator.faults.add("accept-then-drop", operation="create", times=2)
    run = await live.start(requests())
    await progress_when(run, lambda seen: bool(seen.candidates))
    await run.execute_update(RESOLVE_SUBMISSION, Resolution(submit_again=True))
    await live.saw("create", 2)
    await progress_when(run, lambda seen: bool(seen.candidates))
    await reset_to_unknown_outcome(run, live)
    live.emulator.clock.advance(timedelta(hours=1))
    await live.client.get_workflow_handle(run.id).result()
    return run


async def reset_to_unknown_outcome(run: WorkflowHandle[object, BatchOutput], live: Stack) -> None:
    """Reset a run to where its first POST had no reply, before the operator's decision."""
    events = (await run.fetch_history()).events
    failed = next(event.event_id for event in events if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED)
    task = next(
        event.event_id
        for event in events
        if event.event_id > failed and event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    )
    await live.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=live.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run.id),
            reason="recorded for the replay test",
            workflow_task_finish_event_id=task,
            reset_reapply_exclude_types=[ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE],
            request_id=str(uuid4()),
        )
    )


SHAPES: dict[Shape, timedelta] = {
    plain: QUICK,
    retried: QUICK,
    reconciled: QUICK,
    submitted_again: QUICK,
    resolved: QUICK,
    continued: ENDLESS,
    continued_sooner: ENDLESS,
    cancelled: ENDLESS,
    stopped: ENDLESS,
    canceled_at_deadline: ENDLESS,
    passed_before_the_post: ENDLESS,
    unsearchable: QUICK,
    deleted: QUICK,
    attached: QUICK,
    failed_after_two_posts: ENDLESS,
    cancelled_unrecorded: ENDLESS,
    adopted_then_reset: ENDLESS,
    sent_again_then_reset: ENDLESS,
    unknown_status: QUICK,
    **JOBS,
    **AWAITED,
    **NOTIFICATIONS,
}


async def record() -> None:
    """Record every shape that has no history yet, one file for each run of its chain."""
    async with dev_server() as temporal, dev_server(search_attributes=()) as without_attributes:
        for shape, processing_time in SHAPES.items():
            client = (without_attributes if shape is unsearchable else temporal).client
            if not list(HISTORIES.glob(f"{shape.__name__}-*.json.gz")):
                await record_shape(client, shape, EmulatorOptions(processing_time=processing_time, cancel_time=QUICK))


async def record_shape(client: Client, shape: Shape, options: EmulatorOptions) -> None:
    """Run a shape; write the histories of its chain of runs, without the paths and hosts of this machine."""
    with tempfile.TemporaryDirectory() as store:
        async with (
            Emulator(options) as emulator,
            gateway_to(emulator.url) as gateway,
            receiving() as receiver,
            running_stack(
                client,
                emulator,
                Path(store).as_uri(),
                through=gateway.url,
                webhooks=webhooks({"ops": receiver.url}),
            ) as live,
        ):
            receiver.answer = lambda number: web.Response(status=500) if number <= FAILED_ATTEMPTS else None
            if shape is unknown_status:
                gateway.change = paused_in_three_polls()
            run = await shape(live)
        chain = [found async for found in client.list_workflows(f"WorkflowId = '{run.id}'")]
        for number, found in enumerate(sorted(chain, key=lambda execution: execution.start_time), 1):
            history = await client.get_workflow_handle(run.id, run_id=found.run_id).fetch_history()
            text = WHERE.sub("recorded", history.to_json())
            for place in PLACES:
                text = text.replace(f"{place}/", "")
            name = f"{shape.__name__}-{number}"
            (HISTORIES / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
            print(f"{name}: {len(history.events)} events")


if __name__ == "__main__":
    asyncio.run(record())
