"""A contender: a function run in a fresh process, timed there, with its memory above idle (tiny ones in this process).

It is a function of a `Meter` and strings: it sets itself up, and does within `with meter:` what is measured.
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
    """What one go of a contender took: wall clock and CPU seconds, and bytes of memory at most above idle."""

    seconds: float
    cpu: float = 0.0
    memory: int = 0


Go = Callable[[], Awaitable[Lap]]


class Meter:
    """Measures what happens within it, once."""

    lap: Lap

    def __enter__(self) -> None:
        gc.collect()
        # Has Linux take the peak from here on.
        Path("/proc/self/clear_refs").write_text("5")
        self._idle = _peak()
        self._cpu = time.process_time()
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self._start
        self.lap = Lap(seconds, time.process_time() - self._cpu, _peak() - self._idle)


async def run(setting: Setting, function: Callable[..., Any], *arguments: str) -> Lap:
    """One go of a function of a module, in a process of its own unless it is tiny."""
    if setting.tiny:
        return await _lap(function, *arguments)
    name = f"{function.__module__}:{function.__name__}"
    return Lap(**json.loads(await output_of(sys.executable, "-m", "benchmarks.contender", name, *arguments)))


async def curl(url: str, headers: Mapping[str, str], *arguments: str) -> Lap:
    """One go of curl, timed by itself."""
    written = '{"seconds": %{time_total}}'
    named = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    command = ("curl", "--silent", "--show-error", "--fail", "--write-out", written, *named, *arguments, url)
    return Lap(**json.loads(await output_of(*command)))


async def race(
    setting: Setting, contenders: Mapping[str, Go], tidy: Callable[[], None] = lambda: None
) -> dict[str, "Laps"]:
    """Every contender in turn, round by round, so that what else the machine does meets all of them.

    Args:
        setting: says how many rounds.
        contenders: by name.
        tidy: called after each, to remove what it wrote: overwriting that would cost the next one time.
    """
    laps: dict[str, list[Lap]] = {name: [] for name in contenders}
    for number in range(1, setting.rounds + 1):
        for name, go in contenders.items():
            if not setting.tiny:
                # What the one before has left to be written to disk is not this one's to wait for.
                os.sync()
            lap = await go()
            tidy()
            laps[name].append(lap)
            setting.say(f"{name}, round {number}: {lap.seconds:.2f} s, of CPU {lap.cpu:.2f} s")
    return {name: Laps(taken) for name, taken in laps.items()}


class Laps:
    """All goes of one contender."""

    def __init__(self, laps: Sequence[Lap]) -> None:
        self._seconds = [lap.seconds for lap in laps]
        self.memory = max(lap.memory for lap in laps)

    def __str__(self) -> str:
        low, middle, high = min(self._seconds), self.median, max(self._seconds)
        return f"{middle:.2f} s ({low:.2f} to {high:.2f})" if len(self._seconds) > 1 else f"{middle:.2f} s"

    @property
    def median(self) -> float:
        """In seconds."""
        return statistics.median(self._seconds)

    def ratio(self, other: "Laps") -> float:
        """Our time by theirs: the median over the rounds, as what is noisy was noisy for both of a round."""
        return statistics.median(a / b for a, b in zip(self._seconds, other._seconds, strict=False))


async def output_of(*command: str, environment: Mapping[str, str] | None = None) -> bytes:
    """What a command prints; an error if it fails."""
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
    """Run the function that is named, and print its lap."""
    module, _, name = sys.argv[1].partition(":")
    lap = asyncio.run(_lap(getattr(importlib.import_module(module), name), *sys.argv[2:]))
    print(json.dumps(asdict(lap)))


if __name__ == "__main__":
    main()
