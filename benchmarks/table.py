"""The table that a run of the benchmarks prints."""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks.contender import Laps

HEADINGS = ("what", "ours", "compared with", "ratio", "goal", "met")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; `met` is None where no goal is set, or nothing could be compared."""

    what: str
    ours: str
    compared_with: str = "-"
    ratio: str = "-"
    goal: str = "-"
    met: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        met = {True: "yes", False: "no", None: "-"}[self.met]
        return (self.what, self.ours, self.compared_with, self.ratio, self.goal, met)


def time_row(what: str, ours: Laps, other: str, theirs: Laps | None, *, at_most: float | None = None) -> Row:
    """Compare our time with another's, which may not be installed; the goal is a ratio of the two."""
    if theirs is None:
        return Row(what=what, ours=f"{ours}", compared_with=f"{other}: not installed")
    ratio = ours.ratio(theirs)
    return Row(
        what=what,
        ours=f"{ours}",
        compared_with=f"{other}: {theirs}",
        ratio=f"{ratio:.2f}",
        goal=f"at most {at_most:g}" if at_most else "-",
        met=ratio <= at_most if at_most else None,
    )


def cpu_row(what: str, ours: Laps, other: str, theirs: Laps, *, at_most: float) -> Row:
    """Compare the CPU time of both, in seconds; the goal is of ours."""
    return Row(
        what=f"{what}: CPU",
        ours=f"{ours.cpu:.2f} s",
        compared_with=f"{other}: {theirs.cpu:.2f} s",
        ratio=f"{ours.cpu / theirs.cpu:.2f}",
        goal=f"at most {at_most:g} s",
        met=ours.cpu <= at_most,
    )


def memory_row(what: str, ours: Laps, *, at_most: int) -> Row:
    """Show the peak of our memory above idle, in any round."""
    return Row(
        what=f"{what}: memory above idle",
        ours=f"{ours.memory / 1e6:.0f} MB",
        goal=f"at most {at_most / 1e6:.0f} MB",
        met=ours.memory <= at_most,
    )


def render(rows: Iterable[Row]) -> str:
    """Format the rows as a Markdown table that is also readable on a terminal."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths))
    return "".join(f"{text} |\n" if number != 1 else f"{text}|\n" for number, text in enumerate(texts))


def machine() -> str:
    """Describe the day and the machine of the measurement."""
    system, python = platform.system(), platform.python_version()
    return f"{date.today().isoformat()}, {os.cpu_count()} cores, {_processor()}, {system}, Python {python}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
