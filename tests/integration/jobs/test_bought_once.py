"""Nothing that is paid for is paid for again, or left behind: jobs that are reset, or stopped, or lack their files."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from activities import intents
from message_batches.contract import CANCEL_JOB, NextAction
from message_batches.job_models import JobOutput, shard_workflow_id
from message_batches.storage.object_store import open_store
from tests.harness.requests import requests
from tests.harness.running_jobs import Job, claimed, job_when, merged_ids, polled, sent, start_job
from tests.harness.stack import Stack, failure_of, progress_when
from tests.integration.jobs.test_failed_shards import SOME_TIME


async def reset_before_the_shards_start(live: Stack, job: Job, *, start: int = 0) -> None:
    """Reset a job to the workflow task that starts its first shards, or later ones, after their state was read."""
    initiated = EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED
    starts = [event async for event in job.fetch_history_events() if event.event_type == initiated]
    attributes = starts[start].start_child_workflow_execution_initiated_event_attributes
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


@pytest.mark.slow
async def test_a_job_that_is_reset_follows_the_batch_that_came_after_it_had_read_that_there_was_none(
    pending: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Within it a batch counts as of the run that has come after it.
    monkeypatch.setattr(intents, "CLOCK_SKEW", timedelta(0))
    pending.emulator.faults.add("429", operation="create", times=1)
    at_once: dict[str, Any] = {"retry_after": timedelta(seconds=0.2), "retry_limit": 0}
    job = await start_job(pending, requests(2), poll={"retry_after": timedelta(seconds=0.1), "transient": at_once})
    await claimed(pending, 1)
    await pending.client.get_workflow_handle(shard_workflow_id(job.id, 0, 0)).terminate()
    assert (await failure_of(job)).type == "Terminated"

    await reset_before_the_shards_start(pending, job, start=1)
    again = pending.client.get_workflow_handle(job.id, result_type=JobOutput)
    await job_when(again, lambda seen: bool(seen.alive))
    await polled(pending, again, 0)
    pending.emulator.clock.advance(SOME_TIME)
    output = await again.result()

    assert output.verified
    assert output.possibly_paid_twice == ()
    assert len(pending.emulator.batches) == 1


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


async def test_a_job_that_is_cancelled_while_it_is_planned_cancels_what_its_earlier_run_has_started(
    pending: Stack,
) -> None:
    job = await start_job(pending, requests(6))
    await claimed(pending, 3)
    await polled(pending, job, 0, 1, 2)
    await job.terminate()
    await pending.client.get_workflow_handle(shard_workflow_id(job.id, 0, 0)).terminate()

    again = await start_job(pending, requests(6), job_id=job.id)
    await again.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await again.result()

    assert isinstance(caught.value.cause, CancelledError)
    await pending.saw("cancel", 3)
    canceled = {call.batch_id for call in pending.emulator.calls if call.operation == "cancel"}
    assert canceled == {batch.id for batch in pending.emulator.batches}


@pytest.mark.slow
async def test_a_job_that_is_stopped_stops_and_lands_the_later_wave_of_its_earlier_run(pending: Stack) -> None:
    pending.emulator.faults.add("outcome", operation="create", type="expired", times=1, custom_id="request-0000")
    job = await start_job(pending, requests(2), waves=1)
    await claimed(pending, 1)
    pending.emulator.clock.advance(SOME_TIME)
    await claimed(pending, 2)
    shard = pending.client.get_workflow_handle(shard_workflow_id(job.id, 1, 0))
    await progress_when(shard, lambda seen: seen.polls > 0)
    await job.terminate()

    again = await start_job(pending, requests(2), waves=1, job_id=job.id)
    await again.execute_update(CANCEL_JOB)
    await pending.saw("cancel")
    pending.emulator.clock.advance(SOME_TIME)
    output = await again.result()

    assert output.stopped == "the job was asked to stop"
    assert [(wave.sent, wave.landed) for wave in output.waves] == [(2, 1), (1, 1)]
    assert len(pending.emulator.batches) == 2


@pytest.mark.slow
async def test_requests_of_a_later_wave_that_the_api_refuses_are_sent_in_another_one_by_the_next_run(
    pending: Stack,
) -> None:
    pending.emulator.faults.add("outcome", operation="create", type="expired", times=1)
    job = await start_job(pending, requests(2), waves=1)
    await claimed(pending, 1)
    pending.emulator.faults.add("error", operation="create", status=413, type="request_too_large", times=1)
    pending.emulator.clock.advance(SOME_TIME)
    output = await job.result()

    [failed] = output.failed_shards
    assert (failed.workflow_id, failed.type) == (shard_workflow_id(job.id, 1, 0), "RequestRefused")
    assert failed.action is NextAction.RETRY
    assert "keep the results of the waves before" in failed.message
    assert output.verified
    assert output.summary.counts.expired == 2

    again = await start_job(pending, requests(2), waves=1, job_id=job.id)
    await claimed(pending, 2)
    pending.emulator.clock.advance(SOME_TIME)
    completed = await again.result()

    assert completed.failed_shard_count == 0
    assert completed.summary.counts.succeeded == 2
    assert [(wave.sent, wave.landed) for wave in completed.waves] == [(2, 1), (2, 0), (2, 1)]
    assert len(pending.emulator.batches) == 2


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
