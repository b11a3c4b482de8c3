"""Jobs that continue as new while their shards go on, and runs that begin in the middle of a job."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, CancelledError

from message_batches.contract import CANCEL_JOB, JOB_WORKFLOW_TYPE, POLL_NOW, RESUME_JOB
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.job_models import JobOutput, JobPhase, JobProgress, shard_workflow_id
from message_batches.models import PollSchedule
from message_batches.temporal.dev_server import DevServer
from tests.harness import waiting
from tests.harness.requests import requests
from tests.harness.running_jobs import Job, claimed, job_when, merged_ids, sent, start_job
from tests.harness.stack import Stack, details_of, failure_of, running_stack

SOME_TIME = timedelta(minutes=10)


@pytest.fixture
async def brief_runs(short_lived: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker on a server where runs continue as new soon; batches end when the emulator's clock is advanced."""
    async with (
        Emulator(EmulatorOptions(processing_time=SOME_TIME, cancel_time=timedelta(seconds=0.3))) as emulator,
        running_stack(short_lived.client, emulator, tmp_path.as_uri()) as running,
    ):
        yield running


async def continued(live: Stack, job: Job) -> None:
    """Wait until another run continues the job."""

    async def later() -> bool:
        described = await live.client.get_workflow_handle(job.id).describe()
        return described.run_id != job.first_execution_run_id

    await waiting.eventually(later, "a run that continues the job")


@pytest.mark.slow
async def test_a_job_continues_as_new_while_its_shards_go_on(brief_runs: Stack) -> None:
    given = requests(6)
    job = await start_job(brief_runs, given, concurrency=2, static_summary="6 requests", static_details="of a *file*")
    await claimed(brief_runs, 2)
    await continued(brief_runs, job)
    handle: Job = brief_runs.client.get_workflow_handle(job.id, result_type=JobOutput)
    seen = await job_when(handle, lambda progress: len(progress.alive) == 2)
    shown = await details_of(handle)
    brief_runs.emulator.clock.advance(SOME_TIME)
    await claimed(brief_runs, 3)
    brief_runs.emulator.clock.advance(SOME_TIME)
    output = await job.result()

    assert (seen.requests, len(seen.waves)) == (6, 1)
    assert shown.endswith("6 requests\n\nof a *file*")
    assert merged_ids(output) == [each["custom_id"] for each in given]
    assert output.verified
    assert set(sent(brief_runs).values()) == {1}


@pytest.fixture
async def brief_runs_of_short_batches(short_lived: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.05))) as emulator,
        running_stack(short_lived.client, emulator, tmp_path.as_uri()) as running,
    ):
        yield running


@pytest.mark.slow
async def test_a_job_whose_shards_end_all_the_time_continues_as_new_in_time(
    brief_runs_of_short_batches: Stack,
) -> None:
    live = brief_runs_of_short_batches
    given = requests(60)
    job = await start_job(live, given, shard=1, concurrency=12)
    output = await job.result()
    runs = [run async for run in live.client.list_workflows(f"WorkflowId = '{job.id}'")]
    described = [await live.client.get_workflow_handle(job.id, run_id=run.run_id).describe() for run in runs]

    assert output.verified
    # After 100 events it is suggested; the turn under way then has a child for each place.
    assert max(run.history_length for run in described) < 220
    assert set(sent(live).values()) == {1}


@pytest.mark.slow
async def test_a_job_that_was_continued_cancels_the_shards_of_earlier_runs(brief_runs: Stack) -> None:
    job = await start_job(brief_runs, requests(6), concurrency=2)
    await claimed(brief_runs, 2)
    await continued(brief_runs, job)
    await brief_runs.client.get_workflow_handle(job.id).cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await job.result()
    await brief_runs.saw("cancel", 2)

    assert isinstance(caught.value.cause, CancelledError)


async def test_poll_now_looks_at_the_shards_at_once(pending: Stack) -> None:
    rarely = PollSchedule(retry_after=timedelta(hours=1))
    job = await start_job(pending, requests(4), poll=rarely)
    await claimed(pending, 2)
    await pending.client.get_workflow_handle(shard_workflow_id(job.id, 0, 0)).terminate()
    await job_when(job, lambda seen: seen.failed_shard_count == 1)
    # A run that the job itself has not started does not wake it.
    await job.terminate()
    second = await start_job(pending, requests(4), job_id=job.id, poll=rarely)
    await job_when(second, lambda seen: len(seen.alive) == 2)
    pending.emulator.clock.advance(SOME_TIME)
    for number in range(2):
        shard = pending.client.get_workflow_handle(shard_workflow_id(job.id, 0, number))
        await shard.signal(POLL_NOW)
        await shard.result()
    await second.signal(POLL_NOW)

    assert (await second.result()).verified


async def test_updates_that_do_not_fit_are_refused(pending: Stack) -> None:
    job = await start_job(pending, requests(2))
    await claimed(pending, 1)
    with pytest.raises(WorkflowUpdateFailedError) as resumed:
        await job.execute_update(RESUME_JOB, result_type=JobProgress)
    twice = [await job.execute_update(CANCEL_JOB, result_type=JobProgress) for _ in range(2)]
    pending.emulator.clock.advance(SOME_TIME)
    await job.result()

    assert isinstance(resumed.value.cause, ApplicationError)
    assert resumed.value.cause.type == "NotPaused"
    assert all(each.stopping for each in twice)
    end = await job_when(job, lambda seen: seen.phase is JobPhase.LANDED)
    assert end.stopping


async def test_fields_that_are_not_read_are_named_and_no_state_is_taken_from_a_caller(live: Stack) -> None:
    given = {"requests": requests(1), "shards": {"maxRequest": 5}, "concurency": 3, "state": None}
    given["poll"] = {"retryAfter": 0.1}
    job: Job = await live.client.start_workflow(
        JOB_WORKFLOW_TYPE, given, id="job-unread", task_queue=live.task_queue, result_type=JobOutput
    )
    await job.result()
    seen = await job_when(job, lambda progress: progress.phase is JobPhase.LANDED)
    forged: Job = await live.client.start_workflow(
        JOB_WORKFLOW_TYPE, given | {"state": {"folder": "jobs/x"}}, id="job-forged", task_queue=live.task_queue
    )
    several: Job = await live.client.start_workflow(
        JOB_WORKFLOW_TYPE, args=[given, given], id="job-several", task_queue=live.task_queue
    )

    assert set(seen.unread_fields) == {"shards.maxRequest", "concurency"}
    assert (await failure_of(forged)).type == "InvalidInput"
    assert (await failure_of(several)).type == "InvalidInput"
