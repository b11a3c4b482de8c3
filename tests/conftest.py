"""A real Temporal server for the session; an emulator, a store and a worker for each test."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from message_batches.devserver import DevServer, dev_server
from message_batches.emulator import Emulator, EmulatorOptions
from tests.histories_hold_no_key import histories_with_a_key
from tests.rig import Rig, rig


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[DevServer]:
    async with dev_server() as server:
        yield server
        assert await histories_with_a_key(server.client) == []


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.3))) as running:
        yield running


@pytest.fixture
async def live(temporal: DevServer, emulator: Emulator, tmp_path: Path) -> AsyncIterator[Rig]:
    """A worker on its own task queue over an emulator and a store."""
    async with rig(temporal.client, emulator, (tmp_path / "store").as_uri()) as running:
        yield running
