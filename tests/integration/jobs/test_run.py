"""Jobs that come to their end: shards, window, waves, and one merged file."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.job_models import JobPhase, Retries, RetryKind
from message_batches.temporal.dev_server import DevServer
from tests.harness.requests import request, requests
from tests.harness.running_jobs import job_when, merged, merged_ids, most_alive, sent, start_job
from tests.harness.stack import Stack, details_of, failure_of, running_stack

SECOND = timedelta(seconds=1)


@pytest.fixture
async def brief(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker over an emulator whose batches take a second."""
    async with (
        Emulator(EmulatorOptions(processing_time=SECOND)) as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running


async def test_three_shards_land_and_are_merged_in_the_order_of_the_requests(live: Stack) -> None:
    given = requests(5)
    job = await start_job(live, given, static_summary="5 requests")
    output = await job.result()

    assert merged_ids(output) == [each["custom_id"] for each in given]
    assert output.verified
    assert output.unfinished is None
    assert output.shards.count == 3
    assert [(wave.sent, wave.shards, wave.landed, wave.usable) for wave in output.waves] == [(5, 3, 3, 5)]
    assert (output.failed_shard_count, output.stopped) == (0, None)
    assert max(sent(live).values()) == 1
    assert sorted(len(batch.requests) for batch in live.emulator.batches) == [1, 2, 2]
    end = await job_when(job, lambda seen: seen.phase is JobPhase.LANDED)
    assert (end.requests, end.alive, end.waves) == (5, (), output.waves)


async def test_the_history_of_a_job_has_no_results(live: Stack) -> None:
    job = await start_job(live, requests(4))
    output = await job.result()

    replies = [line["result"]["message"]["id"].encode() for line in merged(output)]
    events = b"".join(event.SerializeToString() for event in (await job.fetch_history()).events)
    assert output.results_file.sha256.encode() in events
    assert len(replies) == 4
    assert [reply for reply in replies if reply in events] == []


async def test_a_job_whose_shards_would_have_too_long_an_id_fails(live: Stack) -> None:
    failed = await failure_of(await start_job(live, requests(2), job_id="j" * 990))

    assert failed.type == "InvalidInput"
    assert "980 bytes" in failed.message
    assert not live.emulator.calls


async def test_requests_in_the_store_are_read_there(live: Stack) -> None:
    given = "".join(f'{{"custom_id":"{n}","params":{request("x")["params"]}}}\n'.replace("'", '"') for n in range(4))
    live.store_folder.mkdir(exist_ok=True)
    file = live.store_folder / "given.jsonl"
    file.write_text(given)
    output = await (await start_job(live, requests_uri=file.as_uri(), shard=3)).result()

    assert merged_ids(output) == ["0", "1", "2", "3"]


@pytest.mark.slow
async def test_never_more_batches_are_alive_than_the_concurrency_allows(brief: Stack) -> None:
    output = await (await start_job(brief, requests(7), shard=1, concurrency=2)).result()

    assert output.shards.count == 7
    assert most_alive(brief) == 2


async def test_failed_requests_are_sent_again_in_waves_and_the_last_answer_counts(live: Stack) -> None:
    given = requests(6)
    failing = {"type": "errored", "error": "overloaded_error", "custom_id": given[3]["custom_id"]}
    live.emulator.faults.add("outcome", operation="create", times=3, **failing)
    live.emulator.faults.add(
        "outcome",
        operation="create",
        custom_id=given[0]["custom_id"],
        type="errored",
        error="invalid_request_error",
        message="max_tokens: Field required",
    )
    job = await start_job(live, given, waves=3)
    output = await job.result()

    assert merged_ids(output) == [each["custom_id"] for each in given]
    assert output.summary.counts.succeeded == 5
    assert output.summary.counts.errored == 1
    assert [wave.sent for wave in output.waves] == [6, 1]
    assert sent(live)[given[3]["custom_id"]] == 2
    assert sent(live)[given[0]["custom_id"]] == 1


@pytest.mark.slow
async def test_no_more_waves_are_sent_than_allowed(live: Stack) -> None:
    live.emulator.faults.add("outcome", operation="create", type="expired")
    output = await (await start_job(live, requests(3), shard=3, waves=2)).result()

    assert [wave.sent for wave in output.waves] == [3, 3, 3]
    assert output.summary.counts.expired == 3
    assert output.stopped is None


async def test_a_wave_above_the_limit_on_the_cost_is_not_sent_and_what_has_landed_is_merged(live: Stack) -> None:
    given = requests(3)
    cut = {"type": "succeeded", "stop_reason": "max_tokens", "custom_id": given[1]["custom_id"]}
    live.emulator.faults.add("outcome", operation="create", times=2, **cut)
    raised = Retries(waves=1, what=RetryKind.UNUSABLE, max_tokens=60_000)
    output = await (await start_job(live, given, retries=raised, max_cost=Decimal("0.05"))).result()
    refused = await failure_of(await start_job(live, given, max_cost=Decimal("0.000001")))

    assert output.verified
    assert (output.summary.counts.succeeded, output.summary.usable) == (3, 2)
    assert len(output.waves) == 1
    assert output.stopped
    assert output.stopped.startswith("CostLimitExceeded: ")
    assert refused.type == "CostLimitExceeded"
    assert len(live.emulator.batches) == 2


@pytest.mark.slow
async def test_a_full_queue_of_the_provider_is_waited_for(temporal: DevServer, tmp_path: Path) -> None:
    options = EmulatorOptions(processing_time=SECOND, queue_limit=2)
    async with Emulator(options) as emulator, running_stack(temporal.client, emulator, tmp_path.as_uri()) as live:
        # Not waited for by the run of a shard, so that its job has to.
        at_once = {"retry_after": timedelta(seconds=0.2), "retry_limit": 0}
        poll: dict[str, Any] = {"retry_after": timedelta(seconds=0.1), "transient": at_once}
        output = await (await start_job(live, requests(6), poll=poll)).result()

    assert output.verified
    assert output.failed_shard_count == 0
    assert max(sent(live).values()) == 1
    assert any(call.status == 429 for call in emulator.calls)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"retries": Retries(what=RetryKind.UNUSABLE)}, "InvalidInput", "maxTokens"),
        ({"requests_uri": "file:///nowhere"}, "InvalidRequests", "not both"),
        ({"api_key": "sk-ant-not-a-name"}, "UnknownKey", "key"),
        ({"api_key": "team-b"}, "UnknownKey", "team-b"),
    ],
)
async def test_an_input_that_cannot_be_used_fails_the_job_before_anything_is_sent(
    live: Stack, options: dict[str, Any], kind: str, said: str
) -> None:
    failure = await failure_of(await start_job(live, requests(), **options))

    assert failure.type == kind
    assert said in failure.message
    assert "sk-ant" not in failure.message
    assert not live.emulator.batches


async def test_a_job_without_requests_is_refused(live: Stack) -> None:
    failure = await failure_of(await start_job(live))

    assert failure.type == "InvalidRequests"
    assert "base" in failure.message


async def test_duplicate_ids_across_shards_fail_the_job_before_anything_is_sent(live: Stack) -> None:
    failure = await failure_of(await start_job(live, [*requests(3), *requests(1)]))

    assert failure.type == "InvalidRequests"
    assert "request-0000" in failure.message
    assert not live.emulator.batches


async def test_a_deadline_that_has_passed_sends_nothing(live: Stack) -> None:
    past = datetime.now(UTC) - SECOND
    failure = await failure_of(await start_job(live, requests(), deadline=past))

    assert failure.type == "DeadlinePassed"
    assert not live.emulator.batches


@pytest.mark.slow
async def test_nothing_is_started_after_the_deadline_and_what_has_landed_is_merged(brief: Stack) -> None:
    soon = datetime.now(UTC) + 2.5 * SECOND
    output = await (await start_job(brief, requests(6), shard=1, concurrency=1, waves=2, deadline=soon)).result()

    assert 0 < len(brief.emulator.batches) < 6
    assert output.stopped == "its deadline has passed"
    assert len(output.waves) == 1
    assert output.unfinished
    assert output.unfinished.count == 6 - len(brief.emulator.batches)
    assert output.results_file.lines == len(brief.emulator.batches)


async def test_the_page_of_a_job_shows_its_waves_and_its_end(live: Stack) -> None:
    job = await start_job(live, requests(3))
    output = await job.result()
    shown = await details_of(job)

    assert shown.startswith("**Landed**")
    assert "| 0 | 3 | 2 of 2 | 0 | 3 |" in shown
    assert "**3 succeeded**" in shown
    assert output.results_file.sha256 in shown
