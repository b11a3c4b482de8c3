"""The models that this version knows of, and how many output tokens each of them gives in a batch."""

import re

LONG_OUTPUT = 300_000
"""The most that any model gives in a batch, and only with the beta."""

LONG_OUTPUT_BETA = "output-300k-2026-03-24"

_128K, _64K, _32K = 128_000, 64_000, 32_000
_MOST_TOKENS = {
    "claude-opus-4-1": _32K,
    "claude-haiku-4-5": _64K,
    "claude-opus-4-5": _64K,
    "claude-sonnet-4-5": _64K,
    "claude-opus-4-6": _128K,
    "claude-sonnet-4-6": _128K,
    "claude-opus-4-7": _128K,
    "claude-opus-4-8": _128K,
    "claude-fable-5": _128K,
    "claude-fable-5-1": _128K,
    "claude-fable-5-2": _128K,
    "claude-haiku-5-5": _128K,
    "claude-mythos-5": _128K,
    "claude-mythos-5-1": _128K,
    "claude-mythos-5-2": _128K,
    "claude-mythos-preview": _128K,
    "claude-opus-5": _128K,
    "claude-opus-5-5": _128K,
    "claude-sonnet-5": _128K,
    "claude-sonnet-5-5": _128K,
}
_DATE = re.compile(r"-(?:20\d{6}|latest)$")


def most_tokens(model: str) -> int | None:
    """Return a model's highest `max_tokens` without a beta, None if unknown; its name may end in a date."""
    return _MOST_TOKENS.get(model) or _MOST_TOKENS.get(_DATE.sub("", model))
