"""The obstacles of a run: the one answer to why it does not move, from its description and its task queue."""

import asyncio
from collections.abc import AsyncIterator
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
from temporalio.api.workflow.v1 import PendingActivityInfo, WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryReverseRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from message_batches.temporal.task_queues import WorkerState, worker_state

TURN_AFTER = timedelta(seconds=10)
"""The time for which an activity may wait for a worker before it counts as waiting for its turn."""

BAD_SEARCH_ATTRIBUTES = "BAD_SEARCH_ATTRIBUTES"
"""A workflow task's failure: a search attribute that the run sets is not registered, or of another type."""

_NEWEST_EVENTS = 20
_PAUSED = (
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED,
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED,
)


class Cause(StrEnum):
    """The kind of an obstacle; all but the last need an operator."""

    WORKFLOW_TASK_FAILING = "workflow-task-failing"
    """The workers cannot continue the run: its code, or what it sets, does not fit."""
    NO_WORKER = "no-worker"
    """No worker polls the run's task queue."""
    OTHER_BUILD = "other-build"
    """Workers poll it, none of them of the build that the run is on."""
    PAUSED = "paused"
    """The run, or one of its activities, is paused."""
    ACTIVITY_FAILING = "activity-failing"
    """An activity has failed and is tried again."""
    WAITING_FOR_TURN = "waiting-for-turn"
    """An activity is not handed out yet: landings are one at a time on each worker, calls may be bounded in rate."""


@dataclass(frozen=True)
class Obstacle:
    """One reason why a run does not move.

    Attributes:
        cause: its kind.
        activity: the type of the activity that fails, is paused, or waits; empty where the run itself does.
        activity_id: its id.
        attempt: the number of the attempt that is next, or under way.
        failure: the last failure's message, and its cause's where that says more; the reason of a pause.
        failed_as: the server's own name of a workflow task's failure, such as `BAD_SEARCH_ATTRIBUTES`.
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
    def needs_attention(self) -> bool:
        """Whether an operator should look at it."""
        return self.cause is not Cause.WAITING_FOR_TURN


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
    """Return why a run that has not ended does not move, the gravest first; empty if it moves or waits for its timer.

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
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace, execution=info.execution, maximum_page_size=_NEWEST_EVENTS
    )
    try:
        newest = await client.workflow_service.get_workflow_execution_history_reverse(request)
    except RPCError as error:
        return f"its history cannot be read ({error.message})", ""
    for event in newest.history.events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failed = event.workflow_task_failed_event_attributes
            cause = WorkflowTaskFailedCause.Name(failed.cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_")
            return await failure_message(client, failed.failure), cause
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
            kind = event.workflow_task_timed_out_event_attributes.timeout_type
            if kind == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE:
                return "a worker took it and did not answer in time", "TIMED_OUT"
    return "no reason given", ""


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
            yield Obstacle(Cause.ACTIVITY_FAILING, name, number, attempt, failure, next_attempt=_due(activity))
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


async def failure_message(client: Client, failure: Failure) -> str:
    """Join the failure's message and its cause's, which has the reason why an input was refused."""
    error = await client.data_converter.decode_failure(failure)
    messages = [getattr(each, "message", "") for each in (error, error.__cause__)]
    distinct = dict.fromkeys(filter(None, messages))
    return ": ".join(distinct) or failure.application_failure_info.type or "no reason given"
