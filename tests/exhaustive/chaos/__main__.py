"""The command line: `python -m tests.exhaustive.chaos` plays rounds, and exits with 1 if an invariant was violated."""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from tests.exhaustive.chaos.invariants import violations
from tests.exhaustive.chaos.plan import Round
from tests.exhaustive.chaos.plan_generator import JOB_EVERY, round_of
from tests.exhaustive.chaos.report import Result, SeriesResults, indented, replay
from tests.exhaustive.chaos.round import play

AT_ONCE = 2 * (os.cpu_count() or 1)
"""Rounds at a time: they mostly wait for timeouts."""


async def played(plan: Round, folder: Path) -> Result:
    """Play a round, and return it with the violated invariants."""
    began = time.monotonic()
    try:
        evidence = await play(plan, folder)
        found = violations(evidence)
    except Exception as error:
        (folder / "error.txt").write_text("".join(traceback.format_exception(error)))
        evidence, found = None, [f"the round could not be played: {error!r:.300}"]
    return Result(plan, time.monotonic() - began, found, evidence)


async def chaos(plans: Iterator[Round], root: Path, *, at_once: int, keep: bool) -> SeriesResults:
    """Play rounds, some of them concurrently; remove the files of those without violations unless `keep` is set."""
    series = SeriesResults()

    async def some() -> None:
        for plan in plans:
            folder = root / f"seed-{plan.seed}-round-{plan.number}"
            folder.mkdir()
            result = await played(plan, folder)
            series.results.append(result)
            print(result, flush=True)
            if result.violations:
                (folder / "violations.json").write_text(json.dumps(result.violations, indent=1))
                print(indented((*result.violations, f"see {folder}", f"again: {replay(plan)}")), flush=True)
            elif not keep:
                shutil.rmtree(folder)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())
    return series


async def until_stopped(plans: Iterator[Round], root: Path, *, at_once: int, keep: bool) -> SeriesResults | None:
    """Play rounds to their end; return None after SIGINT or SIGTERM, once all their processes have ended."""
    playing = asyncio.create_task(chaos(plans, root, at_once=at_once, keep=keep))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    with suppress(asyncio.CancelledError):
        return await playing
    return None


def main() -> int:
    """Play the requested rounds, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.exhaustive.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how many (%(default)s); 200 cover every pair of faults")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same rounds (%(default)s)")
    parser.add_argument("--round", type=int, help="this one alone, to replay it")
    parser.add_argument("--jobs", action="store_true", help="only rounds that have a job, so many of them")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="rounds played at the same time (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="the folders of all rounds, not only of those that failed")
    given = parser.parse_args()
    step = JOB_EVERY if given.jobs else 1
    numbers = [given.round] if given.round else range(step, step * given.rounds + 1, step)
    # The client of this process would log each restart of Temporal.
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(TelemetryFilter("ERROR", "ERROR")))))
    keep = given.keep or given.round is not None
    root = Path(tempfile.mkdtemp(prefix="message-batches-chaos-"))
    began = time.monotonic()
    plans = (round_of(given.seed, number) for number in numbers)
    series = asyncio.run(until_stopped(plans, root, at_once=given.at_once, keep=keep))
    if not any(root.iterdir()):
        root.rmdir()
    elif series:
        print(f"kept in {root}")
    if series is None:
        print("stopped", file=sys.stderr)
        return 130
    print(f"\nseed {given.seed}, {(time.monotonic() - began) / 60:.1f} minutes, {given.at_once} rounds at once\n")
    print(series.table())
    return 1 if series.violations else 0


if __name__ == "__main__":
    sys.exit(main())
