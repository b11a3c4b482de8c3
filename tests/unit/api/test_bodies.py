"""Bodies of answers: what they may be packed in, how large, slow or scattered they may be, and what is read of them."""

import asyncio
import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache

import httpx
import pytest

from message_batches.api.bodies import LEAST_BYTES, MAX_OBJECT, MAX_PAGE, received
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile
from message_batches.errors import ApiError, ApiUnavailable, ReplyLost, RequestRefused
from tests.harness.gateway import ENDED_BATCH as BATCH
from tests.harness.stack import KEYS

PROFILE = ApiProfile()
SAID = json.dumps(BATCH).encode()
PACKED = gzip.compress(SAID)
LINES = b'{"custom_id":"a","result":{"type":"expired"}}\n' * 20_000

Send = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Hasty(HttpBatchApi):
    """A client with less patience."""

    head_seconds = 0.5
    rate_seconds = 0.5


@asynccontextmanager
async def api(*answers: bytes | Send, patience: float = 5) -> AsyncIterator[HttpBatchApi]:
    """Run a server that gives each call the next of these answers, as bytes on the wire, and yield a client of it."""
    left = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            answer = left.pop(0)
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except ConnectionError:
            pass  # The client has heard enough.
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, http_client(url, timeout=httpx.Timeout(patience)) as http:
        yield Hasty(http, ApiKeys(KEYS))


def reply(body: bytes, *headers: str, status: int = 200) -> bytes:
    head = "".join(f"{each}\r\n" for each in (f"content-length: {len(body)}", *headers))
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode("latin-1") + body


def chunked(pieces: Sequence[bytes], *, trailer: bytes = b"", size: str = "{:x}") -> bytes:
    body = b"".join(size.format(len(each)).encode() + b"\r\n" + each + b"\r\n" for each in pieces)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0\r\n" + trailer + b"\r\n"


@cache
def nested(levels: int) -> bytes:
    return gzip.compress(nested(levels - 1) if levels > 1 else b" " * 10**7)


async def results(client: HttpBatchApi) -> bytes:
    async with client.results(PROFILE, "msgbatch_1") as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    "answer",
    [
        reply(SAID),
        reply(SAID, "content-encoding: identity"),
        reply(SAID, "content-encoding:"),
        reply(PACKED, "content-encoding: gzip"),
        reply(PACKED, "content-encoding: X-GZip"),
        reply(PACKED, "content-encoding: identity, gzip"),
        reply(b"\xef\xbb\xbf" + SAID),
        reply(SAID, *[f"set-cookie: a{n}=b" for n in range(1000)]),
        chunked([SAID[:9], SAID[9:]], trailer=b"x: y\r\n"),
        chunked([SAID], size="{:x};name=" + "x" * 60_000),
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 100 + reply(SAID),
    ],
    ids=range(11),
)
async def test_an_answer_may_be_packed_once_and_come_in_chunks(answer: bytes) -> None:
    async with api(answer) as client:
        assert (await client.retrieve(PROFILE, "msgbatch_1")).request_counts.succeeded == 3


UNREADABLE = {
    "three gzips": reply(nested(3), "content-encoding: gzip, gzip, gzip"),
    "two gzips in two headers": reply(nested(2), "content-encoding: gzip", "content-encoding: gzip"),
    "a gzip and another": reply(PACKED, "content-encoding: gzip, br"),
    "deflate": reply(zlib.compress(SAID), "content-encoding: deflate"),
    "brotli": reply(SAID, "content-encoding: br"),
    "an encoding of 30,000 letters": reply(SAID, "content-encoding: " + "x" * 30_000),
    "no gzip": reply(SAID, "content-encoding: gzip"),
    "a gzip that is cut off": reply(PACKED[:-9], "content-encoding: gzip"),
    "a gzip without its sum": reply(PACKED[:-8], "content-encoding: gzip"),
    "a gzip with a wrong sum": reply(PACKED[:-8] + b"\0" * 8, "content-encoding: gzip"),
    "a gzip and more": reply(PACKED + b"\0", "content-encoding: gzip"),
    "two gzips in a row": reply(PACKED + PACKED, "content-encoding: gzip"),
    "a gzip as its transfer": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n" + PACKED,
    "chunks of one byte": chunked([b"x"] * 60_000),
    "a header of blanks": reply(SAID, "x:" + " " * 60_000 + "\0"),
    "a header of folded blanks": reply(SAID, "x: y" + "\r\n " * 20_000 + "\0"),
    "a trailer of blanks": chunked([SAID], trailer=b"x:" + b"\t" * 60_000 + b"\0\r\n"),
    "a head of 400 KB": reply(SAID, *["x: " + "y" * 1000] * 400),
    "an extension of blanks": chunked([SAID], size="{:x};" + " " * 60_000 + "\nx"),
    "provisional answers for ever": b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    "many provisional heads": (b"HTTP/1.1 103 Hints\r\n" + b"x:\r\n" * 10_000 + b"\r\n") * 10,
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + b"x" * 100_000,
    "a chunk of blanks": chunked([SAID], size="{:x}" + " " * 60_000 + "x"),
}


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_answer_that_cannot_be_read_is_lost_and_costs_little(answer: bytes) -> None:
    async with api(answer, answer, answer.replace(b" 200 ", b" 401 ", 1)) as client:
        began = time.process_time()
        tracemalloc.start()
        try:
            with pytest.raises(ReplyLost) as caught:
                await client.retrieve(PROFILE, "msgbatch_1")
            with pytest.raises(ReplyLost):
                await results(client)
            with pytest.raises(ReplyLost):
                await client.retrieve(PROFILE, "msgbatch_1")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert caught.value.outcome_unknown
    assert len(str(caught.value)) < 1000
    assert most < 20_000_000
    assert time.process_time() - began < 5, "it took 8.2 GB and 23 s, or 12 s of a regular expression"


def many(count: int) -> str:
    return ",".join(["{}"] * count)


# Made when they are used: each process of the tests would keep them.
COSTLY: dict[str, Callable[[], bytes]] = {
    "objects beside the batch": lambda: SAID[:-1] + f',"x":[{many(2_700_000)}]}}'.encode(),
    "objects in place of a batch": lambda: f"[{many(2_700_000)}]".encode(),
    "a text of 8 MB": lambda: SAID[:-1] + b',"x":"' + b"y" * 8_000_000 + b'"}',
    "a level for each byte": lambda: SAID[:-1] + b',"x":' + b"[" * 8_000_000,
    "a number of 8,000,000 digits": lambda: SAID[:-1] + b',"x":' + b"1" * 8_000_000 + b"}",
    "the same field again and again": lambda: SAID[:-1] + b',"id":"a"' * 900_000 + b"}",
}


@pytest.mark.parametrize("name", COSTLY)
@pytest.mark.parametrize("status", [200, 500])
async def test_of_an_answer_without_end_little_is_read(name: str, status: int) -> None:
    body = COSTLY[name]()
    packed = reply(gzip.compress(body, 1), "content-encoding: gzip", status=status)
    async with api(reply(body, status=status), packed, packed) as client:
        began = time.process_time()
        tracemalloc.start()
        try:
            for call in (client.retrieve, client.cancel):
                with pytest.raises(ReplyLost if status == 200 else ApiUnavailable, match=f"answered {status}"):
                    await call(PROFILE, "msgbatch_1")
            with pytest.raises(ApiError, match=f"answered {status}"):
                await client.list(PROFILE, limit=100)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert most < 20_000_000
    assert time.process_time() - began < 5, "one took 1.6 GB and 5 s"


def page_with(more: str, size: int, *, data: str | None = None) -> bytes:
    """Return a page of the list, with more in it, up to a size."""
    said = f'{{"data":[{data if data is not None else SAID.decode()}],"has_more":false,"last_id":"msgbatch_1"'
    count = (size - len(said) - 20) // len(more)
    return f'{said},"x":[{(more * count)[:-1]}]}}'.encode()


@pytest.mark.parametrize("more", ["{},", "[[]],", '{"id":1},', "0,", '"",'])
async def test_what_is_not_read_of_an_answer_is_skipped(more: str) -> None:
    batch = (SAID[:-1] + b',"x":[' + more.encode() * ((MAX_OBJECT - 1000) // len(more)) + b"0]}")[:MAX_OBJECT]
    async with api(reply(batch), reply(page_with(more, MAX_PAGE))) as client:
        assert (await client.retrieve(PROFILE, "msgbatch_1")).id == "msgbatch_1"
        tracemalloc.start()
        try:
            page = await client.list(PROFILE, limit=100)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert [each.id for each in page.data] == ["msgbatch_1"]
    assert most < 16_000_000, "pydantic alone took 70 MB"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (page_with("{},", 2000, data=many(650_000)), r"data\[0\] \(.*`id`"),
        (page_with("{},", 2000, data=",".join([SAID.decode()] * 1001)), "data"),
        (page_with("{},", 2000, data="[],0"), r"data\[0\]"),
        (b'{"data":{},"has_more":false}', "data"),
        (b'{"data":[],"has_more":false,"last_id":"../.."}', "last_id"),
        (b'{"data":[],"has_more":false,"last_id":["msgbatch_1"]}', "last_id"),
        (b'{"data":[],"has_more":true,"last_id":7}', "last_id"),
        (b'{"data":[],"has_more":false}' + b" " * MAX_PAGE, "2,097,152 bytes"),
        ('{"data":[],"has_more":false}'.encode("utf-16"), "gateway"),
        ('{"data":[],"has_more":false,"x":"é"}'.encode("latin-1"), "gateway"),
    ],
    ids=range(10),
)
async def test_a_page_of_another_form_is_lost(body: bytes, named: str) -> None:
    async with api(reply(body)) as client:
        with pytest.raises(ReplyLost, match=named) as caught:
            await client.list(PROFILE, limit=100)

    assert caught.value.status == 200


async def test_a_page_of_1000_batches_is_read() -> None:
    batches = [{**BATCH, "id": f"msgbatch_{n}", "results_url": "https://x/" + "y" * 500} for n in range(1000)]
    async with api(
        reply(json.dumps({"data": batches, "has_more": True, "last_id": "msgbatch_999"}).encode())
    ) as client:
        page = await client.list(PROFILE, limit=1000)

    assert len(page.data) == 1000
    assert page.last_id == "msgbatch_999"


async def test_results_may_be_packed_once() -> None:
    packed = reply(gzip.compress(LINES), "content-encoding: gzip")
    async with api(reply(LINES), packed, reply(b"", "content-encoding: gzip")) as client:
        assert await results(client) == LINES
        assert await results(client) == LINES
        assert await results(client) == b""


async def test_others_get_their_turn_between_the_pieces_of_a_body() -> None:
    turns = 0

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b"x" * 20

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    assert len([piece async for piece in received(httpx.Response(200, content=pieces()))]) == 10_000
    running.cancel()
    assert turns >= 10


async def test_results_are_unpacked_in_steps() -> None:
    bomb = reply(gzip.compress(b"\0" * 3 * 10**7), "content-encoding: gzip")
    async with api(bomb) as client, client.results(PROFILE, "msgbatch_1") as chunks:
        longest = max([len(chunk) async for chunk in chunks])

    assert longest <= 256 * 1024, "30 KB of it made 30 MB"


def dripping(begin: bytes, drop: bytes = b"x", *, every: float = 0.05) -> Send:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        for _ in range(round(3 / every)):
            await asyncio.sleep(every)
            writer.write(drop)
            await writer.drain()

    return send


BEGUN = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n"
DRIPS = {
    "a body": dripping(BEGUN),
    "a head": dripping(b"HTTP/1.1 200 OK\r\n", b"x"),
    "provisional answers": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("answer", DRIPS.values(), ids=DRIPS)
async def test_an_answer_that_drips_is_lost(answer: Send) -> None:
    async with api(answer, answer, patience=0.4) as client:
        with pytest.raises(ReplyLost, match=r"within 0\.8 s"):
            await client.retrieve(PROFILE, "msgbatch_1")
        with pytest.raises(ReplyLost, match=r"[0-9] s\b"):
            await results(client)


async def test_a_download_that_stops_or_crawls_is_lost_and_names_the_rate() -> None:
    stopped = dripping(BEGUN + b"x" * 100, b"", every=1)
    async with api(dripping(BEGUN + b"x" * 200_000, b"y" * 10), stopped) as client:
        for _ in range(2):
            with pytest.raises(ReplyLost, match=f"in 0.5 s, fewer than {LEAST_BYTES:,}"):
                await results(client)


async def test_a_consumer_that_takes_its_time_is_no_slow_download() -> None:
    async with api(reply(LINES)) as client, client.results(PROFILE, "msgbatch_1") as chunks:
        size = 0
        async for chunk in chunks:
            await asyncio.sleep(client.rate_seconds / 8)
            size += len(chunk)

    assert size == len(LINES)


async def test_a_download_may_begin_late() -> None:
    async def late(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(LINES)}\r\n\r\n".encode())
        await writer.drain()
        await asyncio.sleep(2 * Hasty.rate_seconds)
        writer.write(LINES)
        await writer.drain()

    async with api(late) as client:
        assert await results(client) == LINES


async def test_a_reason_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    key = KEYS["default"].get_secret_value()
    caplog.set_level("INFO")
    async with api(reply(SAID).replace(b" X\r\n", f" {key}\r\n".encode()), reply(b"", status=400)) as client:
        await client.retrieve(PROFILE, "msgbatch_1")
        with pytest.raises(RequestRefused):
            await client.retrieve(PROFILE, "msgbatch_1")

    assert "HTTP/1.1 200" in caplog.text
    assert key not in caplog.text
