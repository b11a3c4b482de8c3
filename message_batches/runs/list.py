"""The list of a namespace's runs, newest first, and which of them are asked for."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import WORKFLOW_TYPE
from message_batches.errors import StoreUnavailable
from message_batches.runs.control import Refused
from message_batches.runs.deduplication import attach_id_of
from message_batches.runs.describe import RunStatus, started
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import Ledger, Record
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
    "completed": "Completed",
    "landed": "Completed",
    "failed": "Failed",
    "canceled": "Canceled",
    "terminated": "Terminated",
    "timed-out": "TimedOut",
}

STATUSES = (*OPEN_STATUSES, *_BY_EXECUTION)
"""What can be asked for."""


@dataclass(frozen=True)
class Listed:
    """A run in the list.

    Attributes:
        status: Temporal's word.
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
    def standing(self) -> str:
        """Where it stands, in the most telling word there is."""
        ends = {RunStatus.COMPLETED: BatchStatus.LANDED, RunStatus.RUNNING: self.batch_status}
        word = (self.batch_status and ends.get(self.status)) or self.status.value
        return f"{word} ({self.outcome})" if self.outcome and self.outcome != word else word


async def newest(client: Client, store: Store, limit: int, statuses: Sequence[str] = ()) -> list[Listed]:
    """Runs of our workflow type, newest first; of these statuses, if any are named."""
    try:
        runs = [run async for run in client.list_workflows(_query(statuses), limit=limit)]
    except RPCError as error:
        ours = [status for status in statuses if status in OPEN_STATUSES]
        if not ours or error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        raise Refused(
            f"`--status {ours[0]}` needs the search attribute {BATCH_STATUS.name}, which namespace "
            f"{client.namespace!r} does not have: `starter.py setup` registers it, for runs that begin from then on"
        ) from error
    try:
        records = await Ledger(store).records_of({run.id for run in runs})
    except StoreUnavailable:
        # The list is Temporal's; the store only adds the batches to it.
        records = {}
    starts = await asyncio.gather(*(started(client, run) for run in runs))
    return [_listed(run, start, records.get(run.id, [])) for run, start in zip(runs, starts, strict=True)]


def _query(statuses: Sequence[str]) -> str:
    query = f'WorkflowType = "{WORKFLOW_TYPE}" AND ExecutionStatus != "ContinuedAsNew"'
    asked = [_condition(status) for status in statuses]
    return f"{query} AND ({' OR '.join(asked)})" if asked else query


def _condition(status: str) -> str:
    if status in _BY_EXECUTION:
        return f'ExecutionStatus = "{_BY_EXECUTION[status]}"'
    if status in OPEN_STATUSES:
        # What was terminated keeps the status that it had.
        return f'({BATCH_STATUS.name} = "{status}" AND ExecutionStatus = "Running")'
    raise Refused(f"`--status {status}`: there is no such status, but {', '.join(STATUSES)}")


def _listed(run: WorkflowExecution, start: datetime, records: Sequence[Record]) -> Listed:
    shown = run.typed_search_attributes
    return Listed(
        workflow_id=run.id,
        run_id=run.run_id,
        status=RunStatus(run.status.name.lower().replace("_", "-")) if run.status else RunStatus.UNKNOWN,
        started=start,
        closed=run.close_time,
        batch_id=shown.get(BATCH_ID) or _batch_of(run.id, records),
        batch_status=shown.get(BATCH_STATUS),
        outcome=shown.get(BATCH_OUTCOME),
        requests=shown.get(BATCH_REQUESTS),
    )


def _batch_of(workflow_id: str, records: Sequence[Record]) -> str | None:
    """A run's batch where its id or the store's records tell, without asking the run."""
    if workflow_id.startswith(attach_id_of("")):
        return workflow_id.removeprefix(attach_id_of(""))
    named = [record.outcome.batch_id for record in records if record.outcome and record.outcome.batch_id]
    return named[-1] if named else None
