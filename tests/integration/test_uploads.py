"""Large uploads at the same time."""

import json
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from activities.batch import MAX_UPLOADS, SMALL_BODY
from message_batches.models import BatchOutput, RetrySchedule, SubmissionSchedule
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, Stack
from tests.harness.waiting import eventually

PADDED = "x" * (SMALL_BODY // 2)


async def start_large(live: Stack, number: int, **options: Any) -> WorkflowHandle[Any, BatchOutput]:
    """Start a run whose upload needs one of the slots."""
    live.store_folder.mkdir(exist_ok=True)
    name = f"mine-{number}.jsonl"
    lines = [json.dumps(item).encode() for item in requests(3, f"{PADDED} {number}")]
    live.store_folder.joinpath(name).write_bytes(b"\n".join(lines))
    return await live.start(requests_uri=f"{live.store_url}/{name}", **options)


async def test_large_uploads_beyond_the_slots_wait_and_do_not_count_as_lost(live: Stack) -> None:
    live.emulator.faults.add("slow", operation="create", seconds=4, times=MAX_UPLOADS)
    quick = SubmissionSchedule(timeout=timedelta(seconds=6), quiet_period=timedelta(minutes=5))
    runs = [await start_large(live, number, submission=quick) for number in range(MAX_UPLOADS + 1)]

    outputs = [await run.result() for run in runs]

    assert len({output.batch_id for output in outputs}) == len(live.emulator.batches) == MAX_UPLOADS + 1


@pytest.mark.parametrize("lost", [False, True])
async def test_a_run_deleted_while_its_upload_waits_and_its_successor_pay_once(live: Stack, lost: bool) -> None:
    live.emulator.faults.add("slow", operation="create", seconds=3, times=MAX_UPLOADS)
    others = [await start_large(live, number) for number in range(MAX_UPLOADS)]
    await live.saw("create", MAX_UPLOADS)
    patient = QUICK_POLL.model_copy(update={"transient": RetrySchedule(retry_after=timedelta(seconds=1))})
    schedule = SubmissionSchedule(timeout=timedelta(seconds=8), quiet_period=timedelta(seconds=2))
    options: dict[str, Any] = {"workflow_id": f"deleted-{lost}", "poll": patient, "submission": schedule}
    deleted = await start_large(live, MAX_UPLOADS, **options)
    await eventually(lambda: _is_scheduled(deleted), "the upload that waits")
    if lost:
        live.emulator.faults.add("accept-then-drop", operation="create", times=1)

    execution = WorkflowExecution(workflow_id=deleted.id, run_id=deleted.first_execution_run_id or "")
    await live.client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(namespace=live.client.namespace, workflow_execution=execution)
    )
    await eventually(lambda: _is_gone(deleted), "the deleted run to be gone")
    successor = await start_large(live, MAX_UPLOADS, **options)
    output = await successor.result()

    for other in others:
        await other.result()
    assert len(live.emulator.batches) == MAX_UPLOADS + 1
    assert output.batch_id in {batch.id for batch in live.emulator.batches}
    assert output.possibly_paid_twice == ()
    intents = [path.name for path in live.store_folder.glob("submissions/**/*.json") if "outcome" not in path.name]
    assert len([name for name in intents if name.startswith("deleted-")]) >= 2


async def _is_scheduled(run: WorkflowHandle[Any, BatchOutput]) -> bool:
    description = await run.describe()
    return any(
        pending.activity_type.name == "submitBatch" for pending in description.raw_description.pending_activities
    )


async def _is_gone(run: WorkflowHandle[Any, BatchOutput]) -> bool:
    try:
        await run.describe()
    except RPCError:
        return True
    return False
