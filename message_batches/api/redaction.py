"""Texts from outside as they may be shown: printable, short, and without the credentials of the call.

A gateway may repeat a key as it is, escaped, encoded or in pieces: a text is decoded first, then compared by its
letters and digits alone, so that neither case nor anything between them hides a key.
"""

import html
import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from urllib.parse import unquote

REDACTED = "[API key]"
UNREADABLE = "[escapes in escapes]"
MIN_KEY_LENGTH = 8
"""Fewest characters of a key that is redacted: a shorter text is not secret, and occurs in words that must be kept."""

_MIN_PART = 16
"""Fewest letters that are a part of a key, besides that they are a quarter of it: an id may share a word with one."""

MAX_TEXT = 4096
"""Characters of a text that are read: no text of this API is longer, and none is shown as long as that."""

_LAYERS = 4
"""The escapes around escapes that are decoded; a text with more is not shown."""

_Parts = tuple[tuple[int, frozenset[str]], ...]
"""Parts of secrets, by their length."""

_BETWEEN = bytes(each for each in range(128) if not chr(each).isalnum())
"""The characters of ASCII that may stand between the letters of a key."""

_ESCAPED = re.compile(r"%(?:[0-9A-Fa-f]{2}|u)|&[#A-Za-z]|\\[uUx0-7]|\x1b")
_ESCAPE = re.compile(
    r"[\\%]u([0-9A-Fa-f]{4})|[\\%]u\{([0-9A-Fa-f]{1,6})\}|\\U([0-9A-Fa-f]{8})|\\x([0-9A-Fa-f]{2})|\\([0-7]{3})"
)

_COLOUR = re.compile(r"\x1b\[[0-?]*+[ -/]*+[@-~]")
"""The commands to a terminal that print nothing."""


def shown(text: object, secrets: Sequence[str], most: int) -> str:
    """Return at most so many characters of a text, without secrets and characters that control a terminal."""
    if not isinstance(text, str):
        return ""
    clean = redact(text[:MAX_TEXT], secrets)[:most]
    return "".join(character if character.isprintable() else " " for character in clean)


def redact(text: str, secrets: Sequence[str]) -> str:
    """Return a text with another one in place of secrets and of parts of them; decoded, where escapes hid one."""
    clean, decoded = _redacted(text, secrets)
    return clean if decoded else UNREADABLE


def repeats(text: str, secrets: Sequence[str]) -> bool:
    """Return whether a text repeats a secret, or a part of one."""
    return _redacted(text, secrets)[0] != text


def _redacted(text: str, secrets: Sequence[str]) -> tuple[str, bool]:
    """Return a text without secrets, and whether all of its escapes were decoded to look for them."""
    decoded = text
    for _ in range(_LAYERS):
        clean = _without(decoded, secrets)
        if clean != decoded:
            text = decoded = clean
        further = _decode(decoded) if _ESCAPED.search(decoded) else decoded
        if further == decoded:
            return text, True
        decoded = further
    return text, False


def _without(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if len(secret) >= MIN_KEY_LENGTH:
            text = text.replace(secret, REDACTED)
    letters = _letters(text)
    by_width = _parts(tuple(secrets))
    if not _may_hold(letters, by_width):
        return text
    marked = bytearray(len(letters))
    for width, parts in by_width:
        if width > len(letters):
            break
        for at in range(len(letters) - width + 1):
            if letters[at : at + width] in parts:
                marked[at : at + width] = b"\1" * width
    if 1 not in marked:
        return text
    places = [place for place, character in enumerate(text) for _ in _letters(character)]
    result, end = [], 0
    for run in re.finditer(rb"\x01+", marked):
        result += [text[end : places[run.start()]], REDACTED]
        end = places[run.end() - 1] + 1
    return "".join([*result, text[end:]])


def _may_hold(letters: str, by_width: _Parts) -> bool:
    """Return whether a part may be among these letters, as a few of them at every few places say at less cost."""
    few, beginnings = _pieces(by_width)
    return any(letters[at : at + few] in beginnings for at in range(0, len(letters), few)) if few else False


@lru_cache(maxsize=256)
def _pieces(by_width: _Parts) -> tuple[int, frozenset[str]]:
    """Return how many letters, and all such pieces of parts: wherever a part is, one of them is at such a place."""
    few = (by_width[0][0] + 1) // 2 if by_width else 0
    return few, frozenset(part[at : at + few] for _, parts in by_width for part in parts for at in range(few))


def _letters(text: str) -> str:
    """Return the ASCII letters and digits of a text, in lower case, and those that other characters are forms of."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    return text.encode("ascii", "ignore").translate(None, _BETWEEN).decode().lower()


@lru_cache(maxsize=256)
def _parts(secrets: tuple[str, ...]) -> _Parts:
    """Return the parts of secrets, in each spelling, that are long enough to tell them, by length, the short first."""
    found: dict[int, set[str]] = {}
    for letters in {_letters(spelling) for secret in secrets for spelling in _spellings(secret)}:
        if len(letters) >= MIN_KEY_LENGTH:
            width = min(len(letters), max(_MIN_PART, len(letters) // 4))
            parts = (letters[at : at + width] for at in range(len(letters) - width + 1))
            found.setdefault(width, set()).update(parts)
    return tuple((width, frozenset(found[width])) for width in sorted(found))


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    for word in secret.split():
        # A header such as "Basic dXNlcjpwYXNzd29yZA==" is known by what it holds, too.
        with suppress(ValueError):
            login = b64decode(word, validate=True).decode("ascii")
            yield from (login, login.partition(":")[2])
    for encoding in ("utf-8", "utf-16-be", "utf-16-le"):
        content = secret.encode(encoding)
        yield content.hex()
        # Base64 depends on the place in a group of three bytes; the characters that its neighbours share are left out.
        for before in range(3):
            yield b64encode(bytes(before) + content)[-(-before * 8 // 6) : (before + len(content)) * 8 // 6].decode()


def _decode(text: str) -> str:
    text = _ESCAPE.sub(lambda match: _character(filter(None, match.groups()), match), _COLOUR.sub("", text))
    return html.unescape(unquote(text))


def _character(digits: Iterable[str], match: re.Match[str]) -> str:
    code = int(next(iter(digits)), 8 if match.group(5) else 16)
    return chr(code) if code < 0x110000 else match.group()
