"""Loading a file as typed Arazzo objects; every error names its place."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue, ValidationError
from pydantic_core import ErrorDetails

from message_batches.arazzo.model import Action, ArazzoDocument, Node, Step, nodes_of
from message_batches.arazzo.yaml_source import DocumentError, Source, child, read_source


@dataclass(frozen=True)
class LoadedDocument:
    """A document, and the file that it was read from, with references resolved in both."""

    arazzo: ArazzoDocument
    source: Source


def load_document(path: Path) -> LoadedDocument:
    """Read an Arazzo document and check its form; `plan_of` checks its meaning.

    Raises:
        DocumentError: the file cannot be read, or is not made of Arazzo objects.
    """
    source = read_source(path)
    try:
        data = resolve_references(source.data)
        document = _parsed(data)
        _check_version(document, source.data)
        _unique("workflowId", ((workflow.workflow_id, workflow) for workflow in document.workflows))
        for workflow in document.workflows:
            _unique("stepId", ((step.step_id, step) for step in workflow.steps))
    except DocumentError as error:
        raise source.located(error) from error
    return LoadedDocument(document, replace(source, data=data))


def _parsed(data: JsonValue) -> ArazzoDocument:
    try:
        return ArazzoDocument.model_validate(data).locate("#")
    except ValidationError as error:
        raise _as_document_error(error.errors()[0], data) from None


def _as_document_error(problem: ErrorDetails, data: JsonValue) -> DocumentError:
    pointer, here = "#", data
    # Parts that are not in the data are pydantic's own, such as the branch of a union.
    for part in problem["loc"]:
        if isinstance(here, dict) and part in here:
            pointer, here = child(pointer, part), here[str(part)]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            pointer, here = child(pointer, part), here[part]
    match problem["type"]:
        case "string_type" | "string_pattern_mismatch" if pointer == "#/arazzo" and str(here) in ("1", "1.0", "1.1"):
            message = f"is not a whole version; write `arazzo: {'1.1.0' if str(here) == '1.1' else '1.0.1'}`"
        case "missing":
            message = f"lacks {problem['loc'][-1]}, which Arazzo requires"
        case "string_type":
            message = "must be a string; put it in quotes"
        case "float_type" | "int_type" | "int_from_float":
            message = f"must be a {'whole ' if 'int' in problem['type'] else ''}number, without quotes"
        case "string_pattern_mismatch" if problem["loc"][-1] == "$self":
            message = "must be an address with no fragment (#...)"
        case "string_pattern_mismatch":
            message = "is a version that this reader does not know; it knows 1.0 and 1.1, such as 1.0.1"
        case "model_type" | "dict_type" | "model_attributes_type":
            message = "must be a mapping"
        case "tuple_type":
            message = "must be a list"
        case _:
            message = problem["msg"].replace("Input should be", "must be")
    return DocumentError(pointer, message)


_SINCE_1_1: Mapping[type[Node], tuple[str, ...]] = {
    ArazzoDocument: ("$self",),
    Step: ("channelPath", "action", "correlationId", "timeout", "dependsOn"),
    Action: ("parameters",),
}
_VALUES_SINCE_1_1 = ("asyncapi", "querystring", "jsonpointer")


def _check_version(document: ArazzoDocument, data: JsonValue) -> None:
    """Refuse what Arazzo 1.1 has brought in a document that says 1.0: a reader of 1.0 would not see it."""
    for node in nodes_of(document):
        if isinstance(node, Action) and node.parameters and node.workflow_id is None:
            raise DocumentError(node.at("parameters"), "are the inputs of a workflowId, and there is none; delete them")
    if not document.arazzo.startswith("1.0."):
        return
    advice = f"is of Arazzo 1.1, and the document says {document.arazzo}; write `arazzo: 1.1.0`, or delete it"
    for node in nodes_of(document):
        for name in _SINCE_1_1.get(type(node), ()):
            if name in node.written:
                raise DocumentError(node.at(name), advice)
        for name in ("type", "in_"):
            if getattr(node, name, None) in _VALUES_SINCE_1_1:
                raise DocumentError(node.at(name.rstrip("_")), advice)
    for pointer, item in _written_outputs(data):
        if isinstance(item, dict):
            raise DocumentError(pointer, f"a selector {advice}")


def _written_outputs(data: JsonValue, pointer: str = "#") -> Iterator[tuple[str, JsonValue]]:
    """Yield the outputs of all workflows and steps, as they are in the file."""
    if isinstance(data, list):
        for index, item in enumerate(data):
            yield from _written_outputs(item, child(pointer, index))
    elif isinstance(data, dict):
        for name in ("workflows", "steps"):
            yield from _written_outputs(data.get(name), child(pointer, name))
        outputs = data.get("outputs")
        for name, output in outputs.items() if isinstance(outputs, dict) else ():
            yield child(child(pointer, "outputs"), name), output


def _unique(field: str, named: Iterable[tuple[str, Node]]) -> None:
    seen: dict[str, Node] = {}
    for name, node in named:
        if name in seen:
            raise DocumentError(node.at(field), f"is the same as in {seen[name].pointer}; each needs its own")
        seen[name] = node


_KINDS = {
    "parameters": "parameters",
    "onSuccess": "successActions",
    "successActions": "successActions",
    "onFailure": "failureActions",
    "failureActions": "failureActions",
}


def resolve_references(data: JsonValue) -> JsonValue:
    """Return the document's data with every `reference`, and every `$ref` of a workflow's inputs, replaced.

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
        elif key == "outputs" and isinstance(value, dict):
            yield key, {name: _expression(output, child(place, name)) for name, output in value.items()}
        else:
            yield key, value


_POINTER = re.compile(r"(?:/[^/]*)*")
_PATH = re.compile(r"\$((?:\.[A-Za-z_]\w*)*)")


def _expression(output: JsonValue, pointer: str) -> JsonValue:
    """Return an output as a runtime expression, if it is a selector of Arazzo 1.1 that means the same as one."""
    if not isinstance(output, dict):
        return output
    kind, selector = output.get("type"), output.get("selector")
    if isinstance(kind, dict):
        kind = kind.get("type")
    found = {"jsonpointer": _POINTER, "jsonpath": _PATH}.get(str(kind), re.compile("(?!)")).fullmatch(str(selector))
    context = output.get("context")
    if set(output) != {"context", "selector", "type"} or found is None or not isinstance(context, str):
        raise DocumentError(
            pointer, "must be a runtime expression such as $response.body#/id, or a selector (Arazzo 1.1) of one value"
        )
    place = found[0] if kind == "jsonpointer" else found[1].replace(".", "/")
    return f"{context}#{place}" if place else context


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
