"""The objects of Arazzo 1.0 and 1.1 as typed models with their place in the file."""

import difflib
from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PrivateAttr
from pydantic.alias_generators import to_camel

from message_batches.arazzo.yaml_source import DocumentError, child

T = TypeVar("T")
# JSON has lists only; strict mode would want a tuple.
Several = Annotated[tuple[T, ...], Field(strict=False)]
Named = Annotated[str, Field(min_length=1)]
_NULL_MEANS_SOMETHING = ("value", "payload", "default")


class Node(BaseModel):
    """An object of the document; keys that begin with `x-` are ignored extensions, other unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", alias_generator=to_camel, hide_input_in_errors=True
    )

    _pointer: str = PrivateAttr("#")

    @property
    def pointer(self) -> str:
        """JSON pointer to this object in its file."""
        return self._pointer

    def at(self, name: str) -> str:
        """JSON pointer to the member `name` (as written in the file), or to this object where there is none."""
        return child(self._pointer, name) if name in self.written else self._pointer

    @property
    def written(self) -> set[str]:
        """The keys written in the file."""
        fields = type(self).model_fields
        return {(fields[name].alias or name) if name in fields else name for name in self.model_fields_set}

    def locate(self, pointer: str) -> Self:
        """Set the JSON pointers of this object and of all objects in it.

        Raises:
            DocumentError: a key that Arazzo does not know, or one without a value.
        """
        self._pointer = pointer
        names = {field.alias or name: name for name, field in type(self).model_fields.items()}
        for key in self.model_extra or ():
            if not key.startswith("x-") and not isinstance(self, Schema):
                near = difflib.get_close_matches(key, names, 1)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
                raise DocumentError(child(pointer, key), f"is not a field of an Arazzo {type(self).__name__}; {hint}")
        for key, name in names.items():
            if name in self.model_fields_set and getattr(self, name) is None and name not in _NULL_MEANS_SOMETHING:
                raise DocumentError(child(pointer, key), "is empty; give it a value, or delete it")
            for place, node in _nodes(getattr(self, name), child(pointer, key)):
                node.locate(place)
        return self


def _nodes(value: object, pointer: str) -> Iterator[tuple[str, Node]]:
    if isinstance(value, Node):
        yield pointer, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _nodes(item, child(pointer, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _nodes(item, child(pointer, key))


def nodes_of(node: Node) -> Iterator[Node]:
    """Yield an object of the document and all objects in it."""
    yield node
    for name in type(node).model_fields:
        for _, inner in _nodes(getattr(node, name), ""):
            yield from nodes_of(inner)


class Schema(Node):
    """The part of a JSON Schema that a caller needs: type, required properties and defaults."""

    type: JsonValue = None
    required: Several[str] = ()
    properties: dict[str, "Schema"] = {}
    default: JsonValue = None


class Info(Node):
    """The title and version of the document."""

    title: str
    summary: str | None = None
    description: str | None = None
    version: str


class SourceDescription(Node):
    """A description of an API that steps take their operations from."""

    name: Named
    url: Named
    type: Literal["openapi", "arazzo", "asyncapi"] | None = None


class Parameter(Node):
    """A value in a call's path, query, header or cookie."""

    name: Named
    in_: Literal["path", "query", "querystring", "header", "cookie"] | None = Field(default=None, alias="in")
    value: JsonValue


class RequestBody(Node):
    """The body of a call."""

    content_type: str | None = None
    payload: JsonValue = None
    replacements: JsonValue = None


class CriterionType(Node):
    """A kind of criterion with the version of its language."""

    type: Literal["jsonpath", "xpath", "jsonpointer"]
    version: str


class Criterion(Node):
    """An assertion about a response."""

    condition: Annotated[str, Field(min_length=1, max_length=500)]
    context: str | None = None
    type: Literal["simple", "regex", "jsonpath", "xpath"] | CriterionType = "simple"

    @property
    def language(self) -> str:
        """`simple`, `regex`, `jsonpath`, `xpath` or `jsonpointer`."""
        return self.type.type if isinstance(self.type, CriterionType) else self.type


class Action(Node):
    """An action after a response. `retry` after a success is not valid Arazzo, but the published dialect uses it.

    Attributes:
        retry_after: seconds; None where not given.
        retry_limit: retries, not calls; None where not given, and Arazzo then means one.
    """

    name: Named
    type: Literal["end", "goto", "retry"]
    workflow_id: str | None = None
    step_id: str | None = None
    retry_after: float | None = Field(default=None, ge=0)
    retry_limit: int | None = Field(default=None, ge=0)
    criteria: Several[Criterion] = ()
    parameters: Several[Parameter] = ()


class Step(Node):
    """One call, its success criteria, its outputs and its actions.

    Attributes:
        timeout: milliseconds.
        channel_path, action, correlation_id: of a step that sends or receives a message.
    """

    step_id: Named
    description: str | None = None
    operation_id: str | None = None
    operation_path: str | None = None
    channel_path: str | None = None
    workflow_id: str | None = None
    action: Literal["send", "receive"] | None = None
    correlation_id: str | None = None
    timeout: int | None = Field(default=None, ge=0)
    depends_on: Several[str] = ()
    parameters: Several[Parameter] = ()
    request_body: RequestBody | None = None
    success_criteria: Several[Criterion] = ()
    on_success: Several[Action] = ()
    on_failure: Several[Action] = ()
    outputs: dict[str, str] = {}


class Workflow(Node):
    """Steps that run in their order unless an action says otherwise."""

    workflow_id: Named
    summary: str | None = None
    description: str | None = None
    inputs: Schema = Field(default_factory=Schema)
    depends_on: Several[str] = ()
    steps: Annotated[tuple[Step, ...], Field(strict=False, min_length=1)]
    success_actions: Several[Action] = ()
    failure_actions: Several[Action] = ()
    outputs: dict[str, str] = {}
    parameters: Several[Parameter] = ()


class ArazzoDocument(Node):
    """A whole document; references to its components and selectors are resolved.

    Attributes:
        self_: the document's own address; sources are looked for beside the file all the same.
    """

    arazzo: Annotated[str, Field(pattern=r"^1\.[01]\.\d+(-.+)?$")]
    self_: Annotated[str, Field(pattern=r"^[^#]*$")] | None = Field(default=None, alias="$self")
    info: Info
    source_descriptions: Annotated[tuple[SourceDescription, ...], Field(strict=False, min_length=1)]
    workflows: Annotated[tuple[Workflow, ...], Field(strict=False, min_length=1)]
    components: dict[str, JsonValue] = {}
