"""A server in an object store's place that repeats what it was sent: credentials are in no error of ours."""

import asyncio
import re
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from message_batches.errors import StoreUnavailable
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.storage.urls import InvalidStoreUrl

SECRETS = {
    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "session_token": "IQoJb3JpZ2luX2VjEHoaCXVzLWVhc3QtMSJGMEQCIDyJl0YXJ",
}
TOKEN = SECRETS["session_token"]
SHOWN = 8
"""Characters of a secret that may not stand anywhere, in whatever piece of it."""

Answer = Callable[[bytes], bytes]


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


def one_line(request: bytes) -> bytes:
    return request.replace(b"\r\n", b" ")


def xml(code: bytes, message: bytes) -> bytes:
    return b"<Error><Code>%s</Code><Message>%s</Message></Error>" % (code, message)


ERRORS: dict[str, Answer] = {
    "XML in one line": lambda sent: http("403 Forbidden", xml(b"AccessDenied", one_line(sent))),
    "XML after retries": lambda sent: http("503 Slow", xml(b"SlowDown", one_line(sent))),
    "a token as the code": lambda sent: http("400 Bad", xml(TOKEN.encode(), b"")),
    "a key's id as the code": lambda sent: http("403 Bad", xml(SECRETS["access_key_id"].encode(), b"")),
    "HTML": lambda sent: http("400 Bad", b"<html>" + one_line(sent)),
    "JSON": lambda sent: http("401 Who", b'{"error": {"code": 401, "message": "%s"}}' % one_line(sent)),
    "headers only": lambda sent: http("403 Forbidden", one_line(sent)),
    "a status line": lambda sent: http(f"403 {one_line(sent)[:800].decode()}", b""),
    "no such bucket": lambda sent: http("404 Not Found", xml(b"NoSuchBucket", one_line(sent))),
    "a conflict": lambda sent: http("409 Conflict", one_line(sent)),
    "a redirect": lambda sent: http(
        "307 There", b"", f"location: http://127.0.0.1:1/{TOKEN}?X-Amz-Security-Token={TOKEN}"
    ),
    "a redirect to nowhere": lambda sent: http("301 There", one_line(sent), f"location: http://[{TOKEN}"),
    "no redirect": lambda sent: http("301 There", one_line(sent)),
    "a date": lambda sent: http("200 OK", b"x", "etag: a", f"last-modified: {TOKEN}"),
    "a length": lambda sent: f"HTTP/1.1 200 OK\r\netag: a\r\ncontent-length: {TOKEN}\r\n\r\n".encode(),
    "a header that is none": lambda sent: f"HTTP/1.1 200 OK\r\n{TOKEN}\r\n\r\n".encode(),
    "no HTTP": one_line,
    "nothing": lambda sent: b"",
}
LISTINGS: dict[str, Answer] = {
    "text": lambda sent: http("200 OK", one_line(sent)),
    "an address": lambda sent: http("200 OK", f"<a>Error performing GET http://{TOKEN}/ status code: 40".encode()),
    "a size": lambda sent: http("200 OK", f"<ListBucketResult><Contents><Size>{TOKEN}</Size></Contents>".encode()),
}


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(sent))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def hostile(answer: Answer) -> AsyncIterator[ObjectStore]:
    async with answering(answer) as endpoint:
        yield open_store("s3://bucket/prefix", endpoint=endpoint, region="us-east-1", **SECRETS)


def said(error: BaseException) -> str:
    """Return all that a log could show of an error, after a look for pieces of secrets in it."""
    text = "".join(traceback.format_exception(error))
    for name, secret in SECRETS.items():
        pieces = {secret[start : start + SHOWN] for start in range(len(secret) - SHOWN + 1)}
        assert not any(piece in text for piece in pieces), f"{name} in: {text}"
    assert not re.search("AWS4|Signature=|x-amz-", text)
    return str(error)


@pytest.mark.parametrize("shape", ERRORS)
async def test_an_answer_that_repeats_credentials_is_shown_as_status_and_code(shape: str) -> None:
    async def one() -> AsyncIterator[bytes]:
        yield b"x"

    async with hostile(ERRORS[shape]) as store:
        calls = (
            store.read("a/b"),
            store.create("a/b", b"x"),
            store.write("a/b", one()),
            store.names("a/"),
            store.remove("a/b"),
            store.identity(),
        )
        ended = await asyncio.gather(*calls, return_exceptions=True)

    failed = [each for each in ended if isinstance(each, BaseException)]
    assert failed
    assert {type(each) for each in failed} == {StoreUnavailable}
    texts = [said(each) for each in failed]
    for word in re.findall("AccessDenied|SlowDown|NoSuchBucket", ERRORS[shape](b"").decode()):
        assert all(re.search(rf"\(\d{{3}} {word}[,)]", text) for text in texts)


@pytest.mark.parametrize("shape", LISTINGS)
async def test_a_list_that_repeats_credentials_is_not_shown(shape: str) -> None:
    async with hostile(LISTINGS[shape]) as store:
        with pytest.raises(StoreUnavailable) as caught:
            await store.names("a/")

    said(caught.value)


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
async def test_a_server_of_credentials_is_not_quoted(status: str) -> None:
    answer = b'{"Token": "%s", "AccessKeyId": "%s", "more": [' % (TOKEN.encode(), SECRETS["access_key_id"].encode())
    async with answering(lambda sent: http(status, answer)) as endpoint:
        store = open_store("s3://bucket/prefix", metadata_endpoint=endpoint, region="us-east-1")
        with pytest.raises(StoreUnavailable) as caught:
            await store.read("a")

    said(caught.value)


async def test_the_address_that_failed_is_named_without_its_password() -> None:
    store = open_store("s3://bucket/prefix", endpoint=f"http://user:{TOKEN}@127.0.0.1:1", region="us-east-1", **SECRETS)
    with pytest.raises(StoreUnavailable) as caught:
        await store.read("a")

    assert said(caught.value).endswith("(Connection refused, from http://127.0.0.1:1)")


async def test_credentials_that_no_header_can_hold_are_a_store_that_is_unavailable() -> None:
    store = open_store("s3://bucket/prefix", region="us-east-1", **{**SECRETS, "session_token": f"{TOKEN}\n"})
    with pytest.raises(StoreUnavailable) as caught:
        await store.read("a")

    said(caught.value)


@pytest.mark.parametrize("value", [TOKEN, f'"{TOKEN}"', f'a"{TOKEN}"b'])
def test_a_secret_in_the_place_of_another_variable_is_not_repeated(value: str) -> None:
    with pytest.raises(InvalidStoreUrl) as caught:
        open_store("s3://bucket/prefix", skip_signature=value)

    said(caught.value)
