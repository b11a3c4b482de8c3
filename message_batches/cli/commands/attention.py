"""The runs that somebody should look at before it is too late: which, why, and the command that settles it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.console import Group, RenderableType
from rich.text import Text
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from message_batches.cli.context import Answer, Desk
from message_batches.cli.screen import called
from message_batches.cli.tables import attention
from message_batches.contract import WORKFLOW_TYPE
from message_batches.formatting import clock
from message_batches.models import EXPIRING, Phase, Progress
from message_batches.runs.describe import RunNotFound, RunView, look
from message_batches.temporal.search_attributes import BATCH_STATUS, NEEDS_ATTENTION, BatchStatus

_AT_ONCE = 20

_RUNNING = f'WorkflowType = "{WORKFLOW_TYPE}" AND ExecutionStatus = "Running"'

# A landing whose own retries are not used up is only retrieving; a run that began before the set-up has no status.
_ASKED = (*NEEDS_ATTENTION, BatchStatus.RETRIEVING)


@dataclass(frozen=True)
class Needing:
    """A run that needs attention.

    Attributes:
        why: a sentence or more.
        command: what settles it.
    """

    workflow_id: str
    batch_id: str | None
    why: str
    command: str


async def needing_attention(desk: Desk, limit: int) -> Answer:
    """Undecided submissions, landings that keep failing, batches near the end of their time."""
    found = await _needing(await desk.client(), limit)
    document = [
        {"workflowId": run.workflow_id, "batchId": run.batch_id, "why": run.why, "command": run.command}
        for run in found
    ]
    return Answer(document, _rows(found) if found else "No run needs attention")


async def _needing(client: Client, limit: int) -> list[Needing]:
    ids = await _candidates(client, limit)
    few = asyncio.Semaphore(_AT_ONCE)

    async def looked_at(workflow_id: str) -> Needing | None:
        async with few:
            with suppress(RunNotFound):  # It has ended, and its history is gone, since it was listed.
                return needs(await look(client, workflow_id), datetime.now(UTC))
        return None

    return [run for run in await asyncio.gather(*map(looked_at, ids)) if run]


async def _candidates(client: Client, limit: int) -> list[str]:
    """Those that may need it, by the search attribute; where the namespace has none, all that are under way."""
    asked = ", ".join(f'"{status}"' for status in _ASKED)
    status = BATCH_STATUS.name
    try:
        return await _ids(client, f"{_RUNNING} AND ({status} IN ({asked}) OR {status} IS NULL)", limit)
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        return await _ids(client, _RUNNING, limit)


async def _ids(client: Client, query: str, limit: int) -> list[str]:
    return [run.id async for run in client.list_workflows(query, limit=limit)]


def needs(view: RunView, now: datetime) -> Needing | None:
    """What a run needs, if it needs anything."""
    progress = view.progress
    if not view.running or progress is None:
        return None
    command = _command(view, progress, now)
    if command is None:
        return None
    left = progress.expires_at - now if progress.expires_at else timedelta()
    expiring = [f"The batch expires in {clock(left)}"] if progress.phase is Phase.POLLING else []
    return Needing(view.workflow_id, view.batch_id, ". ".join([*expiring, *attention(view, now)]), command)


def _command(view: RunView, progress: Progress, now: datetime) -> str | None:
    match progress.phase:
        case Phase.UNDECIDED:
            return f"{called()} resolve {view.workflow_id} --adopt MSGBATCH_ID | --submit-again"
        case Phase.RETRIEVING if progress.waiting_for or view.troubles:
            return f"{called()} watch {view.workflow_id}"
        case Phase.POLLING if progress.expires_at and progress.expires_at - now <= EXPIRING:
            return f"{called()} cancel {view.workflow_id}"
    return None


def _rows(found: Sequence[Needing]) -> RenderableType:
    lines = []
    for run in found:
        lines.append(Text.assemble((run.workflow_id, "bold"), f"  {run.batch_id}" if run.batch_id else ""))
        lines += [Text(f"  {run.why}", style="yellow"), Text(f"  {run.command}", no_wrap=True, overflow="ignore")]
    return Group(*lines)
