"""Why a line is no request of a batch, in words for whoever wrote it."""

import json
import re
from typing import Any, NoReturn

import msgspec

Problem = tuple[str, str]
"""The field that it is about, "" for the whole line, and a sentence."""

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FIELDS = ("custom_id", "params")
_ESCAPED = re.compile(rb"\\u00(?:5[fF]|[67])")
"""What their names may be written with, so that they do not stand there as they are."""
_FIELD_BYTES = tuple(f'"{name}"'.encode() for name in _FIELDS)


def bad_id(custom_id: str) -> Problem:
    """The problem of an id that the API would refuse."""
    return "custom_id", f"{custom_id[:80]!r} is not 1 to 64 of the characters a-z, A-Z, 0-9, _ and -"


def repeated_fields(line: bytes) -> list[Problem]:
    """The fields that a request has twice: of two values, whoever reads it next may take the other."""
    if all(line.count(name) < 2 for name in _FIELD_BYTES) and not _ESCAPED.search(line):
        return []
    try:
        members = json.loads(line, object_pairs_hook=list, parse_int=str)
    except RecursionError:
        return [("", "nested too deeply")]
    names = [name for name, _ in members]
    return [(name, "stands there twice, and only one can count") for name in _FIELDS if names.count(name) > 1]


def problems_of(line: bytes, error: Exception) -> list[Problem]:
    """What is wrong with a line that could not be read as a request."""
    if isinstance(error, RecursionError):
        return [("", "nested too deeply")]
    try:
        item = json.loads(line.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as unicode_error:
        return [("", f"not UTF-8 (byte {unicode_error.start})")]
    except json.JSONDecodeError as json_error:
        return [("", f"not JSON: {json_error.msg} (column {json_error.colno})")]
    except RecursionError:
        return [("", "nested too deeply")]
    except ValueError as value_error:
        return [("", f"not JSON: {value_error}")]
    if not isinstance(error, msgspec.ValidationError):
        return [("", "half of a surrogate pair, such as \\ud83d alone, which is no text")]
    return _item_problems(item)


def _item_problems(item: Any) -> list[Problem]:
    if not isinstance(item, dict):
        return [("", f"not an object but {_kind(item)}")]
    problems = []
    if "custom_id" not in item:
        problems.append(("custom_id", "missing"))
    elif not isinstance(item["custom_id"], str):
        problems.append(("custom_id", f"not a string but {_kind(item['custom_id'])}"))
    elif not CUSTOM_ID.fullmatch(item["custom_id"]):
        problems.append(bad_id(item["custom_id"]))
    if "params" not in item:
        problems.append(("params", "missing"))
    elif not isinstance(item["params"], dict):
        problems.append(("params", f"not an object but {_kind(item['params'])}"))
    return problems


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
