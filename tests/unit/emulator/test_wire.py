"""The bytes on the wire: headers, error bodies, and the order of the checks."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import httpx
import pytest

from message_batches.emulator import Emulator
from tests.harness.emulated_api import BATCHES, HEADERS, body, by_id, create, http, lines, request, results, retrieve
from tests.unit.emulator.conftest import Start

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


async def test_a_new_batch_has_its_ten_fields(client: httpx.AsyncClient) -> None:
    made = await create(client)
    assert list(made) == [
        "id",
        "type",
        "processing_status",
        "request_counts",
        "ended_at",
        "created_at",
        "expires_at",
        "archived_at",
        "cancel_initiated_at",
        "results_url",
    ]
    assert re.fullmatch(r"msgbatch_01[1-9A-HJ-NP-Za-km-z]{22}", made["id"])
    assert MOMENT.fullmatch(made["created_at"])
    assert MOMENT.fullmatch(made["expires_at"])
    assert made["request_counts"] == {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    assert [made[name] for name in ("ended_at", "archived_at", "cancel_initiated_at", "results_url")] == [None] * 4


async def test_headers_of_an_answer(start: Start) -> None:
    emulator = await start(processing_time=timedelta(hours=1))
    async with http(emulator) as client:
        batch_id = (await create(client))["id"]
        reply = await client.get(f"{BATCHES}/{batch_id}")
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["request-id"] == emulator.calls[-1].request_id
        assert reply.headers["anthropic-organization-id"]
        assert reply.headers["anthropic-workspace-id"] == emulator.batches[0].workspace
        assert reply.headers["anthropic-ratelimit-requests-limit"] == "4000"
        assert int(reply.headers["anthropic-ratelimit-requests-remaining"]) <= 4000
        assert reply.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
        assert reply.headers["retry-after"] == "10"
        emulator.clock.advance(timedelta(hours=1))
        reply = await client.get(f"{BATCHES}/{batch_id}")
        assert "retry-after" not in reply.headers
        assert httpx.URL(reply.json()["results_url"]) == f"{emulator.url}{BATCHES}/{batch_id}/results"
        reply = await client.get(reply.json()["results_url"])
        assert reply.headers["content-type"] == "application/x-jsonl"
        assert reply.headers["transfer-encoding"] == "chunked"


async def test_date_follows_the_virtual_clock(emulator: Emulator, client: httpx.AsyncClient) -> None:
    emulator.clock.advance(timedelta(days=400))
    made = (await client.post(BATCHES, json=body())).headers["date"]
    assert made.endswith("GMT")
    assert f"{emulator.clock.now():%Y}" in made


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
@pytest.mark.parametrize("auth", [{"x-api-key": "sk-one"}, {"authorization": "Bearer sk-one"}])
async def test_both_credentials_and_both_versions(emulator: Emulator, version: str, auth: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=emulator.url, headers={**auth, "anthropic-version": version}) as client:
        assert (await create(client))["processing_status"] == "in_progress"
    async with http(emulator) as client:
        assert len((await client.get(BATCHES)).json()["data"]) == 1


async def test_x_api_key_wins(emulator: Emulator) -> None:
    async with http(emulator, authorization="Bearer sk-invalid") as client:
        assert (await client.get(BATCHES)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "type_", "message"),
    [
        ("GET", "/v1/messages/batch", {}, 404, "not_found_error", "Not Found"),
        ("GET", BATCHES + "/", {}, 404, "not_found_error", "Not Found"),
        ("PUT", BATCHES, {}, 405, "invalid_request_error", "Method Not Allowed"),
        ("GET", BATCHES, {}, 401, "authentication_error", "x-api-key header is required"),
        ("GET", BATCHES, {"x-api-key": "sk-invalid-x"}, 401, "authentication_error", "API key is invalid."),
        ("GET", BATCHES, {"authorization": "Basic c2s6"}, 401, "authentication_error", "API key is invalid."),
        ("GET", BATCHES, {"x-api-key": "k"}, 400, "invalid_request_error", "anthropic-version: header is required"),
        (
            "GET",
            BATCHES,
            {"x-api-key": "k", "anthropic-version": "2024-01-01"},
            400,
            "invalid_request_error",
            "anthropic-version: not a valid version; the versions are 2023-06-01, 2026-10-21",
        ),
        ("GET", BATCHES + "/x", HEADERS, 404, "not_found_error", "Message Batch x not found."),
        ("GET", BATCHES + "/x/results", HEADERS, 404, "not_found_error", "Message Batch x not found."),
        ("POST", BATCHES + "/x/cancel", HEADERS, 404, "not_found_error", "Message Batch x not found."),
        ("DELETE", BATCHES + "/x", HEADERS, 404, "not_found_error", "Message Batch x not found."),
    ],
)
async def test_error_bodies(
    emulator: Emulator, method: str, path: str, headers: dict[str, str], status: int, type_: str, message: str
) -> None:
    async with httpx.AsyncClient(base_url=emulator.url) as client:
        reply = await client.request(method, path, headers=headers)
    request_id = emulator.calls[0].request_id
    assert reply.status_code == status
    assert reply.headers["request-id"] == request_id
    assert reply.headers["content-type"] == "application/json"
    error = f'{{"type":"{type_}","message":"{message}"}}'
    assert reply.text == f'{{"type":"error","error":{error},"request_id":"{request_id}"}}'
    assert ("anthropic-workspace-id" in reply.headers) == (status not in (401, 405) and message != "Not Found")


async def test_results_of_an_unfinished_batch(start: Start) -> None:
    emulator = await start(processing_time=timedelta(hours=1))
    async with http(emulator) as client:
        batch_id = (await create(client))["id"]
        reply = await client.get(f"{BATCHES}/{batch_id}/results")
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "not_found_error")
    assert reply.json()["error"]["message"] == f"Message Batch {batch_id} has no available results."


async def test_a_key_is_a_workspace(emulator: Emulator) -> None:
    async with http(emulator) as one, http(emulator, **{"x-api-key": "sk-two"}) as two:
        batch_id = (await create(one))["id"]
        assert (await two.get(f"{BATCHES}/{batch_id}")).status_code == 404
        assert (await two.get(BATCHES)).json() == {"data": [], "has_more": False, "first_id": None, "last_id": None}
        named = {"anthropic-workspace-id": emulator.batches[0].workspace}
        assert (await one.get(BATCHES, headers=named)).status_code == 200
        assert (await two.get(BATCHES, headers=named)).status_code == 403


async def test_several_keys_can_have_one_workspace_and_one_key_several(start: Start) -> None:
    emulator = await start(
        api_keys=("sk-old=wrkspc_a", "sk-new=wrkspc_a", "sk-all=wrkspc_b", "sk-all=wrkspc_a", "sk=one")
    )
    async with http(emulator) as client:

        async def seen_by(key: str, workspace: str | None = None, **headers: str) -> tuple[int, str, int]:
            named = {} if workspace is None else {"anthropic-workspace-id": workspace}
            key_header = headers or {"x-api-key": key}
            reply = await client.get(BATCHES, headers={"x-api-key": "", **key_header, **named})
            count = len(reply.json().get("data", []))
            return reply.status_code, reply.headers.get("anthropic-workspace-id", ""), count

        await create(client, **{"x-api-key": "sk-old"})
        assert await seen_by("sk-new") == (200, "wrkspc_a", 1)
        assert await seen_by("", authorization="Bearer sk-new") == (200, "wrkspc_a", 1)
        assert await seen_by("sk-all") == (200, "wrkspc_b", 0)
        assert await seen_by("sk-all", "wrkspc_a") == (200, "wrkspc_a", 1)
        assert await seen_by("sk-old", "wrkspc_b") == (403, "wrkspc_a", 0)
        assert (await seen_by("sk=one"))[0] == 200
        assert await seen_by("sk-old=wrkspc_a") == (401, "", 0)


async def test_only_named_keys(start: Start) -> None:
    emulator = await start(api_keys=("sk-one",))
    async with http(emulator) as client:
        assert (await client.get(BATCHES)).status_code == 200
        assert (await client.get(BATCHES, headers={"x-api-key": "sk-two"})).status_code == 401
    assert "sk-one" not in repr(emulator.options)


async def test_no_key_is_shown_anywhere(emulator: Emulator) -> None:
    secret = "sk-ant-very-secret"
    async with http(emulator, **{"x-api-key": secret}) as client:
        batch_id = (await create(client))["id"]
        shown = [await client.get(f"{BATCHES}/{batch_id}"), await client.get("/nowhere")]
        shown += [await client.get(BATCHES, headers={"anthropic-version": secret})]
        shown += [await client.get("/_emulator/calls"), await client.get("/_emulator/batches")]
    assert not any(secret in reply.text or secret in str(reply.headers) for reply in shown)


async def test_results_url_has_the_host_of_the_request(start: Start) -> None:
    emulator = await start(processing_time=timedelta())
    public = await start(processing_time=timedelta(), public_url="https://batches.example/")
    proxy = {"x-forwarded-proto": "https", "x-forwarded-host": "proxy.example"}
    async with http(emulator, **proxy) as client:
        batch = await retrieve(client, (await create(client))["id"])
        assert batch["results_url"] == f"https://proxy.example{BATCHES}/{batch['id']}/results"
    async with http(public, **proxy) as client:
        batch = await retrieve(client, (await create(client))["id"])
        assert batch["results_url"] == f"https://batches.example{BATCHES}/{batch['id']}/results"


async def test_the_lines_of_every_outcome(client: httpx.AsyncClient) -> None:
    made = await create(client, request("a"), request("b", messages=...), request("c", model="claude-does-not-exist-9"))
    got = {json.loads(line)["custom_id"]: line.decode() for line in (await results(client, made["id"])).splitlines()}
    assert got["b"] == (
        '{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error",'
        '"message":"messages: Field required","details":{"error_visibility":"user_facing"}},"request_id":null}}}'
    )
    assert '"error":{"type":"not_found_error","message":"model: claude-does-not-exist-9"' in got["c"]
    message = json.loads(got["a"])["result"]["message"]
    assert message["id"].startswith("msg_")
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "claude-haiku-4-5-20251001")
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)
    assert list(message["usage"]) == [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cache_creation",
        "output_tokens",
        "service_tier",
        "inference_geo",
    ]


async def test_the_emulators_own_endpoints_need_no_key(emulator: Emulator, client: httpx.AsyncClient) -> None:
    batch_id = (await create(client, request("a"), request("b")))["id"]
    await client.get(BATCHES + "/nope", headers={"authorization": "Bearer x"}, params={"beta": "true"})
    async with httpx.AsyncClient(base_url=emulator.url) as anyone:
        calls = (await anyone.get("/_emulator/calls")).json()
        (batch,) = (await anyone.get("/_emulator/batches")).json()
        assert (await anyone.delete("/_emulator/calls")).json() == []
        assert (await anyone.get("/_emulator/calls")).json() == []
    seen = [(call["method"], call["path"], call["operation"], call["status"], call["batchId"]) for call in calls]
    assert seen == [
        ("POST", BATCHES, "create", 200, batch_id),
        ("GET", BATCHES + "/nope", "retrieve", 404, "nope"),
    ]
    assert MOMENT.fullmatch(calls[0]["time"])
    assert (batch["id"], batch["count"], batch["custom_ids"]) == (batch_id, 2, ["a", "b"])
    assert {"workspace", "created_at", "processing_status"} < batch.keys()


async def test_a_reply_quotes_its_prompt(client: httpx.AsyncClient) -> None:
    texts = ["What is a batch?", "What is a queue?", "x" * 500 + "1", "x" * 500 + "2"]
    replies = []
    for text in texts:
        (line,) = await lines(client, (await create(client, request("same", text)))["id"])
        replies.append(line["result"]["message"]["content"][0]["text"])
    assert "What is a batch?" in replies[0]
    assert len(set(replies)) == len(texts)
    again = await by_id(client, (await create(client, request("same", texts[0])))["id"])
    assert again["same"]["message"]["content"][0]["text"] == replies[0]
