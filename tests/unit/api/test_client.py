"""The client, against the emulator and a server of raw responses: one call each, and the error for each response."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile
from message_batches.api.responses import error_of
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.errors import (
    ApiError,
    ApiUnavailable,
    AuthenticationFailed,
    BatchNotFound,
    NotSent,
    PermissionDenied,
    RateLimited,
    ReplyLost,
    RequestRefused,
    SpendLimitReached,
    UnknownKey,
)
from tests.harness.processes import lasting_port
from tests.harness.stack import KEYS

PROFILE = ApiProfile()
BODY = b'{"requests":[{"custom_id":"a","params":{"model":"claude-sonnet-5","max_tokens":9,"messages":[]}}]}'


@asynccontextmanager
async def api(url: str) -> AsyncIterator[HttpBatchApi]:
    async with http_client(url) as http:
        yield HttpBatchApi(http, ApiKeys(KEYS))


async def chunks(body: bytes = BODY) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 7):
        yield body[start : start + 7]


@asynccontextmanager
async def server_saying(answer: bytes) -> AsyncIterator[str]:
    """Run a server that reads a little and sends these bytes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def answer(status: int, content: bytes = b"", **headers: str) -> httpx.Response:
    return httpx.Response(status, content=content, headers={name.replace("_", "-"): v for name, v in headers.items()})


def error_json(kind: str, code: str | None = None) -> bytes:
    details = f',"details":{{"error_code":"{code}"}}' if code else ""
    return f'{{"type":"error","error":{{"type":"{kind}","message":"why."{details}}},"request_id":"req_1"}}'.encode()


async def test_the_body_is_sent_as_it_is_with_an_exact_length(emulator: Emulator) -> None:
    async with api(emulator.url) as client:
        batch = await client.create(PROFILE, chunks(), len(BODY))

    assert batch.request_counts.total == 1
    assert emulator.batches[0].custom_ids == ["a"]


@pytest.mark.parametrize(
    ("reply", "kind", "unknown", "retryable"),
    [
        (answer(400, error_json("invalid_request_error")), RequestRefused, False, False),
        (answer(401, error_json("authentication_error")), AuthenticationFailed, False, False),
        (answer(402, error_json("billing_error")), SpendLimitReached, False, False),
        (answer(403, error_json("permission_error")), PermissionDenied, False, False),
        (answer(404, error_json("not_found_error")), BatchNotFound, False, True),
        (answer(408, error_json("timeout")), ApiUnavailable, True, True),
        (answer(409, error_json("conflict_error")), ApiUnavailable, True, True),
        (answer(413, b"<html>too large</html>", content_type="text/html"), RequestRefused, False, False),
        (answer(413, error_json("request_too_large")), RequestRefused, False, False),
        (answer(422, error_json("invalid_request_error")), RequestRefused, False, False),
        (answer(429, error_json("rate_limit_error")), RateLimited, False, True),
        (answer(429, error_json("rate_limit_error", "ramp_limit_exceeded")), RateLimited, False, True),
        (
            answer(429, error_json("rate_limit_error", "enforced_spend_limit_reached")),
            SpendLimitReached,
            False,
            False,
        ),
        (answer(500, error_json("api_error")), ApiUnavailable, True, True),
        (answer(502, b"<html>"), ApiUnavailable, True, True),
        (answer(529, error_json("overloaded_error")), ApiUnavailable, True, True),
        (answer(201, b"{}"), ReplyLost, True, True),
        (answer(302, b"", location="https://elsewhere.invalid/"), RequestRefused, False, False),
    ],
    ids=lambda value: str(getattr(value, "status_code", "")) or None,
)
def test_every_error_says_whether_the_batch_may_exist_and_whether_a_retry_can_help(
    reply: httpx.Response, kind: type[ApiError], unknown: bool, retryable: bool
) -> None:
    error = error_of(reply)

    assert type(error) is kind
    assert (error.outcome_unknown, error.retryable) == (unknown, retryable)
    assert str(reply.status_code) in str(error)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", timedelta(seconds=7)),
        ("1.5", timedelta(seconds=1.5)),
        ("999999", timedelta(hours=1)),
        ("0", None),
        ("-3", None),
        ("nan", None),
        ("soon", None),
        ("Thu, 26 Nov 2020 13:35:33 +0000", None),
    ],
)
def test_retry_after_is_read_in_every_form_and_bounded(header: str, expected: timedelta | None) -> None:
    assert error_of(answer(429, error_json("rate_limit_error"), retry_after=header)).retry_after == expected


def test_retry_after_as_a_date_is_the_time_until_then() -> None:
    header = format_datetime(datetime.now(UTC) + timedelta(minutes=5))

    wait = error_of(answer(529, retry_after=header)).retry_after

    assert wait is not None
    assert timedelta(minutes=4) < wait <= timedelta(minutes=5)


async def test_no_connection_is_certainly_not_sent() -> None:
    async with api(f"http://127.0.0.1:{lasting_port()}") as client:
        with pytest.raises(NotSent):
            await client.create(PROFILE, chunks(), len(BODY))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull",
        b"nonsense\r\n\r\n",
    ],
)
async def test_a_lost_or_invalid_reply_leaves_the_outcome_unknown(said: bytes) -> None:
    async with server_saying(said) as url, api(url) as client:
        with pytest.raises(ReplyLost) as caught:
            await client.create(PROFILE, chunks(), len(BODY))

    assert caught.value.outcome_unknown


async def test_a_404_for_a_create_is_reported_as_a_wrong_base_url(emulator: Emulator) -> None:
    async with api(f"{emulator.url}/elsewhere") as client:
        with pytest.raises(RequestRefused, match="ANTHROPIC_BASE_URL"):
            await client.create(PROFILE, chunks(), len(BODY))


async def test_an_interrupted_body_creates_nothing(emulator: Emulator) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield BODY[:20]
        raise RuntimeError("the store is gone")

    async with api(emulator.url) as client:
        with pytest.raises(RuntimeError, match="the store is gone"):
            await client.create(PROFILE, broken(), len(BODY))

    assert not emulator.batches


async def test_a_cut_stream_of_results_is_a_lost_reply(emulator: Emulator) -> None:
    emulator.faults.add("cut", operation="results", at=100)
    async with api(emulator.url) as client:
        batch = await client.create(PROFILE, chunks(), len(BODY))
        emulator.clock.advance(timedelta(minutes=1))
        with pytest.raises(ReplyLost):
            async with client.results(PROFILE, batch.id) as stream:
                assert [chunk async for chunk in stream]


@pytest.mark.parametrize("batch_id", ["../../v1/models?x=", "..", ".", "", "%2e%2e", "a/b", "a\r\nhost: b", "x" * 129])
async def test_a_batch_id_cannot_leave_its_path(emulator: Emulator, batch_id: str) -> None:
    async with api(emulator.url) as client:
        for call in (client.retrieve(PROFILE, batch_id), client.cancel(PROFILE, batch_id)):
            with pytest.raises(RequestRefused):
                await call
        with pytest.raises(RequestRefused):
            async with client.results(PROFILE, batch_id):
                pass

    assert not emulator.calls


def test_an_unknown_key_is_reported_by_name_and_never_repeated() -> None:
    keys = ApiKeys(KEYS)

    assert keys.secret("team-a") is KEYS["team-a"]
    for name in ("sk-ant-api03-x", "sk-short", "Team A", "x" * 33, ""):
        with pytest.raises(UnknownKey) as caught:
            keys.secret(name)
        assert not name or name not in str(caught.value)
    with pytest.raises(UnknownKey, match="ANTHROPIC_API_KEY_TEAM_B"):
        keys.secret("team-b")


async def test_only_the_key_of_a_base_url_is_sent_to_it(emulator: Emulator) -> None:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(milliseconds=1))) as other,
        http_client(emulator.url) as http,
    ):
        api = HttpBatchApi(http, ApiKeys(KEYS, base_urls={"team-a": other.url}))
        theirs = ApiProfile(api_key="team-a")

        ours = await api.create(PROFILE, chunks(), len(BODY))
        batch = await api.create(theirs, chunks(), len(BODY))
        other.clock.advance(timedelta(seconds=1))
        await api.retrieve(theirs, batch.id)
        async with api.results(theirs, batch.id) as results:
            assert b"".join([chunk async for chunk in results]).count(b"\n") == 1

    assert [made.id for made in emulator.batches] == [ours.id]
    assert [made.id for made in other.batches] == [batch.id]
    assert [call.operation for call in emulator.calls] == ["create"]
    assert [call.operation for call in other.calls] == ["create", "retrieve", "results"]
