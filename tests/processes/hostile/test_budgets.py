"""What a server, a file or a client may cost a worker: memory, and the time until a probe is answered."""

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from temporalio.service import RPCError

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import Phase, PollSchedule, RetrySchedule
from message_batches.temporal.dev_server import DevServer
from tests.harness.carrying import listening
from tests.harness.processes import WorkerProcess, lasting_port, settings
from tests.harness.requests import requests
from tests.harness.stack import KEYS, Stack, progress_when
from tests.harness.waiting import eventually
from tests.processes.hostile.corpus import ANSWERS, FILES, RESULTS, Call, HostileAnswer, batch

MOST_MEMORY = 600 * 1024 * 1024
LONGEST_PROBE = 2.0
STANDING_STILL = 10.0
HALF_OPEN = 1050
TENANT = "team-a"
_ONCE = PollSchedule(retry_after=timedelta(minutes=5), transient=RetrySchedule(retry_limit=0))


class HostileServer:
    """A server in the API's place: what it answers is chosen by the batch's id, or by the requests that are sent."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[Call, HostileAnswer]] = {}
        self.listing: HostileAnswer | None = None
        self.answered: set[str] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split("\r\n")[0].split()
        length = int(found[1]) if (found := re.search(r"(?i)content-length: *(\d+)", head)) else 0
        body = await reader.readexactly(length)
        call, batch_id = self._called(method, path, body)
        wanted = self.answers.get(batch_id)
        if wanted and wanted[0] is call:
            try:
                await self._send(writer, wanted[1])
            finally:  # The worker may have heard enough.
                self.answered.add(batch_id)
        elif call is Call.LIST:
            await self._send(writer, None, {"data": [], "has_more": False, "first_id": None, "last_id": None})
        else:
            await self._send(writer, None, batch(batch_id))

    def _called(self, method: str, path: str, body: bytes) -> tuple[Call, str]:
        if method == "POST":
            return Call.CREATE, str(json.loads(body)["requests"][0]["custom_id"])
        parts = path.partition("?")[0].split("/")
        if len(parts) == 4:
            return Call.LIST, ""
        return (Call.RESULTS if parts[-1] == "results" else Call.RETRIEVE), parts[4]

    async def _send(
        self, writer: asyncio.StreamWriter, answer: HostileAnswer | None, value: dict[str, object] | None = None
    ) -> None:
        if answer is None:
            said = json.dumps(value).encode()
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(said)}\r\nconnection: close\r\n\r\n".encode() + said)
            await writer.drain()
            return
        writer.write(answer.head + b"\r\nconnection: close\r\n\r\n")
        for piece in await asyncio.to_thread(answer.body):
            writer.write(piece)
            await writer.drain()


@dataclass
class Probes:
    """A thread that asks `/livez` every second, as the kubelet does, and measures by how much the answer is late.

    A busy machine delays this thread as well: what a thread beside it loses by sleeping is not counted. It delays the
    worker too: an answer is late where the worker has used as much CPU meanwhile, or where it stood still for long.
    """

    address: tuple[str, int]
    worker: psutil.Process
    longest: float = 0.0
    failed: list[str] = field(default_factory=list)
    doing: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._stop.wait(1):
            began = time.monotonic()
            time.sleep(0.01)
            late = time.monotonic() - began - 0.01
            began, used = time.monotonic(), self._cpu()
            try:
                with socket.create_connection(self.address, timeout=20) as connection:
                    connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                    status = connection.makefile("rb").readline()
            except OSError as error:
                self.failed.append(f"{error!r} during {self.doing}")
                continue
            took = time.monotonic() - began - late
            own = took if took > STANDING_STILL else min(took, self._cpu() - used)
            if b" 200 " not in status or own > LONGEST_PROBE:
                self.failed.append(f"{status!r} after {took:.1f} s during {self.doing}")
            self.longest = max(self.longest, took)

    def _cpu(self) -> float:
        times = self.worker.cpu_times()
        return times.user + times.system

    @contextlib.contextmanager
    def going_on(self) -> Iterator["Probes"]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()


@dataclass
class Attacked:
    """A worker process with `/livez`, the hostile server that one of its keys is used at, and the other's emulator."""

    stack: Stack
    server: HostileServer
    worker: WorkerProcess
    health: tuple[str, int]
    metrics: tuple[str, int]

    @property
    def most_memory(self) -> int:
        """The most resident memory that the worker has had, in bytes."""
        status = Path(f"/proc/{self.worker.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]

    def probes(self) -> Probes:
        return Probes(self.health, psutil.Process(self.worker.pid))

    def forget_memory(self) -> None:
        """Measure the most memory from now on."""
        Path(f"/proc/{self.worker.pid}/clear_refs").write_text("5")

    async def ends(self) -> None:
        """Run requests of the other account to their end."""
        output = await self.stack.run(requests(2, f"Say hello to {uuid4()}"))
        assert output.verified


@pytest.fixture(scope="module")
async def attacked(temporal: DevServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Attacked]:
    folder = tmp_path_factory.mktemp("attacked")
    server = HostileServer()
    ports = [lasting_port(), lasting_port()]
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.05))) as emulator,
        listening(server.handle) as address,
    ):
        stack = Stack(temporal.client, emulator, (folder / "store").as_uri(), f"attacked-{uuid4()}")
        configured = settings(
            temporal=temporal.address,
            api=emulator.url,
            key=KEYS["default"].get_secret_value(),
            store=stack.store_url,
            task_queue=stack.task_queue,
            ANTHROPIC_API_KEY_TEAM_A=KEYS[TENANT].get_secret_value(),
            ANTHROPIC_BASE_URL_TEAM_A=f"http://{address}",
        )
        options = ("--health", f"127.0.0.1:{ports[0]}", "--metrics", f"127.0.0.1:{ports[1]}")
        worker = await WorkerProcess.begin(configured, folder / "worker.log", folder, *options)
        try:
            yield Attacked(stack, server, worker, ("127.0.0.1", ports[0]), ("127.0.0.1", ports[1]))
        finally:
            await worker.kill()


async def _meets(attacked: Attacked, call: Call, answers: Sequence[HostileAnswer]) -> None:
    """Have the worker meet answers one after the other, and measure what each costs."""
    found: list[str] = []
    with attacked.probes().going_on() as probes:
        for number, answer in enumerate(answers):
            attacked.forget_memory()
            probes.doing = answer.name
            name = f"{call}-{number}"
            batch_id = f"msgbatch_{name}"
            key = name if call is Call.CREATE else "" if call is Call.LIST else batch_id
            attacked.server.answers[key] = (call, answer)
            options: dict[str, Any] = {"api_key": TENANT, "poll": _ONCE}
            if call in (Call.CREATE, Call.LIST):
                given = [{**requests(1)[0], "custom_id": name}]
                run = await attacked.stack.start(given, **options)
            else:
                run = await attacked.stack.start(batch_id=batch_id, **options)
            await eventually(lambda: key in attacked.server.answered, answer.name, within=120)  # noqa: B023
            await attacked.ends()
            with contextlib.suppress(RPCError):  # It may have ended.
                await run.terminate()
            attacked.server.answers.pop(key)
            attacked.server.answered.discard(key)
            if attacked.most_memory > MOST_MEMORY:
                found.append(f"{attacked.most_memory // 2**20} MB for {answer.name}")
    assert attacked.worker.exit_code is None
    assert [*found, *probes.failed] == []


@pytest.mark.slow
@pytest.mark.parametrize("call", [Call.RETRIEVE, Call.RESULTS, Call.CREATE, Call.LIST])
async def test_answers(attacked: Attacked, call: Call) -> None:
    await _meets(attacked, call, ANSWERS)


@pytest.mark.slow
async def test_results(attacked: Attacked) -> None:
    await _meets(attacked, Call.RESULTS, RESULTS)


@pytest.mark.slow
async def test_files(attacked: Attacked) -> None:
    found: list[str] = []
    with attacked.probes().going_on() as probes:
        for file in FILES:
            attacked.forget_memory()
            probes.doing = file.name
            path = attacked.stack.store_folder / "hostile.jsonl"
            with path.open("wb") as target:
                target.writelines(file.content())
            run = await attacked.stack.start(requests_uri=path.as_uri(), api_key=TENANT, poll=_ONCE)
            await attacked.ends()
            await progress_when(run, lambda now: now.phase is not Phase.PREPARING, within=120)
            with contextlib.suppress(RPCError):  # It may have ended.
                await run.terminate()
            if attacked.most_memory > MOST_MEMORY:
                found.append(f"{attacked.most_memory // 2**20} MB for {file.name}")
    assert attacked.worker.exit_code is None
    assert [*found, *probes.failed] == []


@pytest.mark.slow
@pytest.mark.parametrize("listener", ["health", "metrics"])
async def test_half_open_connections(attacked: Attacked, listener: str) -> None:
    address = attacked.health if listener == "health" else attacked.metrics
    with attacked.probes().going_on() as probes, contextlib.ExitStack() as open_ones:
        probes.doing = f"{HALF_OPEN} half-open connections to {listener}"
        for _ in range(HALF_OPEN):
            with contextlib.suppress(OSError):
                half_open = open_ones.enter_context(socket.create_connection(address, timeout=5))
                half_open.sendall(b"GET /livez HTTP/1.1\r\n")
        for _ in range(5):
            await attacked.ends()
            await asyncio.sleep(1)
    assert probes.failed == []
