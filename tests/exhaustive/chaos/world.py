"""The world of a round: Temporal on a file, the emulator, a store and workers, each a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client

from message_batches.temporal.connection import data_converter
from tests.exhaustive.chaos.plan import Act, Round
from tests.exhaustive.chaos.proxy import Proxy, running_proxy
from tests.exhaustive.chaos.stores import Bucket, Directory, bucket
from tests.harness.encryption import key as encryption_key
from tests.harness.encryption import written
from tests.harness.processes import EmulatorProcess, TemporalProcess, WorkerProcess, settings
from tests.harness.temporal_proxy import TemporalProxy, temporal_proxy
from tests.harness.waiting import eventually

ENCRYPTION = encryption_key("chaos")


@dataclass
class World:
    """The processes of a round; workers start and end during it."""

    plan: Round
    folder: Path
    key: str
    temporal: TemporalProcess
    client: Client
    api: httpx.AsyncClient
    store: Directory | Bucket
    api_proxy: Proxy
    answers: TemporalProxy
    exits: AsyncExitStack
    workers: list[WorkerProcess] = field(default_factory=list)
    lifted: list[dict[str, Any]] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)
    started: set[str] = field(default_factory=set)
    all_started: asyncio.Event = field(default_factory=asyncio.Event)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    lifting: asyncio.Lock = field(default_factory=asyncio.Lock)
    proxies: dict[WorkerProcess, Proxy] = field(default_factory=dict)
    """The proxy between each worker and Temporal."""

    async def ask(self, what: str) -> list[dict[str, Any]]:
        """Return the emulator's `calls`, `batches` or `faults`."""
        reply = await self.api.get(f"/_emulator/{what}")
        answer: list[dict[str, Any]] = reply.raise_for_status().json()
        return answer

    async def add_fault(self, fault: Mapping[str, Any]) -> None:
        """Put a fault in force."""
        (await self.api.post("/_emulator/faults", json=fault)).raise_for_status()

    async def advance(self, seconds: float) -> None:
        """Advance the API's clock."""
        (await self.api.post("/_emulator/clock", json={"advance": seconds})).raise_for_status()

    async def lift_faults(self, *, of_job: bool) -> None:
        """Remove the faults that last, those of the job or the others; what is left of the rest stays in force."""
        async with self.lifting:
            found = await self.ask("faults")
            (await self.api.delete("/_emulator/faults")).raise_for_status()
            self.lifted += found
            for fault in found:
                if fault["times"] or (fault["times"] is None and (fault["fault"] == "outcome") != of_job):
                    await self.add_fault({name: value for name, value in fault.items() if name != "applied"})

    async def names(self) -> frozenset[str]:
        """Return the names of the objects in the store."""
        return await asyncio.to_thread(self.store.names) if self.plan.in_bucket else self.store.names()

    async def add_worker(self) -> WorkerProcess:
        """Start one more worker; one that cannot start yet is started again, as a supervisor would do."""
        proxy = await self.exits.enter_async_context(running_proxy(self._temporal_port))
        log = self.folder / f"worker-{proxy.port}.log"
        configured = settings(
            temporal=proxy.address,
            api=f"http://{self.api_proxy.address}",
            key=self.key,
            store=self.store.url,
            MESSAGE_BATCHES_SCRATCH=str(self.folder / "scratch"),
            TMPDIR=str(self.folder / "tmp"),
            **({"MESSAGE_BATCHES_ENCRYPTION_KEYS": written([ENCRYPTION])} if self.plan.encrypted else {}),
            **self.store.settings,
        )
        started: list[WorkerProcess] = []

        async def runs() -> bool:
            try:
                started.append(await WorkerProcess.begin(configured, log, self.folder / "home"))
            except AssertionError:
                await asyncio.sleep(0.5)
            return bool(started)

        async with self.starting:
            await eventually(runs, "a worker that starts")
        self.workers.append(started[0])
        self.proxies[started[0]] = proxy
        return started[0]

    @property
    def _temporal_port(self) -> int:
        """Return the port that workers use; only where answers are lost, each frame is read."""
        lossy = self.plan.has(Act.MISLAY)
        return int(self.answers.address.rpartition(":")[2]) if lossy else self.temporal.port

    @property
    def alive(self) -> Sequence[WorkerProcess]:
        """Return the workers that have not been killed, frozen ones included."""
        return [worker for worker in self.workers if worker.exit_code is None]

    async def dismiss(self) -> None:
        """Send SIGTERM to all workers, and wait until they have ended."""
        await asyncio.gather(*(worker.terminate() for worker in self.alive))


@asynccontextmanager
async def world(plan: Round, folder: Path, key: str) -> AsyncIterator[World]:
    """Start everything but the workers; end all of it at the end, whatever its state."""
    for name in ("scratch", "tmp", "home"):
        (folder / name).mkdir()
    temporal = TemporalProcess(folder)
    flags = [
        *("--seed", str(plan.number), "--api-key", key, "--reply-bytes", str(plan.reply_bytes)),
        *("--time-scale", str(plan.scale), "--processing-time", f"{plan.processing * plan.scale}s"),
        *("--queue-limit", str(plan.queue_limit)),
    ]
    async with AsyncExitStack() as stack:
        store: Directory | Bucket = (
            await stack.enter_async_context(bucket(folder)) if plan.in_bucket else Directory(folder / "store")
        )
        stack.push_async_callback(temporal.kill)
        client = await temporal.start()
        if plan.encrypted:
            client = Client(client.service_client, data_converter=data_converter([ENCRYPTION]))
        emulator = await EmulatorProcess.begin(flags, folder / "emulator.log", folder / "home")
        stack.push_async_callback(emulator.kill)
        api = await stack.enter_async_context(httpx.AsyncClient(base_url=emulator.url, headers={"x-api-key": key}))
        api_proxy = await stack.enter_async_context(running_proxy(api.base_url.port or 0))
        answers = await stack.enter_async_context(temporal_proxy(temporal.address))
        made = World(plan, folder, key, temporal, client, api, store, api_proxy, answers, stack)
        stack.push_async_callback(_kill_all, made)
        yield made


async def _kill_all(made: World) -> None:
    for worker in made.workers:
        await worker.kill()
