"""The command line: `python -m benchmarks [NAME ...]` measures, and prints one table."""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from benchmarks import fleet, history, job, landing, merging, startup, submitting
from benchmarks.setting import Setting
from benchmarks.table import Row, machine, render

BENCHMARKS: dict[str, Callable[[Setting], Awaitable[list[Row]]]] = {
    "landing": landing.measure,
    "merging": merging.measure,
    "submitting": submitting.measure,
    "history": history.measure,
    "startup": startup.measure,
    "fleet": fleet.measure,
    "job": job.measure,
}


async def measured(names: list[str], rounds: int, scale: float) -> list[Row]:
    """Return the rows of the benchmarks of these names, run one after the other."""
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="message-batches-benchmark-") as folder:
            setting = Setting(folder=Path(folder), rounds=rounds, scale=scale)
            setting.say(name)
            rows += await BENCHMARKS[name](setting)
    return rows


def main() -> None:
    """Run the requested benchmarks, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all where none is given")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes, 0.01 for a quick check (%(default)s)")
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHMARKS):
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose from {', '.join(BENCHMARKS)}")
    rows = asyncio.run(measured(given.names or list(BENCHMARKS), given.rounds, given.scale))
    how = f"rounds: {given.rounds}, of which the median (least to most)"
    if given.scale != 1:
        how += f"; at {given.scale:g} of the sizes that the goals are for"
        rows = [replace(row, met=None) for row in rows]
    print(f"{machine()}; {how}\n\n{render(rows)}", end="")


if __name__ == "__main__":
    main()
