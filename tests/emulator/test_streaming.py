"""Results as a stream: shuffled, repeatable, and of any size in little memory."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import httpx
import psutil

from message_batches.emulator import Emulator
from tests.emulator.conftest import Start
from tests.emulator.process import running_emulator
from tests.emulator.support import BATCHES, HEADERS, create, http, request, results

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


async def test_others_are_served_while_results_stream(emulator: Emulator, client: httpx.AsyncClient) -> None:
    batch_id = (await create(client, *(request(f"r{number}") for number in range(5_000))))["id"]
    async with client.stream("GET", f"{BATCHES}/{batch_id}/results") as reply:
        assert (await client.get(f"{BATCHES}/{batch_id}")).status_code == 200
        assert len(await reply.aread()) > 1_000_000
    # A reader that goes away in the middle does no harm.
    async with client.stream("GET", f"{BATCHES}/{batch_id}/results") as reply:
        assert reply.status_code == 200
    assert (await client.get(f"{BATCHES}/{batch_id}")).status_code == 200


def test_a_hundred_thousand_requests_in_little_memory() -> None:
    head = b'{"custom_id":"request-%06d","params":{"model":"claude-haiku-4-5","max_tokens":4096,"messages":'
    content = b'[{"role":"user","content":"Question %06d: ' + b"why is that so? " * 40 + b'"}]}}'

    def pieces() -> list[bytes]:
        return [(head % number) + (content % number) for number in range(100_000)]

    data = b'{"requests":[' + b",".join(pieces()) + b"]}"
    headers = {**HEADERS, "content-type": "application/json"}
    with (
        running_emulator("--processing-time", "0s", "--reply-bytes", "2000") as (process, url),
        httpx.Client(base_url=url, headers=headers, timeout=60) as client,
    ):
        emulator = psutil.Process(process.pid)
        before = emulator.memory_info().rss
        batch = client.post(BATCHES, content=data).json()
        assert batch["request_counts"]["processing"] == 100_000
        size, count, digest = 0, 0, hashlib.sha256()
        with client.stream("GET", f"{BATCHES}/{batch['id']}/results") as reply:
            for chunk in reply.iter_raw(1 << 20):
                size += len(chunk)
                count += chunk.count(b"\n")
                digest.update(chunk)
        assert count == 100_000
        assert size > 200_000_000
        # Neither the 80 MB that came in nor the 250 MB that went out are held: only the records are.
        assert emulator.memory_info().rss - before < 160_000_000
