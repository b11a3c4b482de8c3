"""The answers of runs and jobs, as JSON that no model has read, match the schemas of the contract."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from message_batches.contract import CANCEL_BATCH, CANCEL_JOB, PROGRESS, RESOLVE_SUBMISSION
from message_batches.job_models import JobPhase
from message_batches.models import Phase, SubmissionSchedule
from tests.harness.contract import problems
from tests.harness.requests import fresh, mixed, requests
from tests.harness.running_jobs import job_when, start_job
from tests.harness.stack import Stack, failure_of, progress_when
from tests.harness.waiting import eventually


def file_lines(uri: str) -> list[Any]:
    """Return the JSON of each line of a file."""
    return [json.loads(line) for line in Path(uri.removeprefix("file://")).read_bytes().splitlines()]


def all_problems(name: str, values: list[Any]) -> list[str]:
    """Return the problems of values, of which there are some."""
    assert values
    return [problem for value in values for problem in problems(name, value)]


async def test_the_output_of_a_run_its_progress_and_each_line_of_its_results(live: Stack) -> None:
    run = live.client.get_workflow_handle((await live.start(mixed())).id)

    output, progress = await run.result(), await run.query(PROGRESS)

    assert {line["result"]["type"] for line in output["results"]} == {"succeeded", "errored"}
    assert output["cost"]["amount"]
    assert problems("batch-output", output) == []
    assert progress["phase"] == "landed"
    assert problems("progress", progress) == []
    assert all_problems("result-line", file_lines(output["resultsFile"]["uri"])) == []


async def test_a_run_without_replies_or_inline_results(live: Stack) -> None:
    given = fresh(2)
    for each in given:
        del each["params"]["messages"]
    run = live.client.get_workflow_handle((await live.start(given, inline_results=False)).id)

    output = await run.result()

    assert (output["results"], output["summary"]["counts"]["errored"]) == (None, 2)
    assert problems("batch-output", output) == []


async def test_a_cancelled_batch(pending: Stack) -> None:
    run = await pending.start(fresh(2))
    await progress_when(run, lambda seen: seen.phase is Phase.POLLING and seen.polls > 0)
    raw = pending.client.get_workflow_handle(run.id)

    async def waits() -> dict[str, Any] | None:
        seen: dict[str, Any] = await raw.query(PROGRESS)
        return seen if seen["nextPoll"] else None

    progress, cancelled = await eventually(waits, "a next poll"), await raw.execute_update(CANCEL_BATCH)
    pending.emulator.clock.advance(timedelta(hours=1))
    output = await raw.result()

    assert progress["nextPoll"]
    assert problems("progress", progress) == []
    assert cancelled["processing_status"] == "canceling"
    assert problems("message-batch", cancelled) == []
    assert {line["result"]["type"] for line in output["results"]} == {"canceled"}
    assert problems("batch-output", output) == []


async def test_an_undecided_submission_and_its_resolution(pending: Stack) -> None:
    pending.emulator.faults.add("refuse-then-5xx", operation="create")
    run = await pending.start(fresh(2), submission=SubmissionSchedule(timeout=timedelta(seconds=5)))
    await progress_when(run, lambda seen: seen.phase is Phase.UNDECIDED)
    pending.emulator.faults.clear()
    await pending.post_by_a_stranger(fresh(2))
    await progress_when(run, lambda seen: bool(seen.candidates))
    raw = pending.client.get_workflow_handle(run.id)
    resolution = {"submitAgain": True}

    undecided, resolved = await raw.query(PROGRESS), await raw.execute_update(RESOLVE_SUBMISSION, resolution)
    await progress_when(run, lambda seen: seen.phase is Phase.POLLING)
    pending.emulator.clock.advance(timedelta(hours=1))
    await raw.result()

    assert problems("resolution", resolution) == []
    assert len(undecided["candidates"]) == 1
    assert all_problems("progress", [undecided, resolved]) == []


async def test_the_details_of_a_failure(live: Stack) -> None:
    refused = await failure_of(await live.start(requests(1), api_key="revoked"))
    too_dear = await failure_of(await live.start(fresh(2), max_cost="0.0000001"))

    assert too_dear.details[0]["limit"]
    assert all_problems("failure-details", [refused.details[0], too_dear.details[0]]) == []


@pytest.mark.slow
async def test_the_output_of_a_job_its_progress_and_its_shards_of_which_one_fails(live: Stack) -> None:
    # The results of one batch are never complete.
    live.emulator.faults.add("missing-line", operation="results", line=1, times=5)
    given = [*requests(2), *(each | {"custom_id": f"m-{n}"} for n, each in enumerate(mixed()))]
    started = await start_job(live, given, concurrency=1)
    job = live.client.get_workflow_handle(started.id)

    output, progress = await job.result(), await job.query(PROGRESS)

    assert (output["shards"]["count"], len(output["failedShards"])) == (2, 1)
    assert output["unfinished"]
    assert problems("job-output", output) == []
    assert progress["phase"] == "landed"
    assert problems("job-progress", progress) == []
    assert all_problems("shard-record", file_lines(output["shards"]["uri"])) == []


async def test_a_job_that_is_paused_and_stopped(live: Stack) -> None:
    live.emulator.faults.add("spend-limit", operation="create")
    job = await start_job(live, fresh(4), concurrency=1)
    await job_when(job, lambda seen: seen.phase is JobPhase.PAUSED and not seen.alive)
    raw = live.client.get_workflow_handle(job.id)

    paused, stopped = await raw.query(PROGRESS), await raw.execute_update(CANCEL_JOB)
    failure = await failure_of(job)

    assert paused["paused"]
    assert stopped["stopping"]
    assert all_problems("job-progress", [paused, stopped]) == []
    assert problems("failure-details", failure.details[0]) == []
