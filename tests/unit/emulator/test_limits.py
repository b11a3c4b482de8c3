"""Pages, quotas, and responses that are not documented."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from message_batches.emulator import Emulator, UndocumentedBehaviour
from tests.harness.emulated_api import (
    BATCHES,
    create,
    http,
    request,
)
from tests.unit.emulator.conftest import Start

REQUESTS = [request(f"r{number}", max_tokens=0 if number % 5 == 0 else 100) for number in range(10)]


@pytest.mark.parametrize("status", [200, 400, 409])
async def test_undocumented_statuses_can_be_configured(start: Start, status: int) -> None:
    undocumented = UndocumentedBehaviour(cancel_after_ended=status, cancel_twice=status, delete_while_canceling=status)
    emulator = await start(processing_time=timedelta(hours=1), undocumented=undocumented)
    async with http(emulator) as client:
        ended = await create(client)
        emulator.clock.advance(timedelta(hours=1))
        assert (await client.post(f"{BATCHES}/{ended['id']}/cancel")).status_code == status
        made = await create(client)
        assert (await client.post(f"{BATCHES}/{made['id']}/cancel")).status_code == 200
        assert (await client.post(f"{BATCHES}/{made['id']}/cancel")).status_code == status
        assert (await client.delete(f"{BATCHES}/{made['id']}")).status_code == status


async def test_pages_at_their_edges(emulator: Emulator, client: httpx.AsyncClient, start: Start) -> None:
    ids = [(await create(client))["id"] for _ in range(22)]
    first = (await client.get(BATCHES)).json()
    assert [batch["id"] for batch in first["data"]] == ids[:1:-1]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, ids[-1], ids[2])
    rest = (await client.get(BATCHES, params={"after_id": ids[2]})).json()
    assert ([batch["id"] for batch in rest["data"]], rest["has_more"]) == ([ids[1], ids[0]], False)
    for limit, expected_error in {
        "0": "limit: Input should be greater than or equal to 1",
        "1001": "limit: Input should be less than or equal to 1000",
        "x": "limit: Input should be a valid integer, unable to parse string as an integer",
    }.items():
        reply = await client.get(BATCHES, params={"limit": limit})
        assert (reply.status_code, reply.json()["error"]["message"]) == (400, expected_error)
    assert (await client.get(BATCHES, params={"after_id": "x"})).status_code == 400
    assert (await client.get(BATCHES, params={"after_id": ids[0], "before_id": ids[1]})).status_code == 400
    kind = await start(undocumented=UndocumentedBehaviour(unknown_cursor=200, both_cursors=200, limit_out_of_range=200))
    async with http(kind) as other:
        assert (await other.get(BATCHES, params={"after_id": "x", "before_id": "y", "limit": 0})).json()["data"] == []


async def test_calls_per_minute(start: Start) -> None:
    emulator = await start(requests_per_minute=3)
    async with http(emulator) as client, http(emulator, **{"x-api-key": "sk-two"}) as other:
        replies = [await client.get(BATCHES) for _ in range(4)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
        assert [reply.headers["anthropic-ratelimit-requests-remaining"] for reply in replies] == ["2", "1", "0", "0"]
        assert 1 <= int(replies[3].headers["retry-after"]) <= 20
        assert replies[3].json()["error"]["type"] == "rate_limit_error"
        assert (await other.get(BATCHES)).status_code == 200


async def test_the_processing_queue(start: Start) -> None:
    emulator = await start(processing_time=timedelta(hours=1), queue_limit=15)
    async with http(emulator) as client:
        await create(client, *REQUESTS)
        reply = await client.post(BATCHES, json={"requests": REQUESTS})
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "60")
        emulator.clock.advance(timedelta(hours=1))
        await create(client, *REQUESTS)
    assert len(emulator.batches) == 2
