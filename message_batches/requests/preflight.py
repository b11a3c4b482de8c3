"""Preflight: warnings of requests that will be errored, since the API checks `params` only when the batch runs.

The rules are those in the API's reference; there are no warnings beyond it.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from message_batches.formatting import plural

MAX_IDS = 3
MAX_OUTPUT_TOKENS = 300_000
"""The most that any model returns in a batch, and only with a beta."""

STRICTER_VERSION = "2026-10-21"
UNSUPPORTED_PARAMS = ("speed", "store", "previous_thread_event_id", "cache_hint", "context_hint")
SAMPLING_PARAMS = ("temperature", "top_p", "top_k")

# Arguments of client libraries and headers, which are no parameters of a message.
CLIENT_OPTIONS = (
    "betas",
    "anthropic_beta",
    "anthropic_version",
    "extra_headers",
    "extra_body",
    "extra_query",
    "timeout",
)


@dataclass(frozen=True)
class PreflightWarning:
    """Requests that will be errored for one reason, with the first three custom_ids."""

    message: str
    count: int
    custom_ids: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.custom_ids) else ""
        return f"{plural(self.count, 'request')} will be errored: {self.message} ({', '.join(self.custom_ids)}{more})"


class _Line(msgspec.Struct):
    custom_id: str
    params: dict[str, msgspec.Raw]


_decode = msgspec.json.Decoder(_Line).decode


@dataclass
class Preflight:
    """Checks the parameters of requests, one line each.

    Attributes:
        version: the `anthropic-version` that they will be sent under.
        models: the number of requests by model.
        max_tokens: the sum of their `max_tokens`.
    """

    version: str
    models: Counter[str] = field(default_factory=Counter)
    max_tokens: int = 0
    _found: dict[str, list[str]] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def check(self, line: bytes) -> None:
        """Count a request's model and tokens, and record why it will be errored."""
        request = _decode(line)
        params = request.params
        model = _value(params, "model")
        self.models[model if isinstance(model, str) else "(none)"] += 1
        tokens = _value(params, "max_tokens")
        if _is_count(tokens):
            self.max_tokens += tokens
        reasons = [*_missing(params, model, tokens), *_refused(params)]
        if self.version >= STRICTER_VERSION:
            reasons += _stricter(params)
        for reason in reasons:
            self._counts[reason] += 1
            ids = self._found.setdefault(reason, [])
            if len(ids) < MAX_IDS:
                ids.append(request.custom_id)

    def warnings(self) -> list[PreflightWarning]:
        """Return the warnings, most frequent first."""
        return [
            PreflightWarning(reason, count, tuple(self._found[reason])) for reason, count in self._counts.most_common()
        ]


def _missing(params: dict[str, msgspec.Raw], model: Any, tokens: Any) -> list[str]:
    reasons = []
    if not isinstance(model, str) or not model:
        reasons.append("`model` is missing" if model is None else "`model` is not a name")
    messages = bytes(params.get("messages", msgspec.Raw(b"null"))).lstrip()
    if messages[:1] != b"[":
        reasons.append("`messages` is missing" if messages == b"null" else "`messages` is not a list")
    elif messages[1:].lstrip()[:1] == b"]":
        reasons.append("`messages` is empty")
    if tokens is None:
        reasons.append("`max_tokens` is missing")
    elif not _is_count(tokens) or tokens < 1:
        reasons.append("`max_tokens` must be 1 or more")
    elif tokens > MAX_OUTPUT_TOKENS:
        reasons.append(f"`max_tokens` is over {MAX_OUTPUT_TOKENS:,}, more than any model gives")
    return reasons


def _refused(params: dict[str, msgspec.Raw]) -> list[str]:
    reasons = [f"`{key}` is not accepted in a batch" for key in UNSUPPORTED_PARAMS if key in params]
    reasons += [
        f"`{key}` is not a parameter of a message: betas and version are headers of the batch"
        for key in CLIENT_OPTIONS
        if key in params
    ]
    if _value(params, "stream") is True:
        reasons.append("`stream` is true, and a batch does not stream")
    if _value(params, "research_preview_2026_02") == "active":
        reasons.append("`research_preview_2026_02` is not accepted in a batch")
    billing = _value(params, "billing_policy")
    if isinstance(billing, dict) and billing.get("bill_to") == "user_profile":
        reasons.append("`billing_policy.bill_to` user_profile is not accepted in a batch")
    return reasons


def _stricter(params: dict[str, msgspec.Raw]) -> list[str]:
    reasons = [f"`{key}` is not accepted since version {STRICTER_VERSION}" for key in SAMPLING_PARAMS if key in params]
    messages = bytes(params.get("messages", b""))
    if b'"document"' not in messages and b'"citations"' not in messages:
        return reasons
    for message in _decoded(messages) or []:
        content = message.get("content") if isinstance(message, dict) else None
        for block in content if isinstance(content, list) else []:
            if not isinstance(block, dict):
                continue
            if message.get("role") == "assistant" and block.get("type") == "document":
                reasons.append(f"a `document` in an assistant message is not accepted since version {STRICTER_VERSION}")
            if message.get("role") == "user" and block.get("type") == "text" and block.get("citations"):
                reasons.append(f"`citations` in a user's text are not accepted since version {STRICTER_VERSION}")
    return list(dict.fromkeys(reasons))


def _value(params: dict[str, msgspec.Raw], key: str) -> Any:
    return _decoded(bytes(params[key])) if key in params else None


def _decoded(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        # A number beyond all limits: the API will report it.
        return ""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
