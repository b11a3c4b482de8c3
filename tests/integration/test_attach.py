"""Attaching to a batch that exists, alone or with the requests it holds."""

import pytest

from tests.harness.requests import requests
from tests.harness.stack import Stack, failure_of


async def test_a_batch_alone_is_landed_in_the_providers_order_and_not_verified(live: Stack) -> None:
    batch_id = await live.post_by_a_stranger(requests(5))

    output = await live.run(batch_id=batch_id)

    assert output.batch_id == batch_id
    assert not output.verified
    assert output.results_file.lines == 5
    assert live.operations().count("create") == 1


async def test_a_batch_with_its_requests_is_checked_fully(live: Stack) -> None:
    batch_id = await live.post_by_a_stranger(requests(5))

    output = await live.run(requests(5), batch_id=batch_id)

    assert output.verified
    assert output.results is not None
    assert [line["custom_id"] for line in output.results] == [f"request-{n:04}" for n in range(5)]
    assert live.operations().count("create") == 1


async def test_a_batch_landed_alone_can_be_landed_again_verified(live: Stack) -> None:
    batch_id = await live.post_by_a_stranger(requests(3))

    alone = await live.run(batch_id=batch_id)
    checked = await live.run(requests(3), batch_id=batch_id)

    assert (alone.verified, checked.verified) == (False, True)


async def test_a_batch_with_other_requests_fails_and_names_them(live: Stack) -> None:
    batch_id = await live.post_by_a_stranger(requests(3))
    others = [item | {"custom_id": f"other-{number}"} for number, item in enumerate(requests(3))]

    failure = await failure_of(await live.start(others, batch_id=batch_id))

    assert failure.type == "ResultsIncomplete"
    assert "other-0" in failure.message


@pytest.mark.parametrize("missing_line", ["missing-line", "duplicate-line"])
async def test_a_batch_alone_is_still_counted_and_its_ids_are_unique(live: Stack, missing_line: str) -> None:
    batch_id = await live.post_by_a_stranger(requests(3))
    live.emulator.faults.add(missing_line, operation="results", times=2)

    output = await live.run(batch_id=batch_id)

    assert output.results_file.lines == 3
    assert live.operations().count("results") == 3


async def test_an_attached_run_looks_for_no_file(live: Stack) -> None:
    batch_id = await live.post_by_a_stranger(requests(2))
    uri = f"{live.store_url}/{{date}}.jsonl"

    failure = await failure_of(await live.start(batch_id=batch_id, requests_uri=uri, requests_uri_zone="UTC"))

    assert failure.type == "InvalidRequests"
    assert "requestsUriZone" in failure.message
