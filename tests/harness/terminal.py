"""A reader's terminal: it runs the commands of a page in a shell and compares their output with that shown."""

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from message_batches.temporal.dev_server import free_port, temporal_command
from tests.harness.forked_starter import run as forked
from tests.harness.pages import ROOT, Command
from tests.harness.waiting import TIMEOUT, eventually

READY = {
    r"temporal server start-dev": "Server:",
    r"worker\.py": "Worker ready",
    r"-m message_batches\.emulator": "listening on",
    r"-m message_batches\.codec_server": "listening on",
    r"parent_worker\.py": "Worker ready",
    r"webhook_receiver\.py": "listening on",
}
"""The programs that run until Ctrl-C, and the text that each prints once it can be used."""

_PORTS = ("7233", "8080", "8233", "8234", "8079", "8088", "9464")
_VARYING = (
    (r"batch-[0-9a-f]{24}", r"batch-[0-9a-f]{24}"),
    (r"msgbatch_\w+", r"msgbatch_\w+"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?", r"[\d-]+ [\d:]+"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", r"[\dTZ:-]+"),
    # A store that the page's first worker made, or a page before.
    (r"\([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\)", r"\([0-9a-f-]{36}(?:, new)?\)"),
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"[0-9a-f-]{36}"),
    (r"(?:file|https?)://[\w./:-]+", r"(?:file|https?)://[\w./:-]+"),
    (r"localhost:\d+", r"[\w.]+:\d+"),
    (r"\.venv/bin/python starter\.py", r"\S+\s+\S*starter\.py"),
    (r"\b\d:\d\d\b", r"[\d:]+"),
    (r"keys: default", r"keys: .*"),
    (r"\.\.\.", r".*"),
    (r"\s+", r"\s+"),
)
"""Texts that differ from run to run: as shown, and the expression that replaces each."""


@dataclass
class Terminal:
    """A shell in a folder that looks like a clone of the project; exported variables and started programs stay."""

    folder: Path
    environment: Mapping[str, str]
    ports: dict[str, str] = field(default_factory=dict)
    _running: list[asyncio.subprocess.Process] = field(default_factory=list, init=False)
    _last: int = field(default=0, init=False)

    async def __aenter__(self) -> Self:
        """Create the folder: the project's files, and the interpreter where a clone has it."""
        for entry in ROOT.iterdir():
            if not entry.name.startswith(".") and entry.name != "temporal.db":
                (self.folder / entry.name).symlink_to(entry)
        programs = self.folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name, program in (("python", sys.executable), ("temporal", temporal_command())):
            (programs / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            (programs / name).chmod(0o755)
        self._exported.write_text("")
        self.ports.update({port: str(free_port()) for port in _PORTS if port not in self.ports})
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in reversed(self._running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._running:
            try:
                async with asyncio.timeout(30):
                    await process.wait()
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def run(self, command: Command, *, may_fail: bool = False) -> None:
        """Run a command as it is written, except for ports; an assertion says what differs from the page."""
        text = re.sub(rf"(?<=[: ])({'|'.join(_PORTS)})\b", lambda match: self.ports[match[0]], command.text)
        if text.startswith("make "):
            text = await self._recipe(text)
        ready = next((said for program, said in READY.items() if re.search(program, text)), None)
        if ready:
            printed = await self._begin(text, ready)
        elif starter := re.fullmatch(r"\.venv/bin/python (starter\.py [^|&;<>$]+)", text):
            printed = await self._start(shlex.split(starter[1], comments=True), may_fail=may_fail)
        elif "worker deployment" in text or text.endswith("/healthz"):
            printed = await self._once_heard_of(text)
        else:
            printed = await self._finish(text, may_fail=may_fail)
        expected = pattern(command.shown)
        assert not command.shown or re.fullmatch(expected, printed.rstrip() + "\n"), (
            f"$ {text}\n{printed}\nis not\n{expected}"
        )

    async def _start(self, arguments: list[str], *, may_fail: bool) -> str:
        """Run the starter, in less time than an interpreter of its own needs to load it."""
        exported = await self._finish("env -0")
        variables = dict(variable.split("=", 1) for variable in exported.split("\0") if variable)
        program, *rest = arguments
        async with asyncio.timeout(TIMEOUT):
            code, out, err = await forked(self.folder / program, rest, variables, self.folder)
        assert may_fail or not code, f"{arguments}\n{err}{out}ended with {code}"
        self._last = code
        return err + out

    async def _once_heard_of(self, text: str) -> str:
        """Return the output of a command that succeeds only once the server knows a worker, or its build."""
        printed: list[str] = []

        async def succeeds() -> bool:
            printed.append(await self._finish(text, may_fail=True))
            return self._last == 0 and '"polling": false' not in printed[-1]

        await eventually(succeeds, text)
        return printed[-1]

    async def _recipe(self, text: str) -> str:
        """Return the commands of a target of make without its set-up, which is done already."""
        printed = await self._finish(f"make --dry-run {text.removeprefix('make ')}")
        return printed.strip().splitlines()[-1]

    async def _begin(self, text: str, ready: str) -> str:
        if "start-dev" in text:
            text += f" --port {free_port()} --ui-port {free_port()}"
        elif "codec_server" in text:
            text += f" --listen 127.0.0.1:{self.ports['8234']}"
        log = self.folder / f"{len(self._running)}.log"
        with log.open("wb") as output:
            process = await self._shell(f"exec {text}", output)
        self._running.append(process)
        await eventually(lambda: process.returncode is not None or ready in log.read_text(), text)
        assert process.returncode is None, log.read_text()
        return log.read_text()

    async def _finish(self, text: str, *, may_fail: bool = False) -> str:
        script = f"(exit {self._last})\n{text}\ncode=$?; export -p > {shlex.quote(str(self._exported))}; exit $code"
        process = await self._shell(script, asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(TIMEOUT):
                output, _ = await process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        self._last = process.returncode or 0
        assert may_fail or not self._last, f"$ {text}\n{output.decode()}ended with {self._last}"
        return output.decode()

    async def _shell(self, script: str, output: object) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            f". {shlex.quote(str(self._exported))}\n{script}",
            cwd=self.folder,
            env=self._variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,  # type: ignore[arg-type]  # a file, or PIPE
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def _variables(self) -> dict[str, str]:
        inherited = {
            "PATH": f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
        }
        return {**inherited, "NO_COLOR": "1", "COLUMNS": "200", **self.environment}

    @property
    def _exported(self) -> Path:
        return self.folder / ".exported"


def pattern(shown: tuple[str, ...]) -> str:
    """Return the expression for lines of a page: `...` alone matches any lines, within a line any text."""
    found = "|".join(f"({expression})" for expression, _ in _VARYING)

    def general(line: str) -> str:
        result, end = "", 0
        for match in re.finditer(found, line):
            result += re.escape(line[end : match.start()]) + _VARYING[(match.lastindex or 1) - 1][1]
            end = match.end()
        return result + re.escape(line[end:])

    lines = [r"(?:.*\n)*" if line == "..." else rf"{general(line)}\s*?\n" for line in shown]
    return "".join(lines)
