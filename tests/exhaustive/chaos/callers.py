"""The callers of a round: they start its runs and its job, and return how each ends."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, TerminatedError, WorkflowAlreadyStartedError
from temporalio.service import RPCError

from message_batches.contract import DEFAULT_TASK_QUEUE, JOB_WORKFLOW_TYPE, WORKFLOW_TYPE
from message_batches.job_models import JobInput, Retries, ShardLimits
from message_batches.models import BatchInput, PollSchedule, RequestsInput, RetrySchedule, SubmissionSchedule
from tests.exhaustive.chaos.evidence import TERMINATED, RunSeen
from tests.exhaustive.chaos.plan import POST_TIMEOUT, QUIET, RETRIES, Job, Run
from tests.exhaustive.chaos.world import World
from tests.harness.requests import request

RUN_TIMEOUT = 240
"""Seconds for a run to end, far above the delay that the harm of a round can cause."""

CONCURRENCY = 2
"""Shards of a job that are under way at once."""

STARTED_AGAIN = "the job: start it again, since requests have no results"
STOPPED = "the job: stop it"
"""The decisions of its caller."""

Handle = WorkflowHandle[Any, Any]


def requests_of(run: Run) -> list[dict[str, Any]]:
    """Return the run's requests; the emulator's replies quote the beginnings of the prompts, which identify the run."""
    words = "word " * run.words
    return [request(f"{run.ids}-{number:04}", f"{run.name}-{number:04}: {words}") for number in range(run.count)]


async def start(world: World, run: Run, *, again: bool = False) -> Handle:
    """Start a run, repeatedly while Temporal is unavailable: its id makes it one run.

    A job that is started again gets other limits; what it has planned is not split anew.
    """
    requests = requests_of(run)
    uri = None
    if run.by_reference:
        data = "".join(f"{json.dumps(each)}\n" for each in requests).encode()
        await asyncio.to_thread(world.store.put, f"given-{run.name}.jsonl", data)
        uri = world.store.uri(f"given-{run.name}.jsonl")
    every = timedelta(seconds=world.plan.poll_every)
    shared: dict[str, Any] = {
        "requests": None if uri else requests,
        "requests_uri": uri,
        "poll": PollSchedule(
            retry_after=every, transient=RetrySchedule(retry_after=timedelta(seconds=0.3), retry_limit=RETRIES)
        ),
        "submission": SubmissionSchedule(
            timeout=timedelta(seconds=POST_TIMEOUT), quiet_period=timedelta(seconds=QUIET)
        ),
    }
    given: RequestsInput
    if isinstance(run, Job):
        workflow_type, given = (
            JOB_WORKFLOW_TYPE,
            JobInput(
                shards=ShardLimits(max_requests=run.shard + again),
                concurrency=CONCURRENCY,
                retries=Retries(waves=run.waves),
                deadline=(run.deadline and not again and datetime.now(UTC) + timedelta(seconds=run.deadline)) or None,
                **shared,
            ),
        )
    else:
        workflow_type, given = WORKFLOW_TYPE, BatchInput(**shared)
    workflow_id = f"run-{run.name}"
    while True:
        try:
            handle = await world.client.start_workflow(
                workflow_type, given, id=workflow_id, task_queue=DEFAULT_TASK_QUEUE
            )
        except WorkflowAlreadyStartedError:
            pass
        except RPCError:
            await asyncio.sleep(0.2)
            continue
        else:
            if not isinstance(run, Job):
                return handle
        # Whichever run of the job is the latest: it may be terminated, and started again.
        return world.client.get_workflow_handle(workflow_id)


async def outcome(world: World, run: Run, handle: Handle) -> RunSeen:
    """Wait for the end of a run, and return it; a job that was terminated is started again."""
    try:
        async with asyncio.timeout(RUN_TIMEOUT * (2 if isinstance(run, Job) else 1)):
            seen = await _end(run, handle)
            while isinstance(run, Job) and _is_started_again(world, run, seen):
                await start(world, run, again=True)
                seen = await _end(run, handle)
            return seen
    except TimeoutError:
        return RunSeen(run, ids_of(run), ended=None, said=f"not within {RUN_TIMEOUT} s")


def _is_started_again(world: World, job: Job, seen: RunSeen) -> bool:
    """Return whether a job is started again: once it was terminated; and one time if requests have no results.

    One that was stopped may have any of its requests without a reply.
    """
    if seen.ended == TERMINATED:
        return True
    whole = seen.output and not (seen.output["unfinished"] or seen.output["stopped"])
    if not job.again or STARTED_AGAIN in world.decided or whole:
        return False
    world.decided.append(STARTED_AGAIN)
    return True


async def _end(run: Run, handle: Handle) -> RunSeen:
    try:
        return completed(run, ids_of(run), await _result(handle))
    except WorkflowFailureError as error:
        return failed(run, ids_of(run), error.cause)


def ids_of(run: Run) -> Sequence[str]:
    """Return the custom_ids of a run."""
    return [request["custom_id"] for request in requests_of(run)]


def completed(run: Run, ids: Sequence[str], output: Mapping[str, Any]) -> RunSeen:
    """Return a run that has completed."""
    return RunSeen(run, ids, ended="completed", batch_id=output.get("batchId"), output=output)


async def _result(handle: Handle) -> Mapping[str, Any]:
    while True:
        with suppress(RPCError):
            output: Mapping[str, Any] = await handle.result()
            return output
        await asyncio.sleep(0.2)


def failed(run: Run, ids: Sequence[str], cause: BaseException) -> RunSeen:
    """Return a run that has failed."""
    said = []
    seen: BaseException | None = cause
    while seen:
        said.append(str(seen))
        seen = seen.__cause__
    ended = TERMINATED if isinstance(cause, TerminatedError) else type(cause).__name__
    kind = cause.type if isinstance(cause, ApplicationError) else ended
    details = cause.details[0] if isinstance(cause, ApplicationError) and cause.details else {}
    return RunSeen(run, ids, ended=kind or "", said="\n".join(said), batch_id=details.get("batchId"))
