"""The end of a call a little before Temporal's: what did not answer is told by its name."""

from asyncio import timeout
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity

from message_batches.errors import ReplyLost

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
