"""Waiting for what can only be seen by looking."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

PATIENCE = 90
"""Seconds: a bound for what never happens, far above what anything takes on a busy machine."""


async def until(holds: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Look again and again; an assertion says what did not happen."""
    try:
        async with asyncio.timeout(PATIENCE):
            # What happens in other processes has no event to wait for.
            while not await _held(holds):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise AssertionError(f"not within {PATIENCE} s: {what}") from error


async def _held(holds: Callable[[], bool | Awaitable[bool]]) -> bool:
    result = holds()
    return await result if inspect.isawaitable(result) else result
