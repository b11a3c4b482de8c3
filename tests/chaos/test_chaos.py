"""Ten rounds, by the command that plays two hundred; and what it does when it is stopped, or finds something."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.chaos.drawing import round_of
from tests.chaos.plan import Act
from tests.processes import Running, bare_environment
from tests.waiting import until

ROUNDS, SEED = 10, 168
"""Rounds in which everything is done that can be done to a process."""
COMMAND = (sys.executable, "-m", "tests.chaos")


def environment(folder: Path) -> dict[str, str]:
    return {**bare_environment(folder), "TMPDIR": str(folder)}


async def begin(folder: Path, *arguments: str) -> Running:
    return await Running.start([*COMMAND, *arguments], folder / "log", environment=environment(folder))


def test_the_ten_rounds_do_all_that_can_be_done_to_a_process() -> None:
    harms = [harm for number in range(1, ROUNDS + 1) for harm in round_of(SEED, number).harms]

    assert {harm.act for harm in harms} == set(Act)


@pytest.mark.timeout(600)
async def test_ten_rounds_without_a_violation(tmp_path: Path) -> None:
    chaos = await begin(tmp_path, "--rounds", str(ROUNDS), "--seed", str(SEED))
    async with asyncio.timeout(600):
        status = await chaos.wait()

    assert status == 0, chaos.output
    assert chaos.output.count("\nround ") + chaos.output.startswith("round ") == ROUNDS
    assert "| violations | 0 |" in chaos.output
    assert os.listdir(tmp_path) == ["log"]


async def test_stopped_by_ctrl_c_it_leaves_no_process(tmp_path: Path) -> None:
    chaos = await begin(tmp_path, "--rounds", "10", "--seed", "3", "--at-once", "2")

    def workers() -> list[psutil.Process]:
        children = psutil.Process(chaos.pid).children(recursive=True)
        return [child for child in children if "worker.py" in child.cmdline()]

    await until(lambda: bool(workers()), "a worker of a round")
    started = psutil.Process(chaos.pid).children(recursive=True)
    chaos.send(signal.SIGINT)

    assert await chaos.wait() == 130
    assert [child for child in started if child.is_running()] == []
