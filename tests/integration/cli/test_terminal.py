"""At a terminal: live progress, and Ctrl-C that leaves the run to itself."""

import asyncio
import json
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, STARTER, CommandLine, command_line
from tests.harness.gateway import Answer, gateway_to
from tests.harness.requests import fresh
from tests.harness.stack import Stack, running_stack


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
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.received)

    @property
    def received(self) -> str:
        """All that the terminal has got, without the carriage returns that it puts before line ends."""
        return self._shown.decode("utf-8", "replace").replace("\r\n", "\n")

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


@pytest.mark.slow
async def test_a_reply_is_not_obeyed(temporal: DevServer, tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e"

    def replace_texts(answer: Answer) -> None:
        if answer.is_results:
            line = json.loads(answer.body)
            line["result"]["message"]["content"] = [{"type": "text", "text": f"Hello {hostile}, na\u00efve\tworld"}]
            # As it is, where JSON allows that.
            answer.body = json.dumps(line, ensure_ascii=False).encode() + b"\n"

    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(0))) as emulator,
        gateway_to(emulator.url) as gateway,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri(), through=gateway.url) as running,
    ):
        gateway.change = replace_texts
        starter = command_line(tmp_path / "user", temporal, running.store_url, running.task_queue)
        ended = await starter("start", starter.file(fresh(1)), "--wait", "--json", *QUICK)
        to_a_pipe = await starter("results", ended.json["workflowId"], "--text")
        for options in (["--text"], []):
            terminal = Terminal(starter)
            await terminal.begin("results", ended.json["workflowId"], *options)
            assert await terminal.ended() == 0
            await terminal.until("world")
            assert all(each.isprintable() or each in "\n\t" for each in terminal.received), ascii(terminal.received)
            assert r"\x9b31m\x7f\u202e, na\u00efve".replace(r"\u00ef", "\u00ef") in terminal.received
            terminal.close()

    assert hostile in to_a_pipe.out
