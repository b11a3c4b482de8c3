"""A worker's health, and the two addresses that report it: `/healthz` and `/livez`."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from aiohttp import web
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from message_batches.errors import MessageBatchesError
from message_batches.listener import listening
from message_batches.storage.interface import Store
from message_batches.storage.paths import STORE_ID
from message_batches.temporal.task_queues import POLL_AGE, pollers

PROBE_TIMEOUT = timedelta(seconds=3)
"""The time that Temporal and the store have to answer."""

REPORT_SECONDS = 2
"""Seconds for which a report is reused: however many probes come, the server and the store see few calls."""

CHECK_SECONDS = 20
"""Seconds between checks without a probe: the age of a poll is known only from regular checks."""

NO_ANSWER = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)


@dataclass(frozen=True)
class HealthReport:
    """The findings of one check; each problem is a sentence.

    Attributes:
        stalled: open runs of the queue that do not move, by cause; no problem of this worker, so it stays ready.
    """

    connected: bool = False
    polling: bool = False
    store_reachable: bool = False
    problems: tuple[str, ...] = ()
    stalled: Mapping[str, int] = field(default_factory=dict)

    def answer(self) -> web.Response:
        """Return the findings as JSON: status 200 without a problem, else 503."""
        found = {
            "connected": self.connected,
            "polling": self.polling,
            "storeReachable": self.store_reachable,
            "problems": self.problems,
            "stalledRuns": dict(self.stalled),
        }
        return web.json_response(found, status=503 if self.problems else 200)


@dataclass(frozen=True)
class WatchedWorker:
    """A started worker and what it depends on.

    Attributes:
        runs: returns whether its pollers are running.
        build: `<deployment>:<build id>`, under which a worker of a versioned deployment polls; empty for others.
        stalled: returns the number of open runs that do not move, by cause.
    """

    client: Client
    store: Store
    store_id: str
    task_queue: str
    runs: Callable[[], bool]
    build: str = ""
    stalled: Callable[[], Mapping[str, int]] = dict


class Health:
    """A worker's health, from before it is connected until it has stopped."""

    def __init__(self) -> None:
        self._watched: WatchedWorker | None = None
        self._stopping = False
        self._check: asyncio.Task[HealthReport] | None = None
        self._checked = 0.0
        self._reading: asyncio.Task[bytes | None] | None = None
        self._newest_poll = 0
        self._poll_seen = float("-inf")

    def started(self, watched: WatchedWorker) -> None:
        """Report on this worker from now on; its identity must not have been used before."""
        self._watched, self._check = watched, None

    def stopping(self) -> None:
        """Report from now on that the worker takes no new tasks."""
        self._stopping, self._check = True, None

    @property
    def alive(self) -> bool:
        """Whether a restart would not help: if Temporal or the store is unavailable, it is so for other workers too."""
        return self._watched is None or self._stopping or self._watched.runs()

    async def keep_checking(self) -> None:
        """Check regularly, however rarely a probe comes."""
        while True:
            await self.report()
            await asyncio.sleep(CHECK_SECONDS)

    async def report(self) -> HealthReport:
        """Return the last report while it is recent, else a new one; simultaneous probes share one check."""
        if self._check is None or (self._check.done() and time.monotonic() - self._checked > REPORT_SECONDS):
            self._check = asyncio.create_task(self._look())
        return await asyncio.shield(self._check)

    async def _look(self) -> HealthReport:
        if self._watched is None:
            return HealthReport(problems=("The worker is starting: it is not connected yet",))
        unreachable, (unanswered, unseen) = await asyncio.gather(
            self._store_problem(self._watched), self._temporal_problems(self._watched)
        )
        idle = "The worker is stopping: it finishes the tasks under way" if self._stopping else unseen
        self._checked = time.monotonic()
        return HealthReport(
            connected=not unanswered,
            polling=not unanswered and not idle,
            store_reachable=not unreachable,
            problems=tuple(problem for problem in (unanswered, idle, unreachable) if problem),
            stalled=self._watched.stalled(),
        )

    async def _temporal_problems(self, watched: WatchedWorker) -> tuple[str, str]:
        """Return the problem of the connection and the problem of polling, each empty if there is none."""
        client, queue = watched.client, watched.task_queue
        me = client.identity
        if not watched.runs():
            return "", "The worker has failed: it does not poll"
        try:
            found = await pollers(client, queue, build=watched.build, rpc_timeout=PROBE_TIMEOUT)
        except RPCError as error:
            server = f"Temporal at {client.service_client.config.target_host}"
            if error.status in NO_ANSWER:
                return f"{server} does not answer: {error.message}", ""
            return "", f"{server} does not report who polls task queue {queue}: {error.message}"
        polls = [poller.last_access_time.ToNanoseconds() for poller in found if poller.identity == me]
        # Only a newer poll counts as recent: the server's clock may differ from ours.
        if (newest := max(polls, default=0)) > self._newest_poll:
            self._newest_poll, self._poll_seen = newest, time.monotonic()
        if time.monotonic() - self._poll_seen <= POLL_AGE.total_seconds():
            return "", ""
        return "", f"Temporal has seen no recent poll of this worker ({me}) on task queue {queue}"

    async def _store_problem(self, watched: WatchedWorker) -> str:
        """Read the store's identity, one read at a time: a store that hangs must not block one thread after another."""
        store = watched.store
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(store.read(STORE_ID))
        reading = self._reading
        await asyncio.wait([reading], timeout=PROBE_TIMEOUT.total_seconds())
        if not reading.done():
            return f"The store {store.uri('')} does not answer"
        try:
            data = reading.result()
        except MessageBatchesError as error:
            return str(error)
        if data is None:
            return f"{store.uri(STORE_ID)} is missing: check that the store still exists"
        try:
            found = str(json.loads(data)["id"])
        except (ValueError, KeyError, TypeError):
            return f"{store.uri(STORE_ID)} does not hold the store's id: restore it"
        if found != watched.store_id:
            return f"{store.uri(STORE_ID)} belongs to another store: this worker started with {watched.store_id}"
        return ""


@asynccontextmanager
async def serve_probes(health: Health, address: str) -> AsyncIterator[str]:
    """Serve `/healthz` and `/livez` at HOST:PORT and yield the URL; port 0 means any free port."""

    async def healthz(_: web.Request) -> web.Response:
        return (await health.report()).answer()

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"alive": health.alive}, status=200 if health.alive else 503)

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/livez", livez)])
    async with listening("--health", address, app, example=8079) as url:
        checking = asyncio.create_task(health.keep_checking())
        try:
            yield url
        finally:
            checking.cancel()
