"""The rules for `params`, which the API checks only when the batch runs.

They are those in the API's reference and in its client's types; there are none beyond them.
"""

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

import msgspec

from message_batches.claude_models import by_name
from message_batches.content_rules import find_form_problems
from message_batches.formatting import escape_unprintable

LONG_OUTPUT = 300_000
"""The most that any model gives in a batch, and only with the beta."""

LONG_OUTPUT_BETA = "output-300k-2026-03-24"
STRICTER_VERSION = "2026-10-21"
LEAST_THINKING = 1024
UNSUPPORTED_PARAMS = ("speed", "store", "previous_thread_event_id", "cache_hint", "context_hint")
SAMPLING_PARAMS = ("temperature", "top_p", "top_k")

# Arguments of client libraries and headers, which are no parameters of a message.
CLIENT_OPTIONS = (
    "betas",
    "anthropic_beta",
    "anthropic-beta",
    "anthropic_version",
    "anthropic-version",
    "extra_headers",
    "extra_body",
    "extra_query",
    "timeout",
)
PARAMS = frozenset(
    (
        *UNSUPPORTED_PARAMS,
        *CLIENT_OPTIONS,
        *SAMPLING_PARAMS,
        "billing_policy",
        "cache_control",
        "compaction",
        "container",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "inference_geo",
        "max_tokens",
        "mcp_servers",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "research_preview_2026_02",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "thread",
        "tool_choice",
        "tools",
        "user_profile_id",
        "workspace_id",
    )
)
"""The parameters of a message, and those above that have a reason of their own."""

_MODELS = by_name()
ROLES = ("user", "assistant", "system")
_BLOCKS = frozenset(
    (
        "compaction",
        "container_upload",
        "document",
        "fallback",
        "image",
        "mcp_tool_listing",
        "mcp_tool_use",
        "redacted_thinking",
        "search_result",
        "server_tool_use",
        "text",
        "thinking",
        "tool_addition",
        "tool_reference",
        "tool_removal",
        "tool_use",
    )
)
"""The types of content, besides the results of tools."""

_MAX_NAME = 80
_MAX_PROBLEMS = 1_000
"""Problems of one request that are looked at: it may have as many as it has blocks."""
UNSURE = "?"
"""Before a reason that need not hold: the API may know more than this version does."""


def find_reasons(params: dict[str, Any], *, version: str, betas: Collection[str]) -> Iterator[str]:
    """Yield why a request with these parameters will be errored; one that need not hold begins with `UNSURE`."""
    yield from _of_model(params.get("model"))
    stricter = version >= STRICTER_VERSION
    messages = params.get("messages")
    if messages is None:
        yield "`messages` is missing"
    elif not isinstance(messages, list):
        yield "`messages` is not a list"
    elif not messages:
        yield "`messages` is empty"
    else:
        yield from _of_messages(messages, stricter=stricter)
    yield from _of_max_tokens(params.get("max_tokens"), params.get("model"), betas)
    yield from _refused(params)
    yield from _of_sampling(params, stricter=stricter)
    if "system" in params and not isinstance(params["system"], str | list | None):
        yield "`system` is neither a text nor a list"
    for problem in islice(find_form_problems(params), _MAX_PROBLEMS):
        yield f"{'' if problem.certain else UNSURE}{problem.reason.format(quoted(problem.name))}"
    if "thinking" in params:
        yield from _of_thinking(params["thinking"], params.get("max_tokens"), betas)
    if "tools" in params or "tool_choice" in params:
        yield from _of_tools(params.get("tools"), params.get("tool_choice"))


def _of_max_tokens(written: Any, model: Any, betas: Collection[str]) -> Iterator[str]:
    tokens = number_of(written)
    if written is None:
        yield "`max_tokens` is missing"
    elif tokens is None:
        yield "`max_tokens` is not a number"
    elif tokens < 1:
        yield "`max_tokens` must be 1 or more"
    elif tokens > LONG_OUTPUT:
        yield f"`max_tokens` is over {LONG_OUTPUT:,}, more than any model gives"
    elif isinstance(tokens, float):
        yield "`max_tokens` is not a whole number"
    elif isinstance(model, str) and model in _MODELS:
        limit, most = (
            _MODELS[model].output_limit(long_output=with_beta) for with_beta in (LONG_OUTPUT_BETA in betas, True)
        )
        if tokens > limit:
            beta = f" without the beta {LONG_OUTPUT_BETA}" if most > limit else ""
            yield f"`max_tokens` is over {limit:,}, the most that {model} gives{beta}"


def _of_thinking(thinking: Any, written: Any, betas: Collection[str]) -> Iterator[str]:
    budget = number_of(thinking.get("budget_tokens")) if isinstance(thinking, dict) else None
    if budget is None:
        return
    if budget < LEAST_THINKING:
        yield f"`thinking.budget_tokens` must be {LEAST_THINKING:,} or more"
    tokens = number_of(written)
    # With interleaved thinking the budget is that of all turns together.
    if tokens is not None and budget >= tokens and not any(b.startswith("interleaved-thinking") for b in betas):
        yield "`thinking.budget_tokens` must be less than `max_tokens`"


def unknown_model(model: str) -> str:
    """Return the warning of a model that is not in the table."""
    return f"{quoted(model)} is not a model that this version knows of"


def _of_model(model: Any) -> Iterator[str]:
    if model is None:
        yield "`model` is missing"
    elif not isinstance(model, str) or not model:
        yield "`model` is not a name"
    elif model not in _MODELS:
        yield f"{UNSURE}{unknown_model(model)}"


def _of_messages(messages: list[Any], *, stricter: bool) -> Iterator[str]:
    asked: set[Any] = set()
    before: Any = None
    for message in messages:
        if not isinstance(message, dict):
            yield "a message is not an object"
            continue
        role, content = message.get("role"), message.get("content")
        if role == "assistant" and before != role:  # Turns of one role in a row are one turn.
            asked = set()
        before = role
        if role not in ROLES:
            known = "is none of user, assistant and system"
            yield f"the role {quoted(role)} {known}" if isinstance(role, str) else "a message has no `role`"
        for name in message:
            if name not in ("role", "content"):
                yield f"{quoted(name)} is not a field of a message"
        if content is None:
            yield "a message has no `content`"
        elif not content and role == "user":
            yield "the content of a user's message is empty"
        elif isinstance(content, list):
            blocks = [block for block in content if isinstance(block, dict)]
            if len(blocks) < len(content):
                yield "a block of a message's content is not an object"
            for block in blocks:
                yield from _of_block(block, role, asked, stricter=stricter)
            if role == "assistant":
                asked |= {
                    block.get("id") for block in blocks if block.get("type") == "tool_use" and _is_text(block, "id")
                }
        elif not isinstance(content, str):
            yield "the content of a message is neither a text nor a list"


def _of_block(block: dict[str, Any], role: Any, asked: set[Any], *, stricter: bool) -> Iterator[str]:
    kind = block.get("type")
    if not isinstance(kind, str):
        yield "a block of a message's content has no `type`"
    elif kind == "text":
        if not _is_text(block, "text"):
            yield "a block of the type `text` has no text"
        elif not block["text"]:
            yield "a block of the type `text` is empty"
    elif kind == "tool_result":
        if not _is_text(block, "tool_use_id") or block["tool_use_id"] not in asked:
            yield "a `tool_result` answers no `tool_use` of the assistant's message before it"
    elif kind not in _BLOCKS and not kind.endswith("_tool_result"):
        yield f"{UNSURE}{quoted(kind)} is not a type of content that this version knows of"
    if stricter and role == "assistant" and kind == "document":
        yield f"a `document` in an assistant message is not accepted since version {STRICTER_VERSION}"
    if stricter and role == "user" and kind == "text" and block.get("citations"):
        yield f"`citations` in a user's text are not accepted since version {STRICTER_VERSION}"


def _refused(params: dict[str, Any]) -> Iterator[str]:
    for key in params:
        if key in UNSUPPORTED_PARAMS:
            yield f"`{key}` is not accepted in a batch"
        elif key in CLIENT_OPTIONS:
            yield f"`{key}` is not a parameter of a message: betas and version are headers of the batch"
        elif key not in PARAMS:
            yield f"{quoted(key)} is not a parameter of a message"
    if params.get("stream"):
        yield "`stream` is true, and a batch does not stream"
    if params.get("research_preview_2026_02") == "active":
        yield "`research_preview_2026_02` is not accepted in a batch"
    billing = params.get("billing_policy")
    if isinstance(billing, dict) and billing.get("bill_to") == "user_profile":
        yield "`billing_policy.bill_to` user_profile is not accepted in a batch"


def _of_sampling(params: dict[str, Any], *, stricter: bool) -> Iterator[str]:
    if stricter:
        for key in SAMPLING_PARAMS:
            if key in params:
                yield f"`{key}` is not accepted since version {STRICTER_VERSION}"
        return
    for key in ("temperature", "top_p"):
        value = number_of(params.get(key))
        if params.get(key) is not None and (value is None or not 0 <= value <= 1):
            yield f"`{key}` must be from 0 to 1"


def _of_tools(tools: Any, choice: Any) -> Iterator[str]:
    if tools is not None and not isinstance(tools, list):
        yield "`tools` is not a list"
        return
    listed = [tool for tool in tools or () if isinstance(tool, dict)]
    if len(listed) < len(tools or ()):
        yield "a tool is not an object"
    if any(tool.get("type") == "function" for tool in listed):
        yield "a tool of the type `function` is not accepted: it has `name` and `input_schema` of its own"
    if choice is None:
        return
    if not isinstance(choice, dict):
        yield "`tool_choice` is not an object"
    # A set of tools has no name of its own.
    elif choice.get("type") == "tool" and choice.get("name") not in [
        tool.get("name", choice.get("name")) for tool in listed
    ]:
        yield "`tool_choice` is of a tool that is not in `tools`"
    elif choice.get("type") == "any" and not listed:
        yield "`tool_choice` asks for a tool, and there are no `tools`"


def quoted(name: str) -> str:
    """Return a name from the file as code: it is shown at a terminal and as markdown."""
    shown = escape_unprintable(name[:_MAX_NAME]).replace("`", "'")
    return f"`{shown}`"


def _is_text(block: dict[str, Any], name: str) -> bool:
    return isinstance(block.get(name), str)


def number_of(value: Any) -> int | float | None:
    """Return a value as a number, None if it is none; one beyond all bounds, which is kept as written, is infinite."""
    number = float(bytes(value)) if isinstance(value, msgspec.Raw) else value
    if isinstance(number, float):
        return int(number) if number.is_integer() else number
    return number if isinstance(number, int) and not isinstance(number, bool) else None
