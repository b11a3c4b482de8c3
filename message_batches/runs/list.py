"""Lists of a namespace's runs and jobs: the newest, those of some statuses."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE, NextAction
from message_batches.errors import StoreUnavailable
from message_batches.job_models import shard_place
from message_batches.runs.control import Refused
from message_batches.runs.deduplication import attached_batch, recorded_batch
from message_batches.runs.describe import RunStatus, start_of_chain
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecord, SubmissionRecords
from message_batches.temporal.diagnosis import read_again
from message_batches.temporal.search_attributes import (
    BATCH_ID,
    BATCH_OUTCOME,
    BATCH_REQUESTS,
    BATCH_STATUS,
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

STATUSES = tuple(dict.fromkeys((*OPEN_STATUSES, *_BY_EXECUTION)))
"""The statuses that a list can be limited to."""

_PAGE = 200
"""Runs of a page of the list, of which many may be those of shards."""


@dataclass(frozen=True)
class ListedRun:
    """A run or a job in the list.

    Attributes:
        status: Temporal's own.
        job: whether it is a job.
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
    job: bool = False

    @property
    def status_text(self) -> str:
        """The most precise status there is, with the outcome."""
        ends = {RunStatus.COMPLETED: BatchStatus.LANDED, RunStatus.RUNNING: self.batch_status}
        word = (self.batch_status and ends.get(self.status)) or self.status.value
        return f"{word} ({self.outcome})" if self.outcome and self.outcome != word else word


async def list_runs(client: Client, store: Store, limit: int, statuses: Sequence[str] = ()) -> list[ListedRun]:
    """List runs and jobs, newest first, without the runs of a job's shards; of these statuses, if any are named."""
    by_attribute = [status for status in statuses if status in OPEN_STATUSES]
    try:
        runs = [run async for run in list_executions(client, _query(statuses), limit, shards=False)]
    except RPCError as error:
        if not by_attribute or error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        needed = [status for status in by_attribute if status not in _BY_EXECUTION]
        if needed:
            raise Refused(
                f"The status {needed[0]!r} needs the search attribute {BATCH_STATUS.name}, which namespace "
                f"{client.namespace!r} does not have",
                NextAction.REGISTER_SEARCH_ATTRIBUTES,
            ) from error
        query = _query(statuses, attributes=False)
        runs = [run async for run in list_executions(client, query, limit, shards=False)]
    try:
        records = await SubmissionRecords(store).records_of_workflows({run.execution.workflow_id for run in runs})
    except StoreUnavailable:
        # The list is Temporal's; the store only adds the batches to it.
        records = {}
    starts = await asyncio.gather(*(start_of_chain(client, run) for run in runs))
    return [
        _listed(run, start, records.get(run.execution.workflow_id, [])) for run, start in zip(runs, starts, strict=True)
    ]


async def list_executions(
    client: Client, query: str, limit: int | None = None, *, shards: bool = True
) -> AsyncIterator[WorkflowExecutionInfo]:
    """List runs, newest first; not by the SDK's own call, which fails at one that is paused (temporalio 1.35).

    Args:
        client: from `connect()`.
        query: as Temporal has it.
        limit: how many are listed.
        shards: list the runs of a job's shards too.
    """
    size = limit or 0 if shards else max(limit or 0, _PAGE)
    request = ListWorkflowExecutionsRequest(namespace=client.namespace, query=query, page_size=size)
    list_page, seen = client.workflow_service.list_workflow_executions, 0
    while True:
        page = await read_again(lambda timeout: list_page(request, retry=True, timeout=timeout))
        for info in page.executions:
            if not shards and _is_shard(info):
                continue
            yield info
            seen += 1
            if seen == limit:
                return
        if not page.next_page_token:
            return
        request.next_page_token = page.next_page_token


async def recent_durations(client: Client, most: int = 10) -> list[timedelta]:
    """Return how long the newest runs took that landed a batch of their own: of those that took one over, nothing."""
    query = f'WorkflowType = "{WORKFLOW_TYPE}" AND ExecutionStatus = "Completed"'
    listed = [run async for run in list_executions(client, query, 2 * most)]
    runs = [run for run in listed if not attached_batch(run.execution.workflow_id)][:most]
    starts = await asyncio.gather(*(start_of_chain(client, run) for run in runs))
    return [run.close_time.ToDatetime(tzinfo=UTC) - start for run, start in zip(runs, starts, strict=True)]


def _is_shard(info: WorkflowExecutionInfo) -> bool:
    """Return whether a run is that of a job's shard: the job has started it, and named it by its own id."""
    place = shard_place(info.execution.workflow_id)
    return place is not None and place.job_id == info.parent_execution.workflow_id


def _query(statuses: Sequence[str], *, attributes: bool = True) -> str:
    query = f'WorkflowType IN ("{WORKFLOW_TYPE}", "{JOB_WORKFLOW_TYPE}") AND ExecutionStatus != "ContinuedAsNew"'
    conditions = [condition for status in statuses for condition in _conditions(status, attributes)]
    return f"{query} AND ({' OR '.join(conditions)})" if conditions else query


def _conditions(status: str, attributes: bool) -> list[str]:
    """Return the conditions for a status, one of which holds: a job's own may be called as one of Temporal's."""
    if status not in STATUSES:
        raise Refused(f"There is no status {status!r}: expected one of {', '.join(STATUSES)}")
    found = [f'ExecutionStatus = "{_BY_EXECUTION[status]}"'] if status in _BY_EXECUTION else []
    if attributes and status in OPEN_STATUSES and status != BatchStatus.RUNNING:
        # A terminated run keeps the status that it had.
        found.append(f'({BATCH_STATUS.name} = "{status}" AND ExecutionStatus = "Running")')
    return found


def _listed(info: WorkflowExecutionInfo, start: datetime, records: Sequence[SubmissionRecord]) -> ListedRun:
    shown = decode_typed_search_attributes(info.search_attributes)
    workflow_id = info.execution.workflow_id
    attached = attached_batch(workflow_id)
    return ListedRun(
        workflow_id=workflow_id,
        run_id=info.execution.run_id,
        status=RunStatus.of(info),
        started=start,
        closed=info.close_time.ToDatetime(tzinfo=UTC) if info.HasField("close_time") else None,
        # Where the search attribute is missing, the run's id or the store's records may have it.
        batch_id=shown.get(BATCH_ID) or (attached.batch_id if attached else None) or recorded_batch(records),
        batch_status=shown.get(BATCH_STATUS),
        outcome=shown.get(BATCH_OUTCOME),
        requests=shown.get(BATCH_REQUESTS),
        job=info.type.name == JOB_WORKFLOW_TYPE,
    )
