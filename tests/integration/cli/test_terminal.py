"""At a terminal: live progress, and Ctrl-C that leaves the run to itself."""

import asyncio
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from tests.harness.command_line import QUICK, STARTER, CommandLine
from tests.harness.requests import fresh
from tests.harness.stack import Stack


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as running:
        yield running


class Terminal:
    """A process at a pseudo-terminal, and what it has shown so far."""

    def __init__(self, starter: CommandLine) -> None:
        self._starter = starter
        self._ours, self._theirs = pty.openpty()
        self._shown = b""
        self.process: asyncio.subprocess.Process

    async def begin(self, *arguments: object) -> None:
        variables = {**self._starter.variables, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(STARTER),
            *map(str, arguments),
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            cwd=self._starter.folder,
            env=variables,
        )
        os.close(self._theirs)
        os.set_blocking(self._ours, False)

    @property
    def shown(self) -> str:
        """Everything shown so far, without the codes that move the cursor."""
        try:
            while more := os.read(self._ours, 65536):
                self._shown += more
        except (BlockingIOError, OSError):
            pass
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._shown.decode("utf-8", "replace"))

    async def until(self, text: str, *, within: float = 30) -> None:
        """Wait until something is shown."""
        async with asyncio.timeout(within):
            while text not in self.shown:  # noqa: ASYNC110 another process shows it
                await asyncio.sleep(0.05)

    async def ended(self) -> int:
        """The exit code."""
        async with asyncio.timeout(30):
            while self.process.returncode is None:
                # A full terminal would hold up what is still to be shown.
                assert self.shown is not None
                await asyncio.wait([asyncio.ensure_future(self.process.wait())], timeout=0.1)
        return self.process.returncode

    def close(self) -> None:
        os.close(self._ours)


async def test_a_run_is_shown_live_and_ctrl_c_leaves_it_running(starter: CommandLine, live: Stack) -> None:
    terminal = Terminal(starter)
    await terminal.begin("start", starter.file(fresh()), *QUICK)
    await terminal.until("waiting for the batch")
    await terminal.until("in_progress")
    await terminal.until("expires")
    workflow_id = re.findall(r"batch-[0-9a-f]{24}", terminal.shown)[0]

    terminal.process.send_signal(signal.SIGINT)

    assert await terminal.ended() == 0
    assert f"starter.py watch {workflow_id}" in terminal.shown
    assert "Traceback" not in terminal.shown
    terminal.close()
    live.emulator.clock.advance(timedelta(minutes=11))
    assert (await live.client.get_workflow_handle(workflow_id).result())["verified"]
