"""A job of many shards, from a file to one merged file: its time, and the memory of the worker and of the starter."""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.contender import ROOT
from benchmarks.requests import lines
from benchmarks.servers import KEY, emulator
from benchmarks.setting import Setting
from benchmarks.table import Row
from message_batches.temporal.dev_server import dev_server

SIZES = (100_000, 1_000_000)
REQUEST_BYTES = 250
REPLY_BYTES = 500
SHARDS = 10
"""Shards of each job: a batch holds no more than a tenth of the larger one."""
WITHIN_SECONDS = 600
MOST_MEMORY = 300_000_000
_LOOK_EVERY = 0.2


@dataclass(frozen=True)
class _Job:
    """A job that has landed: seconds, and the highest memory of each process in bytes."""

    requests: int
    seconds: float
    worker: int
    starter: int


async def measure(setting: Setting) -> list[Row]:
    """Run a job of each size, with everything else on the same machine; the larger one has the goals."""
    jobs = [await _job(setting, setting.sized(size, least=SHARDS)) for size in SIZES]
    return [row for job in jobs for row in _rows(job, jobs[0], judged=job is jobs[-1])]


def _rows(job: _Job, smaller: _Job, *, judged: bool) -> list[Row]:
    what = f"job of {job.requests:,} requests in {SHARDS} shards"
    time_of_smaller = smaller.seconds * job.requests / smaller.requests
    most = f"at most {MOST_MEMORY / 1e6:.0f} MB each"
    return [
        Row(
            what=what,
            ours=f"{job.seconds:.1f} s",
            compared_with=f"{smaller.seconds:.1f} s for {smaller.requests:,}" if judged else "-",
            ratio=f"{job.seconds / time_of_smaller:.2f} of its share" if judged else "-",
            goal=f"at most {WITHIN_SECONDS} s, and 1" if judged else "-",
            met=job.seconds <= min(WITHIN_SECONDS, time_of_smaller) if judged else None,
        ),
        Row(
            what=f"{what}: memory",
            ours=f"worker {job.worker / 1e6:.0f} MB, starter {job.starter / 1e6:.0f} MB",
            goal=most if judged else "-",
            met=max(job.worker, job.starter) <= MOST_MEMORY if judged else None,
        ),
    ]


async def _job(setting: Setting, count: int) -> _Job:
    setting.say(f"{count:,} requests")
    folder = setting.folder / f"job-{count}"
    folder.mkdir()
    file = folder / "requests.jsonl"
    with file.open("wb") as written:
        written.writelines(lines(count, REQUEST_BYTES))
    flags = ("--processing-time", "1s", "--reply-bytes", str(REPLY_BYTES))
    async with dev_server() as server, emulator(*flags) as url:
        environment = {
            **os.environ,
            "TEMPORAL_ADDRESS": server.address,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": KEY,
            "MESSAGE_BATCHES_STORE": (folder / "store").as_uri(),
        }
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "worker.py", cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
        )
        assert worker.stdout
        await worker.stdout.readline()
        # The SDK logs there too, and blocks if nobody reads.
        reading = asyncio.create_task(worker.stdout.read())
        try:
            shard = ("--shard-requests", str(-(-count // SHARDS)), "--poll-interval", "2s")
            begun = time.perf_counter()
            starter = await asyncio.create_subprocess_exec(
                *(sys.executable, "starter.py", "start", str(file), *shard, "--wait", "--json"),
                cwd=ROOT,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
            )
            (printed, _), memory = await asyncio.gather(starter.communicate(), _highest(starter.pid))
            seconds = time.perf_counter() - begun
            _check(printed, starter.returncode, count)
            return _Job(count, seconds, _peak(worker.pid), memory)
        finally:
            reading.cancel()
            worker.kill()
            await worker.wait()


def _check(printed: bytes, code: int | None, count: int) -> None:
    """Raise unless the job has landed with a line for each request."""
    if code:
        raise RuntimeError(f"the starter ended with {code}: {printed.decode()}")
    output = json.loads(printed)["output"]
    if output["resultsFile"]["lines"] != count or not output["verified"]:
        raise RuntimeError(f"the merged results are not complete: {output['resultsFile']}")


async def _highest(pid: int) -> int:
    """Return the highest memory of a process, looked at until it ends."""
    highest = 0
    try:
        while True:
            highest = max(highest, _peak(pid))
            await asyncio.sleep(_LOOK_EVERY)
    except (psutil.Error, OSError, StopIteration):
        return highest


def _peak(pid: int) -> int:
    """Return the highest resident memory of a process that runs, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) * 1024
