"""References to a document's components, replaced by what they name."""

from collections.abc import Iterator

from pydantic import JsonValue

from message_batches.arazzo.source import DocumentError, child

_KINDS = {
    "parameters": "parameters",
    "onSuccess": "successActions",
    "successActions": "successActions",
    "onFailure": "failureActions",
    "failureActions": "failureActions",
}


def resolve_references(data: JsonValue) -> JsonValue:
    """The document's data with every `reference`, and every `$ref` of a workflow's inputs, replaced.

    Raises:
        DocumentError: a reference names nothing, or the wrong kind of component.
    """
    if not isinstance(data, dict):
        return data
    components = data.get("components")
    found = components if isinstance(components, dict) else {}
    resolved = dict(data)
    resolved["workflows"] = _each(data.get("workflows"), "#/workflows", found)
    if "workflows" not in data:
        del resolved["workflows"]
    return resolved


def _each(items: JsonValue, pointer: str, components: dict[str, JsonValue]) -> JsonValue:
    if not isinstance(items, list):
        return items
    return [_object(item, child(pointer, index), components) for index, item in enumerate(items)]


def _object(item: JsonValue, pointer: str, components: dict[str, JsonValue]) -> JsonValue:
    if not isinstance(item, dict):
        return item
    return dict(_members(item, pointer, components))


def _members(
    item: dict[str, JsonValue], pointer: str, components: dict[str, JsonValue]
) -> Iterator[tuple[str, JsonValue]]:
    for key, value in item.items():
        place = child(pointer, key)
        if key == "steps":
            yield key, _each(value, place, components)
        elif key in _KINDS and isinstance(value, list):
            kind = _KINDS[key]
            yield key, [_one(entry, child(place, index), kind, components) for index, entry in enumerate(value)]
        elif key == "inputs" and isinstance(value, dict) and "$ref" in value:
            yield key, _named(value["$ref"], "#/components/inputs/", place, components.get("inputs"))
        else:
            yield key, value


def _one(entry: JsonValue, pointer: str, kind: str, components: dict[str, JsonValue]) -> JsonValue:
    if not isinstance(entry, dict) or "reference" not in entry:
        return entry
    target = _named(entry["reference"], f"$components.{kind}.", child(pointer, "reference"), components.get(kind))
    overruling = {key: value for key, value in entry.items() if key != "reference"}
    return {**target, **overruling}


def _named(reference: JsonValue, prefix: str, pointer: str, group: JsonValue) -> dict[str, JsonValue]:
    name = reference.removeprefix(prefix) if isinstance(reference, str) and reference.startswith(prefix) else None
    target = group.get(name) if isinstance(group, dict) and name is not None else None
    if not isinstance(target, dict):
        raise DocumentError(pointer, f"names no component; write {prefix}NAME, with that NAME under components")
    return target
