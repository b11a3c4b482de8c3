"""The output of the commands that decide about a run: in every scene, as `tests/golden` has it."""

from pathlib import Path

import pytest

from tests.harness.command_line import CommandLine
from tests.harness.golden import Scenes, assert_golden
from tests.harness.requests import fresh
from tests.harness.stack import Stack
from tests.integration.cli.output.runs import failed, file_of, in_both_forms, polling, terminate, undecided


@pytest.mark.slow
async def test_cancel(patient: CommandLine, alone: CommandLine, pending: Stack, tmp_path: Path) -> None:
    stopped, abandoned = [[await polling(patient, pending) for _ in range(2)] for _ in range(2)]
    over = await failed(patient, pending)
    waits = (await alone("start", file_of(alone, fresh()), "--json")).json["workflowId"]

    scenes: Scenes = {
        "cancelled": [await patient("cancel", stopped[0], "--json"), await patient("cancel", stopped[1])],
        "abandoned": [
            await patient("cancel", abandoned[0], "--abandon", "--json"),
            await patient("cancel", abandoned[1], "--abandon"),
        ],
        "unknown": await in_both_forms(patient, "cancel", "no-such-run"),
        "over": await patient("cancel", over),
        "without a worker": await alone("cancel", waits),
    }

    assert_golden("cancel", scenes, tmp_path)
    await terminate(pending, *stopped, waits)


@pytest.mark.slow
async def test_resolve(patient: CommandLine, pending: Stack, tmp_path: Path) -> None:
    runs = [await undecided(patient, pending) for _ in range(4)]
    batches = [batch.id for batch in pending.emulator.batches]

    scenes: Scenes = {
        "adopted": [
            await patient("resolve", runs[0], "--adopt", batches[0], "--json"),
            await patient("resolve", runs[1], "--adopt", batches[1]),
        ],
        "submitted again": [
            await patient("resolve", runs[2], "--submit-again", "--json"),
            await patient("resolve", runs[3], "--submit-again"),
        ],
        "not undecided": await in_both_forms(patient, "resolve", runs[0], "--submit-again"),
        "no decision": await patient("resolve", runs[0]),
        "no batch id": await patient("resolve", runs[0], "--adopt", "y"),
    }

    assert_golden("resolve", scenes, tmp_path)
    await terminate(pending, *runs)
