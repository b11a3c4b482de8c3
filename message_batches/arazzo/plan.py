"""The plan of a run, read from the Arazzo document: `python -m message_batches.arazzo FILE` prints it.

A run is started with the plan's numbers, so editing the file never touches a run in flight; no workflow imports this.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from message_batches.arazzo.interface import Interface, check_inputs, check_outputs, interface
from message_batches.arazzo.loader import LoadedDocument
from message_batches.arazzo.model import ArazzoDocument, Workflow
from message_batches.arazzo.normalize import as_yaml, normalized
from message_batches.arazzo.operations import OPERATIONS, StepCalls, check_calls, find_calls, operation_of
from message_batches.arazzo.schedule import PollScheduleReader
from message_batches.arazzo.yaml_source import DocumentError
from message_batches.models import PollSchedule

_HEAD = 64 * 1024
_DESCRIPTION = re.compile(rb"""(?:^|\{)[ \t]{0,8}["']?(openapi|swagger|arazzo|asyncapi)["']?[ \t]*+:""", re.MULTILINE)
"""The field of a description, in YAML or JSON, that names its kind."""


class RunPlan(BaseModel):
    """The settings that a run takes from the document.

    Attributes:
        workflow_id: as in the document, as are the ids of the three steps.
        anthropic_version: the default of the input anthropicVersion.
        poll: when to look again. Arazzo lets a `Retry-After` of the answer overrule retryAfter; a run obeys it on 429,
            503 and 529, and ignores the API's standing hint of 10 s on a batch that has not ended.
        deviations: a sentence each, led by its JSON pointer: where the document is not valid Arazzo, or a run does
            otherwise.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)

    workflow_id: str
    submit_step: str
    poll_step: str
    retrieve_step: str
    anthropic_version: str
    poll: PollSchedule
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Reading:
    plan: RunPlan
    workflow: Workflow
    calls: StepCalls
    in_order: bool


def plan_of(document: LoadedDocument, workflow_id: str | None = None) -> RunPlan:
    """Return the plan of the workflow with that id, by default of the workflow that makes the three calls.

    Raises:
        DocumentError: there is no such workflow, or a run could not follow it.
    """
    return _read(document, workflow_id).plan


def interface_of(document: LoadedDocument, workflow_id: str | None = None) -> Interface:
    """Return the workflow's interface as plain data, to compare with the code.

    Raises:
        DocumentError: as `plan_of`.
    """
    reading = _read(document, workflow_id)
    return interface(reading.workflow, reading.calls)


def normalize(document: LoadedDocument, workflow_id: str | None = None) -> str:
    """Return the document as valid Arazzo in YAML, without its comments; its plan is the same.

    Raises:
        DocumentError: as `plan_of`.
    """
    reading = _read(document, workflow_id)
    return as_yaml(normalized(document.arazzo, reading.workflow, reading.calls, in_order=reading.in_order))


def _read(document: LoadedDocument, workflow_id: str | None) -> _Reading:
    try:
        workflow = _choose(document.arazzo, workflow_id)
        if workflow.depends_on:
            raise DocumentError(workflow.at("dependsOn"), "cannot be honoured: a run is one workflow; delete it")
        calls = find_calls(workflow, document.arazzo)
        check_calls(workflow, calls)
        version, input_deviations = check_inputs(workflow)
        output_deviations = check_outputs(workflow, calls)
        cadence = PollScheduleReader(workflow, calls)
        poll = cadence.read()
    except DocumentError as error:
        raise document.source.located(error) from error
    plan = RunPlan(
        workflow_id=workflow.workflow_id,
        submit_step=calls.submit.step_id,
        poll_step=calls.poll.step_id,
        retrieve_step=calls.retrieve.step_id,
        anthropic_version=version,
        poll=poll,
        deviations=(*_source_deviations(document), *input_deviations, *cadence.deviations, *output_deviations),
    )
    return _Reading(plan, workflow, calls, cadence.in_order)


def _source_deviations(document: LoadedDocument) -> tuple[str, ...]:
    """Return a sentence for each source description that is not what it says; a run does not read them."""
    folder, sources = document.source.path.parent, document.arazzo.source_descriptions
    found = []
    for source in sources:
        path = _file_of(source.url)
        if not path:
            continue
        if not _is_file(folder / path):
            why = f"There is no file {source.url} beside the document; a run needs none, other tools do."
            found.append(f"{source.at('url')}: {why}")
        elif (kind := _kind_of(folder / path)) and kind != (declared := source.type or "openapi"):
            why = f"{source.url} is of the type {kind}, and is declared as {declared}; write `type: {kind}`."
            found.append(f"{source.at('type') if source.type else source.pointer}: {why}")
    if not found and all(source.type not in (None, "openapi") for source in sources):
        found.append(f"{sources[0].at('type')}: No source is of `type: openapi`, as the API that the steps call is.")
    return tuple(found)


def _kind_of(path: Path) -> str | None:
    """Return the type of description that a file is by its first field of such a name, None if it has none."""
    try:
        with path.open("rb") as file:
            found = _DESCRIPTION.search(file.read(_HEAD))
    except OSError:
        return None
    return {b"swagger": "openapi"}.get(found[1], found[1].decode()) if found else None


def _file_of(url: str) -> str | None:
    """Return the path that a URL names, None if it is not one of a file."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return unquote(parts.path) if parts.scheme in ("", "file") and not parts.netloc else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # Such as a name that is too long.


def _choose(document: ArazzoDocument, workflow_id: str | None) -> Workflow:
    workflows = document.workflows
    if workflow_id is not None:
        named = [workflow for workflow in workflows if workflow.workflow_id == workflow_id]
        if not named:
            known = ", ".join(workflow.workflow_id for workflow in workflows)
            raise DocumentError("#/workflows", f"has no workflow {workflow_id}, only {known}")
        return named[0]
    if len(workflows) == 1:
        return workflows[0]
    fitting = [workflow for workflow in workflows if _makes_the_calls(workflow, document)]
    if len(fitting) != 1:
        found = "several workflows make" if fitting else "no workflow makes"
        calls = ", ".join(operation.id for operation in OPERATIONS)
        raise DocumentError("#/workflows", f"{found} the calls {calls}; name the one that is meant")
    return fitting[0]


def _makes_the_calls(workflow: Workflow, document: ArazzoDocument) -> bool:
    try:
        return {operation_of(step, document) for step in workflow.steps} >= set(OPERATIONS)
    except DocumentError:
        return False
