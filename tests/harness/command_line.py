"""The starter as its users run it: a process with arguments, an environment and an exit code."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from message_batches.temporal.dev_server import DevServer
from tests.harness.forked_starter import run
from tests.harness.project import ROOT

STARTER = ROOT / "starter.py"
QUICK = ("--poll-interval", "0.1s", "--submission-timeout", "8s", "--quiet-period", "2s")


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str
    arguments: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        """Parse the one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Return all output, with line breaks as blanks."""
        return " ".join(f"{self.out} {self.err}".split())


@dataclass
class CommandLine:
    """`python starter.py` with an environment and a working directory of its own."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, *arguments: str | Path, stdin: str | None = None, within: float = 60) -> Ended:
        """Run a command to its end."""
        words = tuple(map(str, arguments))
        async with asyncio.timeout(within):
            ended = Ended(*await run(STARTER, words, self.variables, self.folder, stdin or ""), words)
        assert "Traceback" not in ended.err, ended.err
        assert "Fatal Python error" not in ended.err, ended.err
        return ended

    async def begin(self, *arguments: str | Path) -> asyncio.subprocess.Process:
        """Begin a command in an interpreter of its own, such as one to be signalled; the caller waits for its end."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(STARTER),
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env=self.variables,
        )

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment, without this machine's own settings."""
        inherited = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        return {**inherited, "NO_COLOR": "1", **self.environment}

    def file(self, requests: Sequence[Mapping[str, Any]], name: str = "requests.jsonl") -> Path:
        """Write a file of requests, one a line."""
        path = self.folder / name
        path.write_text("".join(json.dumps(item) + "\n" for item in requests), encoding="utf-8")
        return path


def command_line(folder: Path, temporal: DevServer, store_url: str, task_queue: str) -> CommandLine:
    """A command line that works with a server, a store and a queue."""
    folder.mkdir(exist_ok=True)
    return CommandLine(
        folder,
        {
            "TEMPORAL_ADDRESS": temporal.address,
            "MESSAGE_BATCHES_STORE": store_url,
            "MESSAGE_BATCHES_TASK_QUEUE": task_queue,
        },
    )
