"""The flow of a document after a response: whether the step succeeded, and the action that follows."""

from dataclasses import dataclass

from message_batches.arazzo.conditions import SampleResponse
from message_batches.arazzo.criteria import compile_criterion
from message_batches.arazzo.model import Action, Criterion, Step, Workflow


@dataclass(frozen=True)
class StepOutcome:
    """The consequence of a response: success or failure, and the actions whose criteria hold.

    Attributes:
        succeeded: whether all success criteria hold.
        actions: the actions whose criteria hold; the first is taken, the others come once its retries are used up.
            None: after a success the next step, after a failure the end of the run.
    """

    succeeded: bool
    actions: tuple[Action, ...]

    @property
    def action(self) -> Action | None:
        """The action that is taken."""
        return self.actions[0] if self.actions else None

    @property
    def retry(self) -> Action | None:
        """The action that is taken, if it is a retry."""
        return self.action if self.action and self.action.type == "retry" else None


@dataclass(frozen=True)
class Flow:
    """The flow of one workflow."""

    workflow: Workflow

    def after(self, step: Step, answer: SampleResponse) -> StepOutcome:
        """Return the outcome of a step for a response to its call.

        Raises:
            DocumentError: a criterion cannot be judged.
        """
        succeeded = _all_hold(step.success_criteria, answer)
        actions = self.success_actions(step) if succeeded else self.failure_actions(step)
        return StepOutcome(succeeded, tuple(action for action in actions if _all_hold(action.criteria, answer)))

    def success_actions(self, step: Step) -> tuple[Action, ...]:
        """Return the step's actions after a success, then those of the workflow that it does not replace by name."""
        return _merged(step.on_success, self.workflow.success_actions)

    def failure_actions(self, step: Step) -> tuple[Action, ...]:
        """Return the step's actions after a failure, then those of the workflow that it does not replace by name."""
        return _merged(step.on_failure, self.workflow.failure_actions)

    def criteria(self, step: Step) -> tuple[Criterion, ...]:
        """Return all criteria that apply to the step."""
        actions = (*self.success_actions(step), *self.failure_actions(step))
        return (*step.success_criteria, *(criterion for action in actions for criterion in action.criteria))


def _merged(own: tuple[Action, ...], common: tuple[Action, ...]) -> tuple[Action, ...]:
    names = {action.name for action in own}
    return (*own, *(action for action in common if action.name not in names))


def _all_hold(criteria: tuple[Criterion, ...], answer: SampleResponse) -> bool:
    return all(compile_criterion(criterion).holds(answer) for criterion in criteria)
