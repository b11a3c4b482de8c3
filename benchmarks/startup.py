"""The duration of the command line: its help, and the start of a run."""

import os
import sys
import time
from collections.abc import Mapping
from functools import partial

from benchmarks.contender import ROOT, Lap, output_of, race
from benchmarks.servers import api, emulator
from benchmarks.setting import Setting
from benchmarks.table import Row
from message_batches.contract import DEFAULT_TASK_QUEUE
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import dev_server
from worker import build_worker

HELP_WITHIN = 0.3
EXAMPLE = ROOT / "examples" / "requests.jsonl"


async def measure(setting: Setting) -> list[Row]:
    """Measure whole processes, alongside one of an interpreter that does nothing."""
    async with dev_server() as server, emulator("--processing-time", "1s") as url, api(url) as http:
        store = (setting.folder / "store").as_uri()
        environment = {**os.environ, "TEMPORAL_ADDRESS": server.address, "MESSAGE_BATCHES_STORE": store}
        async with build_worker(server.client, http, open_store(store), task_queue=DEFAULT_TASK_QUEUE):
            start = ("starter.py", "start", str(EXAMPLE), "--again", "--detach")
            contenders = {
                "python -c pass": partial(_timed, environment, "-c", "pass"),
                "starter.py --help": partial(_timed, environment, "starter.py", "--help"),
                "starter.py start": partial(_timed, environment, *start),
            }
            laps = await race(setting, contenders)
    nothing = laps["python -c pass"]
    return [
        Row(
            what=name,
            ours=f"{laps[name]}",
            compared_with=f"python -c pass: {nothing}",
            ratio=f"{laps[name].ratio(nothing):.1f}",
            goal=f"under {goal:g} s" if goal else "-",
            met=laps[name].median < goal if goal else None,
        )
        for name, goal in {"starter.py --help": HELP_WITHIN, "starter.py start": None}.items()
    ]


async def _timed(environment: Mapping[str, str], *arguments: str) -> Lap:
    begun = time.perf_counter()
    await output_of(sys.executable, *arguments, environment=environment)
    return Lap(time.perf_counter() - begun)
