"""Requests to the emulator, and the ways to send them."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from message_batches.emulator import Emulator

BATCHES = "/v1/messages/batches"
HEADERS = {"x-api-key": "sk-one", "anthropic-version": "2023-06-01"}
HOUR, DAY = 3600, 86400


def request(custom_id: str = "a", text: str = "Why is the sky blue?", **params: Any) -> dict[str, Any]:
    """Return a request of a batch; a param that is `...` is left out."""
    all_params = {
        "model": "claude-haiku-4-5",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": text}],
        **params,
    }
    return {"custom_id": custom_id, "params": {name: value for name, value in all_params.items() if value is not ...}}


def body(*requests: object) -> dict[str, object]:
    return {"requests": list(requests or [request()])}


def http(emulator: Emulator, **headers: str) -> httpx.AsyncClient:
    # Certificates, which plain HTTP does not need, take longer to load than most tests.
    return httpx.AsyncClient(base_url=emulator.url, headers={**HEADERS, **headers}, verify=False)


def official_package() -> Any:
    """The `anthropic` package; its import takes 3 s of CPU, so only the process that runs its tests does it."""
    return importlib.import_module("anthropic")


def official(emulator: Emulator, *, api_key: str = "sk-one", max_retries: int = 0) -> Any:
    """The official client of an emulator."""
    return official_package().AsyncAnthropic(api_key=api_key, base_url=emulator.url, max_retries=max_retries)


async def create(client: httpx.AsyncClient, *requests: object, **headers: str) -> dict[str, Any]:
    # Escaped, unlike httpx's own JSON, so that half an emoji can be sent.
    content = json.dumps(body(*requests))
    reply = await client.post(BATCHES, content=content, headers={"content-type": "application/json", **headers})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def retrieve(client: httpx.AsyncClient, batch_id: str) -> dict[str, Any]:
    reply = await client.get(f"{BATCHES}/{batch_id}")
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def results(client: httpx.AsyncClient, batch_id: str) -> bytes:
    reply = await client.get(f"{BATCHES}/{batch_id}/results")
    assert reply.status_code == 200, reply.text
    return reply.content


async def lines(client: httpx.AsyncClient, batch_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await results(client, batch_id)).splitlines()]


async def by_id(client: httpx.AsyncClient, batch_id: str) -> dict[str, dict[str, Any]]:
    return {line["custom_id"]: line["result"] for line in await lines(client, batch_id)}


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait by polling; 20 s are enough on the slowest machine."""
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def talk(emulator: Emulator, data: bytes, *, and_close: bool = False) -> bytes:
    """Send bytes as they are, and read until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.rpartition(":")[2]))
    try:
        writer.write(data)
        await writer.drain()
        if and_close:
            writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


def raw_create(data: bytes, *, length: int | None = None, **headers: str) -> bytes:
    """Send a create, exact to the byte, on a connection that the server closes after it."""
    all_headers = {
        "host": "emulator",
        "connection": "close",
        "content-type": "application/json",
        "content-length": str(len(data) if length is None else length),
        **HEADERS,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
    return f"POST {BATCHES} HTTP/1.1\r\n{head}\r\n".encode() + data
