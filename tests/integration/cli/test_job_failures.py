"""A job of twelve shards of which one fails, in each way: how it ends, and that the named command completes it."""

import json
import shlex
from datetime import timedelta
from typing import Any

import pytest

from message_batches.job_models import JobOutput, JobPhase, shard_workflow_id
from message_batches.models import PollSchedule, RetrySchedule, SubmissionSchedule
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.requests import fresh, requests
from tests.harness.running_jobs import Job, job_when, merged, merged_ids, polled, sent, start_job
from tests.harness.stack import Stack

SHARDS = 12
ONCE = PollSchedule(
    retry_after=timedelta(seconds=0.1), transient=RetrySchedule(retry_after=timedelta(seconds=0.1), retry_limit=0)
)
"""A call that fails is not tried again by the run of the shard."""
SOME_TIME = timedelta(minutes=11)
LOST = SubmissionSchedule(timeout=timedelta(seconds=2), quiet_period=timedelta(seconds=0.1))


async def started(live: Stack, **options: Any) -> Job:
    """Start a job of twelve shards."""
    defaults: dict[str, Any] = {"poll": ONCE, "concurrency": SHARDS}
    return await start_job(live, requests(2 * SHARDS), **(defaults | options))


async def carry_out(starter: CommandLine, command: str) -> None:
    """Run a command that the starter has named."""
    _, _, arguments = command.partition("starter.py ")
    ended = await starter(*shlex.split(arguments))
    assert ended.code == 0, ended.err


def is_whole(output: JobOutput, live: Stack) -> None:
    """Check that one merged file has a reply for each request, each of which was paid for once."""
    assert output.verified
    assert output.failed_shard_count == 0
    assert merged_ids(output) == [each["custom_id"] for each in requests(2 * SHARDS)]
    assert {line["result"]["type"] for line in merged(output)} == {"succeeded"}
    assert set(sent(live).values()) == {1}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("SpendLimitReached", {"fault": "spend-limit", "operation": "create"}),
        pytest.param(
            "AuthenticationFailed",
            {"fault": "error", "operation": "create", "status": 401, "type": "authentication_error"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "PermissionDenied",
            {"fault": "error", "operation": "retrieve", "status": 403, "type": "permission_error"},
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.slow
async def test_what_concerns_all_pauses_the_job_until_it_is_resumed(
    starter: CommandLine, live: Stack, kind: str, fault: dict[str, Any]
) -> None:
    live.emulator.faults.add(**fault, times=1)
    job = await started(live)
    paused = await job_when(job, lambda seen: seen.phase is JobPhase.PAUSED and not seen.alive)
    listed = (await starter("list", "--needs-attention", "--limit", "1000", "--json")).json
    [attention] = [each for each in listed if each["workflowId"] == job.id]

    assert paused.paused
    assert paused.paused.startswith(kind)
    assert paused.waves[0].landed == SHARDS - 1
    await carry_out(starter, attention["command"])
    is_whole(await job.result(), live)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "429", "operation": "create"},
        {"fault": "500", "operation": "retrieve"},
        {"fault": "error", "operation": "create", "status": 400, "message": "Overloaded", "type": "overloaded_error"},
    ],
    ids=lambda fault: f"{fault['fault']} on {fault['operation']}",
)
async def test_what_passes_by_itself_is_taken_up_again(live: Stack, fault: dict[str, Any]) -> None:
    live.emulator.faults.add(**fault, times=1)

    is_whole(await (await started(live)).result(), live)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("ResultsIncomplete", {"fault": "missing-line", "operation": "results", "line": 1, "times": 5}),
        (
            "RequestRefused",
            {"fault": "error", "operation": "create", "status": 400, "type": "invalid_request_error"}
            | {"message": "requests.0.params: not accepted", "times": 1},
        ),
        ("SubmissionUnknown", {"fault": "refuse-then-5xx", "operation": "create", "times": 3}),
    ],
)
async def test_what_concerns_one_shard_is_named_and_completed_by_the_named_command(
    starter: CommandLine, live: Stack, kind: str, fault: dict[str, Any]
) -> None:
    live.emulator.faults.add(**fault)
    job = await started(live, submission=LOST, concurrency=1)
    output = await job.result()
    assert [failed.type for failed in output.failed_shards] == [kind]
    assert output.shards.count == SHARDS - 1

    await complete(starter, job)

    is_whole(await live.client.get_workflow_handle(job.id, result_type=JobOutput).result(), live)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["terminate", "cancel"])
async def test_a_shard_that_an_operator_has_ended_is_named_and_taken_up(
    patient: CommandLine, pending: Stack, way: str
) -> None:
    job = await started(pending)
    await polled(pending, job, *range(SHARDS))
    shard = pending.client.get_workflow_handle(shard_workflow_id(job.id, 0, 7))
    await (shard.terminate() if way == "terminate" else shard.cancel())
    await job_when(job, lambda seen: seen.failed_shard_count == 1)
    pending.emulator.clock.advance(SOME_TIME)
    output = await job.result()
    assert [failed.number for failed in output.failed_shards] == [7]
    assert output.shards.count == SHARDS - 1

    await complete(patient, job)

    whole = await pending.client.get_workflow_handle(job.id, result_type=JobOutput).result()
    assert whole.verified
    assert merged_ids(whole) == [each["custom_id"] for each in requests(2 * SHARDS)]
    assert set(sent(pending).values()) == {1}
    # Its batch was cancelled with its run: these requests can be sent again, in a wave.
    assert whole.summary.counts.canceled == (2 if way == "cancel" else 0)


async def complete(starter: CommandLine, job: Job) -> None:
    """Run the command that is named for the shard without results, and have the job take it up."""
    ended = (await starter("watch", job.id, "--json")).json
    assert ended["output"]["unfinished"]["count"] == 2
    [failed] = ended["failedShards"]
    command = failed["command"]
    if "resolve" in command:
        await carry_out(starter, f"starter.py resolve {failed['workflowId']} --submit-again")
        command = f"starter.py resume {job.id}"
    await carry_out(starter, f"{command} --wait")


async def test_a_retry_sends_the_failed_ones_of_each_kind_and_merges_them(starter: CommandLine, live: Stack) -> None:
    given = fresh(8)
    kinds: dict[str, dict[str, Any]] = {
        "request-0001": {"type": "errored", "error": "overloaded_error"},
        "request-0003": {"type": "expired"},
        "request-0004": {"type": "canceled"},
        "request-0006": {"type": "errored", "error": "invalid_request_error", "message": "max_tokens: too large"},
    }
    for custom_id, outcome in kinds.items():
        live.emulator.faults.add("outcome", operation="create", times=1, custom_id=custom_id, **outcome)
    run = (await starter("start", starter.file(given), *QUICK, "--wait", "--json")).json["workflowId"]

    retried = await starter("retry", run, "--wait", "--json")

    output = retried.json["output"]
    written = await starter("results", retried.json["workflowId"])
    lines = [json.loads(line) for line in written.out.splitlines()]
    assert [line["custom_id"] for line in lines] == [each["custom_id"] for each in given]
    again = {"request-0001", "request-0003", "request-0004"}
    assert {custom_id for custom_id, times in sent(live).items() if times == 2} == again
    assert sum(sent(live).values()) == len(given) + len(again)
    types = [line["result"]["type"] for line in lines]
    assert output["summary"]["counts"] == {
        kind: types.count(kind) for kind in ("succeeded", "errored", "canceled", "expired")
    }
    assert types.count("succeeded") == 7
    assert output["verified"]
