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

_AS_WRITTEN = b"\0"
"""Before a line that counts by its bytes; canonical JSON does not begin so."""


class ContentHash:
    """The sha256 of the content of requests, added one by one in their order."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._saved = 0
        self._exponent = False
        self._decode = msgspec.json.Decoder(float_hook=self._number).decode
        self._encode = msgspec.json.Encoder(order="sorted").encode

    def hexdigest(self) -> str:
        """Return the sha256 of the requests so far."""
        return self._sha256.hexdigest()

    def add(self, line: Line) -> Any:
        """Add a request, as JSON without white space around it; return its value, None if it has none.

        A long line of more text or values than memory should hold counts by its bytes, and its value is not built.
        """
        if len(line) > LONG_LINE:
            if _is_costly(line):
                self._sha256.update(_AS_WRITTEN)
                self._sha256.update(line)
                self._sha256.update(b"\n")
                return None
            line = bytes(line)
        value, canonical = self._canonical(line)
        self._sha256.update(canonical)
        self._sha256.update(b"\n")
        return value

    def _canonical(self, line: bytes) -> tuple[Any, bytes]:
        self._saved, self._exponent = 0, False
        try:
            value = self._decode(line)
            canonical = self._encode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            return _lenient(line), _AS_WRITTEN + _compact(line)
        if self._saved + len(canonical) != len(line) and self._may_repeat_names(line, value, canonical):
            return value, _AS_WRITTEN + _compact(line)
        return value, canonical

    def _may_repeat_names(self, line: bytes, value: Any, canonical: bytes) -> bool:
        """Return whether an object has a name twice: then the value lacks a member.

        Looked for by length first. No text becomes longer when it is read and written again, and how much shorter a
        number becomes is known: with the length kept, nothing is lacking.
        """
        compact = _compact(line)
        if self._saved + len(canonical) == len(compact):
            return False
        if compact.isascii() and not self._exponent:
            # Texts may be escaped to ASCII, as many programs do.
            try:
                if self._saved + len(_escaped(value)) == len(compact):
                    return False
            except (TypeError, ValueError, RecursionError):
                pass
        return _has_repeated_names(line)

    def _number(self, text: str) -> Any:
        value = _number(text)
        written = self._encode(value)
        self._saved += len(text) - len(written)
        # Python writes these otherwise.
        self._exponent = self._exponent or b"e" in written
        return value


_escaped = json.JSONEncoder(separators=(",", ":")).encode


def _is_costly(line: Line) -> bool:
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


def _compact(line: bytes) -> bytes:
    try:
        return msgspec.json.format(line, indent=-1)
    except (msgspec.MsgspecError, RecursionError):
        return line


def _lenient(line: bytes) -> Any:
    """Return the value of a line that is JSON only for a lenient reader."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _has_repeated_names(line: bytes) -> bool:
    def check(members: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in members}) < len(members):
            raise KeyError

    try:
        json.loads(line, object_pairs_hook=check, parse_int=str, parse_float=str)
    except (KeyError, ValueError, RecursionError):
        return True
    return False
