"""The shapes of jobs that the replay test replays."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle

from message_batches.contract import RESUME_JOB
from message_batches.job_models import JobPhase
from tests.harness.requests import requests
from tests.harness.running_jobs import Job, claimed, job_when, start_job
from tests.harness.stack import QUICK_POLL, Stack

ENDLESS = timedelta(minutes=10)
"""The processing time of batches that end when the emulator's clock is advanced."""
QUICK = timedelta(seconds=0.3)

Shape = Callable[[Stack], Awaitable[WorkflowHandle[Any, Any]]]


async def job_plain(live: Stack) -> Job:
    """Send three shards, land and merge them."""
    job = await start_job(live, requests(5))
    await job.result()
    return job


async def job_waves(live: Stack) -> Job:
    """Send again what has expired, twice."""
    live.emulator.faults.add("outcome", operation="create", type="expired", times=3)
    job = await start_job(live, requests(4), waves=3)
    await job.result()
    return job


async def job_paused_and_resumed(live: Stack) -> Job:
    """Reach the spend limit in the middle, and go on once it is raised."""
    job = await start_job(live, requests(6), concurrency=1)
    await job_when(job, lambda seen: bool(seen.waves) and seen.waves[0].landed == 1)
    live.emulator.faults.add("spend-limit", operation="create")
    await job_when(job, lambda seen: seen.phase is JobPhase.PAUSED)
    live.emulator.faults.clear()
    await job.execute_update(RESUME_JOB)
    await job.result()
    return job


async def job_continued(live: Stack) -> Job:
    """Look at the shards more than 100 times while their batches are alive."""
    rapid = QUICK_POLL.model_copy(update={"retry_after": timedelta(milliseconds=10)})
    job = await start_job(live, requests(6), concurrency=2, poll=rapid)
    await claimed(live, 2)
    first = job.first_execution_run_id
    while (await live.client.get_workflow_handle(job.id).describe()).run_id == first:
        await job_when(live.client.get_workflow_handle(job.id), lambda seen: len(seen.alive) == 2)
    live.emulator.clock.advance(ENDLESS)
    await claimed(live, 3)
    live.emulator.clock.advance(ENDLESS)
    await job.result()
    return job


async def job_cancelled(live: Stack) -> Job:
    """Cancel the workflow while two of three shards are under way."""
    job = await start_job(live, requests(6), concurrency=2)
    await claimed(live, 2)
    await job.cancel()
    with suppress(WorkflowFailureError):
        await job.result()
    return job


async def job_in_part(live: Stack) -> Job:
    """Stop the job: one shard was terminated by an operator, one has landed, one was not started."""
    job = await start_job(live, requests(6), concurrency=2)
    await claimed(live, 2)
    await live.client.get_workflow_handle(f"{job.id}-0-0").terminate()
    await job_when(job, lambda seen: seen.failed_shard_count == 1)
    await claimed(live, 3)
    await job.execute_update("cancelJob")
    await job.result()
    return job


JOBS: dict[Shape, timedelta] = {
    job_plain: QUICK,
    job_waves: QUICK,
    job_paused_and_resumed: QUICK,
    job_continued: ENDLESS,
    job_cancelled: ENDLESS,
    job_in_part: ENDLESS,
}
