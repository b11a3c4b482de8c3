"""The blocks of a reply: thinking comes first, in the form of the model and the request; citations come last."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from message_batches.emulator.prompt_parsing import REDACTED_THINKING
from tests.harness.emulated_api import by_id, create, request

ADAPTIVE = {"type": "adaptive"}
BUDGET = {"type": "enabled", "budget_tokens": 1024}
TOOL = {"name": "look", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}
SCHEMA = {"type": "json_schema", "schema": TOOL["input_schema"]}

REQUESTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "with a budget": ({"thinking": BUDGET}, ["thinking", "text"]),
    "adaptive": ({"thinking": ADAPTIVE}, ["thinking", "text"]),
    "before a tool": ({"thinking": BUDGET, "tools": [TOOL]}, ["thinking", "tool_use"]),
    "before JSON": ({"thinking": ADAPTIVE, "output_config": {"format": SCHEMA}}, ["thinking", "text"]),
    "redacted": ({"thinking": BUDGET, "text": f"Hello {REDACTED_THINKING}"}, ["redacted_thinking", "text"]),
    "no room": ({"thinking": ADAPTIVE, "max_tokens": 20}, ["text"]),
    "disabled": ({"thinking": {"type": "disabled"}}, ["text"]),
    "between tools": ({"thinking": {"type": "between_tools"}}, ["text"]),
    "null": ({"thinking": None}, ["text"]),
    "not asked for": ({}, ["text"]),
    "redacted, but not asked for": ({"text": REDACTED_THINKING}, ["text"]),
}


def asked(custom_id: str, model: str = "claude-sonnet-4-6", **params: Any) -> dict[str, Any]:
    return request(custom_id, **{"model": model, "max_tokens": 2048, **params})


async def test_thinking_comes_first_and_counts_as_output(client: httpx.AsyncClient) -> None:
    asks = [asked(str(place), **params) for place, (params, _) in enumerate(REQUESTS.values())]
    got = await by_id(client, (await create(client, *asks))["id"])

    for place, (name, (params, kinds)) in enumerate(REQUESTS.items()):
        message = got[str(place)]["message"]
        assert [block["type"] for block in message["content"]] == kinds, name
        first, usage = message["content"][0], message["usage"]
        details = usage.get("output_tokens_details")
        assert (details is None) == (len(kinds) == 1), name
        assert usage["output_tokens"] <= params.get("max_tokens", 2048)
        if details:
            assert 0 < details["thinking_tokens"] < usage["output_tokens"], name
        if first["type"] == "thinking":
            assert "Why is the sky blue?" in first["thinking"]
            assert first["signature"]
        if first["type"] == "redacted_thinking":
            assert sorted(first) == ["data", "type"]


@pytest.mark.parametrize(
    ("model", "config", "shown"),
    [
        ("claude-haiku-4-5", BUDGET, True),
        ("claude-haiku-4-5", {**BUDGET, "display": "omitted"}, False),
        ("claude-opus-4-6", ADAPTIVE, True),
        ("claude-opus-4-7", ADAPTIVE, False),
        ("claude-sonnet-5-5", {**ADAPTIVE, "display": None}, False),
        ("claude-sonnet-5-5", {**ADAPTIVE, "display": "summarized"}, True),
    ],
)
async def test_its_text_is_omitted_by_the_later_models(
    client: httpx.AsyncClient, model: str, config: dict[str, Any], shown: bool
) -> None:
    made = await create(client, asked("a", model, thinking=config))
    [thinking, _] = (await by_id(client, made["id"]))["a"]["message"]["content"]

    assert bool(thinking["thinking"]) == shown
    assert thinking["signature"]


async def test_a_conversation_goes_on_with_the_thinking_as_it_came(client: httpx.AsyncClient) -> None:
    first = await create(client, asked("a", thinking=BUDGET, tools=[TOOL]))
    content = (await by_id(client, first["id"]))["a"]["message"]["content"]
    turns = [
        {"role": "user", "content": "Why is the sky blue?"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": content[1]["id"], "content": "blue"}]},
    ]

    second = await create(client, asked("b", thinking=BUDGET, tools=[TOOL], messages=turns))
    result = (await by_id(client, second["id"]))["b"]

    assert [block["type"] for block in result["message"]["content"]] == ["thinking", "text"]


CITED = {"citations": {"enabled": True}, "title": "Colours"}
GRASS = "The grass is green. The sky is blue."
DOCUMENTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": (
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": GRASS}},
        {"type": "char_location", "cited_text": "The grass is green. ", "start_char_index": 0, "end_char_index": 20},
    ),
    "content": (
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "Green"}]}},
        {"type": "content_block_location", "cited_text": "Green", "start_block_index": 0, "end_block_index": 1},
    ),
    "pages": (
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "page_location", "start_page_number": 1, "end_page_number": 2},
    ),
    "search": (
        {"type": "search_result", "source": "https://example.com", "content": [{"type": "text", "text": "Green"}]},
        {"type": "search_result_location", "cited_text": "Green", "source": "https://example.com", "title": "Colours"},
    ),
}


@pytest.mark.parametrize(("document", "expected"), DOCUMENTS.values(), ids=DOCUMENTS)
async def test_a_document_with_citations_is_cited(
    client: httpx.AsyncClient, document: dict[str, Any], expected: dict[str, Any]
) -> None:
    plain = {**document, "title": "Colours"}
    contents = {"cited": [plain, {**plain, **CITED}], "plain": [plain]}
    asks: list[Any] = [
        request(name, messages=[{"role": "user", "content": [*blocks, {"type": "text", "text": "Green?"}]}])
        for name, blocks in contents.items()
    ]
    got = await by_id(client, (await create(client, *asks))["id"])

    first, second = got["cited"]["message"]["content"]
    [citation] = second["citations"]
    assert "citations" not in first
    assert {name: citation[name] for name in expected} == expected
    assert citation.get("document_index", citation.get("search_result_index")) == 1
    assert citation.get("document_title", citation.get("title")) == "Colours"
    [only] = got["plain"]["message"]["content"]
    assert "citations" not in only
