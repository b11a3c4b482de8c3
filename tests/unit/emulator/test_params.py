"""The `params` that the API refuses in words its documentation does not have: errored, or answered by option."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from message_batches.emulator import Emulator, EmulatorOptions, UndocumentedBehaviour
from tests.harness.emulated_api import by_id, create, http, request

TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
CACHED = {"cache_control": {"type": "ephemeral"}}
FOR_AN_HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
INTERLEAVED = {"anthropic-beta": "interleaved-thinking-2025-05-14"}


def said(*contents: Any) -> list[dict[str, Any]]:
    """Return turns of user and assistant, one after the other."""
    return [{"role": ("user", "assistant")[place % 2], "content": content} for place, content in enumerate(contents)]


def text(written: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": written, **more}


def thinking(**config: Any) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", **config}, "max_tokens": 2048}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": "x"}, "tools: Input should be a valid list"),
    ({"tools": {"name": "weather"}}, "tools: Input should be a valid list"),
    ({"tools": ["weather"]}, "tools.0: Input should be a valid dictionary"),
    ({"tools": [{"name": "weather"}]}, "tools.0.custom.input_schema: Field required"),
    ({"tools": [{"input_schema": {"type": "object"}}]}, "tools.0.custom.name: Field required"),
    ({"tools": [{**TOOL, "name": "two words"}]}, "tools.0.custom.name: String should match pattern"),
    ({"tools": [{**TOOL, "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
    ({"tools": [{**TOOL, "input_schema": {"type": "array"}}]}, "tools.0.custom.input_schema.type: Input should be"),
    ({"tools": [TOOL, {"type": "function", "function": {}}]}, "tools.1: Input tag 'function' found using 'type'"),
    ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "Tool 'x' not found in provided tools"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.tool.name: Field required"),
    ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice: Input tag 'required' found using 'type'"),
    ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice: Input should be a valid dictionary"),
    ({"tool_choice": {"type": "any"}}, "tool_choice: Tool choice may only be specified while providing tools."),
    ({"tools": [], "tool_choice": {"type": "auto"}}, "tool_choice: Tool choice may only be specified while"),
    (thinking(budget_tokens=2048), "`max_tokens` must be greater than `thinking.budget_tokens`."),
    (thinking(budget_tokens=4096), "`max_tokens` must be greater than `thinking.budget_tokens`."),
    (thinking(budget_tokens=1023), "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"),
    (thinking(budget_tokens="1024"), "thinking.enabled.budget_tokens: Input should be a valid integer"),
    (thinking(), "thinking.enabled.budget_tokens: Field required"),
    ({"thinking": {"type": "on"}}, "thinking: Input tag 'on' found using 'type'"),
    ({"thinking": {"type": "adaptive", "display": "full"}}, "thinking.adaptive.display: Input should be 'summarized'"),
    ({"thinking": True}, "thinking: Input should be a valid dictionary"),
    (
        {**thinking(budget_tokens=1024), "tools": [TOOL], "tool_choice": {"type": "any"}},
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    ({"messages": said([RESULT])}, "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks"),
    ({"messages": said("a", "b", [RESULT])}, "messages.2.content.0: unexpected `tool_use_id` found in `tool_result`"),
    (
        {"messages": said("a", [{**USE, "id": "toolu_2"}], [RESULT])},
        "messages.2.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1.",
    ),
    ({"messages": said("a", [USE, USE], [RESULT])}, "messages.1.content.1: `tool_use` ids must be unique"),
    (
        {"messages": said("a", [USE], "b")},
        "messages: `tool_use` ids were found without `tool_result` blocks immediately",
    ),
    ({"messages": said([{"type": "input_text", "text": "a"}])}, "messages.0.content.0: Input tag 'input_text' found"),
    ({"messages": said([{"type": "image_url", "image_url": {}}])}, "messages.0.content.0: Input tag 'image_url' found"),
    ({"messages": said("a", [{"type": "tool_use", "id": "1"}])}, "messages.1.content.0.tool_use.name: Field required"),
    ({"messages": said([text("a", name="bob")])}, "messages.0.content.0.text.name: Extra inputs are not permitted"),
    ({"tools": [{**TOOL, "parameters": {}}]}, "tools.0.custom.parameters: Extra inputs are not permitted"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "any", "name": "weather"}},
        "tool_choice.any.name: Extra inputs are not",
    ),
    ({"thinking": {"type": "adaptive", "effort": "low"}}, "thinking.adaptive.effort: Extra inputs are not permitted"),
    ({"messages": said("a", [{**USE, "input": "{}"}])}, "messages.1.content.0.tool_use.input: Input should be a valid"),
    ({"context_management": "x"}, "context_management: Input should be a valid dictionary"),
    ({"mcp_servers": {}}, "mcp_servers: Input should be a valid list"),
    ({"container": 7}, "container: Input should be a valid string"),
    *(
        ({"messages": said([{"type": kind, "source": source}])}, f"messages.0.content.0.{kind}.source{message}")
        for kind, source, message in (
            ("image", {"type": "file"}, ".file.file_id: Field required"),
            ("image", {"type": "base64", "media_type": "image/png"}, ".base64.data: Field required"),
            (
                "image",
                {"type": "base64", "media_type": "image/png", "data": "data:image/png;base64,eA=="},
                ".base64.data",
            ),
            ("image", {"type": "text", "media_type": "text/plain", "data": "x"}, ": Input tag 'text' found using"),
            ("document", {"type": "base64", "media_type": "text/plain", "data": "eA=="}, ".base64.media_type: Input"),
            ("document", {"type": "url", "url": "https://example.com/a", "title": "t"}, ".url.title: Extra inputs are"),
        )
    ),
    ({"messages": said([{"type": "image"}])}, "messages.0.content.0.image.source: Field required"),
    ({"messages": said([{"type": "image", "source": "x"}])}, "messages.0.content.0.image.source: Input should be"),
    (
        {"messages": said([{"type": "image", "source": {"type": "path"}}])},
        "messages.0.content.0.image.source: Input tag 'path' found using 'type'",
    ),
    (
        {"messages": said([{"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": ""}}])},
        "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg' or",
    ),
    (
        {**thinking(budget_tokens=1024), "temperature": 0},
        "`temperature` may only be set to 1 when thinking is enabled.",
    ),
    ({"top_k": "5"}, "top_k: Input should be a valid integer"),
    ({"messages": said("a", "", "b")}, "messages.1: all messages must have non-empty content except for the optional"),
    ({"messages": said("a", [], "b")}, "messages.1: all messages must have non-empty content except for the optional"),
    (
        {"messages": said([{"type": "text", "text": " \n"}])},
        "messages: text content blocks must contain non-whitespace",
    ),
    (
        {"messages": said("a", "The answer is ")},
        "messages: final assistant content cannot end with trailing whitespace",
    ),
    ({"system": ["Be brief."]}, "system.0: Input should be a valid dictionary"),
    ({"system": [{"type": "image"}]}, "system.0: Input tag 'image' found using 'type'"),
    ({"stop_sequences": "x"}, "stop_sequences: Input should be a valid list"),
    ({"stop_sequences": [7]}, "stop_sequences.0: Input should be a valid string"),
    ({"messages": said(" \n")}, "messages: text content blocks must contain non-whitespace text"),
    ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain non-whitespace"),
    ({"metadata": "x"}, "metadata: Input should be a valid dictionary"),
    ({"metadata": {"user_id": "u", "run": "7"}}, "metadata.run: Extra inputs are not permitted"),
    ({"metadata": {"user_id": 7}}, "metadata.user_id: Input should be a valid string"),
    ({"system": [text("")]}, "system: text content blocks must be non-empty"),
    ({"system": [text("a"), text(" \n")]}, "system: text content blocks must contain non-whitespace text"),
    ({"system": [text("", **CACHED)]}, "system.0: cache_control cannot be set for empty text blocks"),
    ({"system": [{"type": "text"}]}, "system.0.text: Field required"),
    ({"system": [{"type": "text", "text": 7}]}, "system.0.text: Input should be a valid string"),
    ({"cache_control": "ephemeral"}, "cache_control: Input should be a valid dictionary"),
    ({"system": [text("a", cache_control=True)]}, "system.0.cache_control: Input should be a valid dictionary"),
    ({"tools": [{**TOOL, "cache_control": {}}]}, "tools.0.custom.cache_control: Unable to extract tag using"),
    (
        {"messages": said([text("a", cache_control={"type": "persistent"})])},
        "messages.0.content.0.text.cache_control: Input tag 'persistent' found using 'type' does not match any",
    ),
    (
        {"messages": said([text("a", cache_control={"type": "ephemeral", "ttl": "2h"})])},
        "messages.0.content.0.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
    ),
    (
        {"system": [text("a", cache_control={"type": "ephemeral", "scope": "global"})]},
        "system.0.cache_control.ephemeral.scope: Extra inputs are not permitted",
    ),
    (
        {"messages": said("a", [{**THOUGHT, **CACHED}, text("b")], "c")},
        "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted",
    ),
    (
        {"messages": said("a", [USE], [{**RESULT, "content": [text("b", cache_control={"type": "x"})]}])},
        "messages.2.content.0.tool_result.content.0.text.cache_control: Input tag 'x' found using 'type'",
    ),
    (
        {"tools": [{**TOOL, **CACHED}], "system": [text("a", **CACHED)], "messages": said([text("b", **CACHED)] * 3)},
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        {"messages": said([*[text("b", **CACHED)] * 4, text("c")]), **CACHED},
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        {"system": [text("a", **CACHED)], "messages": said([text("b", **FOR_AN_HOUR)])},
        "messages.0.content.0.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m'",
    ),
    (
        {"messages": said("a", [{"type": "thinking", "thinking": "b"}], "c")},
        "messages.1.content.0.thinking.signature: ",
    ),
    ({"messages": said("a", [{"type": "redacted_thinking"}], "c")}, "messages.1.content.0.redacted_thinking.data: "),
    ({"service_tier": "batch"}, "service_tier: Input should be 'auto' or 'standard_only'"),
    ({"output_config": []}, "output_config: Input should be a valid dictionary"),
    ({"output_config": {"effort": "huge"}}, "output_config.effort: Input should be"),
    ({"output_config": {"format": "json"}}, "output_config.format: Input should be a valid dictionary"),
    (
        {"output_config": {"format": {"type": "json_object"}}},
        "output_config.format.type: Input should be 'json_schema'",
    ),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema: Field required"),
]


@pytest.fixture(scope="module")
async def refused() -> dict[str, dict[str, Any]]:
    """Send all of them in one batch; return their results."""
    return await _results(UndocumentedBehaviour())


async def _results(undocumented: UndocumentedBehaviour) -> dict[str, dict[str, Any]]:
    options = EmulatorOptions(processing_time=timedelta(), undocumented=undocumented)
    async with Emulator(options) as emulator, http(emulator) as client:
        made = await create(client, *(request(str(place), **params) for place, (params, _) in enumerate(REFUSED)))
        return await by_id(client, made["id"])


@pytest.mark.parametrize("place", range(len(REFUSED)), ids=[message[:60] for _, message in REFUSED])
def test_such_a_request_comes_back_errored(refused: dict[str, dict[str, Any]], place: int) -> None:
    error = refused[str(place)]["error"]["error"]

    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(REFUSED[place][1])


async def test_by_option_such_requests_are_answered() -> None:
    got = await _results(UndocumentedBehaviour(params_refused=200))

    assert {result["type"] for result in got.values()} == {"succeeded"}


@pytest.mark.parametrize(
    "params",
    [
        {"tools": []},
        {"tools": [TOOL, {"type": "web_search_20260318", "name": "web_search"}], "tool_choice": {"type": "auto"}},
        {"tools": [{"type": "web_search_20260318", "name": "web_search"}], "tool_choice": {"type": "any"}},
        {"tools": [{"type": "custom", **TOOL}], "tool_choice": {"type": "tool", "name": "weather"}},
        {
            "mcp_servers": [{"type": "url", "name": "m", "url": "https://example.com"}],
            "tools": [{"type": "mcp_toolset", "mcp_server_name": "m"}],
            "tool_choice": {"type": "tool", "name": "of_the_server"},
        },
        {"tool_choice": {"type": "none"}},
        {"thinking": {"type": "adaptive"}, "max_tokens": 10},
        {"thinking": {"type": "disabled"}},
        thinking(budget_tokens=2047),
        {"messages": said("a", [USE], [RESULT, {"type": "text", "text": "b"}], "c", "d")},
        {"messages": said("a", [USE])},
        {"messages": [*said("a", [USE, {**USE, "id": "2"}]), *said([RESULT]), *said([{**RESULT, "tool_use_id": "2"}])]},
        {"messages": [*said("a", [USE]), {"role": "system", "content": "Note"}, *said([RESULT])]},
        {"messages": said("a", "The answer is")},
        {"messages": said("a", "")},
        {"messages": said([{"type": "search_result", "source": "x", "title": "t", "content": []}, DOCUMENT])},
        {"system": ""},
        {"system": [{"type": "text", "text": "Be brief."}], "stop_sequences": ["END"], "metadata": {"user_id": "u"}},
        {"system": [text("a", **FOR_AN_HOUR), text("b", cache_control=None)], "messages": said([text("c", **CACHED)])},
        {"messages": said([text("a", **CACHED)] * 4), **CACHED},
        {"cache_control": {"type": "ephemeral", "ttl": "5m"}, "metadata": {"user_id": None}},
        {"messages": said("a", [THOUGHT, {"type": "redacted_thinking", "data": "eA=="}, text("b")], "c")},
        {"output_config": {"effort": "xhigh"}, "service_tier": "standard_only", "metadata": None},
        {"tools": None, "tool_choice": None, "thinking": None, "top_k": None, "metadata": {}, "service_tier": None},
    ],
    ids=str,
)
async def test_what_the_api_takes_is_answered(client: httpx.AsyncClient, params: dict[str, Any]) -> None:
    made = await create(client, request("a", **params))

    assert (await by_id(client, made["id"]))["a"]["type"] == "succeeded"


async def test_interleaved_thinking_may_take_more_than_the_reply(client: httpx.AsyncClient) -> None:
    made = await create(client, request("a", **thinking(budget_tokens=10_000)), **INTERLEAVED)

    assert (await by_id(client, made["id"]))["a"]["type"] == "succeeded"
