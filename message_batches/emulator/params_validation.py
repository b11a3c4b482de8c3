"""The asynchronous validation of `params`: a request refused here comes back as an `errored` line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from message_batches.emulator.model_list import ModelList
from message_batches.emulator.undocumented_checks import undocumented_problems

NEW_VERSION = "2026-10-21"
LONG_OUTPUT_BETA = "output-300k-2026-03-24"
_INTERLEAVED_BETA = "interleaved-thinking-2025-05-14"
_SAMPLING = ("temperature", "top_p", "top_k")

# The fields of a Messages request that a batch may have: not speed, store, previous_thread_event_id, cache_hint and
# context_hint. The last two are accepted, and checked below.
_KNOWN = frozenset(
    (
        "max_tokens",
        "messages",
        "model",
        "cache_control",
        "compaction",
        "container",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "inference_geo",
        "mcp_servers",
        "metadata",
        "output_config",
        "output_format",
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
        "billing_policy",
        "research_preview_2026_02",
    )
)


class Refusal(NamedTuple):
    """The reason why a request comes back errored; `at_work` if it was found during its processing."""

    type: str
    message: str
    at_work: bool = False


@dataclass(frozen=True)
class ParamsRules:
    """The headers of a create, and the options, by which its requests are checked."""

    version: str
    models: ModelList = field(default_factory=ModelList)
    betas: frozenset[str] = frozenset()
    user_profile: str | None = None
    undocumented: bool = True
    """Whether requests are refused in words that the documentation does not have."""

    @property
    def known(self) -> frozenset[str]:
        """The names of the fields that a request may have."""
        return _KNOWN if self.version == NEW_VERSION else _KNOWN_BEFORE


_KNOWN_BEFORE = _KNOWN | set(_SAMPLING)


def check_params(params: Mapping[str, object], rules: ParamsRules) -> Refusal | None:
    """Return the first error in a request, or None."""
    problem = next(_problems(params, rules), None)
    if problem is not None:
        return Refusal("invalid_request_error", problem)
    name = str(params["model"])
    model = rules.models.get(name)
    if model is None:
        return Refusal("not_found_error", f"model: {name}")
    asked, limit = params["max_tokens"], model.output_limit(long_output=LONG_OUTPUT_BETA in rules.betas)
    if isinstance(asked, int | float) and asked > limit:
        maximum = "which is the maximum allowed number of output tokens for"
        return Refusal("invalid_request_error", f"max_tokens: {int(asked)} > {limit}, {maximum} {model.id}")
    if rules.undocumented:
        if not model.batches:
            return Refusal("invalid_request_error", f"model: {name} is not supported in the Message Batches API")
        problem = next(undocumented_problems(params, interleaved=_INTERLEAVED_BETA in rules.betas), None)
        if problem is not None:
            return Refusal("invalid_request_error", problem)
    if any(map(_is_unreachable, _sources(params["messages"]))):
        message = "Unable to download the file. Please verify the URL and try again."
        return Refusal("invalid_request_error", message, at_work=True)
    return None


def _problems(params: Mapping[str, object], rules: ParamsRules) -> Iterator[str]:
    if params.get("stream"):
        yield '"stream=True" is not supported in the Message Batches API'
    for name in ("model", "messages", "max_tokens"):
        if name not in params:
            yield f"{name}: Field required"
    if not isinstance(params["model"], str):
        yield "model: Input should be a valid string"
    yield from _problems_of_max_tokens(params["max_tokens"])
    yield from _problems_of_messages(params["messages"], rules)
    for name in params:
        if name not in rules.known:
            yield f"{name}: Extra inputs are not permitted"
    for name in ("temperature", "top_p"):
        value = params.get(name)
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
            yield f"{name}: range: 0..1"
    if not isinstance(params.get("system", ""), str | list):
        yield "system: Input should be a valid list"
    billing = params.get("billing_policy")
    if isinstance(billing, dict) and billing.get("bill_to") == "user_profile":
        yield 'billing_policy.bill_to: "user_profile" is not supported in the Message Batches API'
    if params.get("research_preview_2026_02") == "active":
        yield 'research_preview_2026_02: "active" is not supported in the Message Batches API'
    profile = params.get("user_profile_id")
    if None not in (profile, rules.user_profile) and profile != rules.user_profile:
        yield "user_profile_id: does not match the anthropic-user-profile-id header"


def _problems_of_max_tokens(asked: object) -> Iterator[str]:
    whole = isinstance(asked, int) or (isinstance(asked, float) and asked.is_integer())
    if not whole or isinstance(asked, bool):
        yield "max_tokens: Input should be a valid integer"
    elif isinstance(asked, int | float) and asked < 1:
        yield "max_tokens: must be greater than or equal to 1"


def _problems_of_messages(messages: object, rules: ParamsRules) -> Iterator[str]:
    if not isinstance(messages, list):
        yield "messages: Input should be a valid list"
        return
    if not messages:
        yield "messages: at least one message is required"
    for number, message in enumerate(messages):
        at = f"messages.{number}"
        if not isinstance(message, dict):
            yield f"{at}: Input should be a valid dictionary"
            continue
        for name in ("role", "content"):
            if name not in message:
                yield f"{at}.{name}: Field required"
        if message.get("role") not in ("user", "assistant", "system"):
            yield f"{at}.role: Input should be 'user', 'assistant' or 'system'"
        for name in message:
            if name not in ("role", "content"):
                yield f"{at}.{name}: Extra inputs are not permitted"
        content = message.get("content")
        if isinstance(content, list):
            for place, block in enumerate(content):
                yield from _problems_of_block(f"{at}.content.{place}", block, message.get("role"), rules)
        elif not isinstance(content, str):
            yield f"{at}.content: Input should be a valid string"
        if not content and message.get("role") == "user":
            yield f"{at}: user messages must have non-empty content"


def _problems_of_block(at: str, block: object, role: object, rules: ParamsRules) -> Iterator[str]:
    if not isinstance(block, dict):
        yield f"{at}: Input should be a valid dictionary"
        return
    kind = block.get("type")
    if not isinstance(kind, str):
        yield f"{at}.type: Field required"
    if kind == "text":
        if "text" not in block:
            yield f"{at}.text.text: Field required"
        elif not isinstance(block["text"], str):
            yield f"{at}.text.text: Input should be a valid string"
        elif not block["text"] and block.get("cache_control") is not None and rules.undocumented:
            yield f"{at}.text: cache_control cannot be set for empty text blocks"
        elif not block["text"]:
            yield "messages: text content blocks must be non-empty"
    if rules.version != NEW_VERSION:
        return
    if kind == "document" and role == "assistant":
        yield f"{at}: document blocks are not permitted in assistant messages"
    if kind == "text" and role == "user" and block.get("citations"):
        yield f"{at}.text.citations: Extra inputs are not permitted"


def _sources(messages: object) -> Iterator[object]:
    for message in messages if isinstance(messages, list) else ():
        content = message["content"]
        if isinstance(content, list):
            yield from (block["source"] for block in content if "source" in block)


def _is_unreachable(source: object) -> bool:
    # The names under .invalid never resolve (RFC 2606): no network is needed to know.
    if not isinstance(source, dict) or source.get("type") != "url":
        return False
    try:
        host = urlsplit(str(source.get("url"))).hostname
    except ValueError:
        return True
    return host is None or host.endswith(".invalid")
