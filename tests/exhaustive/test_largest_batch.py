"""The largest batch that the API accepts, in little memory: 13 seconds of computing."""

from __future__ import annotations

import hashlib

import httpx
import psutil

from tests.harness.emulated_api import BATCHES, HEADERS
from tests.harness.emulator_process import running_emulator


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
        # Neither the 80 MB of requests nor the 250 MB of results are held in memory: only the records are.
        assert emulator.memory_info().rss - before < 160_000_000
