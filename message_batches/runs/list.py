"""Lists of a namespace's runs: the newest, those of some statuses, those that need an operator."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import WORKFLOW_TYPE, NextAction
from message_batches.errors import StoreUnavailable
from message_batches.models import EXPIRY_WARNING, Phase
from message_batches.runs.control import Refused
from message_batches.runs.deduplication import attached_batch, recorded_batch
from message_batches.runs.describe import RunNotFound, RunStatus, RunView, describe_run, start_of_chain
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecord, SubmissionRecords
from message_batches.temporal.search_attributes import (
    BATCH_ID,
    BATCH_OUTCOME,
    BATCH_REQUESTS,
    BATCH_STATUS,
    NEEDS_ATTENTION,
    OPEN_STATUSES,
    BatchStatus,
)

# Temporal's own, which every run has: also one that failed before its attributes could be set.
_BY_EXECUTION = {
    "running": "Running",
    "completed": "Completed",
    "landed": "Completed",
    "failed": "Failed",
    "canceled": "Canceled",
    "terminated": "Terminated",
    "timed-out": "TimedOut",
}

STATUSES = (*OPEN_STATUSES, *_BY_EXECUTION)
"""The statuses that a list can be limited to."""

_RUNNING = f'WorkflowType = "{WORKFLOW_TYPE}" AND ExecutionStatus = "Running"'

# A landing whose own retries are not used up is only retrieving; a run that began before the set-up has no status.
_MAY_NEED_ATTENTION = (*NEEDS_ATTENTION, BatchStatus.RETRIEVING)
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
    """See why the landing fails, or which status the batch has."""
    CANCEL = "cancel"
    """Stop the batch before it expires, and land the finished results."""


@dataclass(frozen=True)
class AttentionItem:
    """A run that needs an operator.

    Attributes:
        expires_in: the rest of the batch's lifetime, where that is the reason.
    """

    view: RunView
    decision: Decision
    expires_in: timedelta | None = None


async def list_runs(client: Client, store: Store, limit: int, statuses: Sequence[str] = ()) -> list[ListedRun]:
    """List runs of our workflow type, newest first; of these statuses, if any are named."""
    try:
        runs = [run async for run in client.list_workflows(_query(statuses), limit=limit)]
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
        records = await SubmissionRecords(store).records_of_workflows({run.id for run in runs})
    except StoreUnavailable:
        # The list is Temporal's; the store only adds the batches to it.
        records = {}
    starts = await asyncio.gather(*(start_of_chain(client, run) for run in runs))
    return [_listed(run, start, records.get(run.id, [])) for run, start in zip(runs, starts, strict=True)]


async def list_attention(client: Client, limit: int) -> list[AttentionItem]:
    """List undecided submissions, landings that keep failing, batches of an unknown status or near their end."""
    workflow_ids = await _attention_candidates(client, limit)
    slots = asyncio.Semaphore(_DESCRIBED_AT_ONCE)

    async def item(workflow_id: str) -> AttentionItem | None:
        async with slots:
            with suppress(RunNotFound):  # It has ended since it was listed, and its history is gone.
                return attention_item(await describe_run(client, workflow_id), datetime.now(UTC))
        return None

    return [found for found in await asyncio.gather(*map(item, workflow_ids)) if found]


def attention_item(view: RunView, now: datetime) -> AttentionItem | None:
    """Return why a run needs an operator, None if it does not."""
    progress = view.progress
    if not view.running or progress is None:
        return None
    match progress.phase:
        case Phase.UNDECIDED:
            return AttentionItem(view, Decision.RESOLVE)
        case Phase.RETRIEVING if progress.waiting_for or view.failing_activities:
            return AttentionItem(view, Decision.WATCH)
        case Phase.POLLING if progress.expires_at and progress.expires_at - now <= EXPIRY_WARNING:
            return AttentionItem(view, Decision.CANCEL, expires_in=progress.expires_at - now)
        case Phase.POLLING if progress.unknown_status:
            return AttentionItem(view, Decision.WATCH)
    return None


async def _attention_candidates(client: Client, limit: int) -> list[str]:
    """Return the runs to describe: by the search attribute; where the namespace has none, all that are running."""
    statuses = ", ".join(f'"{status}"' for status in _MAY_NEED_ATTENTION)
    name = BATCH_STATUS.name
    try:
        return await _ids(client, f"{_RUNNING} AND ({name} IN ({statuses}) OR {name} IS NULL)", limit)
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        return await _ids(client, _RUNNING, limit)


async def _ids(client: Client, query: str, limit: int) -> list[str]:
    return [run.id async for run in client.list_workflows(query, limit=limit)]


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


def _listed(run: WorkflowExecution, start: datetime, records: Sequence[SubmissionRecord]) -> ListedRun:
    shown = run.typed_search_attributes
    return ListedRun(
        workflow_id=run.id,
        run_id=run.run_id,
        status=RunStatus.of(run.status),
        started=start,
        closed=run.close_time,
        # Where the search attribute is missing, the run's id or the store's records may have it.
        batch_id=shown.get(BATCH_ID) or attached_batch(run.id) or recorded_batch(records),
        batch_status=shown.get(BATCH_STATUS),
        outcome=shown.get(BATCH_OUTCOME),
        requests=shown.get(BATCH_REQUESTS),
    )
