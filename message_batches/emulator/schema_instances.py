"""Instances of a JSON schema, made up from a seed: the structured replies.

The keywords are those that clients generate from types (pydantic, zod) and people write by hand. `not` and `if` are
not looked at, nor is whether a value of one branch of `oneOf` is one of another as well.
"""

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from message_batches.emulator.schema_merging import bounds_described, is_of, may_both_hold, merged, values_of
from message_batches.emulator.schema_texts import matches, text_of

_DEEP = 5
"""From this depth on only what is required: a schema may contain itself."""
_DEEPEST = 60
_MOST_VALUES = 300
_MOST_ITEMS = 10_000
_KEYWORDS_OF_TYPE = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties", "propertyNames"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "contains", "uniqueItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}

Schema = Mapping[str, Any]


def instance_of(schema: object, seed: int, about: str) -> object:
    """Return an instance, the same for the same arguments; its free texts quote `about`."""
    try:
        return _Writer(schema, random.Random(seed), about).value(schema, 0)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        # It is none: a bound that is a text, or a number that no float holds.
        return {}


class _Writer:
    def __init__(self, root: object, chance: random.Random, about: str) -> None:
        self._root = root
        self._chance = chance
        self._about = about
        self._values = 0

    def value(self, schema: object, depth: int) -> Any:
        self._values += 1
        if depth > _DEEPEST:
            return None
        found = self._resolved(schema, depth)
        found = {**bounds_described(found.get("description")), **found}
        if values := values_of(found):
            return self._chance.choice([each for each in values if is_of(each, found.get("type"))] or values)
        makers: dict[str, Callable[[Schema, int], object]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._number,
            "boolean": lambda _, __: self._chance.random() < 0.5,
            "null": lambda _, __: None,
        }
        kind = self._type_of(found, depth)
        return makers.get(kind, self._string)({**found, "type": kind}, depth)

    def _is_sparing(self, depth: int) -> bool:
        return depth >= _DEEP or self._values > _MOST_VALUES

    def _resolved(self, schema: object, depth: int) -> dict[str, Any]:
        """Follow references, merge `allOf`, and choose one of `anyOf` and `oneOf`."""
        found = dict(schema) if isinstance(schema, dict) else {}
        for _ in range(_DEEPEST):
            if "$ref" in found:
                found = merged(self._target(found.pop("$ref")), found)
            elif isinstance(found.get("allOf"), list):
                for part in found.pop("allOf"):
                    found = merged(found, part)
            elif branches := _branches(found):
                fitting = [branch for branch in branches if may_both_hold(found, branch)]
                found = merged(found, self._chosen(fitting or branches, depth))
            else:
                break
        return found

    def _target(self, reference: object) -> object:
        place: Any = self._root
        for part in str(reference).lstrip("#").strip("/").split("/"):
            if not part:
                continue
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(place, dict):
                place = place.get(key)
            elif isinstance(place, list) and key.isdecimal() and int(key) < len(place):
                place = place[int(key)]
            else:
                return {}
        return place

    def _chosen(self, branches: Sequence[object], depth: int) -> object:
        simple = [branch for branch in branches if self._is_simple(branch)]
        full = [branch for branch in branches if _type(branch) != "null"]
        if any(_type(branch) in ("integer", "number") for branch in full):
            # A decimal is a number or a text, and the text's pattern does not have the number's bounds.
            full = [branch for branch in full if _type(branch) != "string"]
        # An optional field is filled, as long as the schema does not lead on and on.
        return self._chance.choice((simple if self._is_sparing(depth) else full) or list(branches))

    def _is_simple(self, branch: object) -> bool:
        if not isinstance(branch, dict):
            return True
        return not {"$ref", "properties", "items", "allOf", "anyOf", "oneOf"} & branch.keys()

    def _type_of(self, schema: Schema, depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list) and kind:
            full = [name for name in kind if name != "null"]
            kind = "null" if "null" in kind and self._is_sparing(depth) else self._chance.choice(full or kind)
        if isinstance(kind, str):
            return kind
        return next(
            (kind for kind, words in _KEYWORDS_OF_TYPE.items() if any(word in schema for word in words)), "string"
        )

    def _object(self, schema: Schema, depth: int) -> object:
        properties = _dictionary(schema.get("properties"))
        required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
        for name, others in _dictionary(schema.get("dependentRequired")).items():
            required += _list(others) if name in properties or name in required else []
        most = schema.get("maxProperties", math.inf)
        wanted = dict.fromkeys(properties if not self._is_sparing(depth) and len(properties) <= most else ())
        made: dict[str, object] = {}
        for name in [*(name for name in properties if name in wanted or name in required), *required]:
            if name not in made:
                made[name] = self.value(properties.get(name, self._schema_of_other(schema, name)), depth + 1)
        fewest = max(schema.get("minProperties", 0), 0 if properties or self._is_sparing(depth) else self._free(schema))
        least = min(int(fewest), _MOST_ITEMS)
        for place in range(20 * least):
            if len(made) >= least:
                break
            name = self._name(schema, place, depth)
            if name not in made:
                made[name] = self.value(self._schema_of_other(schema, name), depth + 1)
        return made

    def _free(self, schema: Schema) -> int:
        """Return how many fields an object has whose names are free, as a mapping's are."""
        free = schema.get("additionalProperties")
        return 2 if isinstance(free, dict) or schema.get("patternProperties") else 0

    def _schema_of_other(self, schema: Schema, name: str) -> object:
        for pattern, other in _dictionary(schema.get("patternProperties")).items():
            if matches(pattern, name):
                return other
        return schema.get("additionalProperties", {})

    def _name(self, schema: Schema, place: int, depth: int) -> str:
        names = schema.get("propertyNames") or next(
            ({"pattern": pattern} for pattern in _dictionary(schema.get("patternProperties"))), None
        )
        found = {} if names is None else self._resolved(names, depth)
        if not {"pattern", "format", "enum", "const"} & found.keys():
            return f"key_{place + 1}"[-int(found.get("maxLength", _MOST_VALUES)) :]
        name, longer = str(self.value({"type": "string", **found}, depth + 1)), f"_{place}"
        # A pattern that is open at its end has one shortest text.
        is_open = "pattern" in found and "maxLength" not in found and matches(str(found["pattern"]), name + longer)
        return name + longer if place and is_open else name

    def _array(self, schema: Schema, depth: int) -> object:
        items = schema.get("items", {})
        first = _list(schema.get("prefixItems")) or _list(items)
        rest = schema.get("additionalItems", {}) if isinstance(items, list) else items
        fewest = schema.get("minItems", 0)
        most = min(schema.get("maxItems", _MOST_ITEMS), _MOST_ITEMS, len(first) if rest is False else _MOST_ITEMS)
        usual = 0 if self._is_sparing(depth) else max(len(first), self._chance.randint(1, 3))
        if "contains" in schema:
            first = [*first, *[schema["contains"]] * min(int(schema.get("minContains", 1)), _MOST_ITEMS)]
            fewest = max(fewest, len(first))
        wanted = min(max(fewest, usual), most)
        made: list[object] = []
        seen: set[str] = set()
        for _ in range(20 * int(wanted)):
            if len(made) >= wanted:
                break
            item = self.value(first[len(made)] if len(made) < len(first) else rest, depth + 1)
            written = json.dumps(item, sort_keys=True) if schema.get("uniqueItems") else ""
            if not written or written not in seen:  # As JSON: to Python, 1 and true are the same.
                seen.add(written)
                made.append(item)
        return made

    def _string(self, schema: Schema, _: int) -> object:
        return text_of(schema, self._chance, f"{self._about} {self._values}")

    def _number(self, schema: Schema, _: int) -> object:
        whole = schema.get("type") == "integer"
        low, high = _bounds(schema, whole)
        step = schema.get("multipleOf")
        if isinstance(step, int | float) and step > 0:
            first, last = math.ceil(low / step), math.floor(high / step)
            for _ in range(100):
                number = self._chance.randint(first, max(first, min(last, first + 100))) * step
                # Validators divide: of floats, not every multiple is one.
                exact = [each for each in (round(number, 10), number) if each and float(each / step).is_integer()]
                if exact and (not whole or float(exact[0]).is_integer()):
                    return int(exact[0]) if float(exact[0]).is_integer() else exact[0]
            return 0 if low <= 0 <= high else first * step
        if whole:
            return self._chance.randint(math.ceil(low), max(math.ceil(low), math.floor(high)))
        number = self._chance.uniform(low, high)
        return round(number, 2) if low < round(number, 2) < high else number


def _bounds(schema: Schema, whole: bool) -> tuple[float, float]:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    # Before 2019 these were flags of the other two.
    above, below = (low if above is True else above), (high if below is True else below)
    if above is not None and above is not False:
        low = max(above + 1 if whole else math.nextafter(above, math.inf), -math.inf if low is None else low)
    if below is not None and below is not False:
        high = min(below - 1 if whole else math.nextafter(below, -math.inf), math.inf if high is None else high)
    # Of a wide range, what is near to zero: it reads better.
    low = max(-math.inf if low is None else low, min(0, math.inf if high is None else high - 100))
    high = min(math.inf if high is None else high, max(0, low) + 100)
    return low, max(low, high)


def _branches(schema: dict[str, Any]) -> list[object]:
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list):
            return list(schema.pop(word))
    return []


def _type(branch: object) -> object:
    return branch.get("type") if isinstance(branch, dict) else None


def _dictionary(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
