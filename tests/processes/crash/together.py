"""Scenarios played at the same time: each mostly waits for a timeout, and is a test of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from message_batches.temporal.dev_server import DevServer
from tests.processes.crash.scene import Scene, scene

MOST_AT_ONCE = 8
"""A worker takes two seconds of CPU to start."""

Scenario = Callable[[Scene], Awaitable[None]]
Outcomes = dict[Scenario, asyncio.Task[None]]
Test = Callable[[Outcomes], Awaitable[None]]


def played_together(**options: Any) -> Callable[[Scenario], Test]:
    """Make a test of a scenario; `options` are those of its emulator."""

    def test_of(scenario: Scenario) -> Test:
        async def test(outcomes: Outcomes) -> None:
            await outcomes[scenario]

        test.__name__ = scenario.__name__
        test.__doc__ = scenario.__doc__
        # Marks below this one.
        vars(test)["pytestmark"] = getattr(scenario, "pytestmark", [])
        vars(test)["played"] = {"scenario": scenario, "options": options}
        return test

    return test_of


@asynccontextmanager
async def playing(items: list[pytest.Item], temporal: DevServer, folder: Path) -> AsyncIterator[Outcomes]:
    """Play the scenarios of the selected tests, in their order."""
    room = asyncio.Semaphore(MOST_AT_ONCE)

    async def play(scenario: Scenario, options: dict[str, Any]) -> None:
        place = folder / scenario.__name__
        async with room:
            place.mkdir()
            async with scene(temporal.client, temporal.address, place, **options) as made:
                await scenario(made)

    plays = [
        vars(item.obj)["played"] for item in items if isinstance(item, pytest.Function) and "played" in vars(item.obj)
    ]
    outcomes = {played["scenario"]: asyncio.create_task(play(**played)) for played in plays}
    try:
        yield outcomes
    finally:
        for outcome in outcomes.values():
            outcome.cancel()
        await asyncio.gather(*outcomes.values(), return_exceptions=True)
