"""Hostile responses of an API, or of another server in its place: typed, bounded, and never with the key."""

import asyncio
import gzip
import hashlib
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from pydantic import SecretStr
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.batch import MessageBatchActivities
from activities.models import FindCandidatesInput, PrepareInput
from activities.submission import SubmissionActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile
from message_batches.api.responses import LONGEST_RETRY_AFTER
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.errors import (
    ApiError,
    ApiUnavailable,
    AuthenticationFailed,
    BatchNotFound,
    RateLimited,
    ReplyLost,
    RequestRefused,
    ResultsIncomplete,
)
from message_batches.models import Anchor
from message_batches.requests.manifest import write_inline_manifest
from message_batches.results.contradictions import ANY
from message_batches.results.landing import land
from message_batches.results.ownership import are_ours
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.storage.submission_records import Submitter
from message_batches.temporal.connection import DATA_CONVERTER
from message_batches.temporal.dev_server import DevServer
from tests.harness import local_s3
from tests.harness.gateway import ENDED_BATCH as BATCH
from tests.harness.gateway import Answer, gateway_to
from tests.harness.requests import requests
from tests.harness.stack import KEYS, failure_of, running_stack

PROFILE = ApiProfile()
DEEP = "[" * 10_000
RawReply = Callable[[web.Request], web.StreamResponse]


@asynccontextmanager
async def api_saying(answer: RawReply) -> AsyncIterator[HttpBatchApi]:
    """Run a server that gives every call the same response, and yield a client of it."""
    async with serving(answer) as url, http_client(url) as http:
        yield HttpBatchApi(http, ApiKeys(KEYS))


@asynccontextmanager
async def serving(answer: RawReply) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port := unused_port()).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def eavesdropper() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run another host, and record the first bytes that each connection sends to it."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


@asynccontextmanager
async def saying_raw(answer: bytes) -> AsyncIterator[str]:
    """Run a server that sends these bytes to every call."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def saying(status: int, body: bytes | str, **headers: str) -> RawReply:
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.Response(status=status, body=data, headers=named)


def error(**fields: Any) -> str:
    return json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": "why", **fields}})


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (saying(400, f'{{"error":{DEEP}'), RequestRefused),
        (saying(500, f'{{"error":{{"details":{DEEP}'), ApiUnavailable),
        (saying(404, DEEP), BatchNotFound),
        (saying(429, error(details={"error_code": []})), RateLimited),
        (saying(400, error(details={"error_code": {"a": 1}}, type=["x"], message={"y": 1})), RequestRefused),
        (saying(400, error(type="x" * 10**6, message="y" * 10**6)), RequestRefused),
        (saying(400, error(message="\x1b[2J\x07\r\nrequest-id: x")), RequestRefused),
        (saying(400, error(message="\ud83d")), RequestRefused),
        (saying(400, b"\xff\xfe\0", content_type="x" * 5000), RequestRefused),
        (saying(400, error(), request_id="x" * 5000), RequestRefused),
        (lambda call: saying(400, gzip.compress(b" " * 10**8), content_encoding="gzip")(call), RequestRefused),
        (saying(400, "no gzip", content_encoding="gzip"), ReplyLost),
        (saying(200, json.dumps(BATCH), x="y" * 7000, **{f"x_{n}": "y" * 7000 for n in range(20)}), ReplyLost),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_an_invalid_error_response_becomes_a_short_error_of_ours(answer: RawReply, kind: type[ApiError]) -> None:
    async with api_saying(answer) as client:
        with pytest.raises(kind) as caught:
            await client.retrieve(PROFILE, "msgbatch_1")

    assert type(caught.value) is kind
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


BATCHES: dict[str, dict[str, Any] | str] = {
    "an id that leads upwards": {**BATCH, "id": "../.."},
    "an id of dots": {**BATCH, "id": ".."},
    "an id with a slash": {**BATCH, "id": "a/b"},
    "an id, a megabyte": {**BATCH, "id": "a" * 10**6},
    "a status, a megabyte": {**BATCH, "processing_status": "a" * 10**6},
    "an address, a megabyte": {**BATCH, "results_url": "a" * 10**6},
    "fewer than no requests": {**BATCH, "request_counts": {"succeeded": -1}},
    "more requests than any": {**BATCH, "request_counts": {"succeeded": 10**30}},
    "a time without a zone": {**BATCH, "created_at": "2026-11-22T12:00:00"},
    "the year 1": {**BATCH, "created_at": "0001-01-01T00:00:00Z"},
    "the year 9999": {**BATCH, "expires_at": "9999-12-31T23:59:59Z"},
    "10,000 deep": json.dumps(BATCH)[:-1] + f',"x":{DEEP}',
    "a number of 5,000 digits": json.dumps(BATCH)[:-1] + f',"request_counts":{{"succeeded":1{"0" * 5000}}}}}',
    "half a surrogate pair": json.dumps(BATCH)[:-1] + ',"processing_status":"\\ud83d"}',
    "nothing": "",
}


@pytest.mark.parametrize("said", BATCHES.values(), ids=BATCHES)
async def test_an_invalid_batch_is_a_lost_reply(said: dict[str, Any] | str) -> None:
    async with api_saying(saying(200, said if isinstance(said, str) else json.dumps(said))) as client:
        with pytest.raises(ReplyLost):
            await client.retrieve(PROFILE, "msgbatch_1")
        with pytest.raises(ReplyLost) as caught:
            await client.create(PROFILE, body(), 2)

    assert caught.value.outcome_unknown


async def body() -> AsyncIterator[bytes]:
    yield b"{}"


@pytest.mark.parametrize("value", ["1e308", "inf", "nan", "-1", "9" * 4000, "Fri, 31 Dec 9999 23:59:59 GMT", "\xff"])
async def test_a_huge_retry_after_is_an_hour_at_most(value: str) -> None:
    async with api_saying(saying(429, error(), retry_after=value)) as client:
        with pytest.raises(RateLimited) as caught:
            await client.retrieve(PROFILE, "msgbatch_1")

    assert caught.value.retry_after is None or timedelta(0) < caught.value.retry_after <= LONGEST_RETRY_AFTER


async def test_a_reply_that_decompresses_to_gigabytes_is_not_kept_in_memory() -> None:
    bomb = gzip.compress(b" " * 2 * 10**8)
    async with api_saying(saying(200, bomb, content_encoding="gzip")) as client:
        tracemalloc.start()
        try:
            with pytest.raises(ReplyLost):
                await client.retrieve(PROFILE, "msgbatch_1")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert most < 10_000_000, "a step of it, and the 64 KiB that a batch may have"


KEY = KEYS["default"].get_secret_value()
ESCAPED = KEY.replace("-", "\\u002D").replace("s", "\\u0073")
REPEATED = {
    "in the message": saying(401, error(message=f"Invalid proxy server token passed. Received API Key = {KEY}")),
    "with escapes": saying(401, error(message="no key").replace("key", ESCAPED)),
    "where a message is cut": saying(401, error(message="x" * 490 + KEY)),
    "as the error's type": saying(401, error(type=KEY)),
    "as the call's id": saying(401, error(), request_id=f"{KEY}-1"),
    "as the media type": saying(401, b"", content_type=f"text/{KEY}"),
    "twice": saying(401, error(type=f"{KEY}{KEY}", message=f"{KEY} and {KEY}")),
    "half as the type": saying(401, error(type=KEY[:10], message=KEY[10:])),
    "percent-encoded": saying(401, error(message=f"no {''.join(f'%{ord(each):02x}' for each in KEY)}")),
    "with invisible characters": saying(401, error(message="\u200b".join(KEY))),
    "as the server": saying(401, b"", server=f"proxy/{KEY}"),
    **{
        f"in {each}": saying(401, error(message=f"no {KEY}").encode(each)) for each in ("utf-16", "utf-16-be", "utf-32")
    },
}


def readable(text: str) -> str:
    """Return a text as a reader may take it: decoded, and without what splits it."""
    return "".join(each for each in unquote(text) if each.isascii() and each.isprintable() and each != " ")


@pytest.mark.parametrize("answer", REPEATED.values(), ids=REPEATED)
async def test_a_key_in_a_response_is_in_no_error(answer: RawReply, tmp_path: Path) -> None:
    async with api_saying(answer) as client:
        with pytest.raises(AuthenticationFailed) as caught:
            await client.retrieve(PROFILE, "msgbatch_1")
        assert KEY[:10] not in readable(f"{caught.value} {caught.value.request_id}")
        with pytest.raises(AuthenticationFailed) as caught:
            await landed(client, open_store(tmp_path.as_uri()))
        assert KEY[:10] not in readable(f"{caught.value} {caught.value.request_id}")


async def test_a_key_in_a_response_that_is_not_http_is_in_no_error() -> None:
    async with saying_raw(f"HTTP/1.1 200 OK\r\nyour key: {KEY}\r\n\r\n".encode()) as url, http_client(url) as http:
        with pytest.raises(ReplyLost, match=r"\[API key\]") as caught:
            await HttpBatchApi(http, ApiKeys(KEYS)).retrieve(PROFILE, "msgbatch_1")

    assert KEY not in str(caught.value)


async def test_a_key_in_the_description_of_a_batch_is_removed() -> None:
    said = {**BATCH, "results_url": f"https://gateway/results?key={KEY}"}
    async with api_saying(saying(200, json.dumps(said))) as client:
        batch = await client.retrieve(PROFILE, "msgbatch_1")

    assert batch.results_url == "https://gateway/results?key=[API key]"


@pytest.mark.parametrize("key", ["x", "status", "batch"])
async def test_a_text_too_short_for_a_key_is_not_redacted(key: str) -> None:
    async with serving(saying(200, json.dumps(BATCH))) as url, http_client(url) as http:
        batch = await HttpBatchApi(http, ApiKeys({"default": SecretStr(key)})).retrieve(PROFILE, "msgbatch_1")

    assert batch.id == "msgbatch_1"


@pytest.mark.parametrize(
    ("way", "said"), [("in the message", "Received API Key = [API key]"), ("in utf-16", "A gateway")]
)
async def test_a_key_in_a_response_is_not_in_the_history(
    temporal: DevServer, emulator: Emulator, tmp_path: Path, way: str, said: str
) -> None:
    async with (
        serving(REPEATED[way]) as url,
        running_stack(temporal.client, StandIn(url), tmp_path.as_uri()) as live,
    ):
        run = await live.start(requests(1))
        failure = await failure_of(run)
        history = [event.SerializeToString() async for event in run.fetch_history_events()]

    assert failure.type == "AuthenticationFailed"
    assert said in failure.message
    assert KEY.encode() not in b"".join(history).replace(b"\0", b"")


async def test_a_key_in_all_that_succeeds_is_not_in_the_history(
    temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    def repeat(answer: Answer) -> None:
        answer.headers |= {"request-id": KEY, "server": KEY, "anthropic-workspace-id": KEY, "content-type": KEY}
        answer.headers |= {"anthropic-organization-id": ESCAPED, "date": KEY, "retry-after": KEY, "location": KEY}
        if answer.is_batch:
            answer.set(results_url=f"https://{KEY}/", reported_status=KEY, server=KEY, **{KEY: KEY})
        elif answer.is_results:
            first, *others = answer.body.splitlines(keepends=True)
            wrong = {"type": "errored", "error": {"type": "error", "error": {"type": KEY, "message": f"no {KEY}"}}}
            line = json.dumps({"custom_id": json.loads(first)["custom_id"], "result": wrong})
            answer.body = b"".join([line.encode(), b"\n", *others]).replace(b"claude-sonnet-5", KEY.encode())
        elif answer.status == 200:
            answer.set(**{"first_id": KEY, KEY: [KEY], "type": KEY})

    async with (
        gateway_to(emulator.url) as gateway,
        running_stack(temporal.client, emulator, tmp_path.as_uri(), through=gateway.url) as live,
    ):
        gateway.change = repeat
        run = await live.start(requests(2), delete_after_landing=True)
        output = await run.result()
        told = await run.describe()
        history = [event.SerializeToString() async for event in run.fetch_history_events()]

    assert output.summary.counts.errored == 1
    assert (tmp_path / output.results_file.uri.partition(f"{tmp_path}/")[2]).read_bytes().count(KEY.encode()) >= 3
    for said in (output.model_dump_json().encode(), told.raw_description.SerializeToString(), *history):
        assert KEY.encode() not in said
        assert KEY[12:].encode() not in said


async def test_a_stores_response_is_not_the_cause_of_a_failure() -> None:
    def wrong_signature(request: web.Request) -> web.StreamResponse:
        signed = f"GET\n/bucket/p/store.json\n\nx-amz-security-token:{request.headers['x-amz-security-token']}"
        text = f"<Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>{signed}</CanonicalRequest></Error>"
        return web.Response(status=403, text=text, content_type="application/xml")

    failure = Failure()
    async with serving(wrong_signature) as url, http_client(url) as http:
        store = open_store("s3://bucket/p", endpoint=url, **local_s3.KEYS, session_token="a-secret-token")
        activities = MessageBatchActivities(HttpBatchApi(http, ApiKeys(KEYS)), store)
        with pytest.raises(ApplicationError) as caught:
            await ActivityEnvironment().run(activities.prepare_requests, PrepareInput(profile=PROFILE))
        await DATA_CONVERTER.encode_failure(caught.value, failure)

    assert failure.application_failure_info.type == "StoreUnavailable"
    assert "s3://bucket/p/store.json" in failure.message
    assert not failure.HasField("cause")
    assert "in identity" in failure.stack_trace, "our own stack stays"
    assert b"a-secret-token" not in failure.SerializeToString()


async def landed(client: HttpBatchApi, store: ObjectStore) -> None:
    download, account = client.results(PROFILE, "msgbatch_1"), client.account(PROFILE).part
    await land(store, download, account=account, batch_id="msgbatch_1", manifest=None, expected_count=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "times"),
    [(b"\0", 300_000_000), (b"\n", 30_000_000), (b'{"custom_id":"a","result":{"type":"expired"}}\n', 100_000)],
    ids=["one line", "empty lines", "the same line"],
)
async def test_results_that_decompress_without_end_are_incomplete_and_leave_nothing(
    tmp_path: Path, unit: bytes, times: int
) -> None:
    store = open_store((tmp_path / "store").as_uri())
    bomb = gzip.compress(unit * times, 1)
    async with api_saying(saying(200, bomb, content_encoding="gzip")) as client:
        with pytest.raises(ResultsIncomplete):
            await landed(client, store)
        with pytest.raises(ResultsIncomplete):
            async with client.results(PROFILE, "msgbatch_1") as chunks:
                await are_ours(chunks, dict.fromkeys("abc", ANY))

    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


async def test_no_cookie_of_an_answer_is_sent_back() -> None:
    asked: list[str | None] = []

    def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("cookie"))
        assert request.headers["accept-encoding"] == "identity"
        return web.json_response(BATCH, headers={"set-cookie": "session=of-this-account; Path=/"})

    async with api_saying(answer) as client:
        for _ in range(2):
            await client.retrieve(PROFILE, "msgbatch_1")

    assert asked == [None, None]


async def test_no_call_and_no_key_goes_to_another_host_named_in_a_response(temporal: DevServer, tmp_path: Path) -> None:
    async with eavesdropper() as (elsewhere, heard):
        options = EmulatorOptions(processing_time=timedelta(seconds=0.1), public_url=elsewhere)
        async with Emulator(options) as emulator, running_stack(temporal.client, emulator, tmp_path.as_uri()) as live:
            output = await live.run(requests(3))

        assert (output.results_url or "").startswith(elsewhere)
        assert output.results_file.lines == 3
        for status in (301, 302, 303, 307, 308):
            async with api_saying(saying(status, b"", location=f"{elsewhere}/x")) as client:
                for call in (client.retrieve(PROFILE, "msgbatch_1"), client.create(PROFILE, body(), 2)):
                    with pytest.raises(RequestRefused) as caught:
                        await call
                    assert caught.value.status == status
                with pytest.raises(RequestRefused, match=str(status)):
                    await landed(client, open_store(tmp_path.as_uri()))
    assert heard == []


class StandIn(Emulator):
    """Another server in place of an emulator."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    @property
    def url(self) -> str:
        return self._url


def deep_result(custom_id: str, depth: int) -> bytes:
    content = f'[{{"type":"tool_use","input":{"[" * depth}{"]" * depth}}}]'
    message = f'{{"model":"m","content":{content},"usage":{{"input_tokens":1,"output_tokens":7}}}}'
    return f'{{"custom_id":"{custom_id}","result":{{"type":"succeeded","message":{message}}}}}\n'.encode()


@pytest.mark.parametrize("depth", [120, 230, 900, 10_000])
async def test_results_nested_too_deep_for_a_payload_are_landed_and_omitted_from_it(
    temporal: DevServer, emulator: Emulator, tmp_path: Path, depth: int
) -> None:
    given = requests(3)
    lines = [deep_result(item["custom_id"], depth) for item in given]

    def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/results"):
            return web.Response(body=b"".join(reversed(lines)))
        if request.method == "GET" and request.path.endswith("/batches"):
            return web.json_response({"data": [], "has_more": False})
        return web.json_response(BATCH)

    async with (
        serving(answer) as url,
        running_stack(temporal.client, StandIn(url), (tmp_path / "store").as_uri()) as live,
    ):
        output = await live.run(given)

    assert output.results is None
    assert "line 1" in (output.results_omitted or "")
    assert output.verified
    assert output.summary.counts.succeeded == 3
    assert [used.output for used in output.summary.usage] == [21]
    assert output.results_file.sha256 == hashlib.sha256(b"".join(lines)).hexdigest()


async def test_a_list_that_ignores_the_cursor_is_refused(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    manifest = await write_inline_manifest(store, requests(3))
    submitter = Submitter.of(manifest, api_key="default", workflow_id="run", first_run_id="first")
    now = datetime.now(UTC)
    page = json.dumps({"data": [{**BATCH, "created_at": now.isoformat()}], "has_more": True, "last_id": "msgbatch_1"})
    given = FindCandidatesInput(
        profile=PROFILE,
        manifest=manifest,
        submitter=submitter,
        number=1,
        anchor=Anchor(created_at=now - timedelta(hours=1)),
        until=now + timedelta(hours=1),
    )
    async with api_saying(saying(200, page, content_type="application/json")) as client:
        with pytest.raises(ApplicationError, match="does not end") as caught:
            await ActivityEnvironment().run(SubmissionActivities(client, store).find_candidates, given)

    assert caught.value.type == "ReplyLost"
