"""A receiver of webhooks, and a worker that has it as a webhook."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from message_batches.emulator import Emulator
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import CommandLine, command_line
from tests.harness.receiver import Receiver, receiving, webhooks
from tests.harness.stack import Stack, running_stack


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
async def telling(temporal: DevServer, emulator: Emulator, receiver: Receiver, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker whose webhook `ops` leads to the receiver."""
    store = (tmp_path / "store").as_uri()
    made = webhooks({"ops": f"{receiver.url}/hooks"})
    async with running_stack(temporal.client, emulator, store, webhooks=made) as live:
        yield live


@pytest.fixture
def teller(temporal: DevServer, telling: Stack, tmp_path: Path) -> CommandLine:
    return command_line(tmp_path / "user", temporal, telling.store_url, telling.task_queue)


@pytest.fixture
def starter(temporal: DevServer, live: Stack, tmp_path: Path) -> CommandLine:
    return command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
