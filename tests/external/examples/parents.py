"""The parents of `examples/`: the commands that start each, and the process of its worker."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from temporalio.client import Client, WorkflowHandle

from tests.harness.processes import Running
from tests.harness.project import EXAMPLES
from tests.harness.waiting import TIMEOUT, eventually

TYPESCRIPT = EXAMPLES / "typescript"
CADENCE = 0.1


@dataclass(frozen=True)
class Parent:
    """A parent workflow whose worker runs in another process.

    Attributes:
        worker: the command that runs it.
        ask: the command that starts it and prints what it returns.
        environment: the environment of its processes.
        endpoint: where a parent over Nexus calls.
    """

    workflow: str
    task_queue: str
    worker: Sequence[str]
    ask: Sequence[str]
    environment: Mapping[str, str]
    endpoint: str | None = None

    async def start(
        self, client: Client, questions: Sequence[str], *, workflow_id: str | None = None
    ) -> WorkflowHandle[Any, Any]:
        """Start it with a short poll interval."""
        return await client.start_workflow(
            self.workflow,
            {"questions": questions, "cadence": CADENCE} | ({"endpoint": self.endpoint} if self.endpoint else {}),
            id=workflow_id or f"questions-{uuid4()}",
            task_queue=self.task_queue,
        )

    async def answers(self, *questions: str) -> dict[str, Any]:
        """Return the output of its command."""
        ended = await run_command((*self.ask, "--cadence", str(CADENCE), *questions), self.environment)
        assert ended.code == 0, ended.err
        answers: dict[str, Any] = json.loads(ended.out)
        return answers


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


async def run_command(command: Sequence[str], environment: Mapping[str, str]) -> Ended:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return Ended(process.returncode or 0, out.decode(), err.decode())


def batch_of(client: Client, parent: WorkflowHandle[Any, Any]) -> WorkflowHandle[Any, Any]:
    """Return the child of a parent."""
    return client.get_workflow_handle(f"{parent.id}-batch")


@asynccontextmanager
async def worker(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> AsyncIterator[Running]:
    """Run a parent's worker."""
    running = await Running.start(command, log, environment=environment)
    try:
        await eventually(
            lambda: running.exit_code is not None or "Worker ready" in running.output, "a worker that is ready"
        )
        assert running.exit_code is None, f"the worker did not start: {running.output}"
        yield running
    finally:
        await running.kill()
