"""A command line and a worker for each test; the schedules that a test has left are removed."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from message_batches.schedules.control import delete_schedule
from message_batches.schedules.describe import ScheduleNotFound
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import CommandLine, command_line
from tests.harness.stack import Stack


@pytest.fixture
def starter(temporal: DevServer, live: Stack, tmp_path: Path) -> CommandLine:
    return command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)


@pytest.fixture
async def name(temporal: DevServer) -> AsyncIterator[str]:
    """The name of a schedule, which is gone after the test."""
    own = f"nightly-{uuid4().hex[:8]}"
    yield own
    with suppress(ScheduleNotFound):
        await delete_schedule(temporal.client, own)
