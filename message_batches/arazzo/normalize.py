"""The valid form of a document: everything that was read with a deviation of form, written as Arazzo defines it."""

import itertools
import re
from typing import TypeVar

import yaml

from message_batches.arazzo import sample_responses
from message_batches.arazzo.criteria import compile_criterion
from message_batches.arazzo.flow import Flow
from message_batches.arazzo.model import Action, ArazzoDocument, Criterion, Node, Step, Workflow
from message_batches.arazzo.operations import StepCalls
from message_batches.arazzo.schedule import ENDED
from message_batches.arazzo.yaml_source import CORE_SCALARS

N = TypeVar("N", bound=Node)
_OTHER_BREAKS = re.compile("[\r\x85\u2028\u2029]")


def normalized(document: ArazzoDocument, workflow: Workflow, calls: StepCalls, *, in_order: bool) -> ArazzoDocument:
    """Return the document with one workflow in valid form, and all others unchanged.

    Args:
        document: the whole document.
        workflow: the workflow to bring into valid form.
        calls: its three steps.
        in_order: whether the steps are listed in the order in which they run; if not, they are sorted.
    """
    steps = workflow.steps if in_order else calls.steps
    following = {step.step_id: after.step_id for step, after in itertools.pairwise(steps)}
    changed = _with(
        workflow,
        steps=tuple(
            _waiting(step, workflow, following.get(step.step_id)) if step is calls.poll else _step(step)
            for step in steps
        ),
        success_actions=_without_retries(workflow.success_actions),
        failure_actions=tuple(map(_action, workflow.failure_actions)),
    )
    return _with(document, workflows=tuple(changed if each is workflow else each for each in document.workflows))


def as_yaml(document: ArazzoDocument) -> str:
    """Write the document as YAML, its keys in the order of the specification."""
    data = document.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _with(node: N, **changes: object) -> N:
    """Copy an object with fields changed; an empty value of a field that was not written stays unwritten."""
    copy = node.model_copy(update={name: value for name, value in changes.items() if value != getattr(node, name)})
    copy.model_fields_set.difference_update(name for name, value in changes.items() if value in ((), None))
    return copy


def _step(step: Step) -> Step:
    return _with(
        step,
        success_criteria=tuple(map(_criterion, step.success_criteria)),
        on_success=_without_retries(step.on_success),
        on_failure=tuple(_action(action, step) for action in step.on_failure),
    )


def _waiting(step: Step, workflow: Workflow, following: str | None) -> Step:
    changed = _step(step)
    unfinished = Flow(workflow).after(step, sample_responses.batch("in_progress"))
    if not unfinished.succeeded or not unfinished.retry:
        return changed
    # Success now means ended: an action after it needs no criteria, and is dropped if it only leads to the next step.
    onward = tuple(
        _with(action, criteria=())
        for action in changed.on_success
        if action.type != "goto" or action.step_id != following
    )
    retry = _with(_action(unfinished.retry, step), criteria=(Criterion(condition="$statusCode == 200"),))
    return _with(
        changed,
        success_criteria=(*changed.success_criteria, Criterion(condition=ENDED)),
        on_success=onward,
        on_failure=(retry, *changed.on_failure),
    )


def _without_retries(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    return tuple(_action(action) for action in actions if action.type != "retry")


def _action(action: Action, step: Step | None = None) -> Action:
    changed = _with(action, criteria=tuple(map(_criterion, action.criteria)))
    return _with(changed, step_id=None) if step and action.type == "retry" else changed


def _criterion(criterion: Criterion) -> Criterion:
    simple = compile_criterion(criterion).simple
    return Criterion(condition=simple) if simple else criterion


class _Dumper(yaml.SafeDumper):
    """A dumper that indents lists, keeps lines, and quotes text that YAML 1.1 or 1.2 would read as another type."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    if _OTHER_BREAKS.search(text):
        # Unescaped, PyYAML reads these back as newlines or spaces.
        style: str | None = '"'
    else:
        style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _number(dumper: _Dumper, number: float) -> yaml.Node:
    return dumper.represent_int(int(number)) if number.is_integer() else dumper.represent_float(number)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(float, _number)
for _tag, _pattern, _first in CORE_SCALARS:
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)
