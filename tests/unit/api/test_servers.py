"""Calls with keys that have base URLs of their own: each server has its connections, and no other one's cookies."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack

import psutil
import pytest

from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile, MessageBatch
from message_batches.api.transport import MAX_CALLS
from message_batches.emulator import Emulator
from message_batches.errors import NotSent, ReplyLost
from tests.harness.carrying import listening
from tests.harness.stack import KEYS
from tests.harness.waiting import eventually

OWN = ApiProfile()
TENANTS = ApiProfile(api_key="team-a")


async def poll(api: HttpBatchApi) -> MessageBatch:
    return await api.retrieve(TENANTS, "msgbatch_1")


async def post(api: HttpBatchApi) -> MessageBatch:
    async def body() -> AsyncIterator[bytes]:
        yield b"{}"

    return await api.create(TENANTS, body(), 2)


@pytest.mark.parametrize("call", [poll, post])
async def test_a_silent_server_takes_its_own_calls_only(
    emulator: Emulator, call: Callable[[HttpBatchApi], Coroutine[None, None, MessageBatch]]
) -> None:
    asked, answering = 0, asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await answering.wait()
        writer.close()

    async with AsyncExitStack() as running:
        address = await running.enter_async_context(listening(silent))
        http = await running.enter_async_context(http_client(emulator.url))
        api = HttpBatchApi(http, ApiKeys(KEYS, base_urls={"team-a": f"http://{address}"}))
        calls = [asyncio.create_task(call(api)) for _ in range(MAX_CALLS)]
        await eventually(lambda: asked > 0, "calls under way")

        with pytest.raises(NotSent, match="under way already"):
            await asyncio.wait_for(call(api), 5)
        assert (await api.list(OWN, limit=1)).has_more is False

        answering.set()
        assert {type(each) for each in await asyncio.gather(*calls, return_exceptions=True)} == {ReplyLost}
        with pytest.raises(ReplyLost):
            await call(api)


async def test_a_call_that_is_cancelled_or_answered_counts_no_more(emulator: Emulator) -> None:
    asked: list[asyncio.StreamReader] = []

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.append(reader)
        await reader.read()

    async with AsyncExitStack() as running:
        address = await running.enter_async_context(listening(silent))
        http = await running.enter_async_context(http_client(emulator.url))
        api = HttpBatchApi(http, ApiKeys(KEYS, base_urls={"team-a": f"http://{address}"}))
        for _ in range(2):
            asked.clear()
            calls = [asyncio.create_task(api.retrieve(TENANTS, "msgbatch_1")) for _ in range(MAX_CALLS)]
            await eventually(lambda: bool(asked), "calls under way")
            for call in calls:
                call.cancel()
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(each) for each in ends} == {asyncio.CancelledError}
        for _ in range(MAX_CALLS + 1):
            await api.list(OWN, limit=1)


@pytest.mark.slow
async def test_calls_that_are_cancelled_together_leave_their_connections_to_others(emulator: Emulator) -> None:
    asked: list[asyncio.StreamReader] = []

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.append(reader)
        await reader.read()

    async with AsyncExitStack() as running:
        address = await running.enter_async_context(listening(silent))
        http = await running.enter_async_context(http_client(emulator.url))
        api = HttpBatchApi(http, ApiKeys(KEYS, base_urls={"team-a": f"http://{address}"}))
        before = len(psutil.Process().net_connections())
        for turns in range(40):  # Of the event loop, after which they are cancelled.
            calls = [asyncio.create_task(poll(api)) for _ in range(MAX_CALLS)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        asked.clear()
        last = asyncio.create_task(poll(api))
        await eventually(lambda: bool(asked), "a call of its own", within=10)
        assert len(psutil.Process().net_connections()) < before + 10
        last.cancel()


async def test_no_cookie_is_kept(emulator: Emulator) -> None:
    heads: list[bytes] = []

    async def baking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        cookies = b"set-cookie: a=1; path=/; domain=127.0.0.1\r\nset-cookie: b=2\r\n"
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n" + cookies + b"\r\n")
        await writer.drain()
        writer.close()

    async with AsyncExitStack() as running:
        one = await running.enter_async_context(listening(baking))
        other = await running.enter_async_context(listening(baking))
        http = await running.enter_async_context(http_client(f"http://{one}"))
        api = HttpBatchApi(http, ApiKeys(KEYS, base_urls={"team-a": f"http://{other}"}))
        for profile in (OWN, TENANTS, OWN, TENANTS):
            assert await asyncio.gather(api.retrieve(profile, "msgbatch_1"), return_exceptions=True)

    assert len(heads) == 4
    assert not any(b"cookie" in head.lower() for head in heads)
