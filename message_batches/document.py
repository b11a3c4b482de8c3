"""The Arazzo document as the plan of a run: `python -m message_batches.document FILE` prints what is read from it.

A run is started with the plan's numbers, so editing the file never touches a run in flight; no workflow imports this.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from message_batches.arazzo.cadence import Cadence
from message_batches.arazzo.calls import OPERATIONS, Calls, check_calls, find_calls, operation_of
from message_batches.arazzo.interface import Interface, check_inputs, check_outputs, interface
from message_batches.arazzo.loader import LoadedDocument, load_document
from message_batches.arazzo.model import ArazzoDocument, Workflow
from message_batches.arazzo.normalize import as_yaml, normalized
from message_batches.arazzo.source import DocumentError
from message_batches.models import PollSchedule
from message_batches.wording import visible

__all__ = [
    "DocumentError",
    "Interface",
    "LoadedDocument",
    "Plan",
    "interface_of",
    "load_document",
    "normalize",
    "plan_of",
]


class Plan(BaseModel):
    """What a run takes over from the document.

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
    plan: Plan
    workflow: Workflow
    calls: Calls
    in_order: bool


def plan_of(document: LoadedDocument, workflow_id: str | None = None) -> Plan:
    """The plan of a run: from the workflow of that id, else from the one that makes the three calls.

    Raises:
        DocumentError: there is no such workflow, or a run could not honour it.
    """
    return _read(document, workflow_id).plan


def interface_of(document: LoadedDocument, workflow_id: str | None = None) -> Interface:
    """What the workflow takes and gives as plain data, to hold against the code.

    Raises:
        DocumentError: as `plan_of`.
    """
    reading = _read(document, workflow_id)
    return interface(reading.workflow, reading.calls)


def normalize(document: LoadedDocument, workflow_id: str | None = None) -> str:
    """The document as valid Arazzo in YAML, without its comments; the plan of it is the same.

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
        cadence = Cadence(workflow, calls)
        poll = cadence.read()
    except DocumentError as error:
        raise document.source.located(error) from error
    plan = Plan(
        workflow_id=workflow.workflow_id,
        submit_step=calls.submit.step_id,
        poll_step=calls.poll.step_id,
        retrieve_step=calls.retrieve.step_id,
        anthropic_version=version,
        poll=poll,
        deviations=(*input_deviations, *cadence.deviations, *output_deviations),
    )
    return _Reading(plan, workflow, calls, cadence.in_order)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan of a document; the exit code is 2 for a file that no run could honour."""
    parser = argparse.ArgumentParser(prog="python -m message_batches.document", description="Read an Arazzo document.")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--workflow", metavar="ID", help="the workflow meant, where several make the three calls")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the plan as JSON, durations in seconds")
    form.add_argument("--normalize", action="store_true", help="print the document in its valid form")
    options = parser.parse_args(arguments)
    try:
        document = load_document(options.file)
        plan = plan_of(document, options.workflow)
        if options.normalize:
            text = normalize(document, options.workflow)
        else:
            text = json.dumps(plan.model_dump(mode="json"), indent=2) + "\n" if options.json else _readable(plan)
    except DocumentError as error:
        print(error, file=sys.stderr)
        return 2
    sys.stdout.write(text)
    return 0


def _readable(plan: Plan) -> str:
    poll, transient = plan.poll, plan.poll.transient
    rows = {
        "workflow": plan.workflow_id,
        "submit": plan.submit_step,
        "poll": f"{plan.poll_step}, again {_times(poll.retry_after, poll.retry_limit)}, while not ended",
        "transient": f"429 and 5xx again {_times(transient.retry_after, transient.retry_limit)}",
        "retrieve": plan.retrieve_step,
        "version": f"{plan.anthropic_version}, unless the run is given another",
        "deviations": "none" if not plan.deviations else "",
    }
    lines = [f"{name:<12}{value}".rstrip() for name, value in rows.items()]
    return "\n".join([*map(visible, lines), *(f"  - {visible(deviation)}" for deviation in plan.deviations), ""])


def _times(after: timedelta, limit: int) -> str:
    return f"after {after.total_seconds():g} s, at most {limit} times ({after * limit})"


if __name__ == "__main__":
    sys.exit(main())
