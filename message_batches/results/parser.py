"""The few fields of a result line that are read; the line itself is landed byte for byte."""

import codecs
import json
import re
from typing import Annotated, Any, NamedTuple

import msgspec

MAX_TOKEN_COUNT = 2**53
"""A larger count is ignored: not every JSON reader could represent it."""

_READ_DEPTH = 8
"""Levels of nesting that hold the fields that are read."""

_PIECE_BYTES = 1024 * 1024
_Utf8Decoder = codecs.getincrementaldecoder("utf-8")

_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')


class ResultLine(NamedTuple):
    """The fields that are read of a result line.

    Attributes:
        type: `succeeded`, `errored`, `canceled`, `expired`, or another text that the line has there.
        error: type and message of an errored result.
        error_code: its `details.error_code`.
        tokens: input, output, cache write, cache read.
    """

    custom_id: str
    type: str
    error: tuple[str, str] | None = None
    model: str = ""
    tokens: tuple[int, int, int, int] = (0, 0, 0, 0)
    error_code: str = ""


_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKEN_COUNT)]


class _Usage(msgspec.Struct):
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    usage: _Usage | None = None


class _Details(msgspec.Struct):
    error_code: str | None = None


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None
    details: _Details | None = None
    error: "_Error | None" = None


class _Outcome(msgspec.Struct):
    type: str
    message: _Message | None = None
    error: _Error | None = None


class _Line(msgspec.Struct):
    custom_id: str
    result: _Outcome


_decode = msgspec.json.Decoder(_Line).decode


def read_result(line: bytes | memoryview, *, landed: bool = False) -> ResultLine:
    r"""Read a line; `ValueError` if it is not UTF-8, or not a JSON object with a custom_id and a result.

    A line of another shape than expected is read too, as is one with half a surrogate pair (`\ud83d` alone), or one
    nested deeper than decoders accept: models do write both.

    Args:
        line: without its line feed.
        landed: it was checked when it arrived. Versions before that check have landed lines that are not UTF-8.
    """
    if not landed:
        _check_utf8(line)
    try:
        decoded = _decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _read_leniently(line)
    outcome = decoded.result
    error = None
    code = model = ""
    tokens = (0, 0, 0, 0)
    if outcome.error:
        # The result's error is a complete error response, which holds the error itself.
        inner = outcome.error.error or outcome.error
        error = (inner.type or "unknown", inner.message or "")
        code = (inner.details and inner.details.error_code) or ""
    if outcome.message:
        model = outcome.message.model or ""
        if usage := outcome.message.usage:
            tokens = (
                usage.input_tokens or 0,
                usage.output_tokens or 0,
                usage.cache_creation_input_tokens or 0,
                usage.cache_read_input_tokens or 0,
            )
    return ResultLine(decoded.custom_id, outcome.type, error, model, tokens, code)


def _check_utf8(line: bytes | memoryview) -> None:
    """Raise `ValueError` at a byte that is not UTF-8; the JSON decoder does not check what it skips, keys and values.

    In pieces: a character beyond ASCII makes the text of a whole line up to four times as large as the line.
    """
    try:
        if len(line) <= _PIECE_BYTES:
            str(line, "utf-8")
            return
        decoder = _Utf8Decoder()
        for start in range(0, len(line), _PIECE_BYTES):
            decoder.decode(bytes(line[start : start + _PIECE_BYTES]))
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason})") from error


def decode_leniently(line: bytes | memoryview) -> Any:
    """Decode a line, with null for values nested deeper than decoders accept; `ValueError` if it is not JSON."""
    text = str(line, "utf-8", "replace")
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        return json.loads(_shallow(text), parse_int=_integer)


def _read_leniently(line: bytes | memoryview) -> ResultLine:
    item = decode_leniently(line)
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
    return ResultLine(
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
        _text(_object(inner.get("details")).get("error_code")),
    )


def _shallow(text: str) -> str:
    """Replace everything nested deeper than the fields that are read by null."""
    kept = []
    depth = start = 0
    for bracket in _BRACKETS.finditer(text):
        if bracket[0] in "[{":
            depth += 1
            if depth == _READ_DEPTH:
                kept.append(text[start : bracket.start()])
        elif bracket[0] in "]}":
            if depth == _READ_DEPTH:
                start = bracket.end()
                kept.append("null")
            depth -= 1
    # Brackets that never close leave nothing behind them, and the text is not JSON.
    return "".join([*kept, text[start:] if depth < _READ_DEPTH else ""])


def _integer(digits: str) -> int:
    """Return the number if it may be a count, else -1; Python refuses to read more than 4,300 digits."""
    return int(digits) if len(digits) < 20 else -1


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKEN_COUNT else 0
