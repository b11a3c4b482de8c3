"""The jobs that need an operator: those that are paused, do not move, or have shards without results."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio.client import Client

from message_batches.contract import JOB_WORKFLOW_TYPE
from message_batches.job_models import FailedShard
from message_batches.jobs.describe import JobView, describe_job
from message_batches.runs.attention import count_unseen, list_open, open_query
from message_batches.runs.describe import RunNotFound
from message_batches.runs.forgotten import RESULTS_KEPT
from message_batches.runs.list import list_executions
from message_batches.runs.obstacles import Obstacle
from message_batches.storage.interface import Store
from message_batches.temporal.search_attributes import BATCH_OUTCOME, BatchOutcome, UsableAttributes

MAX_LOOKED_AT = 500
"""Jobs that are looked at, the newest of those under way and of those that have ended; paused ones in any case."""

_AT_ONCE = 10


@dataclass(frozen=True)
class JobAttention:
    """A job that needs an operator.

    Attributes:
        obstacle: what is in its way; None where it is paused, or has shards without results.
    """

    view: JobView
    obstacle: Obstacle | None = None

    @property
    def failed_shards(self) -> tuple[FailedShard, ...]:
        """The first of its shards without results."""
        seen = self.view.output or self.view.progress
        return seen.failed_shards if seen else ()


@dataclass(frozen=True)
class JobsNeedingAttention:
    """The jobs that need an operator.

    Attributes:
        unseen: how many older ones were not looked at.
    """

    found: tuple[JobAttention, ...]
    unseen: int = 0


async def list_job_attention(client: Client, store: Store) -> JobsNeedingAttention:
    """List the jobs that are paused, do not move, or have shards without results; ended ones for 29 days."""
    ended = await _ended_query(client)
    ids = {run.execution.workflow_id: None for run in await list_open(client, JOB_WORKFLOW_TYPE, MAX_LOOKED_AT)}
    ids |= {run.execution.workflow_id: None async for run in list_executions(client, ended, MAX_LOOKED_AT)}
    unseen = [await count_unseen(client, query, MAX_LOOKED_AT) for query in (open_query(JOB_WORKFLOW_TYPE), ended)]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def item(workflow_id: str) -> JobAttention | None:
        async with slots:
            try:
                return _attention(await describe_job(client, store, workflow_id))
            except RunNotFound:  # It has ended since it was listed, and its history is gone.
                return None

    found = await asyncio.gather(*map(item, ids))
    return JobsNeedingAttention(tuple(filter(None, found)), sum(unseen))


async def _ended_query(client: Client) -> str:
    """Return the query for the jobs that may have ended with shards without results: not with a reply for each."""
    since = (datetime.now(UTC) - RESULTS_KEPT).isoformat()
    query = f'WorkflowType = "{JOB_WORKFLOW_TYPE}" AND ExecutionStatus = "Completed" AND CloseTime > "{since}"'
    if BATCH_OUTCOME.name not in await UsableAttributes().names(client):
        return query
    outcomes = ", ".join(f'"{outcome}"' for outcome in BatchOutcome if outcome is not BatchOutcome.SUCCEEDED)
    # One that was planned before the set-up has none.
    return f"{query} AND ({BATCH_OUTCOME.name} IN ({outcomes}) OR {BATCH_OUTCOME.name} IS NULL)"


def _attention(view: JobView) -> JobAttention | None:
    obstacle = next((each for each in view.obstacles if each.needs_attention), None)
    found = JobAttention(view, obstacle)
    paused = view.running and view.progress is not None and view.progress.paused is not None
    ended_otherwise = not view.running and view.output is None
    return found if obstacle or paused or (found.failed_shards and not ended_otherwise) else None
