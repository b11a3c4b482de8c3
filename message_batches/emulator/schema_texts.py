"""Texts that a JSON schema asks for: by format, by pattern, of a length."""

import importlib
import random
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_TRIES = 50
_MOST_REPEATS = 4
_MOST_PARTS = 10_000
_LONGEST = 100_000
_PRINTABLE = [chr(code) for code in range(0x20, 0x7F)]
_CATEGORIES = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_NOT_DIGIT": lambda character: not character.isdigit(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda character: not character.isspace(),
    "CATEGORY_WORD": lambda character: character.isalnum() or character == "_",
    "CATEGORY_NOT_WORD": lambda character: not (character.isalnum() or character == "_"),
}


def text_of(schema: Mapping[str, Any], chance: random.Random, usual: str) -> str:
    """Return a text that meets `pattern`, `format`, `minLength` and `maxLength`; without these, `usual`."""
    least = min(int(schema.get("minLength", 0)), _LONGEST)
    most = min(int(schema.get("maxLength", _LONGEST)), _LONGEST)
    pattern, form = schema.get("pattern"), schema.get("format")
    formed = _FORMATS[form](chance) if isinstance(form, str) and form in _FORMATS else None
    if formed is not None and (not isinstance(pattern, str) or matches(pattern, formed)):
        return formed
    if isinstance(pattern, str):
        found = _matching(pattern, chance, least, most)
        if found is not None:
            return found
    padded = usual if len(usual) >= least else (usual + " ") + "." * (least - len(usual) - 1)
    return padded[:most]


def _moment(chance: random.Random) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(365 * 86_400))


def _name(chance: random.Random) -> str:
    return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=8))


_FORMATS: Mapping[str, Callable[[random.Random], str]] = {
    "date": lambda chance: _moment(chance).date().isoformat(),
    "date-time": lambda chance: _moment(chance).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "time": lambda chance: _moment(chance).strftime("%H:%M:%SZ"),
    "duration": lambda chance: f"PT{chance.randint(1, 59)}M",
    "email": lambda chance: f"{_name(chance)}@example.com",
    "hostname": lambda chance: f"{_name(chance)}.example.com",
    "idn-email": lambda chance: f"{_name(chance)}@example.com",
    "ipv4": lambda chance: f"192.0.2.{chance.randint(1, 254)}",
    "ipv6": lambda chance: f"2001:db8::{chance.randint(1, 0xFFFF):x}",
    "uri": lambda chance: f"https://example.com/{_name(chance)}",
    "uri-reference": lambda chance: f"/{_name(chance)}",
    "url": lambda chance: f"https://example.com/{_name(chance)}",
    "uuid": lambda chance: str(uuid.UUID(int=chance.getrandbits(128), version=4)),
    "byte": lambda chance: _name(chance),
    "base64": lambda chance: _name(chance),
    "decimal": lambda chance: f"{chance.randint(0, 9_999)}.{chance.randint(0, 99):02}",
    "json-pointer": lambda chance: f"/{_name(chance)}",
    "regex": lambda _: "[a-z]+",
}


def _matching(pattern: str, chance: random.Random, least: int, most: int) -> str | None:
    """Return a text with a match of a pattern, or None if none is found."""
    try:
        search = re.compile(pattern).search
        # Python's own parser of patterns; it has no public name.
        parsed = importlib.import_module("re._parser").parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return None
    for attempt in range(_TRIES):
        writer = _PatternText(chance, _MOST_REPEATS + attempt * least // 10)
        found = writer.of(parsed)
        # A part of a pattern that looks ahead or behind is only looked at here.
        if least <= len(found) <= most and search(found):
            return found
        if writer.room <= 0:
            return None
    return None


def matches(pattern: str, text: str) -> bool:
    """Return whether a text has a match of a pattern; a pattern that is not valid matches nothing."""
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return False


class _PatternText:
    def __init__(self, chance: random.Random, repeats: int) -> None:
        self._chance = chance
        self._repeats = repeats
        self._groups: dict[int, str] = {}
        self.room = _MOST_PARTS

    def of(self, parsed: Any) -> str:
        return "".join(self._part(str(name), argument) for name, argument in parsed)

    def _part(self, name: str, argument: Any) -> str:
        match name:
            case "LITERAL":
                return chr(argument)
            case "NOT_LITERAL":
                return self._chance.choice([each for each in _PRINTABLE if each != chr(argument)])
            case "ANY":
                return self._chance.choice("abcdefghijklmnopqrstuvwxyz0123456789")
            case "IN":
                return self._one_of(argument)
            case "BRANCH":
                return self.of(self._chance.choice(argument[1]))
            case "SUBPATTERN":
                text = self.of(argument[-1])
                self._groups[argument[0] or 0] = text
                return text
            case "ATOMIC_GROUP":
                return self.of(argument)
            case "GROUPREF":
                return self._groups.get(argument, "")
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                return self._repeated(*argument)
            case _:
                return ""

    def _repeated(self, least: int, most: int, what: Any) -> str:
        times = self._chance.randint(least, max(least, min(int(most), least + self._repeats)))
        made = []
        for _ in range(times):
            if self.room <= 0:
                break
            self.room -= 1
            made.append(self.of(what))
        return "".join(made)

    def _one_of(self, parts: Any) -> str:
        negated = str(parts[0][0]) == "NEGATE"
        tests = [_membership(str(name), argument) for name, argument in parts[negated:]]
        allowed = [each for each in _PRINTABLE if any(test(each) for test in tests) != negated]
        if not allowed:
            # Of letters beyond ASCII, the first that the set names.
            name, argument = parts[-1]
            allowed = [chr(argument[0] if str(name) == "RANGE" else argument if str(name) == "LITERAL" else 0xE9)]
        return self._chance.choice(allowed)


def _membership(name: str, argument: Any) -> Callable[[str], bool]:
    if name == "LITERAL":
        return lambda each: ord(each) == argument
    if name == "RANGE":
        return lambda each: bool(argument[0] <= ord(each) <= argument[1])
    return _CATEGORIES.get(str(argument), lambda _: False)
