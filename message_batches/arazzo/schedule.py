"""The poll schedule of a document: the order of the steps, the intervals and the limits of retries."""

import itertools
from collections.abc import Iterable
from datetime import timedelta

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from message_batches.arazzo import sample_responses
from message_batches.arazzo.criteria import compile_criterion
from message_batches.arazzo.flow import Flow, StepOutcome
from message_batches.arazzo.model import Action, Step, Workflow
from message_batches.arazzo.operations import StepCalls
from message_batches.arazzo.yaml_source import DocumentError
from message_batches.models import PollSchedule, RetrySchedule

ENDED = "$response.body#/processing_status == 'ended'"
_FAR_TOO_LONG = 1e9


class PollScheduleReader:
    """A reader of the flow of one workflow; it collects in `deviations` where a run differs from it."""

    def __init__(self, workflow: Workflow, calls: StepCalls) -> None:
        self._flow = Flow(workflow)
        self._calls = calls
        self._deviations: dict[str, None] = {}
        self._in_order = workflow.steps[0] is calls.submit

    @property
    def deviations(self) -> tuple[str, ...]:
        """The deviations, a sentence each that begins with the pointer."""
        return tuple(self._deviations)

    @property
    def in_order(self) -> bool:
        """Whether the steps are listed, or linked by `goto`, in the order in which they run."""
        return self._in_order

    def read(self) -> PollSchedule:
        """Follow every response to every step.

        Raises:
            DocumentError: at the criterion, action or step that no run could follow.
        """
        before: list[str] = []
        for step in self._calls.steps:
            if late := [name for name in step.depends_on if name not in before]:
                raise DocumentError(
                    step.at("dependsOn"), f"names {late[0]}, which does not run before {step.step_id}; delete it"
                )
            before.append(step.step_id)
            if step.timeout is not None:
                self._deviate(step.at("timeout"), "A run has its own limits for a call, and waits through an outage.")
            for criterion in self._flow.criteria(step):
                compiled = compile_criterion(criterion)
                if compiled.deviation:
                    self._deviate(criterion.at("condition"), f"{compiled.deviation}.")
        self._submit()
        schedule = self._poll()
        unfinished = self._flow.after(self._calls.poll, sample_responses.batch("in_progress"))
        for step in self._calls.steps:
            for action in self._flow.success_actions(step):
                if action.type == "retry" and action is not unfinished.retry:
                    self._deviate(
                        action.pointer, "A retry cannot follow a success; no response leads to it, so it is left out."
                    )
        self._retrieve()
        if not self._in_order:
            order = ", ".join(step.step_id for step in self._calls.steps)
            self._deviate(self._flow.workflow.at("steps"), f"The steps do not follow each other; run as {order}.")
        return schedule

    def _submit(self) -> None:
        step = self._calls.submit
        created = self._flow.after(step, sample_responses.batch("in_progress"))
        self._require_success(step, created, "a 200")
        self._lead(step, created, self._calls.poll)
        statuses: dict[Action, list[int]] = {}
        for status in sample_responses.ERRORS:
            retry = self._after_error(step, status).retry
            if retry:
                statuses.setdefault(retry, []).append(status)
        for retry, retried in statuses.items():
            if retried != [429]:
                raise DocumentError(
                    retry.pointer, f"would retry {step.step_id}, and a second call pays for a second batch; delete it"
                )
            self._deviate(retry.pointer, "A submission refused with 429 is sent again by the workflow's own rules.")

    def _poll(self) -> PollSchedule:
        step = self._calls.poll
        ended = self._flow.after(step, sample_responses.batch("ended"))
        self._require_success(step, ended, "an ended batch")
        self._lead(step, ended, self._calls.retrieve)
        retry = self._while_unfinished(step)
        after, limit = self._numbers(retry, step)
        transient = self._transient(step)
        try:
            return PollSchedule(retry_after=after, retry_limit=limit, transient=transient)
        except ValidationError as error:
            raise _out_of_range(retry, error) from None

    def _while_unfinished(self, step: Step) -> Action:
        outcomes = {
            status: self._flow.after(step, sample_responses.batch(status)) for status in sample_responses.UNFINISHED
        }
        for status, outcome in outcomes.items():
            place = outcome.action.pointer if outcome.action else step.at("successCriteria")
            if outcome.succeeded and not outcome.retry:
                raise DocumentError(
                    place, f"continues while the batch is {status}; add the success criterion `{ENDED}`"
                )
        first = outcomes["in_progress"]
        if first.retry is None:
            place = first.action.pointer if first.action else step.at("onFailure")
            advice = "add an onFailure action of type retry with retryAfter and retryLimit"
            raise DocumentError(place, f"fails at the first poll at a batch that has not ended; {advice}")
        if first.succeeded:
            numbers = _numbers_of(*self._numbers(first.retry, step))
            self._deviate(
                first.retry.pointer,
                f"A retry cannot follow a success, only end and goto can; read as: {step.step_id} again {numbers}, "
                "while the batch has not ended.",
            )
        other = outcomes["canceling"].retry
        if other is None:
            self._deviate(step.pointer, "A batch that is canceling is polled again like one that is in progress.")
        elif other is not first.retry:
            raise DocumentError(other.pointer, f"differs from {first.retry.pointer}; a run has one cadence, keep one")
        self._check_exhausted(first)
        return first.retry

    def _transient(self, step: Step) -> RetrySchedule:
        retried: dict[int, Action] = {}
        for status in sample_responses.ERRORS:
            outcome = self._after_error(step, status)
            if outcome.retry:
                retried[status] = outcome.retry
                self._check_exhausted(outcome)
        vain = [status for status in sample_responses.PERMANENT if status in retried]
        if vain:
            self._deviate(
                retried[vain[0]].pointer, f"A retry does not help with {_listed(vain)}; a run fails at once on those."
            )
        schedules = {
            retried[status]: self._transient_schedule(retried[status], step)
            for status in sample_responses.TRANSIENT
            if status in retried
        }
        if len(set(schedules.values())) > 1:
            first, second = list(schedules)[:2]
            raise DocumentError(second.pointer, f"differs from {first.pointer}; 429 and 5xx share one retry, keep one")
        schedule = next(iter(schedules.values()), RetrySchedule())
        missing = [status for status in sample_responses.TRANSIENT if status not in retried]
        if missing:
            numbers = _numbers_of(schedule.retry_after, schedule.retry_limit)
            self._deviate(
                step.pointer, f"The document does not mention {_listed(missing)}; a run retries those {numbers}."
            )
        return schedule

    def _transient_schedule(self, retry: Action, step: Step) -> RetrySchedule:
        after, limit = self._numbers(retry, step)
        try:
            return RetrySchedule(retry_after=after, retry_limit=limit)
        except ValidationError as error:
            raise _out_of_range(retry, error) from None

    def _retrieve(self) -> None:
        step = self._calls.retrieve
        streamed = self._flow.after(step, sample_responses.results())
        self._require_success(step, streamed, "a 200")
        self._lead(step, streamed, None)
        for status in sample_responses.ERRORS:
            retry = self._after_error(step, status).retry
            if retry:
                self._deviate(retry.pointer, "The results are downloaded again by the workflow's own rules.")

    def _require_success(self, step: Step, outcome: StepOutcome, what: str) -> None:
        if not outcome.succeeded:
            raise DocumentError(
                step.at("successCriteria"), f"does not count {what} as the success of {step.step_id}, so no run could"
                " get past it; change the condition",
            )  # fmt: skip
        if outcome.retry:
            raise DocumentError(outcome.retry.pointer, f"would repeat {step.step_id} after {what}; give it criteria")

    def _lead(self, step: Step, outcome: StepOutcome, target: Step | None) -> None:
        action, steps = outcome.action, self._flow.workflow.steps
        if action is None:
            following = next((after for before, after in itertools.pairwise(steps) if before is step), None)
            self._in_order = self._in_order and following is target
        elif action.type == "end":
            if target:
                raise DocumentError(action.pointer, f"ends before {target.step_id}; delete it")
        elif action.workflow_id is not None or target is None or action.step_id != target.step_id:
            wanted = f"only {target.step_id} can" if target else "nothing can"
            raise DocumentError(action.pointer, f"leads elsewhere, but {wanted} follow {step.step_id}; delete it")

    def _after_error(self, step: Step, status: int) -> StepOutcome:
        outcome = self._flow.after(step, sample_responses.error(status))
        if outcome.succeeded:
            place = step.at("successCriteria")
            raise DocumentError(place, f"counts a {status} as success; add the condition `$statusCode == 200`")
        if outcome.action and outcome.action.type == "goto":
            raise DocumentError(outcome.action.pointer, "continues after a failure, where a run fails; delete it")
        if outcome.action and outcome.action.type == "end":
            self._deviate(outcome.action.pointer, "A run that cannot continue fails, rather than ends.")
        return outcome

    def _check_exhausted(self, outcome: StepOutcome) -> None:
        for action in outcome.actions[1:]:
            if action.type == "retry":
                first = outcome.actions[0].pointer
                raise DocumentError(
                    action.pointer,
                    f"would take over once {first} is used up, but a run has one cadence; give it criteria of its own",
                )
            self._deviate(action.pointer, "Once its retries are used up, a run fails.")

    def _numbers(self, retry: Action, step: Step) -> tuple[timedelta, int]:
        if retry.workflow_id is not None or retry.step_id not in (None, step.step_id):
            raise DocumentError(
                retry.pointer, "would run something else before the retry; delete workflowId and stepId"
            )
        if retry.step_id is not None:
            self._deviate(
                retry.at("stepId"), f"Literally, {step.step_id} would run twice for each retry; it is read as once."
            )
        if retry.retry_after is None:
            self._deviate(retry.pointer, "It has no retryAfter; a run waits 30 s.")
        elif not 0 < retry.retry_after < _FAR_TOO_LONG:
            raise DocumentError(retry.at("retryAfter"), "must be a number of seconds above 0, and at most 604800")
        after = 30 if retry.retry_after is None else retry.retry_after
        # Arazzo: a retry without a limit is made once.
        return timedelta(seconds=after), 1 if retry.retry_limit is None else retry.retry_limit

    def _deviate(self, pointer: str, sentence: str) -> None:
        self._deviations[f"{pointer}: {sentence}"] = None


def _numbers_of(after: timedelta, limit: int) -> str:
    return f"after {after.total_seconds():g} s, at most {limit} times"


def _listed(statuses: Iterable[int]) -> str:
    return ", ".join(map(str, statuses))


def _out_of_range(retry: Action, error: ValidationError) -> DocumentError:
    problem = error.errors()[0]
    message = problem["msg"].replace("Input should be", "must be")
    return DocumentError(retry.at(to_camel(str(problem["loc"][-1]))), message)
