"""The content of requests, whatever their spelling: equal requests in the same order have the same sha256.

In effect it is that of the canonical JSON of RFC 8785: names in order, no blanks, escapes resolved, numbers by value.
Unlike there, no two requests that a reader could tell apart become one: whole numbers count by all of their digits, and
what has no single reading (an object with a name twice, half of a surrogate pair, a number beyond all bounds) counts by
its bytes.
"""

import hashlib
import json
import math
from decimal import Decimal
from typing import Any

import msgspec

from message_batches.jsonl import LONG_LINE, Line

_EXACT = 2**53
"""Below it a double stands for one whole number."""

_MOST_DIGITS = 300
_MOST_TEXT = 32 * 1024 * 1024
_MOST_VALUES = 350_000
"""Of a line of 1 MiB: it cannot have more."""

_HELD_BYTES = 64 * 1024
"""Bytes that are hashed together: each call for more than 2 KB gives up the interpreter's lock, and waits for it."""

_AS_WRITTEN = b"\0"
"""Before a line that counts by its bytes; canonical JSON does not begin so."""


class ContentHash:
    """The sha256 of the content of requests, added one by one in their order.

    Args:
        parts: whether that of parts of the requests is asked for too.

    Attributes:
        by_value: whether the request that was added last counts by its value: no name is there twice.
        repeated_name: of the same request, a name that one of its objects has twice, None if none has.
    """

    def __init__(self, *, parts: bool = False) -> None:
        self._sha256 = hashlib.sha256()
        self._part = hashlib.sha256() if parts else None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.by_value = False
        self.repeated_name: str | None = None

    def hexdigest(self) -> str:
        """Return the sha256 of the requests so far."""
        self._hash()
        return self._sha256.hexdigest()

    def end_part(self) -> str:
        """Return the sha256 of the requests since the last part, as if they were all there are."""
        self._hash()
        assert self._part, "parts are asked for"
        ended, self._part = self._part, hashlib.sha256()
        return ended.hexdigest()

    def add(self, line: Line) -> Any:
        """Add a request, as JSON without white space around it; return its value, None if it has none.

        A long line of more text or values than memory should hold counts by its bytes, and its value is not built.
        """
        if len(line) > LONG_LINE:
            if is_costly(line):
                self._hash(_AS_WRITTEN, line, b"\n")
                self.by_value = False
                return None
            line = bytes(line)
        value, canonical = _canonical(line)  # type: ignore[arg-type]  # a view is of a long line
        if len(canonical) > _HELD_BYTES:
            self._hash(canonical, b"\n")
        else:
            self._held.append(canonical)
            self._held_bytes += len(canonical)
            if self._held_bytes > _HELD_BYTES:
                self._hash()
        self.by_value = not canonical.startswith(_AS_WRITTEN)
        self.repeated_name = None if self.by_value else _repeated_name(bytes(line))
        return value

    def _hash(self, *more: Line) -> None:
        held = b"\n".join([*self._held, b""])
        self._held, self._held_bytes = [], 0
        for data in (held, *more):
            self._sha256.update(data)
            if self._part:
                self._part.update(data)


def _canonical(line: bytes) -> tuple[Any, bytes]:
    try:
        value = _decode(line)
        canonical = _encode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return _lenient(line), _AS_WRITTEN + _compact(line)
    if _may_repeat_names(line, canonical) and _repeated_name(line) is not None:
        return value, _AS_WRITTEN + _compact(line)
    return value, canonical


def _may_repeat_names(line: bytes, canonical: bytes) -> bool:
    """Return whether an object may have a name twice: then the value lacks a member, and with it a colon.

    Texts keep their colons, unless one is escaped.
    """
    # Several times as fast as `count`.
    colons = len(line) - len(line.replace(b":", b""))
    return colons != len(canonical) - len(canonical.replace(b":", b"")) or (b"\\" in line and b"\\u003" in line)


def is_costly(line: Line) -> bool:
    """Return whether the value of a long line would take much more memory than the line."""
    if len(line) > _MOST_TEXT:
        return True
    text = bytes(line)
    # A character beyond ASCII, escaped or not, makes a text up to four bytes wide.
    wide = not text.isascii() or b"\\u" in text
    return len(text) * (4 if wide else 1) > _MOST_TEXT or sum(map(text.count, (b",", b"[", b"{"))) > _MOST_VALUES


def _number(text: str) -> Any:
    """Return the value of a number with a fraction or an exponent: an integer if it is whole."""
    value = float(text)
    if value.is_integer() and 0 < abs(value) < _EXACT:
        return int(value)
    if math.isfinite(value) and not value.is_integer():
        return value
    try:
        exact = Decimal(text)
    except ArithmeticError:
        return msgspec.Raw(text.encode())  # Its exponent is beyond even these bounds.
    if not exact:
        return 0
    if abs(exact.adjusted()) < _MOST_DIGITS and exact == exact.to_integral_value():
        return int(exact)
    return value if value and math.isfinite(value) else msgspec.Raw(text.encode())


_decode = msgspec.json.Decoder(float_hook=_number).decode
_encode = msgspec.json.Encoder(order="sorted").encode


def _compact(line: bytes) -> bytes:
    try:
        return msgspec.json.format(line, indent=-1)
    except (msgspec.MsgspecError, RecursionError):
        return line


def _lenient(line: bytes) -> Any:
    """Return the value of a line that is JSON only for a lenient reader."""
    try:
        return json.loads(line, parse_int=_integer)
    except (ValueError, RecursionError):
        return None


def _integer(digits: str) -> int | float:
    """Return a whole number; as a float, perhaps an infinite one, if it is longer than Python converts."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _repeated_name(line: bytes) -> str | None:
    found: list[str] = []

    def check(members: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in members:
            if name in seen:
                found.append(name)
            seen.add(name)

    try:
        json.loads(line, object_pairs_hook=check, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return found[0] if found else None


def unique_names(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; refuse a repeated name: a payload keeps one of its values, and the API may use the other."""
    found = dict(members)
    if len(found) < len(members):
        raise msgspec.ValidationError("an object has the same name twice")
    return found


def exact_float(digits: str) -> float:
    """Parse a number; refuse one that a payload cannot carry unchanged."""
    number = float(digits)
    if Decimal(repr(number)) != Decimal(digits):
        raise msgspec.ValidationError("a number has more digits than a payload can carry")
    return number
