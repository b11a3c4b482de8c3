"""`start` of a job: from files to one merged file; the same content is the same job, and nothing is paid for twice."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from message_batches.contract import JOB_WORKFLOW_TYPE
from message_batches.emulator import Emulator
from message_batches.job_models import JobInput, JobOutput
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.requests import fresh
from tests.harness.stack import Stack
from tests.harness.waiting import eventually

SHARDS = ("--shard-requests", "2")


def sent(emulator: Emulator) -> Counter[str]:
    """Return how many times each request was sent."""
    return Counter(request.custom_id for batch in emulator.batches for request in batch.requests)


def job_of(live: Stack, workflow_id: str) -> WorkflowHandle[Any, JobOutput]:
    return live.client.get_workflow_handle(workflow_id, result_type=JobOutput)


async def input_of(live: Stack, workflow_id: str) -> JobInput:
    async for event in live.client.get_workflow_handle(workflow_id).fetch_history_events():
        started = event.workflow_execution_started_event_attributes
        assert started.workflow_type.name == JOB_WORKFLOW_TYPE
        (given,) = await live.client.data_converter.decode(started.input.payloads, [JobInput])
        assert isinstance(given, JobInput)
        return given
    raise AssertionError("a history without a start")


async def test_requests_that_are_too_many_for_one_batch_are_a_job(starter: CommandLine, live: Stack) -> None:
    file = starter.file(fresh(5))

    ended = await starter("start", file, *SHARDS, "--wait", "--json", *QUICK)

    assert ended.code == 0, ended.err
    assert ended.json["workflowId"].startswith("job-")
    output = ended.json["output"]
    assert (output["shards"]["count"], output["verified"], output["resultsFile"]["lines"]) == (3, True, 5)
    assert set(sent(live.emulator).values()) == {1}
    assert "5 requests in 3 shards" in ended.err
    assert "Estimated cost: up to $" in ended.err
    given = await input_of(live, ended.json["workflowId"])
    assert str(given.requests_uri).endswith("/0.plan")
    assert (given.shards.max_requests, given.concurrency, given.retries.waves) == (2, 8, 2)
    assert "5 requests from" in str(given.static_summary)
    assert "Sent in 3 shards" in str(given.static_details)


async def test_options_of_a_job_reach_it(starter: CommandLine, live: Stack) -> None:
    retries = ("--retry-waves", "3", "--what", "unusable", "--max-tokens", "4000")

    ended = await starter("start", starter.file(fresh()), *retries, "--concurrency", "2", "--json", *QUICK)

    assert ended.code == 0, ended.err
    given = await input_of(live, ended.json["workflowId"])
    assert (given.concurrency, given.retries.waves, given.retries.what, given.retries.max_tokens) == (
        2,
        3,
        "unusable",
        4000,
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--what", "errors"), "--what goes with --retry-waves"),
        (("--retry-waves", "1", "--what", "unusable"), "--what unusable goes with --max-tokens"),
        (("--retry-waves", "1", "--max-tokens", "9"), "--max-tokens goes with --what unusable"),
        (("--workflow-id", "job-1"), "--workflow-id goes with --again"),
    ],
)
async def test_options_that_make_no_sense_together_are_refused(
    alone: CommandLine, options: tuple[str, ...], says: str
) -> None:
    ended = await alone("start", alone.file(fresh()), *options)

    assert ended.code == 2
    assert says in ended.err


async def test_several_files_within_a_batch_are_one_run_of_the_same_content_as_one_file(
    starter: CommandLine, live: Stack
) -> None:
    given = fresh(4)
    starter.file(given[:2], "part-1.jsonl")
    starter.file(given[2:], "part-2.jsonl")

    several = await starter("start", "part-*.jsonl", "--wait", "--json", *QUICK)
    one = await starter("start", starter.file(given), "--wait", "--json", *QUICK)

    assert (several.code, one.code) == (0, 0), several.err
    assert several.json["workflowId"] == one.json["workflowId"]
    assert several.json["workflowId"].startswith("batch-")
    assert [each.custom_id for each in live.emulator.batches[0].requests] == [each["custom_id"] for each in given]
    assert len(live.emulator.batches) == 1


async def test_a_custom_id_in_two_files_is_named_with_both_and_nothing_is_sent(
    starter: CommandLine, live: Stack
) -> None:
    given = fresh(3)
    first, second = starter.file(given, "a.jsonl"), starter.file([*fresh(4)[3:], given[1]], "b.jsonl")

    ended = await starter("start", first.name, second.name, "--json", *SHARDS)

    assert ended.code == 2
    assert ended.json["error"]["problems"] == [
        "b.jsonl, line 2, custom_id: 'request-0001' is also the custom_id of a.jsonl, line 2"
    ]
    assert not live.store_folder.exists()


async def test_the_same_content_is_the_same_job_whatever_the_limits(starter: CommandLine, live: Stack) -> None:
    file = starter.file(fresh(5))

    first = await starter("start", file, *SHARDS, "--json", *QUICK)
    await job_of(live, first.json["workflowId"]).result()
    others = [
        await starter("start", file, *options, "--json", *QUICK)
        # Without the option too: it would be one run, and be paid for again.
        for options in (SHARDS, ("--shard-requests", "4"), ("--retry-waves", "1"), ())
    ]

    assert [each.code for each in others] == [0] * 4, [each.err for each in others]
    assert {each.json["workflowId"] for each in (first, *others)} == {first.json["workflowId"]}
    assert all(each.json["output"]["verified"] for each in others)
    assert set(sent(live.emulator).values()) == {1}


async def test_a_job_that_is_under_way_is_joined(patient: CommandLine, pending: Stack) -> None:
    file = patient.file(fresh(4))

    first = await patient("start", file, *SHARDS, "--json", *QUICK)
    again = await patient("start", file, *SHARDS, "--json", *QUICK)

    assert (first.code, again.code) == (0, 0)
    assert again.json["workflowId"] == first.json["workflowId"]
    assert "under way: attached to it" in again.err
    await pending.saw("create", 2)
    await job_of(pending, first.json["workflowId"]).terminate()


@pytest.mark.slow
async def test_a_job_that_was_terminated_is_started_again_and_sends_nothing_twice(
    patient: CommandLine, pending: Stack
) -> None:
    file = patient.file(fresh(6))
    options = (*SHARDS, "--concurrency", "2", "--json", *QUICK)
    first = await patient("start", file, *options)
    job = job_of(pending, first.json["workflowId"])
    await pending.saw("create", 2)
    await job.terminate(reason="by a test")

    again = await patient("start", file, *options)
    assert again.json["workflowId"] == first.json["workflowId"]
    assert "terminated: The run was terminated: by a test. Started again" in again.err
    output = await ended_by_time(pending, job)

    assert output.verified
    assert len(pending.emulator.batches) == 3
    assert set(sent(pending.emulator).values()) == {1}


async def ended_by_time(pending: Stack, job: WorkflowHandle[Any, JobOutput]) -> JobOutput:
    """Let the batches end, one after the other as they are created."""
    await created(pending, 2)
    pending.emulator.clock.advance(timedelta(minutes=11))
    await created(pending, 3)
    pending.emulator.clock.advance(timedelta(minutes=11))
    return await job.result()


async def created(pending: Stack, count: int) -> None:
    """Wait until so many batches are there: a call is counted before its batch is."""
    await eventually(lambda: len(pending.emulator.batches) == count, f"{count} batches")


@pytest.mark.slow
async def test_again_is_a_job_of_its_own(starter: CommandLine, live: Stack) -> None:
    file = starter.file(fresh(3))

    first = await starter("start", file, *SHARDS, "--wait", "--json", *QUICK)
    again = await starter("start", file, *SHARDS, "--again", "--wait", "--json", *QUICK)
    known = again.json["workflowId"]
    repeated = await starter("start", file, *SHARDS, "--again", "--workflow-id", known, "--wait", "--json", *QUICK)

    assert (first.code, again.code, repeated.code) == (0, 0, 0), repeated.err
    assert known.startswith(f"{first.json['workflowId']}-")
    assert repeated.json["workflowId"] == known
    assert set(sent(live.emulator).values()) == {2}


async def test_a_run_that_has_landed_is_the_base_of_its_job(starter: CommandLine, live: Stack) -> None:
    given = fresh(3)
    file, failing = starter.file(given), given[1]["custom_id"]
    live.emulator.faults.add(
        "outcome", operation="create", times=1, type="errored", error="overloaded_error", custom_id=failing
    )
    run = await starter("start", file, "--wait", "--json", *QUICK)
    assert run.json["output"]["summary"]["counts"]["errored"] == 1

    job = await starter("start", file, "--retry-waves", "1", "--wait", "--json", *QUICK)

    assert job.code == 0, job.err
    assert "only what has failed there is sent" in job.err
    assert job.json["output"]["summary"]["counts"]["succeeded"] == 3
    assert sent(live.emulator) == {given[0]["custom_id"]: 1, failing: 2, given[2]["custom_id"]: 1}
    assert (await input_of(live, job.json["workflowId"])).base == run.json["workflowId"]


async def test_a_run_that_is_under_way_is_joined_and_can_be_retried_later(patient: CommandLine, pending: Stack) -> None:
    file = patient.file(fresh(3))
    run = await patient("start", file, "--json", *QUICK)
    await pending.saw("create")

    joined = await patient("start", file, "--retry-waves", "1", "--json", *QUICK)

    assert joined.code == 0, joined.err
    assert joined.json["workflowId"] == run.json["workflowId"]
    assert f"retry {run.json['workflowId']}" in joined.err
    assert len(pending.emulator.batches) == 1
    await pending.client.get_workflow_handle(run.json["workflowId"]).terminate()


async def test_a_job_above_the_limit_is_not_started(starter: CommandLine, live: Stack) -> None:
    refused = await starter("start", starter.file(fresh(5)), *SHARDS, "--max-cost", "0.001", "--json", *QUICK)

    assert refused.code == 2
    assert refused.json["error"]["type"] == "CostLimitExceeded"
    assert [run async for run in live.client.list_workflows(f"TaskQueue = '{live.task_queue}'")] == []
    assert live.emulator.batches == []


async def test_check_says_into_how_many_batches_files_are_split(alone: CommandLine) -> None:
    first, second = alone.file(fresh(3), "a.jsonl"), alone.file(fresh(5)[3:], "b.jsonl")

    checked = await alone("check", first.name, second.name, "--json")
    shown = await alone("check", first.name, second.name)

    assert (checked.json["count"], checked.json["batches"]) == (5, 1)
    assert shown.out.startswith("a.jsonl and 1 more file: can be sent")
