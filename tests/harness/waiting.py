"""Waiting by polling, for other processes and servers, which have no event to wait for."""

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

TIMEOUT = 90
"""Seconds, far above the duration of anything that is waited for, even on a busy machine."""


@overload
async def eventually(check: Callable[[], Awaitable[T | None]], what: str, *, within: float = TIMEOUT) -> T: ...


@overload
async def eventually(check: Callable[[], T | None], what: str, *, within: float = TIMEOUT) -> T: ...


async def eventually(check: Callable[[], Any], what: str, *, within: float = TIMEOUT) -> Any:
    """Look again and again, and return the first result that is true; an assertion says what did not happen."""
    try:
        async with asyncio.timeout(within):
            while True:
                seen = check()
                found = await seen if inspect.isawaitable(seen) else seen
                if found:
                    return found
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise AssertionError(f"not within {within} s: {what}") from error


async def last(items: AsyncIterable[T], on_each: Callable[[T], object] | None = None) -> T:
    """Return the last of the items, such as a run that is followed as it is at its end."""
    found: list[T] = []
    async for item in items:
        found[:] = [item]
        if on_each:
            on_each(item)
    return found[0]
