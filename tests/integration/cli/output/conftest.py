"""Command lines whose output is as wide on every machine: a longer name or queue would move the end of a line."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import CommandLine
from tests.harness.stack import Stack, running_stack
from tests.integration.cli.output.runs import in_environment, named


@pytest.fixture
def starter(starter: CommandLine) -> CommandLine:
    return named(starter)


@pytest.fixture
def alone(alone: CommandLine) -> CommandLine:
    return in_environment(named(alone), MESSAGE_BATCHES_TASK_QUEUE="nobody-polls")


@pytest.fixture
def patient(patient: CommandLine) -> CommandLine:
    return named(patient)


@pytest.fixture
async def own(forgetful: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    """As `pending`, on a server that has no runs but those of the test."""
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as emulator,
        running_stack(forgetful.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running
