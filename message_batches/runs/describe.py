"""What can be seen of a run from outside: its state, progress, result or failure, and what keeps it waiting."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import PROGRESS, WORKFLOW_TYPE
from message_batches.errors import MessageBatchesError
from message_batches.models import BatchOutput, Progress
from message_batches.runs.failing_activities import Trouble, has_worker, troubles
from message_batches.runs.history import last_known

PATIENCE = timedelta(seconds=2)
"""How long a worker may take to answer a query; a restarted one has to replay the run first."""


class RunNotFound(MessageBatchesError):
    """Temporal knows no run of that workflow id."""


class RunStatus(StrEnum):
    """Temporal's word for where a run stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"
    CONTINUED_AS_NEW = "continued-as-new"
    TIMED_OUT = "timed-out"
    PAUSED = "paused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class RunFailure:
    """Why a run ended without a result.

    Attributes:
        kind: the failure's type, such as `BatchNotEnded`.
        batch_id: the batch that lives on at the provider.
        candidates: batches that may be the run's, where that stayed undecided.
    """

    kind: str
    message: str
    batch_id: str | None = None
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunView:
    """A run as it was seen at one moment.

    Attributes:
        first_run_id: of the run that began the chain.
        progress: what the run itself answered, else what its history says.
        answered: whether the progress is the run's own answer.
        worker: whether a worker polls the run's task queue; None once the run is over.
        reachable: whether Temporal answered; if not, the rest is what was seen before.
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
    troubles: tuple[Trouble, ...] = ()
    worker: bool | None = None
    reachable: bool = True

    @property
    def running(self) -> bool:
        """Whether the run has not come to its end."""
        return self.status in (RunStatus.RUNNING, RunStatus.CONTINUED_AS_NEW, RunStatus.PAUSED)

    @property
    def batch_id(self) -> str | None:
        """The run's batch, as far as the run tells."""
        if self.output:
            return self.output.batch_id
        if self.failure and self.failure.batch_id:
            return self.failure.batch_id
        return self.progress.batch_id if self.progress else None


async def look(client: Client, workflow_id: str, *, patience: timedelta = PATIENCE) -> RunView:
    """Look at the latest run of a workflow id; `RunNotFound` if there is none of our type.

    Args:
        client: from `connect()`.
        workflow_id: of the run.
        patience: how long to wait for a worker's answer; without one the history tells the last that is known.
    """
    handle = client.get_workflow_handle(workflow_id, result_type=BatchOutput)
    described = await _describe(client, handle)
    view = RunView(
        workflow_id=workflow_id,
        run_id=described.run_id,
        first_run_id=described.raw_description.workflow_execution_info.first_run_id or described.run_id,
        status=_status(described),
        task_queue=described.task_queue,
        started=await _chain_start(client, described),
        closed=described.close_time,
        troubles=await troubles(client, described.raw_description.pending_activities),
    )
    if not view.running:
        return await _with_end(client, view)
    worker = await has_worker(client, view.task_queue)
    progress = await _ask(handle, patience) if worker else None
    if progress:
        return replace(view, progress=progress, answered=True, worker=True)
    return replace(view, progress=await last_known(client, workflow_id), worker=worker)


async def started(client: Client, run: WorkflowExecution) -> datetime:
    """When a listed run's chain started."""
    handle = client.get_workflow_handle(run.id, run_id=run.run_id)
    try:
        return await _chain_start(client, await handle.describe())
    except RPCError:
        return run.start_time


async def is_known(client: Client, workflow_id: str) -> bool:
    """Whether Temporal knows a run of our type by that workflow id."""
    try:
        await _describe(client, client.get_workflow_handle(workflow_id))
    except RunNotFound:
        return False
    return True


def failure_of(error: WorkflowFailureError) -> RunFailure:
    """What a run's end says: type, message, batch id and candidates of our own failures, else Temporal's words."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        details: Any = cause.details[0] if cause.details and isinstance(cause.details[0], dict) else {}
        return RunFailure(
            kind=cause.type or "Failed",
            message=cause.message,
            batch_id=details.get("batchId"),
            candidates=tuple(details.get("candidates") or ()),
        )
    if isinstance(cause, TerminatedError):
        return RunFailure("Terminated", f"The run was terminated{_because(cause.message)}")
    if isinstance(cause, CancelledError):
        return RunFailure("Canceled", "The run was cancelled")
    return RunFailure(type(cause).__name__, str(cause))


async def _describe(client: Client, handle: WorkflowHandle[Any, Any]) -> WorkflowExecutionDescription:
    try:
        described = await handle.describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise RunNotFound(_not_found(client, handle.id)) from error
        raise
    if described.workflow_type != WORKFLOW_TYPE:
        raise RunNotFound(
            f"{handle.id} is a run of {described.workflow_type!r}, not of {WORKFLOW_TYPE!r}: `starter.py list` shows "
            "those"
        )
    return described


async def _chain_start(client: Client, described: WorkflowExecutionDescription) -> datetime:
    """When the first run of the chain started: to continue as new is no new start."""
    first = described.raw_description.workflow_execution_info.first_run_id
    if not first or first == described.run_id:
        return described.start_time
    try:
        return (await client.get_workflow_handle(described.id, run_id=first).describe()).start_time
    except RPCError:
        return described.start_time


def _not_found(client: Client, workflow_id: str) -> str:
    return (
        f"There is no run {workflow_id!r} in namespace {client.namespace!r} at "
        f"{client.service_client.config.target_host}: `starter.py list` shows what is there"
    )


async def _with_end(client: Client, view: RunView) -> RunView:
    handle = client.get_workflow_handle(view.workflow_id, run_id=view.run_id, result_type=BatchOutput)
    try:
        return replace(view, output=await handle.result())
    except WorkflowFailureError as error:
        failure = failure_of(error)
        return replace(view, failure=failure, progress=await last_known(client, view.workflow_id))


async def _ask(handle: WorkflowHandle[Any, Any], patience: timedelta) -> Progress | None:
    """The run's own answer; None if no worker gives one in time."""
    try:
        # The SDK tries some failures again, each time as long as an RPC may take.
        async with asyncio.timeout(patience.total_seconds()):
            progress: Progress = await handle.query(PROGRESS, result_type=Progress, rpc_timeout=patience)
    except (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError, TimeoutError):
        return None
    return progress


def _status(described: WorkflowExecutionDescription) -> RunStatus:
    if described.status is None:
        return RunStatus.UNKNOWN
    try:
        return RunStatus(described.status.name.lower().replace("_", "-"))
    except ValueError:
        return RunStatus.UNKNOWN


def _because(message: str) -> str:
    reason = message.removeprefix("Workflow execution terminated").strip(" :")
    return f": {reason}" if reason else ""
