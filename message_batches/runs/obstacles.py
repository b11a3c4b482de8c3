"""The obstacles of a run: the one answer to why it does not move, from its description and its task queue."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from temporalio.api.enums.v1 import (
    EventType,
    PendingActivityState,
    TimeoutType,
    VersioningBehavior,
    WorkflowExecutionStatus,
    WorkflowTaskFailedCause,
)
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo, WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryReverseRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from message_batches.contract import ActivityType
from message_batches.errors import (
    ERRORS_BY_NAME,
    BatchNotFound,
    CannotDecrypt,
    RateLimited,
    RefusedForNow,
    SentByAnotherRun,
)
from message_batches.temporal.task_queues import WorkerState, worker_state

TURN_AFTER = timedelta(seconds=10)
"""The time for which an activity may wait for a worker before it counts as waiting for its turn."""

BAD_SEARCH_ATTRIBUTES = "BAD_SEARCH_ATTRIBUTES"
"""A workflow task's failure: a search attribute that the run sets is not registered, or of another type."""

PASSING = tuple(kind.__name__ for kind in (BatchNotFound, RateLimited, RefusedForNow, SentByAnotherRun))
"""Failures that an operator cannot mend: the API's capacity, another run's POST, and, within its grace, a 404."""

_NEWEST_EVENTS = 30
"""Events of a run's history that are read: two rounds of a call and its timer."""

_REPEATED_BY_RUN = (ActivityType.SUBMIT_BATCH, ActivityType.POLL_BATCH_STATUS, ActivityType.RETRIEVE_RESULTS)
"""Activities that the run itself makes again, at its own timer: between two of them nothing is pending."""

_ENDS = (
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
)
_PAUSED = (
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED,
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED,
)


class Cause(StrEnum):
    """The kind of an obstacle; all but the last need an operator, unless an activity's failure passes by itself."""

    WORKFLOW_TASK_FAILING = "workflow-task-failing"
    """The workers cannot continue the run: its code, or what it sets, does not fit."""
    NO_WORKER = "no-worker"
    """No worker polls the run's task queue."""
    OTHER_BUILD = "other-build"
    """Workers poll it, none of them of the build that the run is on."""
    PAUSED = "paused"
    """The run, or one of its activities, is paused."""
    ACTIVITY_FAILING = "activity-failing"
    """An activity has failed and is tried again, by Temporal or by the run itself."""
    WAITING_FOR_TURN = "waiting-for-turn"
    """An activity is not handed out yet: landings are one at a time on each worker, calls may be bounded in rate."""


@dataclass(frozen=True)
class Obstacle:
    """One reason why a run does not move.

    Attributes:
        cause: its kind.
        activity: the type of the activity that fails, is paused, or waits; empty where the run itself does.
        activity_id: its id.
        attempt: the number of the attempt that is next, or under way; 0 where the run itself makes it again.
        failure: the last failure's message, and its cause's where that says more; the reason of a pause.
        failed_as: the type of an activity's failure, such as `StoreUnavailable`; of a workflow task's `CannotDecrypt`,
            or else the server's own name of it, such as `BAD_SEARCH_ATTRIBUTES`.
        next_attempt: when it is due; None while it is under way.
        build: `<deployment>:<build id>` that the run is on, where no worker has it.
    """

    cause: Cause
    activity: str = ""
    activity_id: str = ""
    attempt: int = 0
    failure: str = ""
    failed_as: str = ""
    next_attempt: datetime | None = None
    build: str = ""

    @property
    def lacks_key(self) -> bool:
        """Whether the workers that took it do not hold the key that it is encrypted with."""
        return self.failed_as == CannotDecrypt.__name__

    @property
    def needs_attention(self) -> bool:
        """Whether an operator should look at it."""
        passes = self.cause is Cause.ACTIVITY_FAILING and self.failed_as in PASSING
        return self.cause is not Cause.WAITING_FOR_TURN and not passes


class Queues:
    """The workers of task queues, each asked for once: for looking at many runs."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asked: dict[tuple[str, str], asyncio.Future[WorkerState]] = {}

    async def state(self, task_queue: str, build: str) -> WorkerState:
        """Return whether workers of that build poll a queue."""
        key = (task_queue, build)
        if key not in self._asked:
            self._asked[key] = asyncio.ensure_future(worker_state(self._client, task_queue, build=build))
        return await asyncio.shield(self._asked[key])


async def find_obstacles(
    client: Client, described: DescribeWorkflowExecutionResponse, queues: Queues | None = None
) -> tuple[Obstacle, ...]:
    """Return why a run that has not ended does not move, the gravest first; empty if it moves or waits for its poll.

    Args:
        client: from `connect()`.
        described: the run, as the server describes it.
        queues: its workers, where several runs are looked at.
    """
    info = described.workflow_execution_info
    build = _pinned_build(info)
    workers = await (queues or Queues(client)).state(info.task_queue, build)
    found = [
        *await _failing_task(client, described),
        *_without_worker(workers, build),
        *_paused_run(described),
        *[each async for each in _activities(client, described, workers)],
    ]
    if all(obstacle.cause is Cause.WAITING_FOR_TURN for obstacle in found):
        found += await _repeated_by_run(client, described)
    return tuple(sorted(found, key=lambda obstacle: list(Cause).index(obstacle.cause)))


def _pinned_build(info: WorkflowExecutionInfo) -> str:
    """Return the build that a run stays on, empty for one that goes to any."""
    versioning = info.versioning_info
    if versioning.versioning_override.HasField("pinned"):
        version = versioning.versioning_override.pinned.version
    elif versioning.behavior == VersioningBehavior.VERSIONING_BEHAVIOR_PINNED:
        version = versioning.deployment_version
    else:
        return ""
    return f"{version.deployment_name}:{version.build_id}"


async def _failing_task(client: Client, described: DescribeWorkflowExecutionResponse) -> list[Obstacle]:
    attempt = described.pending_workflow_task.attempt
    if attempt < 2:
        return []
    failure, failed_as = await _last_failure(client, described.workflow_execution_info)
    obstacle = Obstacle(Cause.WORKFLOW_TASK_FAILING, attempt=attempt, failure=failure, failed_as=failed_as)
    return [obstacle]


async def _last_failure(client: Client, info: WorkflowExecutionInfo) -> tuple[str, str]:
    """Read why the workflow task failed: only its first failure is an event, and it is among the newest."""
    try:
        newest = await _newest_events(client, info)
    except RPCError as error:
        return f"its history cannot be read ({error.message})", ""
    for event in newest:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failed = event.workflow_task_failed_event_attributes
            cause = WorkflowTaskFailedCause.Name(failed.cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_")
            encrypted = failure_type(failed.failure) == CannotDecrypt.__name__
            return await failure_message(client, failed.failure), CannotDecrypt.__name__ if encrypted else cause
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
            kind = event.workflow_task_timed_out_event_attributes.timeout_type
            if kind == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE:
                return "a worker took it and did not answer in time", "TIMED_OUT"
    return "no reason given", ""


async def _newest_events(client: Client, info: WorkflowExecutionInfo) -> Sequence[HistoryEvent]:
    """Return the newest events of a run's history, the newest first."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace, execution=info.execution, maximum_page_size=_NEWEST_EVENTS
    )
    page = await client.workflow_service.get_workflow_execution_history_reverse(request)
    return page.history.events


async def _repeated_by_run(client: Client, described: DescribeWorkflowExecutionResponse) -> list[Obstacle]:
    """Return the activity that failed last, where the run itself makes it again: what comes of that is its next end."""
    try:
        newest = await _newest_events(client, described.workflow_execution_info)
    except RPCError:
        return []
    scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    names = {e.event_id: e.activity_task_scheduled_event_attributes for e in newest if e.event_type == scheduled}
    due: datetime | None = None
    fired = False
    for event in newest:
        if event.event_type == EventType.EVENT_TYPE_TIMER_FIRED:
            fired = True
        elif event.event_type == EventType.EVENT_TYPE_TIMER_STARTED and not (due or fired):
            timer = event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            due = event.event_time.ToDatetime(tzinfo=UTC) + timer
        elif event.event_type in _ENDS:
            ended = getattr(event, event.WhichOneof("attributes") or "")
            activity = names.get(ended.scheduled_event_id)
            name = activity.activity_type.name if activity else ""
            if name in _REPEATED_BY_RUN:
                failed_as = failure_type(ended.failure) if hasattr(ended, "failure") else ""
                if not _is_repeated(name, failed_as):
                    return []
                failure = await failure_message(client, ended.failure)
                number = activity.activity_id if activity else ""
                return [Obstacle(Cause.ACTIVITY_FAILING, name, number, 0, failure, failed_as, next_attempt=due)]
    return []


def _is_repeated(activity: str, failed_as: str) -> bool:
    """Return whether a run makes an activity again after such a failure; a POST only if it has created nothing."""
    kind = ERRORS_BY_NAME.get(failed_as)
    if activity == ActivityType.SUBMIT_BATCH:
        return kind is not None and kind.retryable and not kind.outcome_unknown
    return kind is not None


def _without_worker(workers: WorkerState, build: str) -> list[Obstacle]:
    match workers:
        case WorkerState.NONE:
            return [Obstacle(Cause.NO_WORKER, build=build)]
        case WorkerState.OTHER_BUILD:
            return [Obstacle(Cause.OTHER_BUILD, build=build)]
        case WorkerState.POLLS:
            return []


def _paused_run(described: DescribeWorkflowExecutionResponse) -> list[Obstacle]:
    if described.workflow_execution_info.status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED:
        return []
    return [Obstacle(Cause.PAUSED, failure=described.workflow_extended_info.pause_info.reason)]


async def _activities(
    client: Client, described: DescribeWorkflowExecutionResponse, workers: WorkerState
) -> AsyncIterator[Obstacle]:
    for activity in described.pending_activities:
        name, number, attempt = activity.activity_type.name, activity.activity_id, activity.attempt
        failure = await failure_message(client, activity.last_failure) if activity.HasField("last_failure") else ""
        if activity.paused or activity.state in _PAUSED:
            reason = activity.pause_info.manual.reason or failure
            yield Obstacle(Cause.PAUSED, name, number, attempt, reason)
        elif failure and attempt > 1:
            failed_as = failure_type(activity.last_failure)
            yield Obstacle(Cause.ACTIVITY_FAILING, name, number, attempt, failure, failed_as, _due(activity))
        elif workers is WorkerState.POLLS and _waits(activity):
            yield Obstacle(Cause.WAITING_FOR_TURN, name, number, attempt)


def _due(activity: PendingActivityInfo) -> datetime | None:
    if not activity.HasField("next_attempt_schedule_time"):
        return None
    return activity.next_attempt_schedule_time.ToDatetime(tzinfo=UTC)


def _waits(activity: PendingActivityInfo) -> bool:
    scheduled = activity.scheduled_time.ToDatetime(tzinfo=UTC)
    not_started = activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    return not_started and datetime.now(UTC) - scheduled > TURN_AFTER


def failure_type(failure: Failure) -> str:
    """Return the type of an activity's failure, or of its cause where it is the SDK's own around an unread input."""
    return failure.application_failure_info.type or failure.cause.application_failure_info.type


async def failure_message(client: Client, failure: Failure) -> str:
    """Join the failure's message and its cause's, which has the reason why an input was refused."""
    error = await client.data_converter.decode_failure(failure)
    messages = [getattr(each, "message", "") for each in (error, error.__cause__)]
    distinct = dict.fromkeys(filter(None, messages))
    return ": ".join(distinct) or failure.application_failure_info.type or "no reason given"
