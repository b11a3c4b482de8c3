"""SIGKILL in each phase of a job; another worker continues it, and no request is paid for twice in a wave."""

import json
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import PendingActivityState

from message_batches.contract import JOB_WORKFLOW_TYPE, PROGRESS, ActivityType
from message_batches.job_models import JobInput, JobOutput, JobProgress, Retries, ShardLimits
from tests.harness.requests import requests
from tests.harness.running_jobs import Job, job_when, merged_ids
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION
from tests.harness.waiting import eventually
from tests.processes.crash.scene import UNTIL_ENDED, Scene
from tests.processes.crash.together import played_together

pytestmark = pytest.mark.slow


async def start(scene: Scene, given: list[dict[str, Any]], *, shard: int, concurrency: int = 2, waves: int = 0) -> Job:
    """Start a job over a file in the store."""
    file = scene.store / "given.jsonl"
    file.write_text("".join(f"{json.dumps(request)}\n" for request in given))
    scene.ids = [request["custom_id"] for request in given]
    return await scene.client.start_workflow(
        JOB_WORKFLOW_TYPE,
        JobInput(
            requests_uri=file.as_uri(),
            poll=QUICK_POLL,
            submission=QUICK_SUBMISSION,
            shards=ShardLimits(max_requests=shard),
            concurrency=concurrency,
            retries=Retries(waves=waves),
        ),
        id=f"crash-{uuid4()}",
        task_queue=scene.task_queue,
        result_type=JobOutput,
    )


async def at_work(job: Job, activity: ActivityType) -> None:
    """Wait until a worker has begun an activity of the job."""

    async def holds() -> bool:
        pending = (await job.describe()).raw_description.pending_activities
        started = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        return any(each.activity_type.name == activity and each.state == started for each in pending)

    await eventually(holds, f"{activity} under way")


async def claimed(scene: Scene, batches: int) -> None:
    """Wait until so many batches are known to the runs of shards."""
    await eventually(lambda: len(list(scene.store.glob("claims/*/*.json"))) == batches, f"{batches} claims")


async def ends_whole(scene: Scene, job: Job, *, paid: Counter[int]) -> JobOutput:
    """Check that the job returns each request once, that so many were paid so often, and that there is one merge."""
    output = await job.result()
    assert merged_ids(output) == scene.ids
    assert output.verified
    assert output.failed_shard_count == 0
    assert output.possibly_paid_twice == ()
    sent = Counter(request.custom_id for batch in scene.emulator.batches for request in batch.requests)
    assert Counter(sent.values()) == paid
    assert len(list(scene.store.glob("jobs/*/*.shards"))) == 1
    assert list(scene.scratch.iterdir()) == []
    for worker in scene.workers:
        assert scene.key not in worker.output
    return output


@played_together()
async def test_killed_while_a_job_is_planned(scene: Scene) -> None:
    worker = await scene.worker()
    job = await start(scene, requests(4000, "every word of it " * 900), shard=2000)

    await at_work(job, ActivityType.PLAN_WAVE)
    await worker.kill()
    await scene.worker()

    await ends_whole(scene, job, paid=Counter({1: 4000}))


@played_together(processing_time=UNTIL_ENDED)
async def test_killed_while_the_shards_of_a_job_are_submitted(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="create", times=2, seconds=60)
    worker = await scene.worker()
    job = await start(scene, requests(6), shard=2)

    await eventually(lambda: len(scene.emulator.batches) == 2, "two batches whose ids nobody knows")
    await worker.kill()
    await scene.worker()
    # They have the same number of requests: only their results tell which is whose.
    await eventually(lambda: len(scene.calls("list")) > 3, "a search for the batches")
    scene.end_batches()
    await claimed(scene, 3)
    scene.end_batches()

    await ends_whole(scene, job, paid=Counter({1: 6}))


@played_together(processing_time=UNTIL_ENDED)
async def test_killed_twice_while_the_shards_of_a_job_are_under_way(scene: Scene) -> None:
    worker = await scene.worker()
    job = await start(scene, requests(6), shard=2)

    for batches in (2, 3):
        await claimed(scene, batches)
        await worker.kill()
        worker = await scene.worker()
        await job_when(job, lambda seen: bool(seen.alive))
        scene.end_batches()

    await ends_whole(scene, job, paid=Counter({1: 6}))


@played_together()
async def test_killed_while_a_wave_of_a_job_is_planned(scene: Scene) -> None:
    scene.emulator.faults.add("outcome", operation="create", type="expired", times=1)
    worker = await scene.worker()
    job = await start(scene, requests(4), shard=2, concurrency=1, waves=2)

    async def second_wave() -> bool:
        progress: JobProgress = await job.query(PROGRESS, result_type=JobProgress)
        return bool(progress.waves) and progress.waves[0].landed == 2

    await eventually(second_wave, "the end of the first wave")
    await worker.kill()
    await scene.worker()

    output = await ends_whole(scene, job, paid=Counter({1: 2, 2: 2}))
    assert [wave.sent for wave in output.waves] == [4, 2]


@played_together(reply_bytes=8000, processing_time=timedelta(seconds=0.2))
async def test_killed_while_a_job_is_merged(scene: Scene) -> None:
    worker = await scene.worker()
    job = await start(scene, requests(16_000), shard=8000)

    await at_work(job, ActivityType.MERGE_RESULTS)
    await worker.kill()
    await scene.worker()

    await ends_whole(scene, job, paid=Counter({1: 16_000}))
