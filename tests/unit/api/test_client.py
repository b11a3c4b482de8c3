"""The client, against the emulator and a server of raw responses: one call each, and the error for each response."""

import asyncio
import json
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
    RefusedForNow,
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


def error_json(kind: str, code: str | None = None, message: str = "why.") -> bytes:
    details = f',"details":{{"error_code":"{code}"}}' if code else ""
    return (
        f'{{"type":"error","error":{{"type":"{kind}","message":"{message}"{details}}},"request_id":"req_1"}}'.encode()
    )


LOW_CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."
USAGE_LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
SPEND_LIMIT = "This request would exceed your organization's monthly spend limit."


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
        (answer(400, error_json("invalid_request_error", message=LOW_CREDIT)), SpendLimitReached, False, False),
        (answer(400, error_json("invalid_request_error", message=USAGE_LIMIT)), SpendLimitReached, False, False),
        (answer(429, error_json("rate_limit_error", message=SPEND_LIMIT)), SpendLimitReached, False, False),
        (answer(403, error_json("permission_error", message=LOW_CREDIT)), SpendLimitReached, False, False),
        (answer(400, error_json("invalid_request_error", message="Overloaded")), RefusedForNow, False, True),
        (answer(400, error_json("overloaded_error")), RefusedForNow, False, True),
        (answer(422, error_json("api_error")), RefusedForNow, False, True),
        (answer(400, error_json("rate_limit_error")), RefusedForNow, False, True),
        (answer(400, error_json("an_error_of_next_year")), RequestRefused, False, False),
        (answer(400, error_json("invalid_request_error", "organization_on_hold")), RequestRefused, False, False),
        (
            answer(400, error_json("invalid_request_error", "workspace_human_review_disabled")),
            RequestRefused,
            False,
            False,
        ),
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


def test_a_workspace_without_human_review_is_named_as_the_cause() -> None:
    error = error_of(answer(400, error_json("invalid_request_error", "workspace_human_review_disabled")))

    assert "human review" in str(error)


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        (
            answer(413, b"<html>", content_type="text/html", server="cloudflare"),
            ["A gateway (cloudflare)", "text/html"],
        ),
        (answer(502, b"<html>", content_type="text/html"), ["A gateway", "text/html"]),
        (answer(403, b"blocked", content_type="text/plain"), ["A gateway", "ANTHROPIC_BASE_URL"]),
        (answer(401, b'{"message":"Unauthorized"}', content_type="application/json"), ["A gateway"]),
        (answer(404, b"", server="nginx/1.27"), ["A gateway (nginx/1.27)", "no content type"]),
        (answer(400, b'{"error":{"message":"no such route","type":"x"}}'), ["A gateway", "no such route"]),
        (answer(503, b'{"error":"unavailable"}', content_type="application/json"), ["A gateway"]),
        (answer(500, error_json("api_error")), ["The API answered 500 api_error: why"]),
    ],
    ids=lambda value: str(getattr(value, "status_code", "")) or None,
)
def test_an_error_names_who_has_answered(reply: httpx.Response, named: list[str]) -> None:
    error = str(error_of(reply))

    assert [each for each in named if each not in error] == []


@pytest.mark.parametrize(
    ("reply", "sent", "named", "absent"),
    [
        (answer(413, b"<html>", content_type="text/html"), 12_345_678, ["12,345,678 bytes", "256,000,000"], []),
        (answer(413, b"<html>", content_type="text/html"), 12_345_678, ["the gateway's limit"], []),
        (answer(413, error_json("request_too_large")), 256_000_001, ["256,000,001", "256,000,000"], ["gateway"]),
        (answer(413, error_json("request_too_large")), None, ["256,000,000"], ["gateway"]),
    ],
)
def test_a_413_says_how_much_was_sent_and_what_is_taken(
    reply: httpx.Response, sent: int | None, named: list[str], absent: list[str]
) -> None:
    error = str(error_of(reply, sent=sent))

    assert [each for each in named if each not in error] == []
    assert [each for each in absent if each in error] == []


def batch_json(**fields: object) -> str:
    times = {"created_at": "2026-11-22T12:00:00Z", "expires_at": "2026-11-23T12:00:00Z"}
    said = {"id": "msgbatch_1", "processing_status": "in_progress", "request_counts": {}, **times, **fields}
    return json.dumps({name: value for name, value in said.items() if value is not ...})


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (batch_json(id="projects/p/sk-secret-1"), ["id (String should match pattern"]),
        (batch_json(id=...), ["id (Field required)"]),
        (batch_json(request_counts={"succeeded": "sk-secret-1"}), ["request_counts.succeeded (", "integer"]),
        (batch_json(created_at=..., expires_at="sk-secret-1"), ["created_at (Field required)", "expires_at ("]),
        (batch_json(id=7, request_counts=7, created_at=7, expires_at="x", ended_at="x"), ["id (", "2 more"]),
        ('["sk-secret-1"]', ["the whole ("]),
        ("<html>sk-secret-1</html>", ["A gateway"]),
        ("", ["A gateway"]),
    ],
)
async def test_a_200_that_cannot_be_used_names_the_fields_and_never_their_values(body: str, named: list[str]) -> None:
    said = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    async with server_saying(said) as url, api(url) as client:
        with pytest.raises(ReplyLost) as caught:
            await client.retrieve(PROFILE, "msgbatch_1")

    assert [each for each in named if each not in str(caught.value)] == []
    assert "sk-secret-1" not in str(caught.value)


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


@pytest.mark.parametrize("count", ["-1", "9" * 400, "1e400", "null", "7.5"])
async def test_a_count_of_tokens_that_is_none_is_no_answer(count: str) -> None:
    body = f'{{"input_tokens": {count}}}'.encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    async with server_saying(answer) as url, api(url) as client:
        with pytest.raises(ApiError):
            await client.count_tokens(PROFILE, {"model": "claude-sonnet-5", "messages": []})
