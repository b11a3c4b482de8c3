"""docker-compose.yml up on a container engine, by the commands that the documentation gives."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client, WorkflowHandle

from message_batches.contract import DEFAULT_TASK_QUEUE, WORKFLOW_TYPE
from message_batches.models import BatchInput, BatchOutput, PollSchedule
from message_batches.temporal.connection import connect
from tests.external.deploy.engine import STAND_IN, Done, Engine, command
from tests.harness.pages import Page
from tests.harness.processes import lasting_port
from tests.harness.project import ROOT
from tests.harness.requests import requests
from tests.harness.waiting import eventually

USER = 1000
"""The owner of the files, as .env.example has it."""

PORTS = ("TEMPORAL_PORT", "TEMPORAL_UI_PORT", "CODEC_PORT", "EMULATOR_PORT")


class Deployment:
    """A copy of the project, and a shell in it.

    Attributes:
        variables: what the shell exports; it goes before .env and env files.
    """

    def __init__(self, engine: Engine, folder: Path, name: str) -> None:
        self.engine = engine
        self.folder = folder
        self.name = name
        self.ports = {port: str(lasting_port()) for port in PORTS}
        self.variables: dict[str, str] = {}
        copy_project(folder)

    @property
    def data(self) -> Path:
        return self.folder / self.variables.get("MESSAGE_BATCHES_DATA", "data")

    @property
    def control(self) -> str:
        """Return the address at which the emulator is told what to do."""
        return f"http://127.0.0.1:{self.ports['EMULATOR_PORT']}/_emulator"

    async def shell(self, text: str, given: str = "") -> Done:
        """Run a command as a reader types it, where `docker` is what the engine has."""
        path = (STAND_IN / "bin", Path(sys.executable).parent, os.environ["PATH"])
        environment = {
            **self.engine.environment,
            **self.ports,
            "COMPOSE_FILE": f"docker-compose.yml:{STAND_IN / 'compose.yml'}",
            "PODMAN_COMPOSE_IN_POD": "false",
            **self.variables,
            "PATH": ":".join(map(str, path)),
        }
        return await command("sh", "-c", text, environment=environment, folder=self.folder, given=given)

    async def __call__(self, text: str, given: str = "") -> str:
        """Run a command that must not fail; return its output."""
        done = await self.shell(text, given)
        assert done.code == 0, f"{text}\n{done.output}"
        return done.output

    def commands(self, page: Page, beginning: str, **values: str) -> list[str]:
        """Return the commands of a page's block that begins so, with values in place of words."""
        [block] = [block for block in page.blocks if block.text.startswith(f"$ {beginning}")]
        texts = [command.text for command in block.commands()]
        for word, value in values.items():
            texts = [re.sub(rf"\b{word}\b", value, text) for text in texts]
        return texts

    def container(self, service: str) -> str:
        return f"{self.name}_{service}_1"

    async def state(self, service: str) -> dict[str, Any]:
        """Return what the engine says of a service's container."""
        return await self.engine.inspect("container", self.container(service))

    async def inside(self, service: str, *words: str) -> str:
        """Run a program in a service's container; return its output."""
        return await self.engine("exec", self.container(service), *words)

    async def refuses(self, service: str, *words: str) -> bool:
        """Return whether a program fails in a service's container."""
        return (await self.engine.attempt("exec", self.container(service), *words)).code != 0

    async def up(self, service: str) -> None:
        """Wait until a service is healthy."""

        async def healthy() -> bool:
            if (await self.engine.attempt("healthcheck", "run", self.container(service))).code == 0:
                return True
            # A check is a Python of its own: without a break they would take a core from what they wait for.
            await asyncio.sleep(0.5)
            return False

        await eventually(healthy, f"{service} is healthy")

    async def temporal(self) -> Client:
        return await connect(address=f"127.0.0.1:{self.ports['TEMPORAL_PORT']}", namespace="default")

    async def begin(self, prompt: str) -> WorkflowHandle[Any, BatchOutput]:
        """Start a run of three requests, as any caller does; return it once its batch is there."""
        before = len(await self.batches())
        run = await (await self.temporal()).start_workflow(
            WORKFLOW_TYPE,
            BatchInput(requests=requests(3, prompt), poll=PollSchedule(retry_after=timedelta(seconds=1))),
            id=prompt,
            task_queue=DEFAULT_TASK_QUEUE,
            result_type=BatchOutput,
        )
        return await self._created(run, before)

    async def begin_file(self, prompt: str) -> WorkflowHandle[Any, BatchOutput]:
        """Do the same with a file, by the starter's container."""
        file = f"{prompt}.jsonl"
        (self.data / file).write_text("".join(f"{json.dumps(each)}\n" for each in requests(3, prompt)))
        before = len(await self.batches())
        said = await self(f"docker compose run --rm starter start {file} --json --poll-interval 1s")
        started = json.loads(said[said.index("{") :])
        client = await self.temporal()
        run = client.get_workflow_handle(started["workflowId"], result_type=BatchOutput)
        return await self._created(run, before)

    async def _created(self, run: WorkflowHandle[Any, BatchOutput], before: int) -> WorkflowHandle[Any, BatchOutput]:
        async def created() -> bool:
            return len(await self.batches()) > before

        await eventually(created, "a batch at the emulator")
        return run

    async def batches(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._asked("GET", "batches")
        return found

    async def calls(self, operation: str) -> int:
        """Return the number of calls of one kind."""
        return sum(operation in call["path"] for call in await self._asked("GET", "calls"))

    async def fault(self, **described: Any) -> None:
        await self._asked("POST", "faults", described)

    async def hold(self) -> None:
        """Have all batches be in progress until `ends`; else one ends by itself after ten seconds."""
        await self.fault(fault="field", operation="retrieve", field="processing_status", value="in_progress")

    async def ends(self, **fault: Any) -> None:
        """Have all batches end now, with no fault left but this one."""
        await self._asked("DELETE", "faults")
        if fault:
            await self.fault(**fault)
        await self._asked("POST", "clock", {"advance": 3600})

    async def _asked(self, method: str, path: str, content: Any = None) -> Any:
        async with httpx.AsyncClient() as http:
            answer = await http.request(method, f"{self.control}/{path}", json=content)
        answer.raise_for_status()
        return answer.json() if answer.content else None


def has_revision(revision: str) -> bool:
    """Return whether this clone has a commit: a shallow one lacks old ones."""
    asked = ["git", "cat-file", "-e", f"{revision}^{{commit}}"]
    return subprocess.run(asked, cwd=ROOT, stderr=subprocess.DEVNULL).returncode == 0


def copy_project(folder: Path, revision: str | None = None) -> None:
    """Copy the files that are not ignored, as they are now or as a revision had them."""
    if revision:
        packed = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
        return
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def owned(*folders: Path, user: int = USER) -> None:
    """Give folders to the user of the containers."""
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user)
