"""Nothing that is paid for is paid for again, or left behind: jobs that are reset, or stopped, or lack their files."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from message_batches.contract import CANCEL_JOB
from message_batches.job_models import shard_workflow_id
from message_batches.storage.object_store import open_store
from tests.harness.requests import requests
from tests.harness.running_jobs import Job, claimed, job_when, merged_ids, sent, start_job
from tests.harness.stack import Stack
from tests.integration.jobs.test_failed_shards import SOME_TIME


async def reset_before_the_shards_start(live: Stack, job: Job) -> None:
    """Reset a job to the workflow task that starts its first shards, after their state was read."""
    initiated = EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED
    starts = [event async for event in job.fetch_history_events() if event.event_type == initiated]
    attributes = starts[0].start_child_workflow_execution_initiated_event_attributes
    await live.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=live.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=job.id),
            reason="a test",
            workflow_task_finish_event_id=attributes.workflow_task_completed_event_id,
            request_id=str(uuid4()),
        )
    )


async def runs_of_shards(live: Stack, job: Job, count: int) -> list[str]:
    """Return the ids of the latest runs of the first shards."""
    handles = (live.client.get_workflow_handle(shard_workflow_id(job.id, 0, number)) for number in range(count))
    return [(await handle.describe()).run_id for handle in handles]


async def test_a_job_that_is_reset_to_before_its_shards_started_starts_none_again(live: Stack) -> None:
    job = await start_job(live, requests(4))
    output = await job.result()
    runs = await runs_of_shards(live, job, 2)

    await reset_before_the_shards_start(live, job)
    again = await live.client.get_workflow_handle(job.id, result_type=type(output)).result()

    assert again.results_file == output.results_file
    assert await runs_of_shards(live, job, 2) == runs
    assert set(sent(live).values()) == {1}


async def test_a_base_whose_results_are_gone_is_not_sent_again(live: Stack) -> None:
    run = await live.start(requests(4))
    landed = await run.result()
    job = await start_job(live, None, base=run.id)
    await job.result()
    store = open_store(live.store_url)
    await store.remove(store.name(landed.results_file.uri))

    output = await (await start_job(live, requests(4), job_id=job.id)).result()

    assert output.verified
    assert merged_ids(output) == [f"request-000{n}" for n in range(4)]
    assert set(sent(live).values()) == {1}


async def test_a_batch_that_was_left_is_landed_also_after_the_deadline(pending: Stack) -> None:
    job = await start_job(pending, requests(6), concurrency=1)
    await claimed(pending, 1)
    await job.terminate()
    await pending.client.get_workflow_handle(shard_workflow_id(job.id, 0, 0)).terminate()

    late = await start_job(
        pending, requests(6), job_id=job.id, concurrency=1, deadline=datetime.now(UTC) - timedelta(minutes=1)
    )
    await pending.saw("cancel")
    pending.emulator.clock.advance(SOME_TIME)
    output = await late.result()

    assert merged_ids(output) == ["request-0000", "request-0001"]
    assert output.failed_shard_count == 0
    assert output.unfinished
    assert output.unfinished.count == 4
    assert output.stopped == "its deadline has passed"
    assert len(sent(pending)) == 2


async def test_a_job_that_is_stopped_while_paused_lands_the_batch_that_was_left(pending: Stack) -> None:
    job = await start_job(pending, requests(4), concurrency=1)
    await claimed(pending, 1)
    pending.emulator.faults.add("error", status=401, type="authentication_error")
    paused = await job_when(job, lambda seen: seen.paused is not None)
    assert not paused.alive
    pending.emulator.faults.clear()

    await job.execute_update(CANCEL_JOB)
    await pending.saw("cancel")
    pending.emulator.clock.advance(SOME_TIME)
    output = await job.result()

    assert merged_ids(output) == ["request-0000", "request-0001"]
    assert output.failed_shard_count == 0
    assert len(sent(pending)) == 2
