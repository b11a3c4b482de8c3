"""A contender: a function run in a fresh process, timed there, with its memory above idle (tiny ones in this process).

A contender takes a `Meter` and strings: it sets itself up, and does the measured work within `with meter:`.
"""

import asyncio
import gc
import importlib
import inspect
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.setting import Setting

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Lap:
    """One execution of a contender: wall clock and CPU seconds, and the peak of memory above idle in bytes."""

    seconds: float
    cpu: float = 0.0
    memory: int = 0


Go = Callable[[], Awaitable[Lap]]


class Meter:
    """A measurement of the block that it is entered for, once."""

    lap: Lap

    def __enter__(self) -> None:
        gc.collect()
        # Linux measures the peak from here on.
        Path("/proc/self/clear_refs").write_text("5")
        self._idle = _peak()
        self._cpu = time.process_time()
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self._start
        self.lap = Lap(seconds, time.process_time() - self._cpu, _peak() - self._idle)


async def run(setting: Setting, function: Callable[..., Any], *arguments: str) -> Lap:
    """Execute a function of a module once, in a process of its own unless it is tiny."""
    if setting.tiny:
        return await _lap(function, *arguments)
    name = f"{function.__module__}:{function.__name__}"
    return Lap(**json.loads(await output_of(sys.executable, "-m", "benchmarks.contender", name, *arguments)))


async def curl(url: str, headers: Mapping[str, str], *arguments: str) -> Lap:
    """Execute curl once; it times itself."""
    written = '{"seconds": %{time_total}}'
    named = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    command = ("curl", "--silent", "--show-error", "--fail", "--write-out", written, *named, *arguments, url)
    return Lap(**json.loads(await output_of(*command)))


async def race(
    setting: Setting, contenders: Mapping[str, Go], tidy: Callable[[], None] = lambda: None
) -> dict[str, "Laps"]:
    """Execute every contender in turn, round by round, so that other load on the machine affects all of them.

    Args:
        setting: has the number of rounds.
        contenders: by name.
        tidy: called after each, to remove its files: overwriting them would cost the next one time.
    """
    laps: dict[str, list[Lap]] = {name: [] for name in contenders}
    for number in range(1, setting.rounds + 1):
        for name, go in contenders.items():
            if not setting.tiny:
                # The next one must not wait for data of this one that is still being written to disk.
                os.sync()
            lap = await go()
            tidy()
            laps[name].append(lap)
            setting.say(f"{name}, round {number}: {lap.seconds:.2f} s, of CPU {lap.cpu:.2f} s")
    return {name: Laps(taken) for name, taken in laps.items()}


class Laps:
    """All executions of one contender."""

    def __init__(self, laps: Sequence[Lap]) -> None:
        self._seconds = [lap.seconds for lap in laps]
        self.cpu = statistics.median(lap.cpu for lap in laps)
        self.memory = max(lap.memory for lap in laps)

    def __str__(self) -> str:
        low, middle, high = min(self._seconds), self.median, max(self._seconds)
        return f"{middle:.2f} s ({low:.2f} to {high:.2f})" if len(self._seconds) > 1 else f"{middle:.2f} s"

    @property
    def median(self) -> float:
        """Return the median in seconds."""
        return statistics.median(self._seconds)

    def ratio(self, other: "Laps") -> float:
        """Return the median over the rounds of our time divided by theirs: noise in a round affects both."""
        return statistics.median(a / b for a, b in zip(self._seconds, other._seconds, strict=False))


async def output_of(*command: str, environment: Mapping[str, str] | None = None) -> bytes:
    """Return the output of a command; an error if it fails."""
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode} from {' '.join(command)}")
    return output


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


async def _lap(function: Callable[..., Any], *arguments: str) -> Lap:
    meter = Meter()
    result = function(meter, *arguments)
    if inspect.isawaitable(result):
        await result
    return meter.lap


def main() -> None:
    """Run the named function, and print its lap."""
    module, _, name = sys.argv[1].partition(":")
    lap = asyncio.run(_lap(getattr(importlib.import_module(module), name), *sys.argv[2:]))
    print(json.dumps(asdict(lap)))


if __name__ == "__main__":
    main()
