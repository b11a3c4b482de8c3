"""Command lines whose output is as wide on every machine: a longer name or queue would move the end of a line."""

from dataclasses import replace

import pytest

from tests.harness.command_line import CommandLine


def named(starter: CommandLine) -> CommandLine:
    """The same command line, called `starter.py` in what it suggests."""
    return replace(starter, environment={**starter.environment, "MESSAGE_BATCHES_COMMAND": "starter.py"})


@pytest.fixture
def starter(starter: CommandLine) -> CommandLine:
    return named(starter)


@pytest.fixture
def alone(alone: CommandLine) -> CommandLine:
    made = named(alone)
    return replace(made, environment={**made.environment, "MESSAGE_BATCHES_TASK_QUEUE": "nobody-polls"})


@pytest.fixture
def patient(patient: CommandLine) -> CommandLine:
    return named(patient)
