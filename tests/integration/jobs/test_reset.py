"""A job that an operator resets, to any moment of its history: nothing is bought again, its merged file is the same."""

from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from message_batches.job_models import JobOutput
from tests.harness.requests import requests
from tests.harness.running_jobs import Job, claimed, job_when, merged_ids, polled, sent, start_job
from tests.harness.stack import Stack
from tests.integration.jobs.test_failed_shards import SOME_TIME


async def moments(job: Job) -> list[int]:
    """Return the events of the current run to which it can be reset: the ends of its workflow tasks."""
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return [event.event_id async for event in job.fetch_history_events() if event.event_type == completed]


async def reset(live: Stack, job: Job, event: int) -> Job:
    """Reset a job to a moment, from its first run; return the run that begins there."""
    answer = await live.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=live.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=job.id, run_id=job.first_execution_run_id or ""),
            reason="a test",
            workflow_task_finish_event_id=event,
            request_id=str(uuid4()),
        )
    )
    return live.client.get_workflow_handle(job.id, run_id=answer.run_id, result_type=JobOutput)


@pytest.mark.slow
async def test_a_job_that_has_ended_is_reset_to_each_of_its_moments(live: Stack) -> None:
    live.emulator.faults.add("outcome", operation="create", times=1, custom_id="request-0001")
    job = await start_job(live, requests(4), concurrency=1, waves=1)
    output = await job.result()
    bought = sent(live)
    events = await moments(job)

    assert [wave.sent for wave in output.waves] == [4, 1]
    assert len(events) > 8
    for event in events:
        again = await (await reset(live, job, event)).result()
        assert again.results_file == output.results_file, event
        assert again.waves == output.waves, event
        assert sent(live) == bought, event


@pytest.mark.slow
async def test_a_job_is_reset_to_each_of_its_moments_while_its_shards_are_under_way(pending: Stack) -> None:
    given = requests(6)
    job = await start_job(pending, given, concurrency=2)
    await polled(pending, job, 0, 1)
    for event in await moments(job):
        run = await reset(pending, job, event)
        await job_when(run, lambda seen: len(seen.alive) == 2)
    assert len(pending.emulator.batches) == 2
    pending.emulator.clock.advance(SOME_TIME)
    await claimed(pending, 3)
    pending.emulator.clock.advance(SOME_TIME)
    output = await run.result()

    assert output.verified
    assert merged_ids(output) == [each["custom_id"] for each in given]
    assert set(sent(pending).values()) == {1}
