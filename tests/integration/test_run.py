"""A run from requests to checked results, on a real server against the emulator."""

import asyncio
import json
from pathlib import Path

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.temporal.dev_server import DevServer
from tests.harness.project import calls_for
from tests.harness.requests import fresh, requests
from tests.harness.stack import Stack, running_stack


async def test_three_requests_are_submitted_polled_and_landed(live: Stack) -> None:
    output = await live.run(requests(3))

    assert output.request_counts.succeeded == 3
    assert output.verified
    assert output.results is not None
    assert [line["custom_id"] for line in output.results] == ["request-0000", "request-0001", "request-0002"]
    assert live.operations()[0] == "create"
    assert live.operations()[-1] == "results"


async def test_a_run_makes_the_calls_that_an_independent_runner_makes_of_the_document(
    temporal: DevServer, tmp_path: Path
) -> None:
    async with (
        Emulator(EmulatorOptions(ends_after_polls=4)) as emulator,
        running_stack(temporal.client, emulator, tmp_path.as_uri()) as live,
    ):
        output = await live.run(requests(2))

        made = [(call.method, call.path, call.status) for call in emulator.calls if call.operation != "list"]
        assert made == calls_for(output.batch_id, polls=4)


async def test_batches_that_end_by_count_end_where_their_polls_share_a_call(
    temporal: DevServer, tmp_path: Path
) -> None:
    async with (
        Emulator(EmulatorOptions(ends_after_polls=3)) as emulator,
        running_stack(temporal.client, emulator, tmp_path.as_uri()) as live,
    ):
        outputs = await asyncio.gather(*(live.run(fresh()) for _ in range(4)))

    assert {output.batch_id for output in outputs} == {batch.id for batch in emulator.batches}
    assert all(output.verified for output in outputs)


async def test_the_same_content_started_by_two_callers_is_two_batches(live: Stack) -> None:
    first, second = await live.run(requests(2)), await live.run(requests(2))

    assert first.batch_id != second.batch_id
    assert len(live.emulator.batches) == 2


async def test_the_output_summarizes_the_results(live: Stack) -> None:
    given = requests(6)
    given[1]["params"]["model"] = "claude-does-not-exist-9"
    given[4]["params"]["max_tokens"] = 9_999_999

    output = await live.run(given)

    assert (output.summary.counts.succeeded, output.summary.counts.errored) == (4, 2)
    assert [(group.type, group.count) for group in output.summary.errors] == [
        ("invalid_request_error", 1),
        ("not_found_error", 1),
    ]
    assert output.summary.errors[0].custom_ids == ("request-0004",)
    (usage,) = output.summary.usage
    assert output.results is not None
    replies = [line["result"]["message"] for line in output.results if line["result"]["type"] == "succeeded"]
    assert usage.output == sum(reply["usage"]["output_tokens"] for reply in replies)
    assert output.results_url is not None


async def test_requests_may_be_in_the_store(live: Stack, tmp_path: Path) -> None:
    store = tmp_path / "store"
    lines = b"".join(json.dumps(item).encode() + b"\n" for item in requests(3))
    store.mkdir()
    store.joinpath("mine.jsonl").write_bytes(lines)

    output = await live.run(requests_uri=f"{live.store_url}/mine.jsonl")

    assert output.verified
    assert output.results_file.lines == 3
