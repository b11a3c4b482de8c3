"""A run as seen from outside: its status, progress, result or failure, and the activities that keep failing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import PROGRESS, WORKFLOW_TYPE, NextAction
from message_batches.errors import RunError
from message_batches.models import BatchOutput, Progress
from message_batches.runs.history import RunFailure, read_end, read_progress
from message_batches.temporal.namespaces import address_of
from message_batches.temporal.task_queues import has_worker

QUERY_TIMEOUT = timedelta(seconds=2)
"""The time that a worker may take to answer a query; a restarted one has to replay the run first."""


class RunNotFound(RunError):
    """Temporal knows no run of our type by that workflow id."""


class RunStatus(StrEnum):
    """The status of a run, as Temporal names it."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"
    CONTINUED_AS_NEW = "continued-as-new"
    TIMED_OUT = "timed-out"
    PAUSED = "paused"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, status: WorkflowExecutionStatus | None) -> "RunStatus":
        """Convert Temporal's status; one that is not known here becomes `UNKNOWN`."""
        try:
            return cls(status.name.lower().replace("_", "-")) if status else cls.UNKNOWN
        except ValueError:
            return cls.UNKNOWN


@dataclass(frozen=True)
class FailingActivity:
    """An activity that has failed and is tried again.

    Attributes:
        activity: its type.
        attempt: the number of the next attempt.
        failure: the last failure's message, and its cause's where that says more.
        next_attempt: when it is due; None while it is under way.
    """

    activity: str
    attempt: int
    failure: str
    next_attempt: datetime | None


@dataclass(frozen=True)
class RunView:
    """A run as it was seen at one moment.

    Attributes:
        first_run_id: of the run that began the chain.
        progress: the run's own answer, or the last that its history shows.
        answered: whether the progress is the run's own answer.
        worker: whether a worker polls the run's task queue; None once the run is over.
        reachable: whether Temporal answered; if not, the rest is the last known state.
    """

    workflow_id: str
    run_id: str
    first_run_id: str
    status: RunStatus
    task_queue: str
    started: datetime
    closed: datetime | None = None
    progress: Progress | None = None
    answered: bool = False
    output: BatchOutput | None = None
    failure: RunFailure | None = None
    failing_activities: tuple[FailingActivity, ...] = ()
    worker: bool | None = None
    reachable: bool = True

    @property
    def running(self) -> bool:
        """Whether the run has not ended."""
        return self.status in (RunStatus.RUNNING, RunStatus.CONTINUED_AS_NEW, RunStatus.PAUSED)

    @property
    def batch_id(self) -> str | None:
        """The run's batch, where the run names one."""
        if self.output:
            return self.output.batch_id
        if self.failure and self.failure.batch_id:
            return self.failure.batch_id
        return self.progress.batch_id if self.progress else None


async def describe_run(client: Client, workflow_id: str, *, query_timeout: timedelta = QUERY_TIMEOUT) -> RunView:
    """Describe the latest run of a workflow id; `RunNotFound` if there is none of our type.

    Args:
        client: from `connect()`.
        workflow_id: of the run.
        query_timeout: how long to wait for a worker's answer; without one the progress is read from the history.
    """
    handle = client.get_workflow_handle(workflow_id)
    described = await _describe(client, handle)
    view = RunView(
        workflow_id=workflow_id,
        run_id=described.run_id,
        first_run_id=described.raw_description.workflow_execution_info.first_run_id or described.run_id,
        status=RunStatus.of(described.status),
        task_queue=described.task_queue,
        started=await _chain_start(client, described),
        closed=described.close_time,
        failing_activities=await _failing_activities(client, described.raw_description.pending_activities),
    )
    if not view.running:
        return await _with_end(client, view)
    worker = await has_worker(client, view.task_queue)
    progress = await _query(handle, query_timeout) if worker else None
    if progress:
        return replace(view, progress=progress, answered=True, worker=True)
    return replace(view, progress=await read_progress(client, workflow_id), worker=worker)


async def find_run(client: Client, workflow_id: str) -> RunView | None:
    """Describe a run; None if Temporal knows none."""
    try:
        return await describe_run(client, workflow_id)
    except RunNotFound:
        return None


async def run_exists(client: Client, workflow_id: str) -> bool:
    """Check whether Temporal knows a run of our type by that workflow id."""
    try:
        await _describe(client, client.get_workflow_handle(workflow_id))
    except RunNotFound:
        return False
    return True


async def start_of_chain(client: Client, run: WorkflowExecution) -> datetime:
    """Return when a listed run's chain started."""
    handle = client.get_workflow_handle(run.id, run_id=run.run_id)
    try:
        return await _chain_start(client, await handle.describe())
    except RPCError:
        return run.start_time


async def _describe(client: Client, handle: WorkflowHandle[Any, Any]) -> WorkflowExecutionDescription:
    try:
        described = await handle.describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise RunNotFound(
                f"There is no run {handle.id!r} in namespace {client.namespace!r} at {address_of(client)}",
                NextAction.LIST_RUNS,
            ) from error
        raise
    if described.workflow_type != WORKFLOW_TYPE:
        raise RunNotFound(
            f"{handle.id} is a run of {described.workflow_type!r}, not of {WORKFLOW_TYPE!r}", NextAction.LIST_RUNS
        )
    return described


async def _chain_start(client: Client, described: WorkflowExecutionDescription) -> datetime:
    """Return when the first run of the chain started: to continue as new is not a new start."""
    first = described.raw_description.workflow_execution_info.first_run_id
    if not first or first == described.run_id:
        return described.start_time
    try:
        return (await client.get_workflow_handle(described.id, run_id=first).describe()).start_time
    except RPCError:
        return described.start_time


async def _with_end(client: Client, view: RunView) -> RunView:
    end = await read_end(client, view.workflow_id, view.run_id)
    if isinstance(end, BatchOutput):
        return replace(view, output=end)
    return replace(view, failure=end, progress=await read_progress(client, view.workflow_id))


async def _query(handle: WorkflowHandle[Any, Any], query_timeout: timedelta) -> Progress | None:
    """Return the run's own answer; None if no worker gives one in time."""
    try:
        # The SDK retries some failures, each time for as long as an RPC may take.
        async with asyncio.timeout(query_timeout.total_seconds()):
            progress: Progress = await handle.query(PROGRESS, result_type=Progress, rpc_timeout=query_timeout)
    except (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError, TimeoutError):
        return None
    return progress


async def _failing_activities(client: Client, pending: Sequence[PendingActivityInfo]) -> tuple[FailingActivity, ...]:
    failed = [activity for activity in pending if activity.attempt > 1 and activity.HasField("last_failure")]
    return tuple([await _failing_activity(client, activity) for activity in failed])


async def _failing_activity(client: Client, activity: PendingActivityInfo) -> FailingActivity:
    due = activity.next_attempt_schedule_time.ToDatetime(tzinfo=UTC)
    return FailingActivity(
        activity=activity.activity_type.name,
        attempt=activity.attempt,
        failure=await _message(client, activity.last_failure),
        next_attempt=due if activity.HasField("next_attempt_schedule_time") else None,
    )


async def _message(client: Client, failure: Failure) -> str:
    """Join the failure's message and its cause's, which has the reason why an input was refused."""
    error = await client.data_converter.decode_failure(failure)
    messages = [getattr(each, "message", "") for each in (error, error.__cause__)]
    distinct = dict.fromkeys(filter(None, messages))
    return ": ".join(distinct) or failure.application_failure_info.type or "no reason given"
