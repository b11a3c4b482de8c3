"""Result lines: the few fields that are looked at; the line itself is landed byte for byte."""

import json
import re
from typing import Annotated, Any, NamedTuple

import msgspec

MOST_TOKENS = 2**53
"""A larger count is none: it would not survive in the JSON of every language."""

_LOOKED_AT = 8
"""Levels of nesting that hold what is looked at."""

_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')


class Result(NamedTuple):
    """What is looked at in a result line.

    Attributes:
        type: `succeeded`, `errored`, `canceled`, `expired`, or what the line says instead.
        error: type and message of an errored result.
        tokens: input, output, cache write, cache read.
    """

    custom_id: str
    type: str
    error: tuple[str, str] | None = None
    model: str = ""
    tokens: tuple[int, int, int, int] = (0, 0, 0, 0)


_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class _Usage(msgspec.Struct):
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    usage: _Usage | None = None


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None
    error: "_Error | None" = None


class _Outcome(msgspec.Struct):
    type: str
    message: _Message | None = None
    error: _Error | None = None


class _Line(msgspec.Struct):
    custom_id: str
    result: _Outcome


_decode = msgspec.json.Decoder(_Line).decode


def read_result(line: bytes | memoryview) -> Result:
    r"""Look at a line; `ValueError` if it is no JSON object with a custom_id and a result.

    A line of another form than expected is read all the same, as is one with half a surrogate pair (`\ud83d` alone)
    or nested beyond what decoders take, both of which models do write.
    """
    try:
        decoded = _decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _read_leniently(line)
    outcome = decoded.result
    error = None
    model = ""
    tokens = (0, 0, 0, 0)
    if outcome.error:
        # The result's error is a whole error response, which holds the error itself.
        inner = outcome.error.error or outcome.error
        error = (inner.type or "unknown", inner.message or "")
    if outcome.message:
        model = outcome.message.model or ""
        if usage := outcome.message.usage:
            tokens = (
                usage.input_tokens or 0,
                usage.output_tokens or 0,
                usage.cache_creation_input_tokens or 0,
                usage.cache_read_input_tokens or 0,
            )
    return Result(decoded.custom_id, outcome.type, error, model, tokens)


def loosely_decoded(line: bytes | memoryview) -> Any:
    """The line as JSON values, with null for what is nested beyond what decoders take; `ValueError` if it is none."""
    text = str(line, "utf-8", "replace")
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        return json.loads(_shallow(text), parse_int=_integer)


def _read_leniently(line: bytes | memoryview) -> Result:
    item = loosely_decoded(line)
    custom_id = _object(item).get("custom_id")
    if not isinstance(custom_id, str):
        raise ValueError("no custom_id")
    if item.get("result") is None:
        raise ValueError("no result")
    outcome = _object(item["result"])
    message = _object(outcome.get("message"))
    usage = _object(message.get("usage"))
    reply = _object(outcome.get("error"))
    inner = _object(reply.get("error")) or reply
    return Result(
        _text(custom_id),
        _text(outcome.get("type")),
        (_text(inner.get("type")) or "unknown", _text(inner.get("message"))) if inner else None,
        _text(message.get("model")),
        (
            _number(usage.get("input_tokens")),
            _number(usage.get("output_tokens")),
            _number(usage.get("cache_creation_input_tokens")),
            _number(usage.get("cache_read_input_tokens")),
        ),
    )


def _shallow(text: str) -> str:
    """The text with null in the place of everything nested deeper than what is looked at."""
    kept = []
    depth = start = 0
    for bracket in _BRACKETS.finditer(text):
        if bracket[0] in "[{":
            depth += 1
            if depth == _LOOKED_AT:
                kept.append(text[start : bracket.start()])
        elif bracket[0] in "]}":
            if depth == _LOOKED_AT:
                start = bracket.end()
                kept.append("null")
            depth -= 1
    # Of brackets that never close nothing is left, and the rest is no JSON.
    return "".join([*kept, text[start:] if depth < _LOOKED_AT else ""])


def _integer(digits: str) -> int:
    """A number as far as it may be a count; Python refuses to read one of more than 4,300 digits."""
    return int(digits) if len(digits) < 20 else -1


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else 0
