"""The benchmarks at tiny sizes, to check that they work; no duration matters."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks import fleet, history, job, landing, merging, submitting
from benchmarks.contender import Lap, Laps, Meter, run
from benchmarks.setting import Setting
from benchmarks.table import Row, memory_row, render, time_row
from tests.harness.project import ROOT


def laps(*seconds: float) -> Laps:
    return Laps([Lap(taken, memory=1_000_000) for taken in seconds])


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_noise_between_them() -> None:
    row = time_row("land", laps(2, 20, 3), "httpx", laps(1, 10, 2), at_most=1.5)

    assert (row.ours, row.compared_with, row.ratio) == (
        "3.00 s (2.00 to 20.00)",
        "httpx: 2.00 s (1.00 to 10.00)",
        "2.00",
    )
    assert row.met is False


def test_a_contender_that_is_not_installed_is_reported_and_not_compared() -> None:
    row = time_row("land", laps(2), "curl -o", None, at_most=1.5)

    assert (row.compared_with, row.ratio, row.met) == ("curl -o: not installed", "-", None)


def test_the_table_is_markdown_with_its_columns_in_line() -> None:
    table = render([memory_row("land", laps(1), at_most=2_000_000), Row(what="start", ours="1 s")])

    head, rule, memory, start = table.splitlines()
    assert len({len(head), len(rule), len(memory), len(start)}) == 1
    assert [cell.strip() for cell in memory.strip("|").split("|")] == [
        "land: memory above idle",
        "1 MB",
        "-",
        "-",
        "at most 2 MB",
        "yes",
    ]


def test_a_run_of_all_sizes_shows_whether_goals_are_met_and_a_smaller_one_does_not(tmp_path: Path) -> None:
    assert not setting(tmp_path, scale=1).tiny
    assert setting(tmp_path, scale=0.001).sized(100_000) == 100
    assert setting(tmp_path, scale=0.001).sized(210, least=20) == 20


def setting(folder: Path, *, scale: float) -> Setting:
    return Setting(folder=folder, rounds=1, scale=scale)


def spin(meter: Meter, megabytes: str) -> None:
    with meter:
        assert len(bytearray(int(megabytes) * 1_000_000)) > 0


@pytest.mark.slow
async def test_a_contender_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    lap = await run(setting(tmp_path, scale=1), spin, "50")

    assert lap.seconds > 0
    assert 40_000_000 < lap.memory < 100_000_000


@pytest.mark.parametrize(
    ("measure", "rows"),
    [
        pytest.param(
            landing.measure,
            ["| land 100 re", "official client", ": CPU", "memory above idle", "from a server that only sends"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            submitting.measure,
            ["| submit 100 re", "memory above idle", "to a server that only reads"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            history.measure,
            ["| one poll, in the history", "| 11 events, ", "20 polls in 1 runs"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            fleet.measure, ["| 1 live batches: lateness of a poll", "of a core, and memory"], marks=pytest.mark.slow
        ),
        pytest.param(merging.measure, ["| merge 1,000 results, ", "memory above idle"], marks=pytest.mark.slow),
        pytest.param(
            job.measure,
            ["| job of 100 requests in 10 shards ", "| job of 1,000 requests in 10 shards: memory"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["landing", "submitting", "history", "fleet", "merging", "job"],
)
async def test_a_tiny_benchmark_runs_and_returns_its_rows(
    tmp_path: Path, measure: Callable[[Setting], Awaitable[list[Row]]], rows: list[str]
) -> None:
    table = render(await measure(setting(tmp_path, scale=0.001)))

    assert [row for row in rows if row not in table] == []


def printed(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks", *arguments, "--rounds", "1"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=250).stdout


@pytest.mark.slow
def test_the_command_line_prints_the_table_without_goals_for_smaller_sizes() -> None:
    table = printed("startup", "--scale", "0.001")

    assert "rounds: 1, of which the median (least to most); at 0.001 of the sizes that the goals are for" in table
    assert "| starter.py --help " in table
    assert "| starter.py start " in table
    assert " yes |" not in table


@pytest.mark.slow
def test_a_small_benchmark_runs_completely() -> None:
    """Contenders run in processes of their own, as do a chain of runs, every size of a fleet, and a killed worker."""
    table = printed("landing", "submitting", "history", "fleet", "--scale", "0.01")

    rows = [
        "| land 1,000 re",
        "| submit 1,000 re",
        "| 11 events, ",
        "| 30 live batches: lateness",
        "and replaced",
        "; 0 lost",
    ]
    assert [row for row in rows if row not in table] == []
