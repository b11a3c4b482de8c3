"""The checks of requests, in the API's own words: those that refuse a batch, and those that make a request errored."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from message_batches.emulator import Emulator
from tests.harness.emulated_api import BATCHES, body, by_id, create, http, request
from tests.unit.emulator.conftest import Start

OLD, NEW = "2023-06-01", "2026-10-21"
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}


def turns(*contents: Any) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": content} for number, content in enumerate(contents)]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ('{"requests": [', "The request body is not valid JSON: "),
        ("", "The request body is not valid JSON: "),
        ('{"requests": []} x', "The request body is not valid JSON: "),
        ('{"requests": [NaN]}', "The request body is not valid JSON: "),
        ('{"requests": [1 2]}', "The request body is not valid JSON: "),
        ('{"requests" []}', "The request body is not valid JSON: "),
        ("{requests: []}", "The request body is not valid JSON: "),
        (b'{"requests": ["\xff"]}', "The request body is not valid JSON: "),
        ("[" * 200_000, "The request body is not valid JSON: "),
        ("[]", "Input should be a valid dictionary"),
        ("{}", "requests: Field required"),
        ('{"requests": {}}', "requests: Input should be a valid list"),
        ('{"requests": []}', "requests: List should have at least 1 item after validation, not 0"),
        ('{"requests": [7]}', "requests.0: Input should be a valid dictionary"),
        ('{"requests": [{"params": {}}]}', "requests.0.custom_id: Field required"),
        ('{"requests": [{"custom_id": 1, "params": {}}]}', "requests.0.custom_id: Input should be a valid string"),
        (body(request("ok"), {"custom_id": "x"}), "requests.1.params: Field required"),
        (body({"custom_id": "x", "params": []}), "requests.0.params: Input should be a valid dictionary"),
        (body({**request(), "extra": 1}), "requests.0.extra: Extra inputs are not permitted"),
        ({**body(), "metadata": {}}, "metadata: Extra inputs are not permitted"),
        (body(request("x" * 65)), "requests.0.custom_id: String should have at most 64 characters"),
        (body(request("a b")), "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
        (body(request("")), "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
        (body(request("a\n")), "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
        (
            body(request("dup"), request("b"), request("dup")),
            "requests: custom_id's must be unique within a batch. Duplicate custom_id found: dup",
        ),
    ],
)
async def test_an_invalid_create_is_refused(
    emulator: Emulator, client: httpx.AsyncClient, sent: str | bytes | dict[str, object], message: str
) -> None:
    content = json.dumps(sent) if isinstance(sent, dict) else sent
    reply = await client.post(BATCHES, content=content, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")
    error = reply.json()["error"]["message"]
    assert error.startswith(message) if message.endswith(": ") else error == message
    assert emulator.batches == []


async def test_too_many_requests_are_refused(start: Start) -> None:
    emulator = await start(max_requests=3)
    async with http(emulator) as client:
        reply = await client.post(BATCHES, json=body(*(request(f"r{number}") for number in range(4))))
        assert reply.json()["error"]["message"] == "requests: List should have at most 3 items after validation, not 4"
        await create(client, *(request(f"r{number}") for number in range(3)))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"messages": ...}, "messages: Field required"),
        ({"model": ...}, "model: Field required"),
        ({"max_tokens": ...}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens: must be greater than or equal to 1"),
        ({"max_tokens": "many"}, "max_tokens: Input should be a valid integer"),
        (
            {"max_tokens": 9999999},
            "max_tokens: 9999999 > 64000, which is the maximum allowed number of output tokens for "
            "claude-haiku-4-5-20251001",
        ),
        ({"stream": True}, '"stream=True" is not supported in the Message Batches API'),
        ({"foo": 1}, "foo: Extra inputs are not permitted"),
        ({"betas": ["x"]}, "betas: Extra inputs are not permitted"),
        ({"speed": "fast"}, "speed: Extra inputs are not permitted"),
        ({"store": True}, "store: Extra inputs are not permitted"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": "hello"}, "messages: Input should be a valid list"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"content": "x"}]}, "messages.0.role: Field required"),
        ({"messages": turns([{"type": "text"}])}, "messages.0.content.0.text.text: Field required"),
        (
            {"messages": turns([{"type": "text", "text": "", "cache_control": {"type": "ephemeral"}}])},
            "messages.0.content.0.text: cache_control cannot be set for empty text blocks",
        ),
        (
            {"billing_policy": {"bill_to": "user_profile"}},
            'billing_policy.bill_to: "user_profile" is not supported in the Message Batches API',
        ),
    ],
)
@pytest.mark.parametrize("version", [OLD, NEW])
async def test_an_invalid_request_comes_back_errored(
    client: httpx.AsyncClient, version: str, params: dict[str, Any], message: str
) -> None:
    made = await create(client, request("good"), request("bad", **params), **{"anthropic-version": version})
    got = await by_id(client, made["id"])
    assert got["good"]["type"] == "succeeded"
    problem = {"type": "invalid_request_error", "message": message, "details": {"error_visibility": "user_facing"}}
    assert got["bad"] == {"type": "errored", "error": {"type": "error", "error": problem, "request_id": None}}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"temperature": 1.0}, "temperature: Extra inputs are not permitted"),
        ({"top_p": 0.5}, "top_p: Extra inputs are not permitted"),
        ({"top_k": 5}, "top_k: Extra inputs are not permitted"),
        ({"messages": turns("x", [DOCUMENT], "y")}, "messages.1.content.0: document blocks are not permitted"),
        (
            {"messages": turns([{"type": "text", "text": "x", "citations": [{"type": "char_location"}]}])},
            "messages.0.content.0.text.citations: Extra inputs are not permitted",
        ),
    ],
)
async def test_the_newer_version_refuses_more(client: httpx.AsyncClient, params: dict[str, Any], message: str) -> None:
    for version in (OLD, NEW):
        made = await create(client, request("x", **params), **{"anthropic-version": version})
        result = (await by_id(client, made["id"]))["x"]
        if version == OLD:
            assert result["type"] == "succeeded"
        else:
            assert result["error"]["error"]["message"].startswith(message)


async def test_a_source_that_cannot_be_fetched_makes_the_request_errored(client: httpx.AsyncClient) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://pictures.invalid/a.png"}}
    made = await create(client, request("x", messages=turns([image, {"type": "text", "text": "What is it?"}])))
    error = (await by_id(client, made["id"]))["x"]["error"]
    assert error["error"]["type"] == "invalid_request_error"
    assert error["request_id"].startswith("workerreq_")


async def test_rich_params_are_answered(client: httpx.AsyncClient) -> None:
    tool = {"name": "weather", "description": "Tells it", "input_schema": {"type": "object"}}
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sunny"}]}
    made = await create(
        client,
        request("tools", tools=[tool]),
        request("forced", tools=[tool], tool_choice={"type": "tool", "name": "weather"}),
        request("picture", messages=turns([picture, {"type": "text", "text": "What is this?"}])),
        request("system", system=[{"type": "text", "text": "Be brief."}], thinking={"type": "adaptive"}),
        request(
            "result",
            messages=turns(
                "weather?", [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}], [result]
            ),
        ),
        request("quotes", 'Say "hi" \\ \u2028 \n then 🙂 and half of one: \ud83d'),
        request("metadata", metadata={"user_id": "u"}, stop_sequences=["x"], service_tier="auto"),
    )
    got = await by_id(client, made["id"])
    assert {result["type"] for result in got.values()} == {"succeeded"}
    assert got["forced"]["message"]["stop_reason"] == "tool_use"
    assert got["forced"]["message"]["content"][0]["name"] == "weather"
    assert "What is this?" in got["picture"]["message"]["content"][0]["text"]
    assert '"hi" \\' in got["quotes"]["message"]["content"][0]["text"]


@pytest.mark.parametrize(
    ("params", "text", "sequence"),
    [
        ({"stop_sequences": ["sky"]}, 'On "Why is the ', "sky"),
        ({"stop_sequences": ["blue", "sky", "sky"]}, 'On "Why is the ', "sky"),
        ({"stop_sequences": ['"']}, "On ", '"'),
        ({"stop_sequences": ["On"]}, None, "On"),
        (
            {"stop_sequences": ["x"], "output_config": {"format": {"type": "json_schema", "schema": {"const": "axb"}}}},
            '"a',
            "x",
        ),
    ],
)
async def test_a_reply_ends_at_the_first_stop_sequence(
    client: httpx.AsyncClient, params: dict[str, Any], text: str | None, sequence: str
) -> None:
    made = await create(client, request("a", **params))
    message = (await by_id(client, made["id"]))["a"]["message"]

    assert [block["text"] for block in message["content"]] == ([] if text is None else [text])
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", sequence)


async def test_usage_adds_up(client: httpx.AsyncClient) -> None:
    system = [{"type": "text", "text": "Know this. " * 1000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    requests = [request(f"r{number}", f"Question {number}", system=system) for number in range(3)]
    made = await create(client, *requests, request("plain", "x" * 400), request("short", max_tokens=10))
    got = {name: result["message"] for name, result in (await by_id(client, made["id"])).items()}
    written = [message["usage"]["cache_creation_input_tokens"] for message in got.values()]
    read = [message["usage"]["cache_read_input_tokens"] for message in got.values()]
    assert sorted(written)[-1] == sorted(read)[-1] > 2000
    assert sum(map(bool, written)) == 1
    assert sum(map(bool, read)) == 2
    for message in got.values():
        usage = message["usage"]
        assert sum(usage["cache_creation"].values()) == usage["cache_creation_input_tokens"]
        assert usage["output_tokens"] == -(-len(message["content"][0]["text"]) // 4)
    assert got["plain"]["usage"]["input_tokens"] >= 100
    assert (got["short"]["stop_reason"], got["short"]["usage"]["output_tokens"]) == ("max_tokens", 10)
