"""Lists of a namespace's runs: the newest, those of some statuses, those that need an operator."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import WORKFLOW_TYPE, NextAction
from message_batches.errors import BatchNotFound, StoreUnavailable
from message_batches.models import Phase
from message_batches.runs.control import Refused
from message_batches.runs.deduplication import attached_batch, recorded_batch
from message_batches.runs.describe import (
    RunNotFound,
    RunStatus,
    RunView,
    describe_execution,
    describe_run,
    start_of_chain,
)
from message_batches.runs.obstacles import BAD_SEARCH_ATTRIBUTES, Cause, Obstacle, Queues, find_obstacles
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecord, SubmissionRecords
from message_batches.temporal.diagnosis import read_again
from message_batches.temporal.search_attributes import (
    BATCH_ID,
    BATCH_OUTCOME,
    BATCH_REQUESTS,
    BATCH_STATUS,
    EXPIRY_WARNING,
    NEEDS_ATTENTION,
    OPEN_STATUSES,
    BatchStatus,
)

# Temporal's own, which every run has: also one that failed before its attributes could be set.
_BY_EXECUTION = {
    "running": "Running",
    "paused": "Paused",
    "completed": "Completed",
    "landed": "Completed",
    "failed": "Failed",
    "canceled": "Canceled",
    "terminated": "Terminated",
    "timed-out": "TimedOut",
}

STATUSES = (*OPEN_STATUSES, *_BY_EXECUTION)
"""The statuses that a list can be limited to."""

OPEN = f'WorkflowType = "{WORKFLOW_TYPE}" AND CloseTime IS NULL'
"""The query for all runs that have not ended, paused ones too."""

MAX_LOOKED_AT = 5000
"""Open runs that are looked at for obstacles, newest first: more would keep Temporal busy for minutes."""

NOT_FOUND_FOR = timedelta(minutes=10)
"""The time after which a batch that the API answers with a 404 needs attention: a real one may for a while."""

_DESCRIBED_AT_ONCE = 20


@dataclass(frozen=True)
class ListedRun:
    """A run in the list.

    Attributes:
        status: Temporal's own.
        batch_status, outcome, requests: the run's search attributes, where its namespace has them.
    """

    workflow_id: str
    run_id: str
    status: RunStatus
    started: datetime
    closed: datetime | None
    batch_id: str | None
    batch_status: str | None = None
    outcome: str | None = None
    requests: int | None = None

    @property
    def status_text(self) -> str:
        """The most precise status there is, with the outcome."""
        ends = {RunStatus.COMPLETED: BatchStatus.LANDED, RunStatus.RUNNING: self.batch_status}
        word = (self.batch_status and ends.get(self.status)) or self.status.value
        return f"{word} ({self.outcome})" if self.outcome and self.outcome != word else word


class Decision(StrEnum):
    """The next step of an operator for a run that needs attention."""

    RESOLVE = "resolve"
    """Decide which batch is the run's."""
    WATCH = "watch"
    """See why it does not move, or which status the batch has: it continues by itself once what it needs is there."""
    CANCEL = "cancel"
    """Stop the batch before it expires, and land the finished results."""
    START_WORKER = "startWorker"
    """Start a worker, of the build that the run is on."""
    REGISTER = "registerSearchAttributes"
    """Register the search attributes that the run sets."""
    UNPAUSE = "unpause"
    """Let the run, or its activity, continue."""


@dataclass(frozen=True)
class AttentionItem:
    """A run that needs an operator.

    Attributes:
        obstacle: what is in its way, where that is the reason.
        expires_in: the rest of the batch's lifetime, where that is the reason.
    """

    view: RunView
    decision: Decision
    obstacle: Obstacle | None = None
    expires_in: timedelta | None = None


async def list_runs(client: Client, store: Store, limit: int, statuses: Sequence[str] = ()) -> list[ListedRun]:
    """List runs of our workflow type, newest first; of these statuses, if any are named."""
    try:
        runs = [run async for run in list_executions(client, _query(statuses), limit)]
    except RPCError as error:
        by_attribute = [status for status in statuses if status in OPEN_STATUSES]
        if not by_attribute or error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        raise Refused(
            f"The status {by_attribute[0]!r} needs the search attribute {BATCH_STATUS.name}, which namespace "
            f"{client.namespace!r} does not have",
            NextAction.REGISTER_SEARCH_ATTRIBUTES,
        ) from error
    try:
        records = await SubmissionRecords(store).records_of_workflows({run.execution.workflow_id for run in runs})
    except StoreUnavailable:
        # The list is Temporal's; the store only adds the batches to it.
        records = {}
    starts = await asyncio.gather(*(start_of_chain(client, run) for run in runs))
    return [
        _listed(run, start, records.get(run.execution.workflow_id, [])) for run, start in zip(runs, starts, strict=True)
    ]


async def list_executions(client: Client, query: str, limit: int | None = None) -> AsyncIterator[WorkflowExecutionInfo]:
    """List runs, newest first; not by the SDK's own call, which fails at one that is paused (temporalio 1.35)."""
    request = ListWorkflowExecutionsRequest(namespace=client.namespace, query=query, page_size=limit or 0)
    list_page, seen = client.workflow_service.list_workflow_executions, 0
    while True:
        page = await read_again(lambda timeout: list_page(request, retry=True, timeout=timeout))
        for info in page.executions:
            yield info
            seen += 1
            if seen == limit:
                return
        if not page.next_page_token:
            return
        request.next_page_token = page.next_page_token


async def list_attention(client: Client) -> list[AttentionItem]:
    """List the runs that need an operator, newest first: those that do not move, undecided ones, expiring batches."""
    slots, queues = asyncio.Semaphore(_DESCRIBED_AT_ONCE), Queues(client)

    async def item(run: WorkflowExecutionInfo) -> AttentionItem | None:
        async with slots:
            with suppress(RunNotFound):  # It has ended since it was listed, and its history is gone.
                if await may_need_attention(client, run, queues):
                    return attention_item(await describe_run(client, run.execution.workflow_id), datetime.now(UTC))
        return None

    runs = [run async for run in list_executions(client, OPEN, MAX_LOOKED_AT)]
    return [found for found in await asyncio.gather(*map(item, runs)) if found]


async def may_need_attention(client: Client, run: WorkflowExecutionInfo, queues: Queues) -> bool:
    """Return whether a listed run is worth a full description: by its status, or by an obstacle."""
    status = decode_typed_search_attributes(run.search_attributes).get(BATCH_STATUS)
    # A landing whose own retries are not used up is only retrieving; a run that began before the set-up has no status.
    if status is None or status in (*NEEDS_ATTENTION, BatchStatus.RETRIEVING):
        return True
    described = await describe_execution(client, run.execution.workflow_id)
    found = await find_obstacles(client, described, queues)
    # Since when the API has not found a batch, the run itself knows.
    return any(obstacle.needs_attention or obstacle.failed_as == BatchNotFound.__name__ for obstacle in found)


def attention_item(view: RunView, now: datetime) -> AttentionItem | None:
    """Return why a run needs an operator, None if it does not."""
    progress = view.progress
    if not view.running or progress is None:
        return None
    grave = [obstacle for obstacle in view.obstacles if obstacle.needs_attention]
    blocked = [obstacle for obstacle in grave if obstacle.cause is not Cause.ACTIVITY_FAILING]
    if blocked:
        return AttentionItem(view, _way_out(blocked[0]), blocked[0])
    if progress.phase is Phase.UNDECIDED:
        return AttentionItem(view, Decision.RESOLVE)
    if progress.phase is Phase.POLLING and progress.expires_at and progress.expires_at - now <= EXPIRY_WARNING:
        return AttentionItem(view, Decision.CANCEL, expires_in=progress.expires_at - now)
    missing = progress.not_found_since is not None and now - progress.not_found_since >= NOT_FOUND_FOR
    if progress.phase is Phase.POLLING and (progress.unknown_status or missing):
        return AttentionItem(view, Decision.WATCH)
    if grave and grave[0].lacks_key:
        return AttentionItem(view, Decision.START_WORKER, grave[0])
    if grave or (progress.phase is Phase.RETRIEVING and progress.waiting_for):
        return AttentionItem(view, Decision.WATCH, grave[0] if grave else None)
    return None


def _way_out(obstacle: Obstacle) -> Decision:
    match obstacle.cause:
        case Cause.WORKFLOW_TASK_FAILING if obstacle.failed_as == BAD_SEARCH_ATTRIBUTES:
            return Decision.REGISTER
        case Cause.WORKFLOW_TASK_FAILING if obstacle.lacks_key:
            return Decision.START_WORKER
        case Cause.NO_WORKER | Cause.OTHER_BUILD:
            return Decision.START_WORKER
        case Cause.PAUSED:
            return Decision.UNPAUSE
        case _:
            return Decision.WATCH


def _query(statuses: Sequence[str]) -> str:
    query = f'WorkflowType = "{WORKFLOW_TYPE}" AND ExecutionStatus != "ContinuedAsNew"'
    conditions = [_condition(status) for status in statuses]
    return f"{query} AND ({' OR '.join(conditions)})" if conditions else query


def _condition(status: str) -> str:
    if status in _BY_EXECUTION:
        return f'ExecutionStatus = "{_BY_EXECUTION[status]}"'
    if status in OPEN_STATUSES:
        # A terminated run keeps the status that it had.
        return f'({BATCH_STATUS.name} = "{status}" AND ExecutionStatus = "Running")'
    raise Refused(f"There is no status {status!r}: expected one of {', '.join(STATUSES)}")


def _listed(info: WorkflowExecutionInfo, start: datetime, records: Sequence[SubmissionRecord]) -> ListedRun:
    shown = decode_typed_search_attributes(info.search_attributes)
    workflow_id = info.execution.workflow_id
    return ListedRun(
        workflow_id=workflow_id,
        run_id=info.execution.run_id,
        status=RunStatus.of(info),
        started=start,
        closed=info.close_time.ToDatetime(tzinfo=UTC) if info.HasField("close_time") else None,
        # Where the search attribute is missing, the run's id or the store's records may have it.
        batch_id=shown.get(BATCH_ID) or attached_batch(workflow_id) or recorded_batch(records),
        batch_status=shown.get(BATCH_STATUS),
        outcome=shown.get(BATCH_OUTCOME),
        requests=shown.get(BATCH_REQUESTS),
    )
