"""Results as a stream: shuffled, repeatable, and alongside other calls."""

from __future__ import annotations

import json
from datetime import timedelta

import httpx

from message_batches.emulator import Emulator
from tests.harness.emulated_api import BATCHES, create, http, request, results
from tests.unit.emulator.conftest import Start

MANY = [request(f"r{number:03d}", f"Question {number}") for number in range(200)]


def ids(content: bytes) -> list[str]:
    return [json.loads(line)["custom_id"] for line in content.split(b"\n")[:-1]]


async def test_lines_are_shuffled_and_each_comes_once(client: httpx.AsyncClient) -> None:
    content = await results(client, (await create(client, *MANY))["id"])
    assert content.endswith(b"}\n")
    assert b"\r" not in content
    assert b"\n\n" not in content
    in_order = [str(each["custom_id"]) for each in MANY]
    assert ids(content) != in_order
    assert sorted(ids(content)) == in_order


async def test_results_are_the_same_each_time(client: httpx.AsyncClient) -> None:
    batch_id = (await create(client, *MANY))["id"]
    assert await results(client, batch_id) == await results(client, batch_id)


async def test_a_seed_repeats_everything(start: Start) -> None:
    seen = []
    for seed, polls in ((5, 0), (5, 3), (6, 0)):
        emulator = await start(processing_time=timedelta(), seed=seed, error_rate=0.1)
        async with http(emulator) as client:
            for _ in range(polls):
                await client.get(BATCHES)
            batch_id = (await create(client, *MANY))["id"]
            seen.append((batch_id, await results(client, batch_id)))
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0]
    assert ids(seen[0][1]) != ids(seen[2][1])


async def test_without_a_seed_ids_differ_at_every_start(start: Start) -> None:
    seen = set()
    for _ in range(2):
        async with http(await start()) as client:
            seen.add((await create(client))["id"])
    assert len(seen) == 2


async def test_replies_have_the_length_that_was_asked_for(start: Start) -> None:
    emulator = await start(processing_time=timedelta(), reply_bytes=4000)
    async with http(emulator) as client:
        content = await results(client, (await create(client, *MANY[:20]))["id"])
    texts = [json.loads(line)["result"]["message"]["content"][0]["text"] for line in content.splitlines()]
    assert {len(text) for text in texts} == {4000}
    assert len(set(texts)) == 20


async def test_other_calls_are_served_while_results_stream(emulator: Emulator, client: httpx.AsyncClient) -> None:
    batch_id = (await create(client, *(request(f"r{number}") for number in range(5_000))))["id"]
    async with client.stream("GET", f"{BATCHES}/{batch_id}/results") as reply:
        assert (await client.get(f"{BATCHES}/{batch_id}")).status_code == 200
        assert len(await reply.aread()) > 1_000_000
    # A reader that disconnects in the middle does no harm.
    async with client.stream("GET", f"{BATCHES}/{batch_id}/results") as reply:
        assert reply.status_code == 200
    assert (await client.get(f"{BATCHES}/{batch_id}")).status_code == 200
