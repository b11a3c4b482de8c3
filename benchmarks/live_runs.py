"""Many runs of live batches on one worker, server and emulator: the lateness of their polls, and the calls."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp

import httpx
import psutil
from temporalio.client import Client

from benchmarks.contender import ROOT
from benchmarks.servers import KEY, emulator
from benchmarks.setting import Setting
from message_batches.contract import DEFAULT_TASK_QUEUE, WORKFLOW_TYPE, ActivityType
from message_batches.models import BatchInput, PollSchedule
from message_batches.temporal.dev_server import dev_server

CADENCE = 30.0
INTERVALS = 3
"""Poll intervals that are measured, once every run has started."""
STARTS_PER_SECOND = 10
READERS = 20
"""Histories that are read at a time."""


@dataclass
class Processes:
    """The processes that serve a fleet, by name, and the share of a core they have used from `mark` to `note`."""

    server: psutil.Process
    api: psutil.Process
    worker: psutil.Process
    shares: Mapping[str, float] = field(default_factory=dict)
    _since: float = 0.0
    _used: dict[str, float] = field(default_factory=dict)

    def mark(self) -> None:
        """Restart the measurement of CPU time."""
        self._since, self._used = time.monotonic(), self._cpu()

    def note(self) -> None:
        """Note the share of a core that each process has used."""
        passed = time.monotonic() - self._since
        self.shares = {name: (used - self._used[name]) / passed for name, used in self._cpu().items()}

    def _cpu(self) -> dict[str, float]:
        named = {"server": self.server, "worker": self.worker, "emulator": self.api}
        return {name: sum(process.cpu_times()[:2]) for name, process in named.items()}


class Fleet:
    """Many runs, each polling its batch at the same interval, none of which ends.

    Attributes:
        client: Temporal's.
        store: the folder of the worker's store.
        calls: the times of the calls of the API while lateness was measured, in seconds since the first.
    """

    def __init__(
        self, size: int, cadence: float, client: Client, api_url: str, store: Path, environment: Mapping[str, str]
    ) -> None:
        self.size = size
        self.cadence = cadence
        self.client = client
        self.store = store
        self.calls: list[float] = []
        self._api = httpx.AsyncClient(base_url=api_url, timeout=120)
        self._environment = environment

    async def start(self) -> None:
        """Start the runs one after the other, so that their polls are spread like those of real runs."""
        begun, started = time.monotonic(), datetime.now(UTC)
        for number in range(self.size):
            await asyncio.sleep(max(0.0, begun + number / STARTS_PER_SECOND - time.monotonic()))
            params = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}
            given = BatchInput(
                requests=[{"custom_id": f"request-{number}", "params": params}],
                poll=PollSchedule(retry_after=timedelta(seconds=self.cadence)),
            )
            await self.client.start_workflow(WORKFLOW_TYPE, given, id=self._id(number), task_queue=DEFAULT_TASK_QUEUE)
        await self.polled(started)

    async def polls(self, numbers: Iterable[int], since: datetime) -> Mapping[int, Sequence[datetime]]:
        """Return when the polls of these runs were answered, from their histories: one call may answer many."""
        turns, found = asyncio.Semaphore(READERS), dict[int, list[datetime]]()

        async def read(number: int) -> None:
            async with turns:
                history = await self.client.get_workflow_handle(self._id(number)).fetch_history()
            polls = {
                event.event_id
                for event in history.events
                if event.activity_task_scheduled_event_attributes.activity_type.name == ActivityType.POLL_BATCH_STATUS
            }
            answered = [
                event.event_time.ToDatetime(tzinfo=UTC)
                for event in history.events
                if event.activity_task_completed_event_attributes.scheduled_event_id in polls
            ]
            found[number] = [time for time in answered if time >= since]

        await asyncio.gather(*map(read, numbers))
        return found

    async def polled(self, since: datetime) -> datetime:
        """Wait until all runs have polled since then; return when the last of them had."""
        missing, last = {*range(self.size)}, since
        while missing:
            for number, times in (await self.polls(missing, since)).items():
                if times:
                    missing.discard(number)
                    last = max(last, times[0])
            await asyncio.sleep(1)
        return last

    async def lateness(self, waited: Callable[[], None] = lambda: None) -> list[float]:
        """Return how much later than its interval each poll came after the one before, in seconds.

        Args:
            waited: called after the time that is measured, before the histories are read.
        """
        begun, gaps = datetime.now(UTC), list[float]()
        await self._api.delete("/_emulator/calls")
        # A p99 needs at least two: a fleet of one run may take longer for them.
        while len(gaps) < 2:
            await asyncio.sleep(INTERVALS * self.cadence)
            waited()
            self.calls = await self._calls()
            answered = (await self.polls(range(self.size), begun)).values()
            gaps = [(after - before).total_seconds() for times in answered for before, after in pairwise(times)]
        return [gap - self.cadence for gap in gaps]

    async def _calls(self) -> list[float]:
        """Return the times of the calls since the emulator's log was cleared, in seconds since the first."""
        times = [datetime.fromisoformat(call["time"]) for call in (await self._api.get("/_emulator/calls")).json()]
        return sorted((time - min(times)).total_seconds() for time in times)

    def _id(self, number: int) -> str:
        return f"run-{self.size}-{number}"

    async def live(self) -> int:
        """Return the number of runs under way."""
        return (await self.client.count_workflows("ExecutionStatus = 'Running'")).count

    @asynccontextmanager
    async def worker(self, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start a worker, as an operator does."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "worker.py", *options, cwd=ROOT, env=self._environment, stdout=asyncio.subprocess.PIPE
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


@asynccontextmanager
async def live_runs(
    setting: Setting, size: int, further: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Fleet, psutil.Process, psutil.Process]]:
    """Start a server and an emulator for a fleet; yield that, not started yet, and the two processes.

    Args:
        setting: of the benchmarks.
        size: the number of runs.
        further: variables of the worker's environment.
    """
    me, store = psutil.Process(), Path(mkdtemp(prefix="store-", dir=setting.folder))
    cadence = max(0.3, CADENCE * setting.scale)
    others = {child.pid for child in me.children()}
    async with dev_server() as server, emulator("--processing-time", "24h") as url:
        server_process, api_process = _children(me, others)
        environment = {
            **os.environ,
            **(further or {}),
            "TEMPORAL_ADDRESS": server.address,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": KEY,
            "MESSAGE_BATCHES_STORE": store.as_uri(),
        }
        fleet = Fleet(size, cadence, server.client, url, store, environment)
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
