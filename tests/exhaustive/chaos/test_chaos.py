"""Twelve rounds, run by the command that plays two hundred; and its behaviour when it is stopped."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.exhaustive.chaos.plan import Act
from tests.exhaustive.chaos.plan_generator import round_of
from tests.exhaustive.chaos.round import strays
from tests.harness.processes import Running, bare_environment
from tests.harness.waiting import eventually

ROUNDS, SEED = 12, 5585
"""Twelve rounds that include every act, three of them with a job, and one of these with encryption."""
COMMAND = (sys.executable, "-m", "tests.exhaustive.chaos")


def environment(folder: Path) -> dict[str, str]:
    return {**bare_environment(folder), "TMPDIR": str(folder)}


@asynccontextmanager
async def chaos(folder: Path, *arguments: str) -> AsyncIterator[Running]:
    """Run the command; if it still runs at the end, terminate it."""
    running = await Running.start([*COMMAND, *arguments], folder / "log", environment=environment(folder))
    try:
        yield running
    finally:
        if running.exit_code is None:
            await running.terminate()


def test_the_twelve_rounds_include_every_act_and_encryption() -> None:
    rounds = [round_of(SEED, number) for number in range(1, ROUNDS + 1)]

    assert {harm.act for each in rounds for harm in each.harms} == set(Act)
    assert any(each.encrypted for each in rounds)


@pytest.mark.timeout(600)
async def test_twelve_rounds_without_a_violation(tmp_path: Path) -> None:
    async with chaos(tmp_path, "--rounds", str(ROUNDS), "--seed", str(SEED)) as rounds, asyncio.timeout(540):
        status = await rounds.wait()

    assert status == 0, rounds.output
    assert f"\n{rounds.output}".count("\nround ") == ROUNDS
    assert "| violations | 0 |" in rounds.output
    assert os.listdir(tmp_path) == ["log"]


async def test_after_ctrl_c_no_process_remains(tmp_path: Path) -> None:
    async with chaos(tmp_path, "--rounds", "10", "--seed", "3", "--at-once", "2") as rounds:

        def workers() -> list[psutil.Process]:
            children = psutil.Process(rounds.pid).children(recursive=True)
            return [child for child in children if "worker.py" in child.cmdline()]

        await eventually(lambda: bool(workers()), "a worker of a round")
        started = psutil.Process(rounds.pid).children(recursive=True)
        rounds.send(signal.SIGINT)
        status = await rounds.wait()

    assert status == 130
    assert [child for child in started if child.is_running()] == []


async def test_a_remaining_process_is_detected_and_attributed_to_its_round(tmp_path: Path) -> None:
    mine, other = tmp_path / "round-1", tmp_path / "round-10"
    stray = await Running.start(["sleep", "60"], tmp_path / "log", environment=bare_environment(other / "home"))

    found = strays(mine), strays(other)
    await stray.kill()

    assert found == ([], [f"{stray.pid}: sleep 60"])
    assert strays(other) == []
