"""A limit of API calls a minute for all workers of a task queue: each has a share, by how many there are."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client

from message_batches.api.pace import MINUTE, CallPace
from message_batches.temporal.task_queues import count_workers

COUNT_INTERVAL = 10.0
"""Seconds between two counts of the workers."""

CALLS_SHARE, LANDINGS_SHARE = 0.6, 0.15
"""Of the limit: what the server hands out of the queue of calls, and of that of each server's landings.

What is more waits in the queue, not in a worker. What is left is the least that polls have."""

_UNTIL_COUNTED = COUNT_INTERVAL * 1.2

_logger = logging.getLogger(__name__)


def dispatch_rate(calls_per_minute: int | None, share: float) -> float | None:
    """Return the activities a second that the server may hand out of a queue; None without a limit."""
    return calls_per_minute * share / MINUTE if calls_per_minute else None


@asynccontextmanager
async def sharing(pace: CallPace, client: Client, task_queue: str) -> AsyncIterator[None]:
    """Share the limit of a pace with the other workers of a queue, as they come and go; to be entered before polling.

    Until all that start together have counted each other, none makes a call. One that has died counts until its last
    poll is old.
    """
    pace.hold(_UNTIL_COUNTED)
    counting = asyncio.create_task(_keep_counting(pace, client, task_queue))
    try:
        yield
    finally:
        counting.cancel()


async def _keep_counting(pace: CallPace, client: Client, task_queue: str) -> None:
    counted = False
    while True:
        await asyncio.sleep(COUNT_INTERVAL)
        try:
            pace.workers = max(1, await count_workers(client, task_queue))
            counted = True
        except Exception as error:
            if not counted:
                pace.hold(_UNTIL_COUNTED)
            _logger.warning("The workers that share the limit cannot be counted now: %s", error)
