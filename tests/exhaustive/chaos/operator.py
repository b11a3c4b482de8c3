"""An operator on call, who decides undecided runs by the replies in the batches' results, after a while."""

import asyncio
import json
import re
import time

import httpx
from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateFailedError
from temporalio.service import RPCError

from message_batches.contract import PROGRESS, RESOLVE_SUBMISSION
from message_batches.models import Phase, Progress, Resolution
from tests.exhaustive.chaos.callers import Handle
from tests.exhaustive.chaos.plan import QUIET
from tests.exhaustive.chaos.world import World

UNDECIDED_FOR = 2 * QUIET + 5
"""Seconds for which a run must have been undecided without a change: longer than any batch is invisible."""
_PROMPT = re.compile(r'"([a-z])-\d{4}:')


async def decide(world: World, name: str, handle: Handle) -> None:
    """Watch a run to its end; if it is undecided, adopt its batch, or have the requests submitted again."""
    since: float | None = None
    while True:
        await asyncio.sleep(1)
        try:
            progress: Progress = await handle.query(PROGRESS, result_type=Progress)
            stuck = progress.phase is Phase.UNDECIDED and all(each.ended for each in progress.candidates)
            since = (since or time.monotonic()) if stuck and progress.candidates else None
            if since and time.monotonic() - since >= UNDECIDED_FOR:
                owners = {each.batch_id: await owner(world, each.batch_id) for each in progress.candidates}
                mine = [batch_id for batch_id, whose in owners.items() if whose == name]
                resolution = Resolution(adopt=mine[0]) if mine else Resolution(submit_again=True)
                await handle.execute_update(RESOLVE_SUBMISSION, resolution)
                world.decided.append(f"{name}: {resolution.adopt or 'submit again'}")
        except (RPCError, WorkflowQueryFailedError, WorkflowUpdateFailedError, httpx.HTTPError):
            # No worker, no server, or no longer undecided: the next query shows which.
            continue


async def owner(world: World, batch_id: str) -> str | None:
    """Return the run whose prompts a batch answers; None while its results are not available."""
    reply = await world.api.get(f"/v1/messages/batches/{batch_id}/results", headers={"anthropic-version": "2023-06-01"})
    if not reply.is_success:
        return None
    texts = [
        block.get("text", "") for block in json.loads(reply.content.split(b"\n")[0])["result"]["message"]["content"]
    ]
    found = _PROMPT.search("".join(texts))
    return found[1] if found else None
