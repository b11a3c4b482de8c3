"""Checks of `params` whose answer the API's documentation does not give: the words are those that its users report.

They are switched off with `--params-refused 200`: such a request is then answered like any other.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from message_batches.content_rules import find_form_problems

_SERVER_TOOL = re.compile(r"[a-z_]+_\d{8}|mcp_toolset")
_BLOCKS = frozenset(
    (
        "advisor_tool_result",
        "bash_code_execution_tool_result",
        "code_execution_tool_result",
        "compaction",
        "container_upload",
        "document",
        "fallback",
        "image",
        "mcp_tool_listing",
        "mcp_tool_result",
        "mcp_tool_use",
        "redacted_thinking",
        "search_result",
        "server_tool_use",
        "text",
        "text_editor_code_execution_tool_result",
        "thinking",
        "tool_addition",
        "tool_removal",
        "tool_result",
        "tool_search_tool_result",
        "tool_use",
        "web_fetch_tool_result",
        "web_search_tool_result",
    )
)
_THINKING = ("adaptive", "between_tools", "disabled", "enabled")
_CHOICES = ("any", "auto", "none", "tool")
_LEAST_BUDGET = 1_024
_VALUES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "container": ((dict, str), "string"),
    "context_management": (dict, "dictionary"),
    "inference_geo": (str, "string"),
    "mcp_servers": (list, "list"),
}
"""The types of some fields, with the API's words for them."""


def undocumented_problems(params: Mapping[str, object], *, interleaved: bool) -> Iterator[str]:
    """Yield what is wrong in a request that is documented to be right; `interleaved` is the beta of that thinking."""
    for name, check in _CHECKS.items():
        if params.get(name) is not None:
            yield from check(params)
    if params.get("thinking") is not None:
        yield from _of_thinking(params, interleaved=interleaved)
    for problem in find_form_problems(params):
        yield problem.message
    yield from _of_messages(_dictionaries(params.get("messages")))


def _of_values(params: Mapping[str, object]) -> Iterator[str]:
    top_k = params.get("top_k")
    if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool)):
        yield "top_k: Input should be a valid integer"
    for name, (kinds, described) in _VALUES.items():
        if params.get(name) is not None and not isinstance(params[name], kinds):
            yield f"{name}: Input should be a valid {described}"


def _of_tools(params: Mapping[str, object]) -> Iterator[str]:
    tools = params.get("tools")
    if not isinstance(tools, list):
        yield "tools: Input should be a valid list"
        return
    for number, tool in enumerate(tools):
        at = f"tools.{number}"
        if not isinstance(tool, dict):
            yield f"{at}: Input should be a valid dictionary"
            continue
        kind = tool.get("type")
        if kind not in (None, "custom") and not (isinstance(kind, str) and _SERVER_TOOL.fullmatch(kind)):
            yield _tag(at, kind, ("custom",))


def _of_tool_choice(params: Mapping[str, object]) -> Iterator[str]:
    choice, tools = params.get("tool_choice"), params.get("tools")
    if not isinstance(choice, dict):
        yield "tool_choice: Input should be a valid dictionary"
        return
    kind, name = choice.get("type"), choice.get("name")
    if kind not in _CHOICES:
        yield _tag("tool_choice", kind, _CHOICES)
    if not tools and not params.get("mcp_servers") and kind != "none":
        yield "tool_choice: Tool choice may only be specified while providing tools."
    if kind != "tool":
        return
    if not isinstance(name, str):
        yield "tool_choice.tool.name: Field required"
    offered = _dictionaries(tools)
    # The tools of a set or of an MCP server have names that are not in the request.
    named = not params.get("mcp_servers") and all("name" in tool for tool in offered)
    if named and name not in [tool["name"] for tool in offered]:
        yield f"Tool '{name}' not found in provided tools"


def _of_thinking(params: Mapping[str, object], *, interleaved: bool) -> Iterator[str]:
    thinking, asked, choice = params.get("thinking"), params.get("max_tokens"), params.get("tool_choice")
    if not isinstance(thinking, dict):
        yield "thinking: Input should be a valid dictionary"
        return
    kind, budget = thinking.get("type"), thinking.get("budget_tokens")
    if kind not in _THINKING:
        yield _tag("thinking", kind, _THINKING)
    if thinking.get("display") not in (None, "omitted", "summarized", "updates"):
        yield f"thinking.{kind}.display: Input should be 'summarized' or 'omitted'"
    if kind != "enabled":
        return
    if params.get("temperature", 1) != 1:
        yield "`temperature` may only be set to 1 when thinking is enabled."
    if "budget_tokens" not in thinking:
        yield "thinking.enabled.budget_tokens: Field required"
    elif not isinstance(budget, int) or isinstance(budget, bool):
        yield "thinking.enabled.budget_tokens: Input should be a valid integer"
    elif budget < _LEAST_BUDGET:
        yield f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_LEAST_BUDGET}"
    elif isinstance(asked, int) and budget >= asked and not interleaved:
        yield "`max_tokens` must be greater than `thinking.budget_tokens`."
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        yield "Thinking may not be enabled when tool_choice forces tool use."


def _of_messages(messages: Sequence[Mapping[str, object]]) -> Iterator[str]:
    for number, message in enumerate(messages):
        content, is_last = message.get("content"), number == len(messages) - 1
        if message.get("role") == "assistant":
            if not content and not is_last:
                exempt = "except for the optional final assistant message"
                yield f"messages.{number}: all messages must have non-empty content {exempt}"
            if is_last and _ends_in_space(content):
                yield "messages: final assistant content cannot end with trailing whitespace"
        for place, block in enumerate(_dictionaries(content)):
            kind = block.get("type")
            if not isinstance(kind, str) or kind not in _BLOCKS:
                yield _tag(f"messages.{number}.content.{place}", kind, sorted(_BLOCKS))
        if any(text.isspace() for text in _texts(content)):
            yield "messages: text content blocks must contain non-whitespace text"
    if any(isinstance(message.get("content"), list) for message in messages):
        yield from _of_tool_results(messages)


def _texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    texts = [block.get("text") for block in _dictionaries(content) if block.get("type") == "text"]
    return [text for text in texts if isinstance(text, str)]


def _ends_in_space(content: object) -> bool:
    texts = _texts(content)
    return bool(texts) and texts[-1] != texts[-1].rstrip()


def _of_tool_results(messages: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Match the results of a turn with the uses of the turn before it; messages of one role in a row are one turn."""
    spoken = [(number, message) for number, message in enumerate(messages) if message.get("role") != "system"]
    asked: list[object] = []
    for role, turn in groupby(spoken, key=lambda each: each[1].get("role")):
        blocks = [
            (number, place, block)
            for number, message in turn
            for place, block in enumerate(_dictionaries(message.get("content")))
        ]
        answered = [block.get("tool_use_id") for _, _, block in blocks if block.get("type") == "tool_result"]
        for number, place, block in blocks:
            if block.get("type") == "tool_result" and block.get("tool_use_id") not in asked:
                yield (
                    f"messages.{number}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{block.get('tool_use_id')}. Each `tool_result` block must have a corresponding `tool_use` block "
                    "in the previous message."
                )
        without = [str(use) for use in asked if use not in answered]
        if without:
            yield (
                "messages: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(without)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
                "next message."
            )
        uses = [each for each in blocks if role == "assistant" and each[2].get("type") == "tool_use"]
        asked = [block.get("id") for _, _, block in uses]
        seen: set[str] = set()
        for number, place, block in uses:
            if str(block.get("id")) in seen:
                yield f"messages.{number}.content.{place}: `tool_use` ids must be unique"
            seen.add(str(block.get("id")))


def _dictionaries(values: object) -> list[Mapping[str, object]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _tag(at: str, kind: object, expected: Sequence[str]) -> str:
    if not isinstance(kind, str):
        return f"{at}: Unable to extract tag using discriminator 'type'"
    tags = ", ".join(f"'{tag}'" for tag in expected)
    return f"{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"


_CHECKS: Mapping[str, Callable[[Mapping[str, object]], Iterator[str]]] = {
    "tools": _of_tools,
    "tool_choice": _of_tool_choice,
    **dict.fromkeys(("top_k", *_VALUES), _of_values),
}
"""The checks of the fields that a request may lack."""
