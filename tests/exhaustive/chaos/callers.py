"""The callers of a round: they start its runs, and return how each ends."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from message_batches.contract import DEFAULT_TASK_QUEUE, WORKFLOW_TYPE
from message_batches.models import BatchInput, PollSchedule, RetrySchedule, SubmissionSchedule
from tests.exhaustive.chaos.evidence import RunSeen
from tests.exhaustive.chaos.plan import POST_TIMEOUT, QUIET, RETRIES, Run
from tests.exhaustive.chaos.world import World
from tests.harness.requests import request

RUN_TIMEOUT = 240
"""Seconds for a run to end, far above the delay that the harm of a round can cause."""

Handle = WorkflowHandle[Any, Any]


def requests_of(run: Run) -> list[dict[str, Any]]:
    """Return the run's requests; the emulator's replies quote the beginnings of the prompts, which identify the run."""
    words = "word " * run.words
    return [request(f"{run.ids}-{number:04}", f"{run.name}-{number:04}: {words}") for number in range(run.count)]


async def start(world: World, run: Run) -> Handle:
    """Start a run, repeatedly while Temporal is unavailable: its id makes it one run."""
    requests = requests_of(run)
    uri = None
    if run.by_reference:
        data = "".join(f"{json.dumps(each)}\n" for each in requests).encode()
        await asyncio.to_thread(world.store.put, f"given-{run.name}.jsonl", data)
        uri = world.store.uri(f"given-{run.name}.jsonl")
    every = timedelta(seconds=world.plan.poll_every)
    given = BatchInput(
        requests=None if uri else requests,
        requests_uri=uri,
        poll=PollSchedule(
            retry_after=every, transient=RetrySchedule(retry_after=timedelta(seconds=0.3), retry_limit=RETRIES)
        ),
        submission=SubmissionSchedule(timeout=timedelta(seconds=POST_TIMEOUT), quiet_period=timedelta(seconds=QUIET)),
    )
    while True:
        try:
            return await world.client.start_workflow(
                WORKFLOW_TYPE, given, id=f"run-{run.name}", task_queue=DEFAULT_TASK_QUEUE
            )
        except RPCError:
            await asyncio.sleep(0.2)


async def outcome(world: World, run: Run, handle: Handle) -> RunSeen:
    """Wait for the end of a run, and return it."""
    ids = [request["custom_id"] for request in requests_of(run)]
    try:
        async with asyncio.timeout(RUN_TIMEOUT):
            output = await _result(handle)
    except TimeoutError:
        return RunSeen(run, ids, ended=None, said=f"not within {RUN_TIMEOUT} s")
    except WorkflowFailureError as error:
        return _failed(run, ids, error.cause)
    return RunSeen(run, ids, ended="completed", batch_id=output["batchId"], output=output)


async def _result(handle: Handle) -> Mapping[str, Any]:
    while True:
        with suppress(RPCError):
            output: Mapping[str, Any] = await handle.result()
            return output
        await asyncio.sleep(0.2)


def _failed(run: Run, ids: list[str], cause: BaseException) -> RunSeen:
    said = []
    seen: BaseException | None = cause
    while seen:
        said.append(str(seen))
        seen = seen.__cause__
    kind = cause.type if isinstance(cause, ApplicationError) else type(cause).__name__
    details = cause.details[0] if isinstance(cause, ApplicationError) and cause.details else {}
    return RunSeen(run, ids, ended=kind or "", said="\n".join(said), batch_id=details.get("batchId"))
