"""The faults with arguments: any error, any outcome of a request, any field of a batch, any bytes in the results."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from message_batches.emulator import Emulator
from tests.harness.emulated_api import BATCHES, HOUR, body, by_id, create, eventually, http, request, results, retrieve
from tests.unit.emulator.conftest import Start

LOW_CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."


def several(count: int = 6) -> list[dict[str, Any]]:
    return [request(f"r{number}") for number in range(count)]


@pytest.mark.parametrize(
    ("order", "status", "error"),
    [
        (
            {"status": 400, "message": LOW_CREDIT},
            400,
            {"type": "invalid_request_error", "message": LOW_CREDIT},
        ),
        (
            {"status": 400, "error_code": "workspace_human_review_disabled", "message": "Human Review is off."},
            400,
            {
                "type": "invalid_request_error",
                "message": "Human Review is off.",
                "details": {"error_code": "workspace_human_review_disabled"},
            },
        ),
        ({"status": 403, "type": "billing_error", "message": "x"}, 403, {"type": "billing_error", "message": "x"}),
        ({"status": 504, "message": "late"}, 504, {"type": "timeout_error", "message": "late"}),
        ({"status": 418, "type": "new_error", "message": "x"}, 418, {"type": "new_error", "message": "x"}),
    ],
)
async def test_any_error_can_be_ordered(
    emulator: Emulator, client: httpx.AsyncClient, order: dict[str, Any], status: int, error: dict[str, Any]
) -> None:
    emulator.faults.add("error", operation="create", times=1, retry_after=3, **order)
    reply = await client.post(BATCHES, json=body())
    assert (reply.status_code, reply.json()["error"], reply.headers["retry-after"]) == (status, error, "3")
    assert reply.json()["request_id"] == reply.headers["request-id"]
    assert emulator.batches == []


@pytest.mark.parametrize("status", [413, 502, 504, 520])
async def test_an_error_can_be_a_page_of_a_gateway(emulator: Emulator, client: httpx.AsyncClient, status: int) -> None:
    emulator.faults.add("error", times=1, status=status, html=True)
    reply = await client.post(BATCHES, json=body())
    assert (reply.status_code, reply.headers["content-type"]) == (status, "text/html")
    assert "request-id" not in reply.headers
    assert str(status) in reply.text


async def test_after_the_error_of_a_gateway_the_batch_may_still_be_created(
    emulator: Emulator, client: httpx.AsyncClient
) -> None:
    emulator.faults.add("error", operation="create", times=1, status=504, html=True, creates_after=0.3)
    assert (await client.post(BATCHES, json=body(*several(3)))).status_code == 504
    assert (await client.get(BATCHES)).json()["data"] == []

    async def is_made() -> bool:
        return len((await client.get(BATCHES)).json()["data"]) == 1

    await eventually(is_made)
    assert emulator.batches[0].created_at - emulator.calls[0].time >= timedelta(seconds=0.3)
    assert emulator.calls[0].status == 504


@pytest.mark.parametrize(
    "type_",
    ["rate_limit_error", "overloaded_error", "timeout_error", "api_error", "billing_error", "permission_error", "new"],
)
async def test_requests_come_back_with_any_error(emulator: Emulator, client: httpx.AsyncClient, type_: str) -> None:
    emulator.faults.add("outcome", times=1, error=type_, message="As ordered.")
    made = await create(client, *several(3), request("bad", max_tokens=0))
    got = await by_id(client, made["id"])
    errors = {name: result["error"]["error"] for name, result in got.items()}
    assert {(errors[f"r{number}"]["type"], errors[f"r{number}"]["message"]) for number in range(3)} == {
        (type_, "As ordered.")
    }
    # What is wrong in a request stays so.
    assert errors["bad"]["type"] == "invalid_request_error"
    assert (await retrieve(client, made["id"]))["request_counts"]["errored"] == 4
    assert {result["type"] for result in (await by_id(client, (await create(client))["id"])).values()} == {"succeeded"}


@pytest.mark.parametrize(
    ("order", "counted"),
    [
        ({"type": "moderated"}, {"errored": 1, "succeeded": 5}),
        ({"type": "expired"}, {"expired": 1, "succeeded": 5}),
        ({"type": "canceled"}, {"canceled": 1, "succeeded": 5}),
        ({"type": "errored"}, {"errored": 1, "succeeded": 5}),
    ],
)
async def test_one_request_gets_any_result_type(
    emulator: Emulator, client: httpx.AsyncClient, order: dict[str, Any], counted: dict[str, int]
) -> None:
    emulator.faults.add("outcome", custom_id="r4", **order)
    made = await create(client, *several())
    got = await by_id(client, made["id"])
    assert {name: result["type"] for name, result in got.items() if result["type"] != "succeeded"} == {
        "r4": order["type"]
    }
    counts = (await retrieve(client, made["id"]))["request_counts"]
    assert {name: count for name, count in counts.items() if count} == counted


async def test_a_share_of_the_requests_is_struck_each_for_itself(start: Start) -> None:
    struck = []
    for seed in (3, 3, 4):
        emulator = await start(
            processing_time=timedelta(), seed=seed, faults=("outcome:share=0.5,error=overloaded_error",)
        )
        async with http(emulator) as client:
            ids = [(await create(client))["id"] for _ in range(40)]
            struck.append([(await by_id(client, batch_id))["a"]["type"] for batch_id in ids])
    assert struck[0] == struck[1] != struck[2]
    assert 10 <= struck[0].count("errored") <= 30


@pytest.mark.parametrize("stop", ["max_tokens", "refusal", "pause_turn", "model_context_window_exceeded", "new_reason"])
async def test_a_reply_ends_early(emulator: Emulator, client: httpx.AsyncClient, stop: str) -> None:
    emulator.faults.add("outcome", stop_reason=stop)
    made = await create(client, request("a"))
    result = (await by_id(client, made["id"]))["a"]
    assert (result["type"], result["message"]["stop_reason"]) == ("succeeded", stop)
    assert bool(result["message"]["content"]) == (stop != "refusal")


async def test_a_reply_is_split_into_adjacent_text_blocks(emulator: Emulator, client: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    asked = [request("text"), request("json", output_config={"format": {"type": "json_schema", "schema": schema}})]
    emulator.faults.add("outcome", blocks=4)
    got = await by_id(client, (await create(client, *asked))["id"])
    contents = {name: result["message"]["content"] for name, result in got.items()}
    assert len(contents["text"]) == 4
    assert all(block["type"] == "text" for blocks in contents.values() for block in blocks)
    assert "Why is the sky blue?" in "".join(block["text"] for block in contents["text"])
    assert json.loads("".join(block["text"] for block in contents["json"]))["a"]


@pytest.mark.parametrize("ended_at", [None, "2026-11-26T10:00:00Z"])
async def test_a_status_that_the_api_does_not_have(
    emulator: Emulator, client: httpx.AsyncClient, ended_at: str | None
) -> None:
    made = await create(client)
    emulator.faults.add("field", operation="retrieve", field="processing_status", value="failed")
    emulator.faults.add("field", operation="retrieve", field="ended_at", value=ended_at)
    shown = await retrieve(client, made["id"])
    assert (shown["processing_status"], shown["ended_at"]) == ("failed", ended_at)
    assert emulator.calls[-1].faults == ["field", "field"]
    assert (await client.get(BATCHES)).json()["data"][0]["processing_status"] == "ended"


async def test_fields_are_renamed_missing_and_of_other_types(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("field", field="id", value="gateway:1", operation="list")
    emulator.faults.add("field", field="request_counts.succeeded", value="many", operation="list")
    emulator.faults.add("field", field="created_at", absent=True, operation="list")
    emulator.faults.add("field", field="gateway.cost", value=1.5, operation="list")
    await create(client)
    (shown,) = (await client.get(BATCHES)).json()["data"]
    assert (shown["id"], shown["request_counts"]["succeeded"], shown["gateway"]) == ("gateway:1", "many", {"cost": 1.5})
    assert "created_at" not in shown


async def test_a_batch_is_shown_as_archived(emulator: Emulator, client: httpx.AsyncClient) -> None:
    """By fields and an error for one; advancing the clock by 29 days archives them all."""
    made = await create(client)
    emulator.clock.advance(timedelta(seconds=29 * 24 * HOUR))
    shown = await retrieve(client, made["id"])
    assert shown["archived_at"] is not None
    assert shown["results_url"] is None
    assert (await client.get(f"{BATCHES}/{made['id']}/results")).status_code == 404


async def test_bytes_are_inserted_into_a_line(emulator: Emulator, client: httpx.AsyncClient) -> None:
    batch_id = (await create(client, *several()))["id"]
    whole = await results(client, batch_id)
    emulator.faults.add("insert", times=1, hex="fffe", line=2)
    damaged = await results(client, batch_id)
    at = damaged.index(b"\xff\xfe")
    assert damaged[:at].count(b"\n") == 2
    assert damaged[:at].endswith(b'"text":"')
    assert damaged[:at] + damaged[at + 2 :] == whole
    assert await results(client, batch_id) == whole


@pytest.mark.parametrize("at", [0, 100, 10**9])
async def test_bytes_are_inserted_at_a_place(emulator: Emulator, client: httpx.AsyncClient, at: int) -> None:
    batch_id = (await create(client, *several()))["id"]
    whole = await results(client, batch_id)
    emulator.faults.add("insert", times=1, hex="efbbbf", at=at)
    assert await results(client, batch_id) == whole[:at] + b"\xef\xbb\xbf" + whole[at:]


async def test_another_program_creates_a_batch_of_the_same_ids(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("foreign-batch", times=1, model="claude-haiku-4-5-20251001")
    emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    assert (await client.post(BATCHES, json=body(*several(3)))).status_code == 500
    (foreign,) = (await client.get(BATCHES)).json()["data"]
    got = await by_id(client, foreign["id"])
    assert sorted(got) == ["r0", "r1", "r2"]
    assert {result["message"]["model"] for result in got.values()} == {"claude-haiku-4-5-20251001"}


async def test_another_program_has_ids_of_its_own_and_comes_later(
    emulator: Emulator, client: httpx.AsyncClient
) -> None:
    emulator.faults.add("foreign-batch", times=1, prefix="request-", seconds=0.2, max_tokens=4)
    made = await create(client, *several(3))

    async def is_made() -> bool:
        return len(emulator.batches) == 2

    await eventually(is_made)
    ours, foreign = emulator.batches
    assert (ours.id, foreign.custom_ids) == (made["id"], ["request-0", "request-1", "request-2"])
    got = await by_id(client, foreign.id)
    assert {result["message"]["usage"]["output_tokens"] for result in got.values()} == {4}
