"""The codec server over real HTTP: decoding, access, and secrecy."""

import asyncio
import base64
import logging
import os
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, Payloads

from message_batches.codec_server import CodecServer, TokenAuth
from message_batches.codec_server.__main__ import main
from message_batches.codec_server.auth import COOKIE, MAX_WAITING
from message_batches.codec_server.server import CONVERTED_AT_ONCE, MAX_BODY, MAX_LOGIN, MAX_PAYLOADS
from message_batches.encryption.codec import EncryptionCodec
from tests.harness.encryption import key, written
from tests.harness.left_open import connections
from tests.harness.processes import Running
from tests.harness.waiting import TIMEOUT, eventually

TOKEN = "a-token-of-the-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
UI = "http://localhost:8233"
KEY = key("2026-11")
CODEC = EncryptionCodec([KEY])
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a prompt"')


@pytest.fixture
async def server() -> AsyncIterator[CodecServer]:
    async with CodecServer(CODEC, TokenAuth(SecretStr(TOKEN), [UI])) as running:
        yield running


@pytest.fixture
async def http(server: CodecServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, verify=False) as client:
        yield client


def body(*payloads: Payload) -> dict[str, Any]:
    return {"payloads": [json_format.MessageToDict(payload) for payload in payloads]}


def payloads(answer: httpx.Response) -> list[Payload]:
    return list(json_format.ParseDict(answer.json(), Payloads()).payloads)


async def hidden(payload: Payload = PLAIN) -> Payload:
    return (await CODEC.encode([payload]))[0]


async def test_it_decodes_encrypted_payloads_and_leaves_the_rest_unchanged(http: httpx.AsyncClient) -> None:
    other = Payload(metadata={"encoding": b"binary/null"})
    # The call of the Web UI, which adds a field and a parameter that are not part of the protocol.
    sent = {**body(await hidden(), other, await hidden(other)), "newer": True}
    headers = {**BEARER, "X-Namespace": "default"}
    answer = await http.post("/decode", params={"preserveStorageRefs": "true"}, json=sent, headers=headers)

    assert answer.status_code == 200
    assert payloads(answer) == [PLAIN, other, other]
    assert answer.headers["Cache-Control"] == "no-store"


async def test_an_empty_list_of_payloads_is_returned_empty(http: httpx.AsyncClient) -> None:
    assert (await http.post("/decode", json={"payloads": []}, headers=BEARER)).json() == {"payloads": []}


async def test_it_encodes_only_if_that_is_enabled(http: httpx.AsyncClient) -> None:
    refused = await http.post("/encode", json=body(PLAIN), headers=BEARER)
    async with CodecServer(CODEC, TokenAuth(SecretStr(TOKEN)), encode=True) as other:
        encoded = await http.post(f"{other.url}/encode", json=body(PLAIN), headers=BEARER)

    assert refused.status_code == 404
    assert await CODEC.decode(payloads(encoded)) == [PLAIN]


async def test_a_key_that_it_does_not_hold_is_named(http: httpx.AsyncClient) -> None:
    (foreign,) = await EncryptionCodec([key("2025-01")]).encode([PLAIN])
    answer = await http.post("/decode", json=body(await hidden(), foreign), headers=BEARER)

    assert answer.status_code == 400
    assert "key '2025-01'" in answer.json()["message"]


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"a prompt",
        b"\xff",
        b'"a prompt"',
        b'["a prompt"]',
        b'{"payloads": "a prompt"}',
        b'{"payloads": [{"data": ["a prompt"]}]}',
        f'{{"payloads": {DEEP}'.encode(),
        f'{{"payloads": {DEEP}{"]" * len(DEEP)}}}'.encode(),
    ],
    ids=lambda sent: sent[:20].decode(errors="replace"),
)
async def test_a_body_of_another_form_is_refused_and_not_repeated(http: httpx.AsyncClient, sent: bytes) -> None:
    answer = await http.post("/decode", content=sent, headers=BEARER)

    assert answer.status_code == 400
    assert "prompt" not in answer.text


async def test_a_body_has_a_limit(http: httpx.AsyncClient) -> None:
    answer = await http.post("/decode", content=b" " * (MAX_BODY + 1), headers={**BEARER, "Origin": UI})

    assert answer.status_code == 413
    assert answer.headers["Access-Control-Allow-Origin"] == UI


@pytest.mark.parametrize(
    ("field", "one"),
    [
        ("payloads", b"{}"),
        *(pytest.param("other", one, marks=pytest.mark.slow) for one in (b"[]", b'"ab"', b"1000")),
    ],
)
async def test_the_number_of_payloads_has_a_limit(http: httpx.AsyncClient, field: str, one: bytes) -> None:
    many = b",".join([one] * ((MAX_BODY - 64) // (len(one) + 1)))
    before = time.process_time()
    answer = await http.post("/decode", content=b'{"%s":[%s]}' % (field.encode(), many), headers=BEARER)

    assert answer.status_code == 400
    assert f"{MAX_PAYLOADS:,}" in answer.text
    # To read so many takes ten times as long.
    assert time.process_time() - before < 1


@pytest.mark.slow
async def test_as_many_payloads_as_are_allowed_are_converted(http: httpx.AsyncClient) -> None:
    one = await hidden()
    answer = await http.post("/decode", json=body(*[one] * MAX_PAYLOADS), headers=BEARER)
    refused = await http.post("/decode", json=body(*[one] * (MAX_PAYLOADS + 1)), headers=BEARER)

    assert len(payloads(answer)) == MAX_PAYLOADS
    assert refused.status_code == 400


async def test_payloads_are_converted_in_a_thread_and_a_few_bodies_at_a_time() -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    class Slow(EncryptionCodec):
        async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
            begun.release()
            assert go_on.wait(TIMEOUT)
            return await super().decode(payloads)

    async with (
        CodecServer(Slow([KEY]), TokenAuth(SecretStr(TOKEN))) as server,
        httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT) as http,
    ):
        calls = [
            asyncio.create_task(http.post("/decode", json=body(await hidden()), headers=BEARER))
            for _ in range(2 * CONVERTED_AT_ONCE)
        ]
        for _ in range(CONVERTED_AT_ONCE):
            await asyncio.to_thread(begun.acquire)
        assert (await http.get("/healthz")).status_code == 200
        assert not begun.acquire(blocking=False)
        go_on.set()

        assert [payloads(answer) for answer in await asyncio.gather(*calls)] == [[PLAIN]] * len(calls)


@pytest.mark.parametrize("host", [b"", b"Host:\r\n", b"Host: \r\n"], ids=["none", "empty", "blank"])
@pytest.mark.parametrize("origin", [b"", b"Origin: null\r\n", b"Origin: http://\r\n"], ids=["none", "null", "scheme"])
async def test_a_call_without_a_host_is_refused(server: CodecServer, host: bytes, origin: bytes) -> None:
    sent = f"token={TOKEN}".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    head = b"POST /login HTTP/1.0\r\n%s%sConnection: close\r\nContent-Length: %d\r\n\r\n" % (host, origin, len(sent))
    writer.write(head + sent)
    answer = await reader.read()
    writer.close()

    assert b" 400 " in answer.splitlines()[0]
    assert b"Set-Cookie" not in answer


async def test_attempts_to_log_in_take_turns_and_do_not_lock_out_the_right_token() -> None:
    access = TokenAuth(SecretStr(TOKEN), [UI], attempt_seconds=0.02)
    async with CodecServer(CODEC, access) as server, httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT) as http:
        wrong = [asyncio.create_task(http.post("/login", data={"token": f"{n}"})) for n in range(2 * MAX_WAITING)]
        began = time.monotonic()
        answers = await asyncio.gather(*wrong)
        taken = time.monotonic() - began
        tried = sum(answer.status_code == 401 for answer in answers)
        right = await http.post("/login", data={"token": TOKEN})
        called = await http.post("/decode", json=body(await hidden()), headers=BEARER)

    assert {answer.status_code for answer in answers} == {401, 429}
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 429)
    assert tried <= MAX_WAITING + 2 + taken / 0.02
    assert taken > (tried - 1) * 0.02 - 0.01
    assert right.status_code == 200
    assert called.status_code == 200


@pytest.mark.slow
async def test_connections_that_are_left_open_lock_nobody_out(http: httpx.AsyncClient, server: CodecServer) -> None:
    half = b"POST /login HTTP/1.1\r\nHost: x\r\n"
    async with connections(server.url, 600, half), connections(server.url, 450, half + b"Content-Length: 9\r\n\r\n"):
        assert (await http.get("/healthz")).status_code == 200
        answer = await http.post("/decode", json=body(await hidden()), headers=BEARER)

    assert payloads(answer) == [PLAIN]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xff\xfe"},
        {"Cookie": f"{COOKIE}={TOKEN}", "Origin": UI},
        {"Cookie": f"{COOKIE}=9999999999.{'0' * 64}", "Origin": UI},
        {"Cookie": f"{COOKIE}=", "Origin": UI},
    ],
)
async def test_a_call_without_the_token_is_refused(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    sent = httpx.Headers(headers, encoding="latin-1")
    answer = await http.post("/decode", json=body(await hidden()), headers=sent)

    assert answer.status_code == 401
    assert answer.json() == {"message": "Log in at /login, or send the header `Authorization: Bearer TOKEN`"}


async def test_a_page_of_the_web_ui_may_call_and_read_the_response(http: httpx.AsyncClient) -> None:
    asked = {
        "Origin": UI,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-namespace",
    }
    before = await http.options("/decode", headers=asked)
    answer = await http.post("/decode", json=body(await hidden()), headers={**BEARER, "Origin": UI})

    assert before.status_code == 204
    for found in (before, answer):
        assert found.headers["Access-Control-Allow-Origin"] == UI
        assert found.headers["Access-Control-Allow-Credentials"] == "true"
        assert found.headers["Vary"] == "Origin"
    assert {"Content-Type", "X-Namespace", "Authorization"} <= set(
        before.headers["Access-Control-Allow-Headers"].split(", ")
    )
    assert payloads(answer) == [PLAIN]


@pytest.mark.parametrize("origin", ["http://localhost:8234", "http://localhost", "https://localhost:8233", "null", ""])
async def test_a_page_of_another_origin_is_refused_with_any_credentials(http: httpx.AsyncClient, origin: str) -> None:
    session = {"Cookie": f"{COOKIE}={TokenAuth(SecretStr(TOKEN)).session()}"}
    for method, headers in (("OPTIONS", {}), ("POST", BEARER), ("POST", session)):
        sent = None if method == "OPTIONS" else body(await hidden())
        answer = await http.request(method, "/decode", json=sent, headers={**headers, "Origin": origin})

        assert answer.status_code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "payloads" not in answer.text


async def test_a_browser_logs_in_once_and_its_cookie_holds_no_token(http: httpx.AsyncClient) -> None:
    form = await http.get("/login")
    answer = await http.post("/login", data={"token": f" {TOKEN}\n"})
    decoded = await http.post("/decode", json=body(await hidden()), headers={"Origin": UI})

    assert '<input type="password" name="token"' in form.text
    assert answer.status_code == 200
    assert f'href="{UI}"' in answer.text
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=Strict"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert TOKEN not in cookie + answer.text
    assert decoded.status_code == 200
    assert payloads(decoded) == [PLAIN]
    for page in (form, answer):
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["Cache-Control"] == "no-store"
        # With `no-referrer` a browser would name the origin `null` for the form, which is refused.
        assert page.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("origin", ["{url}", UI])
async def test_the_login_may_come_from_its_own_page_and_from_the_web_ui(
    http: httpx.AsyncClient, server: CodecServer, origin: str
) -> None:
    answer = await http.post("/login", data={"token": TOKEN}, headers={"Origin": origin.format(url=server.url)})

    assert answer.status_code == 200
    assert "Set-Cookie" in answer.headers


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1", "null", "", "http://["])
async def test_a_login_from_a_page_of_another_origin_is_refused(http: httpx.AsyncClient, origin: str) -> None:
    answer = await http.post("/login", data={"token": TOKEN}, headers={"Origin": origin})

    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("declared", [True, False], ids=["its length declared", "in chunks"])
async def test_a_login_body_longer_than_any_token_is_refused(http: httpx.AsyncClient, declared: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield f"token={TOKEN}&".encode()
        yield b"&a=b" * (MAX_LOGIN // 4)

    sent = b"".join([chunk async for chunk in chunks()]) if declared else chunks()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await http.post("/login", content=sent, headers=kind)

    assert answer.status_code == 413
    assert "Set-Cookie" not in answer.headers


async def test_a_cookie_is_accepted_only_from_a_page_of_the_web_ui(http: httpx.AsyncClient) -> None:
    await http.post("/login", data={"token": TOKEN})

    assert (await http.post("/decode", json=body(await hidden()))).status_code == 401


@pytest.mark.parametrize("given", [{"token": "wrong"}, {"token": ""}, {}, {"other": TOKEN}])
async def test_a_wrong_token_begins_no_session(http: httpx.AsyncClient, given: dict[str, str]) -> None:
    answer = await http.post("/login", data=given)

    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


async def test_a_session_expires_at_its_signed_date(http: httpx.AsyncClient) -> None:
    access = TokenAuth(SecretStr(TOKEN))
    good, over = access.session(), access.session(timedelta(seconds=-1))
    eventually = int(good.partition(".")[0])
    sessions = {
        good: 200,
        over: 401,
        good.replace(str(eventually), str(eventually + 1)): 401,
        over.replace(over.partition(".")[0], str(eventually)): 401,
        TokenAuth(SecretStr("another-token-0123456789")).session(): 401,
    }

    for session, status in sessions.items():
        headers = {"Cookie": f"{COOKIE}={session}", "Origin": UI}
        assert (await http.post("/decode", json=body(), headers=headers)).status_code == status, session


def test_a_session_is_limited_to_https_if_every_page_is() -> None:
    assert TokenAuth(SecretStr(TOKEN), ["https://ui.example.com"]).secure
    assert not TokenAuth(SecretStr(TOKEN), ["https://ui.example.com", UI]).secure
    assert not TokenAuth(SecretStr(TOKEN)).secure


async def test_without_a_token_local_programs_are_allowed_and_foreign_pages_are_refused() -> None:
    async with CodecServer(CODEC, TokenAuth(None, [UI])) as server, httpx.AsyncClient(base_url=server.url) as http:
        sent = body(await hidden())
        answers = {
            origin: await http.post("/decode", json=sent, headers={"Origin": origin} if origin else {})
            for origin in ("", UI, "http://evil.example")
        }

    assert [answer.status_code for answer in answers.values()] == [200, 200, 403]


async def test_its_log_has_neither_tokens_nor_payloads(
    http: httpx.AsyncClient, server: CodecServer, caplog: pytest.LogCaptureFixture
) -> None:
    secret = await hidden()
    with caplog.at_level(logging.DEBUG):
        await http.post("/decode", json=body(secret), headers=BEARER)
        await http.post(f"/decode?token={TOKEN}", json=body(secret), headers={"Authorization": f"Bearer {TOKEN}x"})
        await http.post("/decode", content=b"a prompt", headers=BEARER)
        await http.post("/login", data={"token": f"{TOKEN}x"})
        await http.get(f"/a%0Aline/{'x' * 10}")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(f"POST /decode HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\x00\r\n\r\n".encode())
        assert b"400" in await reader.readline()
        writer.close()

    ours = [record.getMessage() for record in caplog.records if record.name.startswith("message_batches")]
    assert ours == [
        "POST /decode from 127.0.0.1: 401",
        "POST /decode from 127.0.0.1: 400",
        "POST /login from 127.0.0.1: 401",
        "GET /a%0Aline/xxxxxxxxxx from 127.0.0.1: 404",
    ]
    everything = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    assert TOKEN not in everything
    assert "prompt" not in everything
    assert base64.b64encode(secret.data).decode() not in everything


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "message_batches.codec_server", "--listen", "127.0.0.1:0", *arguments]


def environment(**variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "MESSAGE_BATCHES_ENCRYPTION_KEYS": written([KEY]), **variables}


async def test_it_runs_until_sigterm_and_prints_its_address_and_access(tmp_path: Path) -> None:
    running = await Running.start(
        command("--ui-origin", f"{UI}/"), tmp_path / "log", environment=environment(MESSAGE_BATCHES_CODEC_TOKEN=TOKEN)
    )
    try:
        await eventually(
            lambda: running.exit_code is not None or "pages" in running.output, "a codec server that listens"
        )
        url = re.findall(r"listening on (http://127.0.0.1:\d+): decodes with keys 2026-11", running.output)[0]
        async with httpx.AsyncClient(base_url=url) as http:
            health = await http.get("/healthz")
            answer = await http.post("/decode", json=body(await hidden()), headers=BEARER)
        assert await running.terminate() == 0
    finally:
        await running.kill()

    assert health.status_code == 200
    assert payloads(answer) == [PLAIN]
    assert f"pages    {UI}\n" in running.output
    assert TOKEN not in running.output


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        ((), {}, "MESSAGE_BATCHES_CODEC_TOKEN"),
        (("--without-token", "--listen", "0.0.0.0:0"), {}, "0.0.0.0"),
        (("--without-token",), {"MESSAGE_BATCHES_CODEC_TOKEN": TOKEN}, "--without-token"),
        ((), {"MESSAGE_BATCHES_CODEC_TOKEN": "short"}, "MESSAGE_BATCHES_CODEC_TOKEN"),
        (("--without-token",), {"MESSAGE_BATCHES_ENCRYPTION_KEYS": ""}, "MESSAGE_BATCHES_ENCRYPTION_KEYS"),
        (("--ui-origin", "*"), {"MESSAGE_BATCHES_CODEC_TOKEN": TOKEN}, "'*'"),
        (("--ui-origin", f"{UI}/path"), {"MESSAGE_BATCHES_CODEC_TOKEN": TOKEN}, f"'{UI}/path'"),
        (
            ("--listen", "8234"),
            {"MESSAGE_BATCHES_CODEC_TOKEN": TOKEN},
            "'8234'",
        ),
        (("--listen", "192.0.2.1:8234"), {"MESSAGE_BATCHES_CODEC_TOKEN": TOKEN}, "192.0.2.1:8234"),
    ],
)
def test_a_missing_or_invalid_setting_is_reported_in_one_line(
    arguments: tuple[str, ...],
    variables: dict[str, str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MESSAGE_BATCHES_CODEC_TOKEN", raising=False)
    for name, value in environment(**variables).items():
        monkeypatch.setenv(name, value)
    code: object
    try:
        code = main(["--listen", "127.0.0.1:0", *arguments])
    except SystemExit as ended:
        code = ended.code

    assert code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
