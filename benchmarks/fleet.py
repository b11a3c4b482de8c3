"""Many live batches: the lateness of their polls, the cost, and the time until a new worker has taken over all."""

import asyncio
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

import httpx
import psutil
from temporalio.client import Client

from benchmarks.contender import ROOT
from benchmarks.servers import KEY, emulator
from benchmarks.setting import Setting
from benchmarks.table import Row
from message_batches.contract import DEFAULT_TASK_QUEUE, WORKFLOW_TYPE
from message_batches.models import BatchInput, PollSchedule
from message_batches.temporal.dev_server import dev_server

SIZES = (500, 1000, 2000)
JUDGED = 1000
"""The size with a goal, at which a worker is also killed and replaced."""
CADENCE = 30.0
STARTS_PER_SECOND = 10
INTERVALS = 3
"""Poll intervals that are measured, once every run has started."""
MOST_LATE = 2.0


@dataclass
class Processes:
    """The processes that serve a fleet, by name, and the CPU time they have used since `mark`."""

    server: psutil.Process
    api: psutil.Process
    worker: psutil.Process
    _since: float = 0.0
    _used: dict[str, float] = field(default_factory=dict)

    def mark(self) -> None:
        """Restart the measurement of CPU time."""
        self._since, self._used = time.monotonic(), self._cpu()

    def shares(self) -> dict[str, float]:
        """Return the share of a core that each process uses."""
        passed = time.monotonic() - self._since
        return {name: (used - self._used[name]) / passed for name, used in self._cpu().items()}

    def _cpu(self) -> dict[str, float]:
        named = {"server": self.server, "worker": self.worker, "emulator": self.api}
        return {name: sum(process.cpu_times()[:2]) for name, process in named.items()}


class Fleet:
    """Many runs, each polling its batch at the same interval, none of which ends."""

    def __init__(self, size: int, cadence: float, client: Client, api_url: str, environment: Mapping[str, str]) -> None:
        self.size = size
        self.cadence = cadence
        self._client = client
        self._api = httpx.AsyncClient(base_url=api_url, timeout=120)
        self._environment = environment

    async def start(self) -> None:
        """Start the runs one after the other, so that their polls are spread like those of real runs."""
        begun = time.monotonic()
        for number in range(self.size):
            await asyncio.sleep(max(0.0, begun + number / STARTS_PER_SECOND - time.monotonic()))
            params = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}
            given = BatchInput(
                requests=[{"custom_id": f"request-{number}", "params": params}],
                poll=PollSchedule(retry_after=timedelta(seconds=self.cadence)),
            )
            await self._client.start_workflow(
                WORKFLOW_TYPE, given, id=f"run-{self.size}-{number}", task_queue=DEFAULT_TASK_QUEUE
            )
        await self.polled(self.size)

    async def polls(self) -> Mapping[str, Sequence[datetime]]:
        """Return the times of each batch's polls, from the emulator's call log since it was last cleared."""
        found: dict[str, list[datetime]] = defaultdict(list)
        for call in (await self._api.get("/_emulator/calls")).json():
            if call["operation"] == "retrieve":
                found[call["batchId"]].append(datetime.fromisoformat(call["time"]))
        return found

    async def polled(self, runs: int) -> None:
        """Wait until so many runs have polled."""
        while len(await self.polls()) < runs:  # noqa: ASYNC110 only the emulator knows
            await asyncio.sleep(0.5)

    async def forget_polls(self) -> None:
        """Clear the emulator's call log."""
        await self._api.delete("/_emulator/calls")

    async def lateness(self) -> list[float]:
        """Return how much later than its interval each poll came after the one before, in seconds."""
        await self.forget_polls()
        gaps: list[float] = []
        # A p99 needs at least two: a fleet of one run may take longer for them.
        while len(gaps) < 2:
            await asyncio.sleep(INTERVALS * self.cadence)
            gaps = [
                (after - before).total_seconds()
                for times in (await self.polls()).values()
                for before, after in pairwise(times)
            ]
        return [gap - self.cadence for gap in gaps]

    async def live(self) -> int:
        """Return the number of runs under way."""
        return (await self._client.count_workflows("ExecutionStatus = 'Running'")).count

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start a worker, as an operator does."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "worker.py", cwd=ROOT, env=self._environment, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout
        await process.stdout.readline()
        # The SDK logs there too, and blocks if nobody reads.
        reading = asyncio.create_task(process.stdout.read())
        try:
            yield process
        finally:
            reading.cancel()
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def close(self) -> None:
        """Close the connection to the API."""
        await self._api.aclose()


async def measure(setting: Setting) -> list[Row]:
    """Measure poll lateness at each size; at one of them also the recovery after its worker is killed.

    If tiny, it is only that size, and no worker is killed: Temporal waits ten seconds before it reassigns the work.
    """
    rows = []
    for size in (JUDGED,) if setting.tiny else SIZES:
        async with _fleet(setting, setting.sized(size)) as (fleet, server, api):
            async with fleet.worker() as worker:
                processes = Processes(server, api, psutil.Process(worker.pid))
                setting.say(f"{fleet.size:,} batches: starting them")
                await fleet.start()
                setting.say(f"{fleet.size:,} batches: measuring")
                processes.mark()
                late = await fleet.lateness()
                rows += _rows(fleet.size, late, processes, judged=size == JUDGED)
                worker.send_signal(signal.SIGKILL)
            if size == JUDGED and not setting.tiny:
                setting.say(f"{fleet.size:,} batches: another worker")
                rows.append(await _replaced(fleet))
    return rows


async def _replaced(fleet: Fleet) -> Row:
    await fleet.forget_polls()
    begun = time.monotonic()
    async with fleet.worker():
        await fleet.polled(await fleet.live())
        took = time.monotonic() - begun
        live = await fleet.live()
    return Row(
        what=f"worker killed with {fleet.size:,} live runs, and replaced",
        ours=f"every run has polled again after {took:.0f} s; {fleet.size - live} lost",
        compared_with=f"the cadence, {fleet.cadence:g} s",
        goal="none lost",
        met=live == fleet.size,
    )


def _rows(size: int, late: Sequence[float], processes: Processes, *, judged: bool) -> list[Row]:
    percent = quantiles(late, n=100)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in processes.shares().items())
    memory = processes.worker.memory_info().rss
    what = f"{size:,} live batches"
    return [
        Row(
            what=f"{what}: lateness of a poll",
            ours=f"p50 {median(late):.2f} s, p99 {percent[98]:.2f} s, of {len(late):,} polls",
            compared_with="the intended cadence",
            goal=f"p99 under {MOST_LATE:g} s" if judged else "-",
            met=percent[98] < MOST_LATE if judged else None,
        ),
        Row(what=f"{what}: of a core, and memory", ours=f"{shares}; worker {memory / 1e6:.0f} MB"),
    ]


@asynccontextmanager
async def _fleet(setting: Setting, size: int) -> AsyncIterator[tuple[Fleet, psutil.Process, psutil.Process]]:
    me = psutil.Process()
    cadence = max(0.3, CADENCE * setting.scale)
    others = {child.pid for child in me.children()}
    async with dev_server() as server, emulator("--processing-time", "24h") as url:
        server_process, api_process = _children(me, others)
        environment = {
            **os.environ,
            "TEMPORAL_ADDRESS": server.address,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": KEY,
            "MESSAGE_BATCHES_STORE": Path(setting.folder, f"store-{size}").as_uri(),
        }
        fleet = Fleet(size, cadence, server.client, url, environment)
        try:
            yield fleet, server_process, api_process
        finally:
            await fleet.close()


def _children(me: psutil.Process, others: set[int]) -> tuple[psutil.Process, psutil.Process]:
    """Return the server's process and the emulator's: the only new ones."""
    new = [child for child in me.children() if child.pid not in others]
    python = [child for child in new if "message_batches.emulator" in child.cmdline()]
    server = [child for child in new if child not in python]
    return server[0], python[0]
