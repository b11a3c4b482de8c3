"""A request on a line of megabytes: its top level is scanned, and its values are not built.

In memory they can be a hundred times as large as the line, such as those of `[{},{},{}]`.
"""

import re
from typing import Any, NamedTuple

import msgspec

from message_batches.jsonl import Line
from message_batches.requests.forms import BY_FIELD

_MAX_VALUE_BYTES = 64 * 1024

_BLANKS = rb"[ \t\r\n]*+"
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NAME = _TEXT + _BLANKS + b":" + _BLANKS
_BEFORE = re.compile(rb"\{" + _BLANKS + rb"(?:(" + _NAME + _TEXT + _BLANKS + b"," + _BLANKS + b"))?" + _NAME, re.DOTALL)
_BEHIND = re.compile(_BLANKS + rb"(?:(," + _BLANKS + _NAME + _TEXT + _BLANKS + rb"))?\}" + _BLANKS, re.DOTALL)
"""Before and behind the value of `params`, where nothing but `custom_id` is there, on one side of it."""

_Members = msgspec.defstruct(
    "_Members",
    [(name, msgspec.Raw, msgspec.Raw()) for name in ("custom_id", "params", "type", *BY_FIELD)],
)
_decode_members = msgspec.json.Decoder(_Members).decode
_STAND_INS: dict[bytes, Any] = {b"{": {}, b"[": [], b"t": True, b"f": False, b"n": None}


class LongLine(NamedTuple):
    """The top level of a long line.

    Attributes:
        item: its value; of an object the members that requests, and what is often taken for them, have. An empty value
            of the same type stands for each that is long itself.
        others_bytes: about the bytes of its other members, and of repeated ones; 0 if there are none.
    """

    item: Any
    others_bytes: int = 0


def read_long_line(line: Line) -> LongLine:
    """Scan a line; `msgspec.DecodeError` if it is not JSON, `RecursionError` if it is nested too deeply."""
    if line[:1] != b"{":
        return LongLine(_value(msgspec.json.decode(line, type=msgspec.Raw)))
    members = _decode_members(line)
    found = {name: raw for name in _Members.__struct_fields__ if len(raw := getattr(members, name))}
    item = {name: _value(raw) for name, raw in found.items()}
    if item.keys() != {"custom_id", "params"} or _are_alone(line, found["params"]):
        return LongLine(item)
    return LongLine(item, len(line) - len(found["params"]))


def _are_alone(line: Line, params: msgspec.Raw) -> bool:
    """Return whether an object with a custom_id, a text, and params, an object, has each once and nothing else."""
    before = _BEFORE.match(line)
    if before is None:
        return False
    behind = _BEHIND.fullmatch(line, before.end() + len(params))
    return behind is not None and (before.start(1) < 0) != (behind.start(1) < 0)


def _value(raw: msgspec.Raw) -> Any:
    if len(raw) <= _MAX_VALUE_BYTES:
        try:
            return msgspec.json.decode(raw)
        except (msgspec.DecodeError, ValueError, RecursionError):
            pass
    start = bytes(memoryview(raw)[:80])
    return start[1:].decode(errors="replace") if start[:1] == b'"' else _STAND_INS.get(start[:1], 0)
