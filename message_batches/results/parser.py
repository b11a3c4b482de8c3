"""The few fields of a result line that are read; the line itself is landed byte for byte."""

import json
import re
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from message_batches.jsonl import LONG_LINE, Line, check_utf8

MAX_TOKEN_COUNT = 2**36
"""A larger count is ignored: not every JSON reader, and no counter of metrics, could represent the sum of a batch."""

MAX_CUSTOM_ID = 64
"""Characters; no batch has a longer one, so that a line with it is no result."""

_MAX_FIELD_BYTES = 64 * 1024
"""A longer field of a long line is not read: it counts as empty."""

_READ_DEPTH = 8
"""Levels of nesting that hold the fields that are read."""

TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A text or a bracket. A text that is never closed goes to the end: it would be tried from each of its quotes again."""


Counts = tuple[int, int, int, int, int, int, int]
"""What is billed of a result, in the order of `ModelUsage.counts`. A write without a lifetime is of five minutes."""

NOTHING: Counts = (0, 0, 0, 0, 0, 0, 0)


class ResultLine(msgspec.Struct, frozen=True, gc=False):
    """The fields that are read of a result line.

    Attributes:
        type: `succeeded`, `errored`, `canceled`, `expired`, or another text that the line has there.
        error: type and message of an errored result.
        usage: what is billed.
        error_code: its `details.error_code`.
        inference_geo: where the model ran, as the usage says.
        stop_reason: of a succeeded result.
        refusal: the category of a refusal, where the API names one.
    """

    custom_id: str
    type: str
    error: tuple[str, str] | None = None
    model: str = ""
    usage: Counts = NOTHING
    error_code: str = ""
    inference_geo: str = ""
    stop_reason: str = ""
    refusal: str = ""


_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKEN_COUNT)]


Name = TypeVar("Name")
Text = TypeVar("Text")
Count = TypeVar("Count")


class _Written(msgspec.Struct, Generic[Count]):
    ephemeral_5m_input_tokens: Count = None  # type: ignore[assignment]  # absent: of either kind of line
    ephemeral_1h_input_tokens: Count = None  # type: ignore[assignment]


class _Tools(msgspec.Struct, Generic[Count]):
    web_search_requests: Count = None  # type: ignore[assignment]
    web_fetch_requests: Count = None  # type: ignore[assignment]


class _Usage(msgspec.Struct, Generic[Text, Count]):
    input_tokens: Count = None  # type: ignore[assignment]
    output_tokens: Count = None  # type: ignore[assignment]
    cache_creation_input_tokens: Count = None  # type: ignore[assignment]
    cache_read_input_tokens: Count = None  # type: ignore[assignment]
    cache_creation: _Written[Count] | None = None
    server_tool_use: _Tools[Count] | None = None
    inference_geo: Text = None  # type: ignore[assignment]


class _StopDetails(msgspec.Struct, Generic[Text]):
    category: Text = None  # type: ignore[assignment]


class _Message(msgspec.Struct, Generic[Text, Count]):
    model: Text = None  # type: ignore[assignment]
    usage: _Usage[Text, Count] | None = None
    stop_reason: Text = None  # type: ignore[assignment]
    stop_details: _StopDetails[Text] | None = None


class _Details(msgspec.Struct, Generic[Text]):
    error_code: Text = None  # type: ignore[assignment]


class _Error(msgspec.Struct, Generic[Text]):
    type: Text = None  # type: ignore[assignment]
    message: Text = None  # type: ignore[assignment]
    details: _Details[Text] | None = None
    error: "_Error[Text] | None" = None


class _Outcome(msgspec.Struct, Generic[Name, Text, Count]):
    type: Name
    message: _Message[Text, Count] | None = None
    error: _Error[Text] | None = None


class _Line(msgspec.Struct, Generic[Name, Text, Count]):
    custom_id: Name
    result: _Outcome[Name, Text, Count]


_decode = msgspec.json.Decoder(_Line[str, str | None, _Count | None]).decode
_decode_long = msgspec.json.Decoder(_Line[msgspec.Raw, msgspec.Raw, msgspec.Raw]).decode
"""Leaves the fields as they are written: one of them may be as long as the line."""


def read_result(line: Line, *, landed: bool = False) -> ResultLine:
    r"""Read a line; `ValueError` if it is not UTF-8, or not a JSON object with a custom_id and a result.

    A line of another shape than expected is read too, as is one with half a surrogate pair (`\ud83d` alone), or one
    nested deeper than decoders accept: models do write both. Not if it is over 1 MiB: that costs many times its size.

    Args:
        line: without its line feed.
        landed: it was checked when it arrived, by this version or one that checked less.
    """
    if not landed:
        check_utf8(line)
    if len(line) > LONG_LINE:
        return _read_long(line, landed=landed)
    try:
        decoded = _decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _of_batch(_read_leniently(line), landed=landed)
    outcome = decoded.result
    error = None
    code = model = geo = stop = refusal = ""
    counts = NOTHING
    if outcome.error:
        # The result's error is a complete error response, which holds the error itself.
        inner = outcome.error.error or outcome.error
        error = (inner.type or "unknown", inner.message or "")
        code = (inner.details and inner.details.error_code) or ""
    if message := outcome.message:
        model = message.model or ""
        stop = message.stop_reason or ""
        refusal = (message.stop_details and message.stop_details.category) or ""
        if usage := message.usage:
            geo = usage.inference_geo or ""
            counts = _counts(usage)
    result = ResultLine(decoded.custom_id, outcome.type, error, model, counts, code, geo, stop, refusal)
    return result if len(decoded.custom_id) <= MAX_CUSTOM_ID else _of_batch(result, landed=landed)


def _counts(usage: _Usage[str | None, int | None]) -> Counts:
    written, tools = usage.cache_creation, usage.server_tool_use
    whole = usage.cache_creation_input_tokens or 0
    hour = written.ephemeral_1h_input_tokens or 0 if written else 0
    five = written.ephemeral_5m_input_tokens or 0 if written else 0
    return (
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        five if five + hour >= whole else whole - hour,
        hour,
        usage.cache_read_input_tokens or 0,
        tools.web_search_requests or 0 if tools else 0,
        tools.web_fetch_requests or 0 if tools else 0,
    )


def _of_batch(result: ResultLine, *, landed: bool) -> ResultLine:
    """Return a result; `ValueError` for a custom_id that no batch has, unless it was landed by an earlier version."""
    if len(result.custom_id) > MAX_CUSTOM_ID and not landed:
        raise ValueError(f"a custom_id of more than {MAX_CUSTOM_ID} characters")
    return result


def _read_long(line: Line, *, landed: bool) -> ResultLine:
    try:
        decoded = _decode_long(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        if landed:
            return _read_leniently(line)
        raise ValueError(f"{len(line):,} bytes, and no result in strict JSON: {error}") from error
    try:
        result = _line_of(_plain(decoded))
    except ValueError:
        raise ValueError(f"no custom_id of 1 to {MAX_CUSTOM_ID} characters") from None
    return _of_batch(result, landed=landed)


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return _field(value)


def _field(raw: msgspec.Raw | None) -> Any:
    """Return the value of a field of a long line; None if it is absent, long itself, or beyond what can be built."""
    try:
        return msgspec.json.decode(raw) if raw is not None and len(raw) <= _MAX_FIELD_BYTES else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def decode_leniently(line: Line) -> Any:
    """Decode a line, with null for values nested deeper than decoders accept; `ValueError` if it is not JSON."""
    text = str(line, "utf-8", "replace")
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        return json.loads(_shallow(text), parse_int=_integer)


def _read_leniently(line: Line) -> ResultLine:
    return _line_of(decode_leniently(line))


def _line_of(item: Any) -> ResultLine:
    custom_id = _object(item).get("custom_id")
    if not isinstance(custom_id, str):
        raise ValueError("no custom_id")
    if item.get("result") is None:
        raise ValueError("no result")
    outcome = _object(item["result"])
    message = _object(outcome.get("message"))
    usage = _object(message.get("usage"))
    written, tools = _object(usage.get("cache_creation")), _object(usage.get("server_tool_use"))
    reply = _object(outcome.get("error"))
    inner = _object(reply.get("error")) or reply
    return ResultLine(
        _text(custom_id),
        _text(outcome.get("type")),
        (_text(inner.get("type")) or "unknown", _text(inner.get("message"))) if inner else None,
        _text(message.get("model")),
        _counts(
            _Usage(
                _number(usage.get("input_tokens")),
                _number(usage.get("output_tokens")),
                _number(usage.get("cache_creation_input_tokens")),
                _number(usage.get("cache_read_input_tokens")),
                _Written(*(_number(written.get(name)) for name in _Written.__struct_fields__)),
                _Tools(*(_number(tools.get(name)) for name in _Tools.__struct_fields__)),
            )
        ),
        _text(_object(inner.get("details")).get("error_code")),
        _text(usage.get("inference_geo")),
        _text(message.get("stop_reason")),
        _text(_object(message.get("stop_details")).get("category")),
    )


def _shallow(text: str) -> str:
    """Replace everything nested deeper than the fields that are read by null."""
    kept = []
    depth = start = 0
    for token in TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == _READ_DEPTH:
                kept.append(text[start : token.start()])
        elif token[0] in "]}":
            if depth == _READ_DEPTH:
                start = token.end()
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
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # Some gateways write each number with a fraction.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKEN_COUNT else 0
