"""Something that takes long, given up where its outcome is no longer wanted."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unless(given_up: asyncio.Event, beginning: Coroutine[Any, Any, T]) -> T | None:
    """What comes of it, or None where the event is set before: then it is cancelled."""
    tasks = begun, stopped = asyncio.create_task(beginning), asyncio.create_task(given_up.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return begun.result() if begun.done() else None
    finally:
        begun.cancel()
        stopped.cancel()
