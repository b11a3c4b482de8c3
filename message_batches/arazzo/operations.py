"""The three calls of the workflow: the step that makes each, and whether it sends the same as the workflow."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from message_batches.arazzo.model import ArazzoDocument, Parameter, Step, Workflow
from message_batches.arazzo.yaml_source import DocumentError, child

HEADERS = {"x-api-key": "$inputs.apiKey", "anthropic-version": "$inputs.anthropicVersion"}
_BATCHES = "/v1/messages/batches"
_BATCH_ID_OUTPUT = "$response.body#/id"


@dataclass(frozen=True)
class Operation:
    """An operation of the API by its OpenAPI name; `{}` in the path is the batch id."""

    id: str
    method: str
    path: str


CREATE_BATCH = Operation("createMessageBatch", "post", _BATCHES)
RETRIEVE_BATCH = Operation("retrieveMessageBatch", "get", _BATCHES + "/{}")
RETRIEVE_RESULTS = Operation("retrieveMessageBatchResults", "get", _BATCHES + "/{}/results")
OPERATIONS = (CREATE_BATCH, RETRIEVE_BATCH, RETRIEVE_RESULTS)


@dataclass(frozen=True)
class StepCalls:
    """The steps by the operation they call; `steps` has them in the order in which they run."""

    submit: Step
    poll: Step
    retrieve: Step

    @property
    def steps(self) -> tuple[Step, Step, Step]:
        """The steps submit, poll and retrieve."""
        return (self.submit, self.poll, self.retrieve)


def find_calls(workflow: Workflow, document: ArazzoDocument) -> StepCalls:
    """Find the three steps by their operations.

    Raises:
        DocumentError: one is missing or there twice, or there is a step that the Temporal workflow does not have.
    """
    found: dict[Operation, Step] = {}
    for step in workflow.steps:
        operation = operation_of(step, document)
        if operation is None:
            raise DocumentError(
                step.pointer,
                f"{step.step_id} is none of {', '.join(known.id for known in OPERATIONS)}; the Temporal workflow would "
                "leave it out, so delete it or run it in a workflow of its own",
            )
        if operation in found:
            other = found[operation]
            raise DocumentError(step.pointer, f"calls {operation.id}, as {other.step_id} does; delete one of the two")
        found[operation] = step
    for operation in OPERATIONS:
        if operation not in found:
            raise DocumentError(child(workflow.pointer, "steps"), f"has no step that calls {operation.id}; add it")
    return StepCalls(found[CREATE_BATCH], found[RETRIEVE_BATCH], found[RETRIEVE_RESULTS])


def operation_of(step: Step, document: ArazzoDocument) -> Operation | None:
    """Return the operation that a step calls, None if it is not one of the three.

    Raises:
        DocumentError: the step names no operation or several, or one of an API that the document does not describe.
    """
    for name in ("channelPath", "action", "correlationId"):
        if name in step.written:
            raise DocumentError(
                step.at(name), "is of a step that sends or receives messages (Arazzo 1.1); a run calls HTTP"
            )
    ways = {"operationId", "operationPath", "workflowId"}
    if len(ways & step.written) != 1:
        raise DocumentError(step.pointer, f"{step.step_id} must have exactly one of {', '.join(sorted(ways))}")
    if step.operation_path is not None:
        return _by_path(step.operation_path, step.at("operationPath"), document)
    if step.operation_id is None:
        return None
    qualified = re.fullmatch(r"\$sourceDescriptions\.([^.]+)\.(.+)", step.operation_id)
    if qualified:
        _require_source(qualified[1], step.at("operationId"), document)
    name = qualified[2] if qualified else step.operation_id
    return next((operation for operation in OPERATIONS if operation.id == name), None)


def _by_path(path: str, pointer: str, document: ArazzoDocument) -> Operation | None:
    source, _, place = path.partition("#")
    named = re.fullmatch(r"\{?\$sourceDescriptions\.([^.]+)\.url\}?", source)
    parts = unquote(place).split("/")
    if not named or len(parts) != 4 or parts[:2] != ["", "paths"]:
        raise DocumentError(pointer, "must read '{$sourceDescriptions.NAME.url}#/paths/~1PATH/METHOD'")
    _require_source(named[1], pointer, document)
    template = re.sub(r"\{[^{}]*+\}", "{}", parts[2].replace("~1", "/").replace("~0", "~"))
    return next((each for each in OPERATIONS if (each.path, each.method) == (template, parts[3])), None)


def _require_source(name: str, pointer: str, document: ArazzoDocument) -> None:
    sources = [source.name for source in document.source_descriptions if source.type in (None, "openapi")]
    if name not in sources:
        raise DocumentError(pointer, f"names the source {name}; the APIs described here are: {', '.join(sources)}")


def check_calls(workflow: Workflow, calls: StepCalls) -> None:
    """Check that each step sends exactly what the Temporal workflow sends.

    Raises:
        DocumentError: at the step, parameter or body that differs.
    """
    for step in calls.steps:
        _check_parameters(step, workflow, calls)
    body = calls.submit.request_body
    if body is None:
        raise DocumentError(calls.submit.pointer, "lacks requestBody; its payload is `requests: $inputs.requests`")
    if body.payload != {"requests": "$inputs.requests"}:
        raise DocumentError(body.at("payload"), "must be the mapping `requests: $inputs.requests` and nothing else")
    if body.content_type not in (None, "application/json"):
        raise DocumentError(body.at("contentType"), "must be application/json")
    if body.replacements not in (None, []):
        raise DocumentError(body.at("replacements"), "cannot be honoured: requests are sent as they are; delete it")
    for step in (calls.poll, calls.retrieve):
        if step.request_body is not None:
            raise DocumentError(step.at("requestBody"), "cannot be honoured: a GET carries no body; delete it")


def _check_parameters(step: Step, workflow: Workflow, calls: StepCalls) -> None:
    sent: dict[tuple[str | None, str], Parameter] = {}
    for parameters in (workflow.parameters, step.parameters):
        places = [_key(parameter) for parameter in parameters]
        for parameter, key in zip(parameters, places, strict=True):
            if places.count(key) > 1:
                raise DocumentError(parameter.pointer, f"{parameter.name} is given twice; delete one")
            sent[key] = parameter
    for header, expression in HEADERS.items():
        given = sent.pop(("header", header), None)
        if given is None:
            raise DocumentError(step.at("parameters"), f"{step.step_id} lacks the header {header}: {expression}")
        if _bare(given.value) != expression:
            # The text there may be a key, so it is not repeated.
            raise DocumentError(given.at("value"), f"must be {expression}; what a run sends comes from its input")
    template = re.search(r"\{([^{}]*+)\}(?:~1results)?/get$", unquote(step.operation_path or ""))
    name = template[1] if template else "message_batch_id"
    batch_id = sent.pop(("path", name), None) if step is not calls.submit else None
    if step is not calls.submit:
        if batch_id is None:
            raise DocumentError(step.at("parameters"), f"{step.step_id} lacks the path parameter {name}")
        origin = origin_of(batch_id.value, workflow)
        if origin not in ((calls.submit.step_id, _BATCH_ID_OUTPUT), (calls.poll.step_id, _BATCH_ID_OUTPUT)) or (
            step is calls.poll and origin and origin[0] == step.step_id
        ):
            wanted = f"$steps.{calls.submit.step_id}.outputs.NAME"
            raise DocumentError(batch_id.at("value"), f"must be {wanted}, where NAME is an output {_BATCH_ID_OUTPUT}")
    for parameter in sent.values():
        beta = parameter.name.lower() == "anthropic-beta"
        advice = "give it as the run's input anthropicBeta and delete it here" if beta else "delete it"
        raise DocumentError(parameter.pointer, f"the workflow does not send {parameter.name}; {advice}")


def _key(parameter: Parameter) -> tuple[str | None, str]:
    if parameter.in_ is None:
        raise DocumentError(parameter.pointer, f"{parameter.name} lacks `in`: header, path, query or cookie")
    return parameter.in_, parameter.name.lower() if parameter.in_ == "header" else parameter.name


def _bare(value: object) -> object:
    return value.strip().removeprefix("{").removesuffix("}") if isinstance(value, str) else value


def origin_of(expression: object, workflow: Workflow) -> tuple[str, str] | None:
    """Return the step that `$steps.ID.outputs.NAME` refers to, and the expression of that step's output."""
    named = re.fullmatch(r"\$steps\.([^.]+)\.outputs\.([^.#]+)", str(_bare(expression)))
    for step in workflow.steps:
        if named and step.step_id == named[1] and named[2] in step.outputs:
            return step.step_id, step.outputs[named[2]]
    return None
