from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from tests.harness.emulated_api import http, official, official_package

Start = Callable[..., Awaitable[Emulator]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start an emulator with the options of the test."""
    async with AsyncExitStack() as stack:

        async def start_one(**options: Any) -> Emulator:
            return await stack.enter_async_context(Emulator(EmulatorOptions(**options)))

        yield start_one


@pytest.fixture
async def emulator(start: Start) -> Emulator:
    """Start an emulator whose batches end at once."""
    return await start(processing_time=timedelta())


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    async with http(emulator) as running:
        yield running


@pytest.fixture
def anthropic() -> Any:
    return official_package()


@pytest.fixture
async def sdk(emulator: Emulator) -> AsyncIterator[Any]:
    async with official(emulator) as running:
        yield running
