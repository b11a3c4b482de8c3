"""Heartbeats and deadlines of activities: a lost worker, or a silent API, is noticed long before Temporal's timeout."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from temporalio import activity

from message_batches.errors import ReplyLost

CALL_SHARE = 0.9
"""Share of the activity's time that the call may take: the rest is for reporting its outcome."""


@asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Heartbeat in the background, four times within the activity's heartbeat timeout."""
    timeout = activity.info().heartbeat_timeout
    if not timeout:
        yield
        return
    beating = asyncio.create_task(_beat(timeout.total_seconds() / 4))
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


@asynccontextmanager
async def reply_deadline() -> AsyncIterator[None]:
    """Raise `ReplyLost` before Temporal ends the activity, whose own timeout would not name the API."""
    limit = activity.info().start_to_close_timeout
    seconds = limit.total_seconds() * CALL_SHARE if limit else None
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ReplyLost(f"The API did not answer within {seconds:g} s") from error


async def _beat(interval: float) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(interval)
