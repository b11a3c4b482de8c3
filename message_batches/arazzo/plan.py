"""The plan of a run, read from the Arazzo document: `python -m message_batches.arazzo FILE` prints it.

A run is started with the plan's numbers, so editing the file never touches a run in flight; no workflow imports this.
"""

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
        deviations=(*_missing_files(document), *input_deviations, *cadence.deviations, *output_deviations),
    )
    return _Reading(plan, workflow, calls, cadence.in_order)


def _missing_files(document: LoadedDocument) -> tuple[str, ...]:
    """Return a sentence for each source description whose file is not there; a run does not read them."""
    folder = document.source.path.parent
    return tuple(
        f"{source.at('url')}: There is no file {source.url} beside the document; a run needs none, other tools do."
        for source in document.arazzo.source_descriptions
        if (name := _file_of(source.url)) and not _is_file(folder / name)
    )


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
