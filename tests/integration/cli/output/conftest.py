"""Command lines whose output is as wide on every machine: a longer name or queue would move the end of a line."""

import pytest

from tests.harness.command_line import CommandLine
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
