"""A job that begins with what a run or another job has landed: only what failed there is sent."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from message_batches.job_models import JobOutput, Retries, RetryKind
from message_batches.models import BatchOutput
from message_batches.requests.manifest import write_inline_manifest
from message_batches.results.parser import read_result
from message_batches.storage.object_store import open_store
from tests.harness.requests import fresh, requests
from tests.harness.running_jobs import Job, merged_ids, sent, start_job
from tests.harness.stack import Stack

PASSING: dict[str, Any] = {"type": "errored", "error": "overloaded_error", "message": "Overloaded"}
INVALID: dict[str, Any] = {"type": "errored", "error": "invalid_request_error", "message": "max_tokens: Field required"}


def outcome_of(output: BatchOutput | JobOutput, custom_id: str) -> str:
    content = Path(output.results_file.uri.removeprefix("file://")).read_bytes()
    found = {result.custom_id: result for result in map(read_result, content.splitlines())}
    return found[custom_id].stop_reason or found[custom_id].type


async def failure_of_job(job: Job) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        await job.result()
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def run_with_three_kinds_of_failures(live: Stack) -> tuple[list[str], str, BatchOutput]:
    given = fresh(6)
    ids = [each["custom_id"] for each in given]
    faults = live.emulator.faults
    faults.add("outcome", operation="create", times=1, custom_id=ids[1], **PASSING)
    faults.add("outcome", operation="create", times=1, custom_id=ids[2], type="expired")
    faults.add("outcome", operation="create", times=1, custom_id=ids[3], type="succeeded", stop_reason="max_tokens")
    faults.add("outcome", operation="create", times=1, custom_id=ids[4], **INVALID)
    run = await live.start(given)
    return ids, run.id, await run.result()


async def test_only_what_failed_in_a_run_is_sent_and_the_merged_file_has_all(live: Stack) -> None:
    ids, run_id, first = await run_with_three_kinds_of_failures(live)
    assert first.summary.usable == 2

    retries = Retries(waves=2, what=RetryKind.UNUSABLE, max_tokens=4096)
    output = await (await start_job(live, base=run_id, shard=2, retries=retries)).result()

    assert merged_ids(output) == ids
    assert {custom_id: times for custom_id, times in sent(live).items() if times > 1} == dict.fromkeys(ids[1:4], 2)
    assert [(wave.sent, wave.landed, wave.shards) for wave in output.waves] == [(6, 1, 1), (3, 2, 2)]
    assert (output.summary.usable, output.summary.counts.errored, output.verified) == (5, 1, True)
    assert outcome_of(output, ids[3]) == "end_turn"
    assert first.cost
    assert output.cost
    assert (output.cost.amount or 0) > (first.cost.amount or 0)


async def test_the_same_requests_may_be_given_and_others_are_refused(live: Stack) -> None:
    ids, run_id, _ = await run_with_three_kinds_of_failures(live)
    store = open_store(live.store_url)
    [manifest] = [name for name in await store.names("manifests/") if name.endswith(".jsonl")]

    job = await start_job(live, requests_uri=store.uri(manifest), base=run_id, retries=Retries(waves=1))
    assert merged_ids(await job.result()) == ids

    other = await write_inline_manifest(store, requests(2, "other"))
    refused = await failure_of_job(await start_job(live, requests_uri=other.uri, base=run_id))
    assert refused.type == "BaseUnusable"
    assert "other requests" in refused.message
    assert sent(live)[ids[0]] == 1


@pytest.mark.slow
async def test_a_job_goes_on_from_another_job(live: Stack) -> None:
    given = fresh(5)
    ids = [each["custom_id"] for each in given]
    live.emulator.faults.add("outcome", operation="create", custom_id=ids[3], **PASSING)
    first = await start_job(live, given, shard=2, waves=1)
    before = await first.result()
    assert [wave.sent for wave in before.waves] == [5, 1]
    live.emulator.faults.clear()

    output = await (await start_job(live, base=first.id, shard=2, waves=1)).result()

    assert merged_ids(output) == ids
    assert [wave.sent for wave in output.waves] == [5, 1, 1]
    assert output.summary.usable == 5
    assert sent(live) == dict.fromkeys(ids, 1) | {ids[3]: 3}


@pytest.mark.slow
async def test_a_job_that_has_begun_with_a_base_is_started_again(live: Stack) -> None:
    given = fresh(2)
    live.emulator.faults.add("outcome", operation="create", times=2, custom_id=given[0]["custom_id"], **PASSING)
    run = await live.start(given)
    await run.result()
    first = await start_job(live, base=run.id, waves=1)
    assert (await first.result()).summary.usable == 1

    again = await start_job(live, job_id=first.id, base=run.id, waves=1)
    output = await again.result()

    assert [wave.sent for wave in output.waves] == [2, 1, 1]
    assert output.summary.usable == 2
    assert sent(live)[given[1]["custom_id"]] == 1


async def test_a_base_without_results_sends_nothing(pending: Stack) -> None:
    run, job = await pending.start(fresh()), await start_job(pending, fresh())
    await pending.saw("create", 3)

    for base, why in ((run.id, "it is running"), (job.id, "is under way"), ("nobody", "There is no run 'nobody'")):
        refused = await failure_of_job(await start_job(pending, base=base))
        assert (refused.type, refused.non_retryable) == ("BaseUnusable", True)
        assert refused.message.startswith(f"The base {base} ")
        assert why in refused.message
        assert refused.message.endswith("Nothing was sent")
    await job.terminate()
    refused = await failure_of_job(await start_job(pending, base=job.id))
    assert f"has 2 shards without results, such as {job.id}-0-0" in refused.message
    assert pending.operations().count("create") == 3


@pytest.mark.slow
async def test_a_base_whose_files_are_gone_or_of_another_account_sends_nothing(live: Stack) -> None:
    given = fresh()
    run = await live.start(given)
    output = await run.result()
    job = await start_job(live, given)
    merged = await job.result()
    sent_before = live.operations().count("create")

    for base in (run.id, job.id):
        other = await failure_of_job(await start_job(live, base=base, api_key="team-a"))
        assert other.type == "BaseUnusable"
        assert "is of the key 'default'" in other.message
        assert "the job's is 'team-a'" in other.message

    store = open_store(live.store_url)
    listed = await store.read(store.name(merged.shards.uri)) or b""
    shards = [json.loads(line)["resultsFile"]["uri"] for line in listed.splitlines()]
    await asyncio.gather(*(store.remove(store.name(uri)) for uri in (output.results_file.uri, *shards)))
    for base in (run.id, job.id):
        gone = await failure_of_job(await start_job(live, base=base))
        assert gone.type == "BaseUnusable"
        assert "gone from this store" in gone.message
    assert live.operations().count("create") == sent_before
