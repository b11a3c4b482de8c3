"""A run as seen from outside: its status, progress, obstacles, and its result or failure; following it to its end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import PROGRESS, WORKFLOW_TYPE, NextAction
from message_batches.errors import RunError
from message_batches.models import BatchOutput, Progress
from message_batches.runs.history import RunFailure, read_end, read_progress, read_start
from message_batches.runs.obstacles import Cause, Obstacle, find_obstacles
from message_batches.temporal.diagnosis import is_namespace_missing, read_again
from message_batches.temporal.namespaces import address_of

QUERY_TIMEOUT = timedelta(seconds=2)
"""The time that a worker may take to answer a query; a restarted one has to replay the run first."""

FOLLOW_INTERVAL = 1.0
"""Seconds between two descriptions of a run that is followed."""

ProgressModel = TypeVar("ProgressModel")
OutputModel = TypeVar("OutputModel")
AnyView = TypeVar("AnyView", bound="ExecutionView[Any, Any]")


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
    def of(cls, info: WorkflowExecutionInfo) -> "RunStatus":
        """Read a run's status; one that is not known here becomes `UNKNOWN`."""
        try:
            name = WorkflowExecutionStatus.Name(info.status).removeprefix("WORKFLOW_EXECUTION_STATUS_")
            return cls(name.lower().replace("_", "-"))
        except ValueError:
            return cls.UNKNOWN

    @property
    def running(self) -> bool:
        """Whether a run of this status has not ended."""
        return self in (RunStatus.RUNNING, RunStatus.CONTINUED_AS_NEW, RunStatus.PAUSED)


@dataclass(frozen=True)
class ExecutionView(Generic[ProgressModel, OutputModel]):
    """A run, or a job, as it was seen at one moment.

    Attributes:
        first_run_id: of the run that began the chain.
        progress: the run's own answer, or the last that its history shows.
        answered: whether the progress is the run's own answer.
        obstacles: why it does not move, the gravest first.
        worker: whether a worker that takes the run polls its task queue; None once the run is over.
        reachable: whether Temporal answered; if not, the rest is the last known state.
    """

    workflow_id: str
    run_id: str
    first_run_id: str
    status: RunStatus
    task_queue: str
    started: datetime
    closed: datetime | None = None
    progress: ProgressModel | None = None
    answered: bool = False
    output: OutputModel | None = None
    failure: RunFailure | None = None
    obstacles: tuple[Obstacle, ...] = ()
    worker: bool | None = None
    reachable: bool = True

    @property
    def running(self) -> bool:
        """Whether the run has not ended."""
        return self.status.running

    @property
    def failing_activities(self) -> tuple[Obstacle, ...]:
        """The activities that have failed and are tried again."""
        return tuple(each for each in self.obstacles if each.cause is Cause.ACTIVITY_FAILING)

    def has(self, *causes: Cause) -> bool:
        """Return whether one of these obstacles is in the run's way."""
        return any(each.cause in causes for each in self.obstacles)


@dataclass(frozen=True)
class RunView(ExecutionView[Progress, BatchOutput]):
    """A run as it was seen at one moment."""

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
    described = await describe_execution(client, workflow_id)
    view = await look(client, described, RunView, Progress, query_timeout)
    if not view.running:
        return await _with_end(client, view)
    return view if view.answered else replace(view, progress=await read_progress(client, workflow_id))


async def look(
    client: Client,
    described: DescribeWorkflowExecutionResponse,
    view_type: type[AnyView],
    progress_type: type[Any],
    query_timeout: timedelta,
) -> AnyView:
    """Return what can be seen of a run without its history: its state, and while it runs its obstacles and its answer.

    Args:
        client: from `connect()`.
        described: the run, as the server describes it.
        view_type: of a run or of a job.
        progress_type: of its answer.
        query_timeout: how long to wait for a worker's answer.
    """
    info = described.workflow_execution_info
    view = view_type(
        workflow_id=info.execution.workflow_id,
        run_id=info.execution.run_id,
        first_run_id=info.first_run_id or info.execution.run_id,
        status=RunStatus.of(info),
        task_queue=info.task_queue,
        started=await start_of_chain(client, info),
        closed=info.close_time.ToDatetime(tzinfo=UTC) if info.HasField("close_time") else None,
    )
    if not view.running:
        return view
    view = replace(view, obstacles=await find_obstacles(client, described))
    worker = not view.has(Cause.NO_WORKER, Cause.OTHER_BUILD)
    # A run that is paused, or whose workflow task fails, cannot answer.
    asked = worker and view.status is not RunStatus.PAUSED and not view.has(Cause.WORKFLOW_TASK_FAILING)
    handle = client.get_workflow_handle(view.workflow_id)
    progress = await _query(handle, progress_type, query_timeout) if asked else None
    return replace(view, progress=progress, answered=progress is not None, worker=worker)


async def follow(
    client: Client, workflow_id: str, describe: Callable[[], Awaitable[AnyView]]
) -> AsyncGenerator[AnyView]:
    """Yield a run as it is seen, about once a second, to its end; also while Temporal is unavailable.

    Args:
        client: from `connect()`.
        workflow_id: of the run.
        describe: describes it.
    """
    ended = asyncio.create_task(_wait_for_end(client.get_workflow_handle(workflow_id)))
    view: AnyView | None = None
    try:
        while True:
            try:
                view = await describe()
            except RPCError:
                view = replace(view, reachable=False) if view else None
            if view:
                yield view
            if view and not view.running:
                return
            over = ended.done()
            await (asyncio.sleep(FOLLOW_INTERVAL) if over else asyncio.wait([ended], timeout=FOLLOW_INTERVAL))
    finally:
        ended.cancel()
        await asyncio.wait([ended])


async def _wait_for_end(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until a run has ended in any way, or Temporal has become unavailable."""
    with suppress(WorkflowFailureError, RPCError):
        await handle.result()


async def find_run(client: Client, workflow_id: str) -> RunView | None:
    """Describe a run; None if Temporal knows none."""
    try:
        return await describe_run(client, workflow_id)
    except RunNotFound:
        return None


async def run_exists(client: Client, workflow_id: str) -> bool:
    """Check whether Temporal knows a run of our type by that workflow id."""
    try:
        await describe_execution(client, workflow_id)
    except RunNotFound:
        return False
    return True


async def start_of_chain(client: Client, info: WorkflowExecutionInfo) -> datetime:
    """Return when the first run of a chain started: to continue as new is not a new start."""
    started, run = info.start_time.ToDatetime(tzinfo=UTC), info.execution
    try:
        # A list of runs does not name the first of a chain.
        first = info.first_run_id or (await raw_description(client, run)).workflow_execution_info.first_run_id
        if not first or first == run.run_id:
            return started
        chain = await raw_description(client, WorkflowExecution(workflow_id=run.workflow_id, run_id=first))
    except RPCError:
        return started
    return chain.workflow_execution_info.start_time.ToDatetime(tzinfo=UTC)


async def describe_execution(client: Client, workflow_id: str, *kinds: str) -> DescribeWorkflowExecutionResponse:
    """Return the server's description of a workflow id's latest run; `RunNotFound` if there is none of our type.

    Args:
        client: from `connect()`.
        workflow_id: of the run.
        kinds: the workflow types that it may be of; by default that of a run.
    """
    try:
        described = await raw_description(client, WorkflowExecution(workflow_id=workflow_id))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND and not is_namespace_missing(error):
            raise RunNotFound(
                f"There is no run {workflow_id!r} in namespace {client.namespace!r} at {address_of(client)}",
                NextAction.LIST_RUNS,
            ) from error
        raise
    kind = described.workflow_execution_info.type.name
    if kind not in (kinds or (WORKFLOW_TYPE,)):
        raise RunNotFound(f"{workflow_id} is a run of {kind!r}, not of {WORKFLOW_TYPE!r}", NextAction.LIST_RUNS)
    return described


async def raw_description(client: Client, execution: WorkflowExecution) -> DescribeWorkflowExecutionResponse:
    """Describe a run, not by the SDK's own call, which fails for one that is paused (temporalio 1.35)."""
    request = DescribeWorkflowExecutionRequest(namespace=client.namespace, execution=execution)
    describe = client.workflow_service.describe_workflow_execution
    return await read_again(lambda timeout: describe(request, retry=True, timeout=timeout))


async def _with_end(client: Client, view: RunView) -> RunView:
    end = await read_end(client, view.workflow_id, view.run_id, BatchOutput)
    if not isinstance(end, RunFailure):
        return replace(view, output=end)
    progress, start = await read_progress(client, view.workflow_id), await read_start(client, view.workflow_id)
    return replace(view, failure=replace(end, api_key=start.api_key), progress=progress)


async def _query(handle: WorkflowHandle[Any, Any], result_type: type[Any], query_timeout: timedelta) -> Any:
    """Return the run's own answer; None if no worker gives one in time."""
    try:
        # The SDK retries some failures, each time for as long as an RPC may take.
        async with asyncio.timeout(query_timeout.total_seconds()):
            return await handle.query(PROGRESS, result_type=result_type, rpc_timeout=query_timeout)
    except (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError, TimeoutError):
        return None
