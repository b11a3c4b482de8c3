"""Schemas that hold together: merged into one, the values that they allow, and bounds that stand in descriptions."""

import json
from collections.abc import Mapping
from typing import Any

_BOUNDS = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "uniqueItems"),
)

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")

Schema = Mapping[str, Any]


def merged(first: object, second: object) -> dict[str, Any]:
    """Merge two schemas that both hold."""
    both: dict[str, Any] = dict(first) if isinstance(first, dict) else {}
    for word, value in (second if isinstance(second, dict) else {}).items():
        known = both.get(word)
        if word == "properties" and isinstance(known, dict) and isinstance(value, dict):
            both[word] = {**known, **{name: merged(known.get(name), part) for name, part in value.items()}}
        elif word in ("const", "enum") and values_of(both):
            given = _list(value) if word == "enum" else [value]
            both["enum"] = [each for each in values_of(both) if each in given] or given
            both.pop("const", None)
        elif word in _LOWER and isinstance(known, int | float) and isinstance(value, int | float):
            both[word] = max(known, value)
        elif word in _UPPER and isinstance(known, int | float) and isinstance(value, int | float):
            both[word] = min(known, value)
        elif word in ("required", "allOf") and isinstance(known, list) and isinstance(value, list):
            both[word] = [*known, *value]
        else:
            both[word] = value
    return both


def values_of(schema: Schema) -> list[Any]:
    """Return the values that `const` or `enum` allow; none if they are free."""
    return [schema["const"]] if "const" in schema else _list(schema.get("enum"))


def is_of(value: object, kind: object) -> bool:
    """Return whether a value is of a type, or of one of several; of none, if there is none."""
    if isinstance(kind, list):
        return any(is_of(value, each) for each in kind)
    if isinstance(value, bool):
        return kind in (None, "boolean")
    types: dict[object, Any] = {
        None: object,
        "string": str,
        "integer": int,
        "number": int | float,
        "array": list,
        "object": dict,
        "null": type(None),
    }
    return kind in types and isinstance(value, types[kind])


def may_both_hold(schema: Schema, branch: object) -> bool:
    """Return whether a branch leaves a value that a schema allows."""
    if not isinstance(branch, dict):
        return True
    values = [each for each in values_of(schema) or values_of(branch) if is_of(each, schema.get("type"))]
    others = values_of(branch)
    values = [each for each in values if is_of(each, branch.get("type")) and (not others or each in others)]
    return bool(values) or not (values_of(schema) or others)


def bounds_described(description: object) -> dict[str, Any]:
    """Return the bounds that the official client writes at the end of a description: `{minimum: 0, maximum: 1}`."""
    tail = description[-500:] if isinstance(description, str) else ""
    start = tail.rfind("{")
    if start < 0 or not tail.endswith("}"):
        return {}
    found: dict[str, Any] = {}
    for part in tail[start + 1 : -1].split(", "):
        word, _, text = part.partition(": ")
        if word in _BOUNDS:
            try:
                found[word] = json.loads(text.lower())
            except ValueError:
                continue
    return {word: value for word, value in found.items() if isinstance(value, int | float)}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
