"""The events of a run and of a job: which are due by its state, and what each says."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporalio.exceptions import ApplicationError

from message_batches.job_models import JobOutput, JobPhase
from message_batches.models import BatchOutput, FailureDetails, Phase
from message_batches.result_models import Cost
from message_batches.temporal.search_attributes import NEEDS_ATTENTION, BatchStatus
from message_batches.webhooks.events import MAX_IDS, EventCost, EventType
from workflows.jobs.state import JobState
from workflows.state import RunState

_RUN_ENDS = {
    Phase.LANDED: EventType.BATCH_LANDED,
    Phase.FAILED: EventType.BATCH_FAILED,
    Phase.CANCELED: EventType.BATCH_CANCELED,
}
_JOB_ENDS = {
    JobPhase.LANDED: EventType.JOB_LANDED,
    JobPhase.FAILED: EventType.JOB_FAILED,
    JobPhase.CANCELED: EventType.JOB_CANCELED,
}


@dataclass(frozen=True)
class DueEvent:
    """An event that the state of a run shows.

    Attributes:
        mark: what makes it one of several of its type, empty where there is one.
        data: fields of its `EventData`.
    """

    type: EventType
    data: dict[str, Any]
    mark: str = ""

    @property
    def key(self) -> str:
        """What tells it from all others of its run."""
        return f"{self.type}-{self.mark}" if self.mark else self.type.value


def run_events(state: RunState, status: BatchStatus | None, *, attached: bool) -> Iterator[DueEvent]:
    """Yield the events that a run's state shows, also those that it has shown before.

    Args:
        state: of the run.
        status: the reason why it needs attention, if it does.
        attached: whether its batch was submitted elsewhere.
    """
    data = {"batch_id": state.submission.batch_id, "requests": state.requests}
    if state.submission.batch_id and not attached:
        yield DueEvent(EventType.BATCH_SUBMITTED, data)
    if state.phase is Phase.UNDECIDED:
        candidates = tuple(each.batch_id for each in state.submission.candidates.batches[:MAX_IDS])
        yield DueEvent(EventType.BATCH_UNDECIDED, {**data, "candidates": candidates}, str(state.submission.posted))
    elif status in NEEDS_ATTENTION:
        yield DueEvent(EventType.BATCH_NEEDS_ATTENTION, {**data, "reason": status}, str(status))


def run_end(state: RunState, end: BatchOutput | BaseException) -> DueEvent:
    """Return the event of a run's end."""
    data = {"batch_id": state.submission.batch_id, "requests": state.requests, "outcome": state.outcome}
    if isinstance(end, BatchOutput):
        data |= _landed(end) | {"batch_id": end.batch_id}
    else:
        data |= _failed(end)
    return DueEvent(_RUN_ENDS[state.phase], data)


def job_events(state: JobState, undecided_before: datetime) -> Iterator[DueEvent]:
    """Yield the events that a job's state shows, also those that it has shown before.

    Args:
        state: of the job.
        undecided_before: shards that are undecided since then are worth an event: most decide themselves.
    """
    data = _of_job(state)
    if state.waves and state.phase is not JobPhase.PLANNING:
        yield DueEvent(EventType.JOB_SUBMITTED, data)
    if state.paused_since:
        reason = {**data, "reason": BatchStatus.PAUSED}
        yield DueEvent(EventType.JOB_NEEDS_ATTENTION, reason, _moment(state.paused_since))
    for why, since in state.attention.items():
        if why != BatchStatus.UNDECIDED or since <= undecided_before:
            yield DueEvent(EventType.JOB_NEEDS_ATTENTION, {**data, "reason": why}, f"{_moment(since)}-{why}")


def job_end(state: JobState, end: JobOutput | BaseException) -> DueEvent:
    """Return the event of a job's end."""
    data = {**_of_job(state), "outcome": state.outcome}
    data |= _landed(end) if isinstance(end, JobOutput) else _failed(end)
    return DueEvent(_JOB_ENDS[state.phase], data)


def _of_job(state: JobState) -> dict[str, Any]:
    shards = state.waves[0].shards if state.waves else None
    return {"requests": state.requests, "shards": shards, "failed_shards": state.failed_count or None}


def _landed(output: BatchOutput | JobOutput) -> dict[str, Any]:
    return {
        "counts": output.summary.counts,
        "usable": output.summary.usable,
        "unfinished": output.unfinished.count if output.unfinished else None,
        "cost": _cost(output.cost),
        "results_file": output.results_file,
        "verified": output.verified,
        "possibly_paid_twice": output.possibly_paid_twice[:MAX_IDS] or None,
    }


def _failed(error: BaseException) -> dict[str, Any]:
    """Return the next step after a failure; its message may repeat what others have written."""
    details = error.details[0] if isinstance(error, ApplicationError) and error.details else None
    if not isinstance(details, FailureDetails):
        return {}
    return {
        "action": details.action,
        "candidates": details.candidates[:MAX_IDS] or None,
        "possibly_paid_twice": details.possibly_paid_twice[:MAX_IDS] or None,
    }


def _cost(cost: Cost | None) -> EventCost | None:
    return EventCost(currency=cost.currency, amount=cost.amount, partial=cost.partial) if cost else None


def _moment(time: datetime) -> str:
    return f"{int(time.timestamp() * 1000)}"
