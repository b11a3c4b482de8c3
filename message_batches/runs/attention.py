"""The runs that need an operator: those that do not move, undecided ones, batches near their end; the next step."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.client import Client
from temporalio.converter import decode_typed_search_attributes

from message_batches.contract import WORKFLOW_TYPE
from message_batches.errors import BatchNotFound
from message_batches.models import Phase
from message_batches.runs.describe import RunNotFound, RunView, describe_execution, describe_run
from message_batches.runs.list import list_executions
from message_batches.runs.obstacles import BAD_SEARCH_ATTRIBUTES, Cause, Obstacle, Queues, find_obstacles
from message_batches.temporal.search_attributes import (
    BATCH_STATUS,
    EXPIRY_WARNING,
    NEEDS_ATTENTION,
    BatchStatus,
    UsableAttributes,
)

MAX_LOOKED_AT = 5000
"""Open runs that are looked at for obstacles, newest first, besides those whose status needs an operator: more would
keep Temporal busy for minutes."""

NOT_FOUND_FOR = timedelta(minutes=10)
"""The time after which a batch that the API answers with a 404 needs attention: a real one may for a while."""

_DESCRIBED_AT_ONCE = 20


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


async def list_attention(client: Client) -> list[AttentionItem]:
    """List the runs that need an operator, newest first: those that do not move, undecided ones, expiring batches."""
    slots, queues = asyncio.Semaphore(_DESCRIBED_AT_ONCE), Queues(client)

    async def item(run: WorkflowExecutionInfo) -> AttentionItem | None:
        async with slots:
            with suppress(RunNotFound):  # It has ended since it was listed, and its history is gone.
                if await may_need_attention(client, run, queues):
                    return attention_item(await describe_run(client, run.execution.workflow_id), datetime.now(UTC))
        return None

    runs = await list_open(client, WORKFLOW_TYPE, MAX_LOOKED_AT)
    return [found for found in await asyncio.gather(*map(item, runs)) if found]


def open_query(workflow_type: str) -> str:
    """Return the query for all runs, or jobs, that have not ended, paused ones too."""
    return f'WorkflowType = "{workflow_type}" AND CloseTime IS NULL'


async def list_open(client: Client, workflow_type: str, most: int) -> list[WorkflowExecutionInfo]:
    """List the runs, or the jobs, that have not ended: each whose status needs an operator, and the newest of all."""
    queries: list[tuple[str, int | None]] = [(open_query(workflow_type), most)]
    if BATCH_STATUS.name in await UsableAttributes().names(client):
        statuses = ", ".join(f'"{status}"' for status in NEEDS_ATTENTION)
        queries.append((f"{open_query(workflow_type)} AND {BATCH_STATUS.name} IN ({statuses})", None))
    return list(
        {
            run.execution.workflow_id: run
            for query, limit in queries
            async for run in list_executions(client, query, limit)
        }.values()
    )


async def count_unseen(client: Client, query: str, most: int) -> int:
    """Return how many of the runs of a query are not among the newest, so many of which are looked at."""
    return max(0, (await client.count_workflows(query)).count - most)


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
        return AttentionItem(view, way_out(blocked[0]), blocked[0])
    if progress.phase is Phase.UNDECIDED:
        return AttentionItem(view, Decision.RESOLVE)
    if progress.phase is Phase.POLLING and progress.expires_at and progress.expires_at - now <= EXPIRY_WARNING:
        return AttentionItem(view, Decision.CANCEL, expires_in=progress.expires_at - now)
    missing = progress.not_found_since is not None and now - progress.not_found_since >= NOT_FOUND_FOR
    if progress.phase is Phase.POLLING and (progress.unknown_status or missing):
        return AttentionItem(view, Decision.WATCH)
    if grave:
        return AttentionItem(view, way_out(grave[0]), grave[0])
    if progress.phase is Phase.RETRIEVING and progress.waiting_for:
        return AttentionItem(view, Decision.WATCH)
    return None


def way_out(obstacle: Obstacle) -> Decision:
    """Return the next step for what is in the way of a run or a job."""
    match obstacle.cause:
        case Cause.WORKFLOW_TASK_FAILING if obstacle.failed_as == BAD_SEARCH_ATTRIBUTES:
            return Decision.REGISTER
        case Cause.WORKFLOW_TASK_FAILING | Cause.ACTIVITY_FAILING if obstacle.lacks_key:
            return Decision.START_WORKER
        case Cause.NO_WORKER | Cause.OTHER_BUILD:
            return Decision.START_WORKER
        case Cause.PAUSED:
            return Decision.UNPAUSE
        case _:
            return Decision.WATCH
