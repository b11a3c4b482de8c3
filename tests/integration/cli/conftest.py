"""A command line for each test, on the session's server and the test's own worker, emulator and store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from message_batches.emulator import Emulator
from message_batches.temporal.dev_server import DevServer, dev_server
from tests.harness.command_line import CommandLine, command_line
from tests.harness.gateway import Gateway, gateway_to
from tests.harness.stack import Stack, running_stack


@pytest.fixture
def starter(temporal: DevServer, live: Stack, tmp_path: Path) -> CommandLine:
    return command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)


@pytest.fixture
def alone(temporal: DevServer, tmp_path: Path) -> CommandLine:
    """Without a worker on its queue."""
    return command_line(tmp_path / "user", temporal, (tmp_path / "store").as_uri(), f"nobody-polls-{tmp_path.name}")


@pytest.fixture
def patient(temporal: DevServer, pending: Stack, tmp_path: Path) -> CommandLine:
    return command_line(tmp_path / "user", temporal, pending.store_url, pending.task_queue)


@pytest.fixture(scope="module")
async def forgetful() -> AsyncIterator[DevServer]:
    """A server that no longer knows any run: what the end of the retention leaves of a history."""
    async with dev_server() as server:
        yield server


@pytest.fixture
async def gateway(emulator: Emulator) -> AsyncIterator[Gateway]:
    async with gateway_to(emulator.url) as running:
        yield running


@pytest.fixture
async def behind(
    temporal: DevServer, emulator: Emulator, gateway: Gateway, tmp_path: Path
) -> AsyncIterator[CommandLine]:
    """A command line whose worker calls the emulator through the gateway."""
    store = (tmp_path / "store").as_uri()
    async with running_stack(temporal.client, emulator, store, through=gateway.url) as live:
        yield command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
