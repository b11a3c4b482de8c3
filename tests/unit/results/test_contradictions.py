"""Results with our custom_ids that cannot be answers to our requests."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from message_batches.errors import RequestsNotFound, ResultsIncomplete
from message_batches.requests.manifest import write_inline_manifest
from message_batches.results.contradictions import ANY, contradiction_of
from message_batches.results.expectations import MAX_SHAPES, read_expected
from message_batches.results.landing import land
from message_batches.results.ownership import are_ours
from message_batches.storage.object_store import open_store
from tests.harness.stack import ACCOUNT

ASKED: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
TEXT = {"type": "text", "text": "Hello"}
WEATHER = {"name": "weather", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20260209", "name": "web_search"}
CALL = {"type": "tool_use", "id": "t", "name": "weather", "input": {}}
ONE_CALL = {"tools": [WEATHER], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
FORMAT = {"type": "json_schema", "schema": {"type": "object"}}
FORMATTED = {"output_config": {"format": FORMAT}}
THOUGHT = {"type": "thinking", "thinking": "...", "signature": "s"}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def answer(content: list[Any] | None = None, *, tokens: int = 9, **fields: Any) -> dict[str, Any]:
    """Return a succeeded result."""
    message = {"model": ASKED["model"], "content": content or [TEXT], "stop_reason": "end_turn"}
    usage = {"input_tokens": 7, "output_tokens": tokens} | fields.pop("usage", {})
    return {"type": "succeeded", "message": message | {"usage": usage} | fields}


def unknown_model(model: str) -> dict[str, Any]:
    error = {"type": "not_found_error", "message": f"model: {model}"}
    return {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}


def above_limit(tokens: int) -> dict[str, Any]:
    limit = "64000, which is the maximum allowed number of output tokens for claude-haiku-4-5-20251001"
    error = {"type": "invalid_request_error", "message": f"max_tokens: {tokens} > {limit}"}
    return {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}


def cut_off(tokens: int, content: list[Any] | None = None, **fields: Any) -> dict[str, Any]:
    return answer(content, tokens=tokens, stop_reason="max_tokens", **fields)


async def contradiction(folder: Path, asked: dict[str, Any], result: dict[str, Any]) -> str:
    store = open_store(folder.as_uri())
    manifest = await write_inline_manifest(store, [{"custom_id": "0", "params": ASKED | asked}])
    expected = await read_expected(store, manifest)
    return contradiction_of(json.dumps({"custom_id": "0", "result": result}).encode(), expected["0"])


@pytest.mark.parametrize(
    ("asked", "result"),
    [
        ({}, answer(model="claude-opus-5")),
        ({"model": "claude-sonnet-5"}, answer(model="claude-sonnet-5-5")),
        ({"model": "claude-sonnet-5-5"}, answer(model="claude-sonnet-5")),
        ({"model": "claude-sonnet-4-5-20250929"}, answer(model="claude-haiku-4-5-20251001")),
        ({}, answer(tokens=65)),
        ({}, answer([CALL], stop_reason="tool_use")),
        ({"tools": [WEATHER]}, answer([CALL | {"name": "extract"}], stop_reason="tool_use")),
        ({"tools": [WEATHER]}, answer([{"type": "server_tool_use", "name": "web_search"}])),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "weather"}}, answer()),
        ({"tools": [WEATHER], "tool_choice": {"type": "any"}}, answer()),
        ({}, answer(stop_reason="stop_sequence", stop_sequence="END")),
        ({"stop_sequences": ["FIN"]}, answer(stop_reason="stop_sequence", stop_sequence="END")),
        ({"thinking": {"type": "disabled"}}, answer([THOUGHT, TEXT])),
        ({}, answer([{"type": "redacted_thinking", "data": "x"}, TEXT])),
        ({}, unknown_model("claude-haiku-5-5")),
        ({"model": "claude-sonnet-5"}, answer(model="claude-3-5-haiku-20241022")),
        ({"model": "claude-sonnet-5"}, answer(model="claude-haiku-5")),
        ({"model": "claude-sonnet-5"}, answer(model="claude-opus-6")),
        ({"model": "claude-sonnet-5"}, answer(model="claude-instant-1.2")),
        ({"model": "claude-sonnet-5", "thinking": {"type": "disabled"}}, answer([THOUGHT], model="claude-sonnet-5")),
        (
            {"tools": [WEATHER, WEATHER | {"name": "time"}], "tool_choice": {"type": "tool", "name": "time"}},
            answer([CALL], stop_reason="tool_use"),
        ),
        ({"tools": [WEATHER], "tool_choice": {"type": "none"}}, answer([CALL], stop_reason="tool_use")),
        ({"model": "claude-sonnet-5"}, unknown_model("claude-does-not-exist-9")),
        ({}, above_limit(100_000)),
        ({"max_tokens": 256}, cut_off(8)),
        ({}, cut_off(31)),
        ({"max_tokens": 64_000}, cut_off(1024)),
        ({"max_tokens": 256, "tools": [WEATHER]}, cut_off(16, [CALL])),
        ({"max_tokens": 256}, cut_off(8, usage={"cache_read_input_tokens": 90_000, "iterations": None})),
        ({"max_tokens": 256, "model": "claude-sonnet-5"}, cut_off(64, model="claude-sonnet-5")),
        (ONE_CALL, answer([CALL, TEXT, CALL], stop_reason="tool_use")),
        (FORMATTED, answer()),
        ({"output_format": FORMAT}, answer()),
        (FORMATTED, answer([said(" "), said("Hello")])),
        (FORMATTED, cut_off(40)),
        (FORMATTED | {"thinking": {"type": "enabled"}}, answer([THOUGHT, TEXT])),
    ],
)
async def test_an_answer_that_contradicts_its_request_says_how(
    tmp_path: Path, asked: dict[str, Any], result: dict[str, Any]
) -> None:
    assert await contradiction(tmp_path, asked, result)


@pytest.mark.parametrize(
    ("asked", "result"),
    [
        ({}, answer()),
        ({}, answer(tokens=64, stop_reason="max_tokens")),
        ({}, answer(model="claude-haiku-4-5-20251001")),
        ({"model": "claude-opus-4-0"}, answer(model="claude-opus-4-20250514")),
        ({"model": "claude-3-5-haiku-latest"}, answer(model="claude-3-5-haiku-20241022")),
        ({"model": "anthropic.claude-haiku-4-5-v1:0"}, answer()),
        ({}, answer(model="eu.anthropic.claude-haiku-4-5")),
        ({"model": "claude-default"}, answer(model="claude-sonnet-5")),
        ({"model": "claude-sonnet-4-5[1m]"}, answer(model="claude-sonnet-4-5-20250929")),
        ({"model": "claude-3-5-sonnet-v2@20241022"}, answer(model="claude-3-5-sonnet-20241022")),
        ({"fallbacks": "default"}, answer(model="claude-opus-5")),
        ({"tools": [WEATHER]}, answer([TEXT, CALL], stop_reason="tool_use")),
        ({"tools": [WEATHER], "tool_choice": {"type": "any"}}, answer(stop_reason="refusal")),
        ({"tools": [SEARCH]}, answer([{"type": "server_tool_use", "name": "bash_code_execution"}], tokens=99)),
        ({"mcp_servers": [{"name": "m"}]}, answer([{"type": "mcp_tool_use", "name": "any"}])),
        ({"stop_sequences": ["END"]}, answer(stop_reason="stop_sequence", stop_sequence="END")),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, answer([THOUGHT, TEXT])),
        ({"model": "claude-sonnet-5"}, answer([THOUGHT, TEXT], model="claude-sonnet-5")),
        ({"max_tokens": "64"}, answer(tokens=1000, model="claude-opus-5")),
        ({"tools": "weather"}, answer([CALL])),
        ({}, answer(usage={"iterations": [{}, {}]}, tokens=99)),
        ({}, unknown_model("claude-haiku-4-5")),
        ({"model": "claude-default"}, unknown_model("claude-sonnet-5")),
        ({"max_tokens": 100_000}, above_limit(100_000)),
        ({}, answer(model="gateway/claude-haiku-4-5@20251001")),
        ({}, answer(model="claude-router")),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "weather"}},
            answer([CALL], stop_reason="tool_use"),
        ),
        ({"tools": [WEATHER], "tool_choice": {"type": "none"}}, answer()),
        ({}, {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": "model: x"}}}),
        ({}, {"type": "expired"}),
        ({}, cut_off(32)),
        ({"max_tokens": 256}, answer(tokens=8)),
        ({"max_tokens": 256}, answer(tokens=8, stop_reason="model_context_window_exceeded")),
        ({"max_tokens": 256}, answer(tokens=8, stop_reason="stop_sequence")),
        ({"max_tokens": 64_000}, cut_off(4096)),
        ({"max_tokens": 64_000}, cut_off(2048)),
        ({"max_tokens": 256}, cut_off(0)),
        ({"max_tokens": 256}, cut_off(8, usage={"iterations": [{}, {}]})),
        ({"max_tokens": 256}, cut_off(8, usage={"server_tool_use": {"web_search_requests": 1}})),
        ({"max_tokens": 256, "tools": [SEARCH]}, cut_off(8)),
        ({"max_tokens": 256, "model": "claude-sonnet-5"}, cut_off(8, [THOUGHT, TEXT], model="claude-sonnet-5")),
        ({"max_tokens": 4096}, cut_off(8, usage={"input_tokens": 199_000})),
        ({"max_tokens": 4096}, cut_off(8, usage={"cache_creation_input_tokens": 199_000})),
        ({"max_tokens": 4096}, cut_off(8, usage={"input_tokens": None})),
        ({"max_tokens": 4096}, cut_off(8, usage={"input_tokens": "7"})),
        ({"max_tokens": 4096, "model": "claude-default"}, cut_off(8)),
        ({"max_tokens": 4096}, cut_off(8, model="claude-router")),
        ({"max_tokens": 4096, "fallbacks": "default"}, cut_off(8)),
        (ONE_CALL, answer([TEXT, CALL], stop_reason="tool_use")),
        ({"tools": [WEATHER]}, answer([CALL, CALL], stop_reason="tool_use")),
        (ONE_CALL | {"tools": [WEATHER, SEARCH]}, answer([CALL, CALL], stop_reason="tool_use")),
        (FORMATTED, answer([said('{"city": '), said('"Bonn"}')])),
        (FORMATTED, answer([said("\n[1, 2]")])),
        (FORMATTED, answer([said(" 42 ")])),
        (FORMATTED, answer([said("")])),
        (FORMATTED, answer([said("\ud83d")])),
        (FORMATTED, answer([{"type": "text"}])),
        (FORMATTED, answer([{"type": "text", "text": 7}])),
        (FORMATTED, answer(stop_reason="refusal")),
        (FORMATTED, cut_off(40, [said('{"city": "Bo')])),
        (FORMATTED, answer(model="claude-router")),
        (FORMATTED | {"tools": [WEATHER]}, answer([TEXT, CALL], stop_reason="tool_use")),
        (FORMATTED | {"tools": [SEARCH]}, answer()),
        (FORMATTED | {"model": "claude-default"}, answer()),
        ({"output_config": {"effort": "low"}}, answer()),
        ({"output_config": "low"}, answer()),
        ({}, {"type": "succeeded", "message": "of another shape"}),
    ],
)
async def test_an_answer_that_may_be_to_the_request_is_no_contradiction(
    tmp_path: Path, asked: dict[str, Any], result: dict[str, Any]
) -> None:
    assert await contradiction(tmp_path, asked, result) == ""


async def test_a_majority_of_contradictions_refutes_a_batch_with_our_ids(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    manifest = await write_inline_manifest(store, [{"custom_id": str(n), "params": ASKED} for n in range(4)])
    expected = await read_expected(store, manifest)

    async def proved(results: list[dict[str, Any]]) -> bool:
        lines = [json.dumps({"custom_id": str(n), "result": result}).encode() for n, result in enumerate(results)]
        random.Random(1).shuffle(lines)

        async def chunks() -> Any:
            yield b"\n".join(lines)

        return await are_ours(chunks(), expected)

    assert await proved([answer()] * 4)
    assert not await proved([answer(model="claude-opus-5")] * 4)
    assert not await proved([answer()] + [answer([CALL])] * 3)
    with pytest.raises(ResultsIncomplete, match="undecided: 1 of 4"):
        await proved([answer()] * 3 + [answer([CALL])])


async def test_results_of_other_requests_with_the_same_ids_are_not_landed(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    manifest = await write_inline_manifest(store, [{"custom_id": str(n), "params": ASKED} for n in range(3)])

    async def landed(batch_id: str, last: dict[str, Any], *, compare: bool) -> bool:
        results = [answer(), last, last]
        lines = [json.dumps({"custom_id": str(n), "result": each}).encode() for n, each in enumerate(results)]

        @asynccontextmanager
        async def download() -> AsyncIterator[AsyncIterator[bytes]]:
            async def chunks() -> AsyncIterator[bytes]:
                yield b"\n".join(reversed(lines))

            yield chunks()

        found = await land(
            store,
            download(),
            account=ACCOUNT.part,
            batch_id=batch_id,
            manifest=manifest,
            expected_count=3,
            compare=compare,
        )
        return found.verified

    theirs = answer(model="claude-opus-5")
    with pytest.raises(ResultsIncomplete, match="2 results cannot be of these requests"):
        await landed("msgbatch_theirs", theirs, compare=True)
    assert await landed("msgbatch_ours", answer(), compare=True)
    assert await landed("msgbatch_odd", answer([CALL]), compare=False)
    assert await landed("msgbatch_answered", theirs, compare=False)


async def test_more_shapes_than_are_kept_admit_any_answer(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    many = [{"custom_id": f"r-{n}", "params": ASKED | {"max_tokens": n + 1}} for n in range(MAX_SHAPES + 1)]

    expected = await read_expected(store, await write_inline_manifest(store, many))

    assert list(expected) == [each["custom_id"] for each in many]
    assert expected[f"r-{MAX_SHAPES - 1}"].max_tokens == MAX_SHAPES
    assert expected[f"r-{MAX_SHAPES}"] is ANY


async def test_requests_that_have_changed_since_prove_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    manifest = await write_inline_manifest(store, [{"custom_id": "0", "params": ASKED}])
    path = tmp_path / store.name(manifest.uri)

    path.write_bytes(path.read_bytes().replace(b"haiku-4-5", b"haiku-5-5"))
    with pytest.raises(RequestsNotFound, match="changed"):
        await read_expected(store, manifest)
    path.unlink()
    with pytest.raises(RequestsNotFound, match="no longer"):
        await read_expected(store, manifest)
