"""The end of the longest wait: a job that nobody resumes, or whose shard is refused for 30 days, ends with the rest."""

from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.job_models import JobPhase
from message_batches.models import PollSchedule, RetrySchedule
from tests.harness.requests import requests
from tests.harness.running_jobs import job_when, merged_ids, sent, start_job
from tests.harness.stack import failure_of, running_stack
from tests.harness.waiting import eventually
from workflows.jobs.failed_shards import LONGEST_HOLD


@pytest.mark.slow
async def test_a_job_that_nobody_resumes_ends_after_thirty_days_with_what_has_landed(
    skipping: WorkflowEnvironment, tmp_path: Path
) -> None:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.05))) as emulator,
        running_stack(skipping.client, emulator, (tmp_path / "store").as_uri()) as live,
    ):
        # The second shard is refused, once; a third would not be.
        emulator.faults.add("spend-limit", operation="create", times=1)
        job = await start_job(live, requests(6), concurrency=2, waves=1, poll=PollSchedule())
        output = await job.result()
        described = await job.describe()
        again = await (await start_job(live, requests(6), job_id=job.id)).result()

    assert described.close_time
    assert timedelta(0) <= described.close_time - described.start_time - LONGEST_HOLD < timedelta(hours=1)
    assert output.stopped
    assert output.stopped.startswith("it was paused for 30 days: SpendLimitReached: ")
    assert merged_ids(output)
    assert output.unfinished
    assert output.unfinished.count == 6 - len(merged_ids(output))
    [failed] = output.failed_shards
    assert failed.type == "SpendLimitReached"
    # The shards that were not started count as unfinished, and are sent by the next run.
    assert again.verified
    assert set(sent(live).values()) == {1}


@pytest.mark.slow
async def test_a_job_without_a_landed_shard_fails_as_the_shard_for_which_it_was_paused(
    skipping: WorkflowEnvironment, tmp_path: Path
) -> None:
    async with Emulator() as emulator, running_stack(skipping.client, emulator, (tmp_path / "store").as_uri()) as live:
        emulator.faults.add("spend-limit", operation="create")
        job = await start_job(live, requests(4), concurrency=1, poll=PollSchedule())
        failure = await failure_of(job)
        end = await job_when(job, lambda seen: seen.phase is JobPhase.FAILED)

    assert failure.type == "SpendLimitReached"
    assert end.failed_shard_count == 1


@pytest.mark.slow
async def test_a_shard_that_is_refused_for_now_for_thirty_days_is_given_up(
    skipping: WorkflowEnvironment, tmp_path: Path
) -> None:
    # It is taken up again after ten times that.
    rarely = PollSchedule(transient=RetrySchedule(retry_after=timedelta(hours=12), retry_limit=0))
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.05))) as emulator,
        running_stack(skipping.client, emulator, (tmp_path / "store").as_uri()) as live,
    ):
        job = await start_job(live, requests(4), concurrency=1, poll=rarely)
        await eventually(lambda: emulator.batches, "the first batch")
        emulator.faults.add("429", operation="create")
        output = await job.result()
        described = await job.describe()

    assert described.close_time
    assert LONGEST_HOLD <= described.close_time - described.start_time < LONGEST_HOLD + timedelta(days=6)
    [failed] = output.failed_shards
    assert failed.type == "RateLimited"
    assert merged_ids(output) == ["request-0000", "request-0001"]
    assert output.stopped is None
