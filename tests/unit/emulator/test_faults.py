"""Every fault, as a client sees it."""

from __future__ import annotations

import gzip
import json
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest

from message_batches.emulator import Emulator
from tests.harness.emulated_api import (
    BATCHES,
    body,
    create,
    eventually,
    http,
    request,
    results,
)
from tests.unit.emulator.conftest import Start


async def ended(client: httpx.AsyncClient, count: int = 20) -> str:
    """Create a batch that has ended, ready for its results."""
    return str((await create(client, *(request(f"r{number}") for number in range(count))))["id"])


async def test_accept_then_drop_leaves_a_batch_and_no_reply(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("accept-then-drop", operation="create", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        await create(client)
    (batch,) = emulator.batches
    (call,) = emulator.calls
    assert (call.operation, call.status, call.batch_id, call.faults) == ("create", None, batch.id, ["accept-then-drop"])
    assert (await create(client))["id"] != batch.id


async def test_accept_then_drop_spares_what_was_not_accepted(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("accept-then-drop", times=1)
    assert (await client.post(BATCHES, json={"requests": []})).status_code == 400
    assert [fault.remaining for fault in emulator.faults] == [1]


async def test_accept_then_5xx(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("accept-then-5xx", operation="create", times=1, status=502, retry_after=3, should_retry=False)
    reply = await client.post(BATCHES, json=body())
    assert (reply.status_code, reply.json()["error"]["type"]) == (502, "api_error")
    assert (reply.headers["retry-after"], reply.headers["x-should-retry"]) == ("3", "false")
    assert len(emulator.batches) == 1


@pytest.mark.parametrize(
    ("fault", "status", "type_"),
    [
        ("refuse-then-5xx", 500, "api_error"),
        ("500", 500, "api_error"),
        ("503", 503, "api_error"),
        ("529", 529, "overloaded_error"),
        ("429", 429, "rate_limit_error"),
    ],
)
async def test_refusals(emulator: Emulator, client: httpx.AsyncClient, fault: str, status: int, type_: str) -> None:
    emulator.faults.add(fault, times=1)
    emulator.faults.add(fault, times=1, retry_after=7)
    plain = await client.post(BATCHES, json=body())
    timed = await client.post(BATCHES, json=body())
    assert [(reply.status_code, reply.json()["error"]["type"]) for reply in (plain, timed)] == [(status, type_)] * 2
    assert ("retry-after" in plain.headers, timed.headers["retry-after"]) == (False, "7")
    assert emulator.batches == []
    assert (await client.post(BATCHES, json=body())).status_code == 200


async def test_spend_limit(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("spend-limit", operation="create", times=1)
    reply = await client.post(BATCHES, json=body())
    assert (reply.status_code, reply.json()["error"]["type"]) == (429, "rate_limit_error")
    assert reply.json()["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}
    assert "retry-after" not in reply.headers


async def test_html_413(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("html-413", operation="create", times=1)
    reply = await client.post(BATCHES, json=body())
    assert (reply.status_code, reply.headers["content-type"]) == (413, "text/html")
    assert "request-id" not in reply.headers
    assert reply.text.startswith("<html>")
    assert emulator.batches == []


@pytest.mark.parametrize("path", ["", "/results"])
async def test_404_for_an_existing_batch(emulator: Emulator, client: httpx.AsyncClient, path: str) -> None:
    batch_id = await ended(client)
    emulator.faults.add("404", operation="results" if path else "retrieve", times=1)
    replies = [await client.get(f"{BATCHES}/{batch_id}{path}") for _ in range(2)]
    assert [reply.status_code for reply in replies] == [404, 200]
    assert replies[0].json()["error"]["message"] == f"Message Batch {batch_id} not found."


async def test_invisible_for_a_while(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("invisible", operation="create", times=1, seconds=0.3)
    before = time.monotonic()
    batch_id = (await create(client))["id"]
    seen = await client.get(f"{BATCHES}/{batch_id}")
    listed = (await client.get(BATCHES)).json()["data"]
    # On a machine that is occasionally suspended, the time may be over already.
    assert time.monotonic() - before > 0.3 or (seen.status_code, listed) == (404, [])
    assert [batch.id for batch in emulator.batches] == [batch_id]

    async def is_seen() -> bool:
        return (await client.get(f"{BATCHES}/{batch_id}")).status_code == 200

    await eventually(is_seen)
    assert time.monotonic() - before > 0.29
    assert [batch["id"] for batch in (await client.get(BATCHES)).json()["data"]] == [batch_id]


async def test_faults_can_be_combined(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("invisible", times=1, seconds=60)
    emulator.faults.add("accept-then-drop", operation="create", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        await create(client)
    assert emulator.calls[0].faults == ["invisible", "accept-then-drop"]
    assert (await client.get(BATCHES)).json()["data"] == []
    assert len(emulator.batches) == 1


async def test_slow_delays_the_reply_and_not_the_effect(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("slow", operation="create", times=1, seconds=30)
    with pytest.raises(httpx.ReadTimeout):
        await client.post(BATCHES, json=body(), timeout=0.5)

    async def is_made() -> bool:
        return len(emulator.batches) == 1

    await eventually(is_made)


async def test_slow_and_late_takes_effect_after_the_client_has_disconnected(
    emulator: Emulator, client: httpx.AsyncClient
) -> None:
    emulator.faults.add("slow", operation="create", times=1, seconds=0.6, late=True)
    with pytest.raises(httpx.ReadTimeout):
        await client.post(BATCHES, json=body(), timeout=0.2)

    async def is_made() -> bool:
        return len(emulator.batches) == 1

    await eventually(is_made)
    assert emulator.batches[0].created_at - emulator.calls[0].time >= timedelta(seconds=0.6)


async def test_slow_bytes(emulator: Emulator, client: httpx.AsyncClient) -> None:
    batch_id = await ended(client)
    quick = await results(client, batch_id)
    emulator.faults.add("slow", times=2, bytes_per_second=len(quick) * 5)
    before = time.monotonic()
    assert await results(client, batch_id) == quick
    assert time.monotonic() - before > 0.15
    before = time.monotonic()
    await create(client, request(text="x" * len(quick)))
    assert time.monotonic() - before > 0.15


@pytest.mark.parametrize("at", [0, 1, 512, 2_000])
async def test_cut_in_order(emulator: Emulator, client: httpx.AsyncClient, at: int) -> None:
    batch_id = await ended(client)
    whole = await results(client, batch_id)
    emulator.faults.add("cut", operation="results", times=1, at=at, clean=True)
    assert await results(client, batch_id) == whole[:at]
    assert await results(client, batch_id) == whole


@pytest.mark.parametrize("at", [1, 512, 2_000_000])
async def test_cut_by_a_lost_connection(start: Start, at: int) -> None:
    emulator = await start(processing_time=timedelta(), reply_bytes=4000)
    async with http(emulator) as client:
        batch_id = await ended(client, 700)
        whole = await results(client, batch_id)
        assert len(whole) > 2_000_000
        emulator.faults.add("cut", operation="results", times=1, at=at)
        got = bytearray()

        async def download() -> None:
            async with client.stream("GET", f"{BATCHES}/{batch_id}/results") as reply:
                async for chunk in reply.aiter_bytes():
                    got.extend(chunk)

        with pytest.raises(httpx.RemoteProtocolError):
            await download()
    assert bytes(got) == whole[:at]


async def test_cut_makes_a_malformed_200_of_any_answer(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.faults.add("cut", operation="create", times=1, at=20, clean=True)
    reply = await client.post(BATCHES, json=body())
    assert (reply.status_code, len(reply.content)) == (200, 20)
    assert len(emulator.batches) == 1


@pytest.mark.parametrize("line", [0, 7, None])
async def test_lines_missing_doubled_and_foreign(
    emulator: Emulator, client: httpx.AsyncClient, line: int | None
) -> None:
    batch_id = await ended(client)
    whole = (await results(client, batch_id)).splitlines(keepends=True)
    where: dict[str, Any] = {} if line is None else {"line": line}
    at = 10 if line is None else line
    for fault in ("missing-line", "duplicate-line", "foreign-line"):
        emulator.faults.add(fault, times=1, **where)
        got = (await results(client, batch_id)).splitlines(keepends=True)
        if fault == "missing-line":
            assert got == whole[:at] + whole[at + 1 :]
        elif fault == "duplicate-line":
            assert got == whole[: at + 1] + whole[at:]
        else:
            assert got[: at + 1] + got[at + 2 :] == whole
            assert json.loads(got[at + 1])["custom_id"] not in emulator.batches[0].custom_ids
        assert emulator.calls[-1].faults == [fault]
    assert (await results(client, batch_id)).splitlines(keepends=True) == whole


async def test_line_separators_within_a_text(emulator: Emulator, client: httpx.AsyncClient) -> None:
    batch_id = await ended(client)
    emulator.faults.add("u2028", times=1, line=3)
    content = await results(client, batch_id)
    assert "\u2028".encode() in content
    assert "\u0085".encode() in content
    assert len(content.decode().splitlines()) == 22
    assert len({json.loads(line)["custom_id"] for line in content.split(b"\n")[:-1]}) == 20


async def test_half_an_emoji(emulator: Emulator, client: httpx.AsyncClient) -> None:
    batch_id = await ended(client)
    emulator.faults.add("lone-surrogate", times=1)
    (line,) = [line for line in (await results(client, batch_id)).splitlines() if b"\\ud83d" in line]
    text = json.loads(line)["result"]["message"]["content"][0]["text"]
    with pytest.raises(UnicodeEncodeError):
        text.encode()


async def test_text_damage_waits_for_a_line_with_text(emulator: Emulator, client: httpx.AsyncClient) -> None:
    requests = [request(f"r{number}", max_tokens=0) for number in range(9)] + [request("good")]
    batch_id = (await create(client, *requests))["id"]
    emulator.faults.add("u2028", times=1, line=0)
    lines = (await results(client, batch_id)).split(b"\n")[:-1]
    last = [json.loads(line)["custom_id"] for line in lines if "\u2028".encode() in line]
    assert last == ["good"]


async def test_no_content_type(emulator: Emulator, client: httpx.AsyncClient) -> None:
    batch_id = await ended(client)
    emulator.faults.add("no-content-type", operation="results", times=1)
    reply = await client.get(f"{BATCHES}/{batch_id}/results")
    assert "content-type" not in reply.headers


async def test_gzip(emulator: Emulator, client: httpx.AsyncClient) -> None:
    batch_id = await ended(client)
    whole = await results(client, batch_id)
    emulator.faults.add("gzip", operation="results", times=2)
    async with client.stream("GET", f"{BATCHES}/{batch_id}/results") as reply:
        assert reply.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join([chunk async for chunk in reply.aiter_raw()])) == whole
    assert await results(client, batch_id) == whole
