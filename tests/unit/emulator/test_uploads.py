"""Bodies of every size, in every transfer form."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from message_batches.emulator import Emulator
from message_batches.emulator.create_validation import RequestCollector
from message_batches.emulator.errors import ErrorReply
from message_batches.emulator.params_validation import ParamsRules
from message_batches.emulator.request_body import BodyReader
from tests.harness.emulated_api import BATCHES, body, eventually, http, raw_create, request, talk
from tests.unit.emulator.conftest import Start

WHOLE = json.dumps(body()).encode()


async def test_a_body_that_is_cut_creates_nothing(emulator: Emulator) -> None:
    # All of the JSON is sent, but not all of the announced bytes.
    assert await talk(emulator, raw_create(WHOLE, length=len(WHOLE) + 1), and_close=True) == b""
    assert emulator.batches == []
    assert [call.status for call in emulator.calls] == [None]


async def test_a_client_killed_in_its_upload_creates_nothing(emulator: Emulator) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.rpartition(":")[2]))
    writer.write(raw_create(WHOLE, length=len(WHOLE) + 1))
    await writer.drain()

    async def has_arrived() -> bool:
        return len(emulator.calls) == 1

    await eventually(has_arrived)
    # Closed in this way, the connection ends with a reset, as that of a killed process does.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    async with http(emulator) as client:
        assert (await client.get(BATCHES)).json()["data"] == []
    assert emulator.batches == []


async def test_a_body_too_large_is_refused_before_it_is_sent(start: Start) -> None:
    emulator = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.rpartition(":")[2]))
    writer.write(raw_create(b"{", length=256_000_001))
    reply = await asyncio.wait_for(reader.readuntil(b'"}'), 20)
    writer.close()
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b'"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}' in reply


async def test_the_limit_is_to_the_byte(start: Start) -> None:
    emulator = await start(max_bytes=len(WHOLE))
    async with http(emulator, **{"content-type": "application/json"}) as client:

        async def chunked(data: bytes) -> AsyncIterator[bytes]:
            yield data[:10]
            yield data[10:]

        assert (await client.post(BATCHES, content=WHOLE)).status_code == 200
        assert (await client.post(BATCHES, content=WHOLE + b" ")).status_code == 413
        assert (await client.post(BATCHES, content=chunked(WHOLE))).status_code == 200
        assert (await client.post(BATCHES, content=chunked(WHOLE + b" "))).status_code == 413
    assert len(emulator.batches) == 2


async def test_compressed_bodies(start: Start) -> None:
    emulator = await start(max_bytes=100_000)
    async with http(emulator, **{"content-type": "application/json", "content-encoding": "gzip"}) as client:
        assert (await client.post(BATCHES, content=gzip.compress(WHOLE))).status_code == 200
        wrong = await client.post(BATCHES, content=WHOLE)
        bomb = await client.post(BATCHES, content=gzip.compress(WHOLE + b" " * 1_000_000))
        other = await client.post(BATCHES, content=WHOLE, headers={"content-encoding": "zip"})
    errors = [(reply.status_code, reply.json()["error"]["details"]["error_code"]) for reply in (wrong, bomb, other)]
    assert errors == [
        (400, "request_body_encoding_invalid"),
        (413, "request_body_too_large_after_decoding"),
        (400, "request_body_encoding_unsupported"),
    ]
    assert len(emulator.batches) == 1


async def test_a_create_needs_its_content_type(emulator: Emulator, client: httpx.AsyncClient) -> None:
    reply = await client.post(BATCHES, content=WHOLE)
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "content-type: must be application/json")
    assert (
        await client.post(BATCHES, content=WHOLE, headers={"content-type": "application/json; charset=utf-8"})
    ).status_code == 200
    assert len(emulator.batches) == 1


def read(data: bytes, size: int) -> Any:
    reader = BodyReader(RequestCollector(ParamsRules("2023-06-01"), 100))
    try:
        for start in range(0, len(data), size):
            reader.feed(data[start : start + size])
        return [(each.custom_id, each.prompt.digest, each.refusal) for each in reader.finish()]
    except ErrorReply as error:
        return error.message


@pytest.mark.parametrize(
    "data",
    [
        WHOLE,
        json.dumps(
            body(*(request(f"r{number}", f'🙂 \u2028 é {number} \\ " ]}}, ' * 9) for number in range(5))), indent=2
        ).encode(),
        json.dumps(body(request("é")), ensure_ascii=False).encode(),
        json.dumps({"a": 12345, "b": [1.5, None, True], **body(request("x"), request("y"))}).encode(),
        json.dumps(body(request("x"), request("y"))).encode()[:-3],
        b'{"requests": [1234567, {"custom_id": 1}]}',
        b'{"requests": [{"custom_id": "a"},,]}',
        b'{"a": "\xf0\x9f"}',
        b" 12345 ",
        b"",
    ],
)
def test_chunk_boundaries_do_not_matter(data: bytes) -> None:
    whole = read(data, len(data) + 1)
    sizes = [1, 2, 3, 7, 64, random.Random(3).randint(8, 200)]
    assert [read(data, size) for size in sizes] == [whole] * len(sizes)


def test_one_huge_request_takes_linear_time() -> None:
    data = json.dumps(body(request(text="word " * 4_000_000))).encode()
    ((custom_id, _, refusal),) = read(data, 65_536)
    assert (custom_id, refusal) == ("a", None)
