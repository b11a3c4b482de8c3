"""An operator on call, who lets paused jobs go on, and decides undecided runs after a while.

The replies in the results of a batch show whose it is.
"""

import asyncio
import json
import re
import time
from contextlib import suppress

import httpx
from temporalio.client import (
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError

from message_batches.contract import PROGRESS, RESOLVE_SUBMISSION, RESUME_JOB
from message_batches.job_models import JobProgress
from message_batches.models import Phase, Progress, Resolution
from tests.exhaustive.chaos.callers import Handle
from tests.exhaustive.chaos.moments import JOB
from tests.exhaustive.chaos.plan import QUIET, Job, Run
from tests.exhaustive.chaos.world import World

UNDECIDED_FOR = 2 * QUIET + 5
"""Seconds for which a run must have been undecided without a change: longer than any batch is invisible."""
_PASSING = (
    RPCError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    httpx.HTTPError,
)
"""No worker, no server, or no longer undecided or paused: the next query shows which."""
_PROMPT = re.compile(r'"([a-z])-\d{4}:')


async def decide(world: World, run: Run, handle: Handle) -> None:
    """Watch a run to its end; if it is undecided, adopt its batch, or have the requests submitted again.

    A job that is paused goes on, and its shards are watched like runs.
    """
    since: dict[str, float] = {}
    while True:
        await asyncio.sleep(1)
        watched = [handle]
        with suppress(*_PASSING):
            if isinstance(run, Job):
                job: JobProgress = await handle.query(PROGRESS, result_type=JobProgress)
                watched = [world.client.get_workflow_handle(shard) for shard in job.alive]
                if job.paused:
                    await handle.execute_update(RESUME_JOB)
                    world.decided.append(f"{run.name}: go on after {job.paused}")
        for each in watched:
            with suppress(*_PASSING):
                await _decide(world, run.name, each, since)


async def _decide(world: World, name: str, handle: Handle, since: dict[str, float]) -> None:
    progress: Progress = await handle.query(PROGRESS, result_type=Progress)
    stuck = progress.phase is Phase.UNDECIDED and all(each.ended for each in progress.candidates)
    if not (stuck and progress.candidates):
        since.pop(handle.id, None)
    elif time.monotonic() - since.setdefault(handle.id, time.monotonic()) >= UNDECIDED_FOR:
        owners = {each.batch_id: await owner(world, each.batch_id) for each in progress.candidates}
        mine = [batch_id for batch_id, whose in owners.items() if whose == name]
        resolution = Resolution(adopt=mine[0]) if mine else Resolution(submit_again=True)
        await handle.execute_update(RESOLVE_SUBMISSION, resolution)
        world.decided.append(f"{handle.id}: {resolution.adopt or 'submit again'}")


async def owner(world: World, batch_id: str) -> str | None:
    """Return the run whose prompts a batch answers; None for none that is known. Fails while there are no results."""
    reply = await world.api.get(f"/v1/messages/batches/{batch_id}/results", headers={"anthropic-version": "2023-06-01"})
    reply.raise_for_status()
    results = (json.loads(line)["result"] for line in reply.content.split(b"\n") if line)
    answer = next((result["message"] for result in results if result["type"] == "succeeded"), None)
    if answer is None:
        return JOB  # The only one whose requests fail.
    found = _PROMPT.search("".join(block.get("text", "") for block in answer["content"]))
    return found[1] if found else None
