"""Heartbeats while an activity works, so that a lost worker is noticed long before its timeout."""

import asyncio
from asyncio import timeout
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from temporalio import activity

from message_batches.errors import ReplyLost


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Heartbeat in the background, four times within the activity's heartbeat timeout."""
    timeout = activity.info().heartbeat_timeout
    if not timeout:
        yield
        return
    beats = asyncio.create_task(_beat(timeout.total_seconds() / 4))
    try:
        yield
    finally:
        beats.cancel()
        with suppress(asyncio.CancelledError):
            await beats


async def _beat(interval: float) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(interval)


SHARE = 0.9
"""Of the activity's time, for the call: the rest is for telling how it went."""


@asynccontextmanager
async def answered_in_time() -> AsyncIterator[None]:
    """Raise `ReplyLost` before Temporal ends the activity, whose timeout would not say of what."""
    limit = activity.info().start_to_close_timeout
    seconds = limit.total_seconds() * SHARE if limit else None
    try:
        async with timeout(seconds):
            yield
    except TimeoutError as error:
        raise ReplyLost(f"The API did not answer within {seconds:g} s") from error
