"""The interface of a workflow: its inputs with their defaults, and its outputs with their sources."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from message_batches.api.models import DEFAULT_VERSION
from message_batches.arazzo.model import Workflow
from message_batches.arazzo.operations import StepCalls, origin_of
from message_batches.arazzo.yaml_source import DocumentError, child

INPUT_TYPES = {"apiKey": "string", "anthropicVersion": "string", "requests": "array"}
_BODY = "$response.body"
_ANNOTATIONS = ("title", "description", "format", "examples", "deprecated", "$comment", "items")
_LIMITS = (("minItems", 1), ("maxItems", 100_000))


@dataclass(frozen=True)
class Input:
    """An input of the workflow."""

    required: bool
    default: JsonValue


@dataclass(frozen=True)
class Interface:
    """Names and defaults as plain data, to compare with the code.

    Attributes:
        steps: the outputs of each step, by step id, in the order in which the steps run.
    """

    workflow_id: str
    inputs: Mapping[str, Input]
    steps: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]


def interface(workflow: Workflow, calls: StepCalls) -> Interface:
    """Return the interface that the document describes."""
    schema = workflow.inputs
    return Interface(
        workflow_id=workflow.workflow_id,
        inputs={name: Input(name in schema.required, each.default) for name, each in schema.properties.items()},
        steps={step.step_id: tuple(step.outputs) for step in calls.steps},
        outputs=tuple(workflow.outputs),
    )


def check_inputs(workflow: Workflow) -> tuple[str, tuple[str, ...]]:
    """Return the default version, and a sentence for each deviation.

    Raises:
        DocumentError: an input is missing, of another type, or not known to the Temporal workflow.
    """
    schema, deviations = workflow.inputs, []
    if schema.type not in (None, "object"):
        raise DocumentError(schema.at("type"), "must be object")
    for name, kind in INPUT_TYPES.items():
        if name not in schema.properties:
            raise DocumentError(schema.at("properties"), f"lacks the input {name} (type {kind}); add it")
        if schema.properties[name].type not in (None, kind):
            raise DocumentError(schema.properties[name].at("type"), f"must be {kind}")
    for name in (*schema.properties, *schema.required):
        if name not in INPUT_TYPES:
            place = schema.properties[name].pointer if name in schema.properties else schema.at("required")
            known = ", ".join(INPUT_TYPES)
            raise DocumentError(place, f"the workflow takes no input {name} from the document, only {known}; delete it")
    for name in ("apiKey", "requests"):
        given = schema.properties[name]
        if "default" in given.written:
            raise DocumentError(given.at("default"), f"{name} comes from the caller, not from a file; delete it")
        if name not in schema.required:
            deviations.append(
                f"{schema.at('required')}: A run of the document needs {name}, though it is not required."
            )
        for key, value in (given.model_extra or {}).items():
            if key not in _ANNOTATIONS and not key.startswith("x-") and (key, value) not in _LIMITS:
                deviations.append(f"{given.at(key)}: A run checks {name} as the API does, and not this.")
    version = schema.properties["anthropicVersion"]
    if "default" not in version.written:
        deviations.append(f"{version.pointer}: It has no default; a run sends {DEFAULT_VERSION}.")
        return DEFAULT_VERSION, tuple(deviations)
    if not isinstance(version.default, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", version.default):
        raise DocumentError(version.at("default"), f"must be a date in quotes, such as '{DEFAULT_VERSION}'")
    return version.default, tuple(deviations)


def check_outputs(workflow: Workflow, calls: StepCalls) -> tuple[str, ...]:
    """Return a sentence for each output that a run gives and the document does not.

    Raises:
        DocumentError: an output is not known to the Temporal workflow, or has another source.
    """
    submit, poll, retrieve = (step.step_id for step in calls.steps)
    status = f"{_BODY}#/processing_status"
    origins: dict[str, tuple[tuple[str, str], ...]] = {
        "batchId": ((submit, f"{_BODY}#/id"), (poll, f"{_BODY}#/id")),
        "requestCounts": ((poll, f"{_BODY}#/request_counts"),),
        "resultsUrl": ((poll, f"{_BODY}#/results_url"),),
        "results": ((retrieve, _BODY),),
    }
    for step in calls.steps:
        expected = {name: source for name, sources in origins.items() for at, source in sources if at == step.step_id}
        expected |= {"processingStatus": status} if step is not calls.retrieve else {}
        for name, expression in step.outputs.items():
            if expected.get(name, expression) != expression:
                raise DocumentError(child(step.at("outputs"), name), f"must be {expected[name]}")
            if not expression.startswith(("$response.", "$statusCode", "$inputs.", "$steps.", "$request.")):
                raise DocumentError(
                    child(step.at("outputs"), name), "is not a runtime expression, such as $response.body"
                )
    for name, expression in workflow.outputs.items():
        place = child(workflow.at("outputs"), name)
        if name not in origins:
            raise DocumentError(place, f"a run has no output {name}, only {', '.join(origins)}; delete it")
        if origin_of(expression, workflow) not in origins[name]:
            step_id, source = origins[name][0]
            raise DocumentError(place, f"must be $steps.{step_id}.outputs.NAME, where NAME is an output {source}")
    missing = [name for name in origins if name not in workflow.outputs]
    return tuple(f"{workflow.at('outputs')}: A run gives {name} all the same." for name in missing)
