"""The benchmarks run, tiny, so that they do not rot; nothing here looks at how long anything takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contender import Lap, Laps
from benchmarks.table import Row, memory_row, render, time_row

ROOT = Path(__file__).parent.parent


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


def test_who_is_not_installed_is_said_and_not_compared_with() -> None:
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


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("landing", ["| land 100 re", "memory above idle"]),
        ("submitting", ["| submit 100 re", "memory above idle"]),
        ("history", ["| one poll, in the history", "| 11 events, "]),
        ("startup", ["| starter.py --help ", "| starter.py start "]),
        ("fleet", ["live batches: lateness of a poll", "and replaced", "; 0 lost"]),
    ],
)
def test_a_benchmark_runs_and_prints_its_rows(name: str, rows: list[str]) -> None:
    tiny = [sys.executable, "-m", "benchmarks", name, "--rounds", "1", "--scale", "0.001"]
    output = subprocess.run(tiny, cwd=ROOT, check=True, capture_output=True, text=True, timeout=250).stdout

    assert [row for row in rows if row not in output] == []
