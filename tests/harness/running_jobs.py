"""Jobs in a stack: started with small shards, followed, and what each has left in the store and at the emulator."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from message_batches.contract import JOB_WORKFLOW_TYPE, PROGRESS
from message_batches.job_models import JobInput, JobOutput, JobProgress, Retries, ShardLimits, shard_workflow_id
from message_batches.models import BatchOutput, Progress
from tests.harness import waiting
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION, Stack
from tests.harness.waiting import TIMEOUT

Job = WorkflowHandle[Any, JobOutput]


async def start_job(
    live: Stack,
    given: Sequence[dict[str, Any]] | None = None,
    *,
    job_id: str | None = None,
    shard: int = 2,
    waves: int = 0,
    **options: Any,
) -> Job:
    """Start a job with short intervals, in shards of so many requests, with at most so many later waves."""
    defaults: dict[str, Any] = {
        "poll": QUICK_POLL,
        "submission": QUICK_SUBMISSION,
        "shards": ShardLimits(max_requests=shard),
        "retries": Retries(waves=waves),
    }
    return await live.client.start_workflow(
        JOB_WORKFLOW_TYPE,
        JobInput(requests=list(given) if given is not None else None, **(defaults | options)),
        id=job_id or f"job-{uuid4()}",
        task_queue=live.task_queue,
        result_type=JobOutput,
    )


async def job_when(job: Job, condition: Callable[[JobProgress], bool], *, within: float = TIMEOUT) -> JobProgress:
    """Return the job's progress as soon as it is as expected."""

    async def check() -> JobProgress | None:
        progress: JobProgress = await job.query(PROGRESS, result_type=JobProgress)
        return progress if condition(progress) else None

    return await waiting.eventually(check, f"the expected progress of {job.id}", within=within)


def merged(output: JobOutput) -> list[Any]:
    """Return the lines of the merged file."""
    return [
        json.loads(line) for line in Path(output.results_file.uri.removeprefix("file://")).read_bytes().splitlines()
    ]


def merged_ids(output: JobOutput) -> list[str]:
    """Return the custom_ids of the merged file, in its order."""
    return [line["custom_id"] for line in merged(output)]


def sent(live: Stack) -> Counter[str]:
    """Return how often each custom_id was sent in a batch that the emulator has created."""
    return Counter(request.custom_id for batch in live.emulator.batches for request in batch.requests)


def most_alive(live: Stack) -> int:
    """Return how many batches the emulator has processed at one time at most; all have ended."""
    now = live.emulator.clock.now()
    ends = [end.at for batch in live.emulator.batches if (end := batch.end(now))]
    starts = [batch.created_at for batch in live.emulator.batches]
    assert len(starts) == len(ends), "a batch has not ended"
    changes = sorted([*((start, 1) for start in starts), *((end, -1) for end in ends)])
    alive = most = 0
    for _, change in changes:
        alive += change
        most = max(most, alive)
    return most


async def claimed(live: Stack, batches: int) -> None:
    """Wait until the runs of shards know their batches, and the store has it."""
    await waiting.eventually(
        lambda: len(list(live.store_folder.glob("claims/*/*.json"))) == batches, f"the claims of {batches} batches"
    )


async def polled(live: Stack, job: Job, *numbers: int) -> None:
    """Wait until the runs of these shards of the first wave poll their batches."""
    for number in numbers:
        shard: WorkflowHandle[Any, BatchOutput] = live.client.get_workflow_handle(shard_workflow_id(job.id, 0, number))
        await waiting.eventually(partial(_polls, shard), f"a poll by {shard.id}")


async def _polls(shard: WorkflowHandle[Any, BatchOutput]) -> bool:
    try:
        progress: Progress = await shard.query(PROGRESS, result_type=Progress)
    except RPCError:  # It is not started yet.
        return False
    return progress.polls > 0
