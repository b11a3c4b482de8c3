"""A service of docker-compose.yml as a process on this machine: the same command and environment, other paths."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.external.deploy.compose import DEMO, env_file, project, seconds, words
from tests.external.deploy.dockerfile import BuildStage
from tests.harness.processes import lasting_port
from tests.harness.project import ROOT
from tests.harness.waiting import TIMEOUT, eventually

NOBODY = "127.0.0.1:1"
"""An address where nothing listens."""

LISTENS = {
    "emulator": re.compile(r"listening on http://(\S+)"),
    "worker": re.compile(r"health http://(\S+)/healthz"),
    "codec": re.compile(r"listening on http://([\d.:]+):"),
}
"""The lines in which services print their ports: each takes a free one, which the test cannot know before."""


@dataclass(frozen=True)
class Ended:
    """The end of a process, and the seconds that it took after the signal."""

    code: int
    output: str
    after: float = 0


class Container:
    """A process that was started, its output in a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    async def end(self) -> Ended:
        """Wait until it ends by itself."""
        async with asyncio.timeout(TIMEOUT):
            return Ended(await self._process.wait(), self.output)

    async def stop(self) -> Ended:
        """Do as `docker stop`: send SIGTERM."""
        begun = time.monotonic()
        self._process.terminate()
        ended = await self.end()
        return Ended(ended.code, ended.output, time.monotonic() - begun)

    async def kill(self) -> None:
        if self.exit_code is None:
            self._process.kill()
            await self._process.wait()


class Engine:
    """A runner of services on this machine: it replaces each mount, and each host of the containers' network."""

    def __init__(self, image: BuildStage, temporal: str, folder: Path, variables: Mapping[str, str]) -> None:
        self.data = folder / "data"
        self._logs = folder / "logs"
        self._services = project({**env_file(DEMO), **variables})["services"]
        self._network = {
            "temporal:7233": temporal,
            "--host=0.0.0.0": "--host=127.0.0.1",
            "--port=8080": "--port=0",
            "--health=127.0.0.1:8079": "--health=127.0.0.1:0",
            "--metrics=0.0.0.0:9464": f"--metrics=127.0.0.1:{lasting_port()}",
            "--listen=0.0.0.0:8234": "--listen=127.0.0.1:0",
        }
        secrets = ROOT / "deploy" / "demo" / "secrets"
        mounts = {
            "/data": self.data,
            "/scratch": folder / "scratch",
            "/tmp": folder / "tmp",
            "/run/secrets": secrets,
            "/run/encryption-keys": folder / "encryption-keys",
        }
        self._image = replace(image, mounts=mounts)
        self._started: list[Container] = []
        self._running: dict[str, Container] = {}
        for made in (self._logs, self.data, mounts["/scratch"], mounts["/tmp"]):
            made.mkdir()

    def grace(self, service: str) -> int:
        """Return the seconds between SIGTERM and SIGKILL."""
        return seconds(self._services[service].get("stop_grace_period", "10s"))

    async def run(self, service: str, *arguments: str) -> Container:
        """Do as `docker compose up SERVICE`, or `run SERVICE ARGUMENTS`."""
        composed = self._services[service]
        given = arguments or words(composed["command"])
        self._running[service] = await self._process([*composed.get("entrypoint", ["python"]), *given], service)
        return self._running[service]

    def address(self, service: str) -> str:
        """Return the address where a service listens, from its output."""
        container = self._running.get(service)
        said = LISTENS[service].search(container.output) if container and container.exit_code is None else None
        return said[1] if said else NOBODY

    async def healthy(self, service: str) -> bool:
        """Return the result of the service's health check."""
        how, *command = self._services[service]["healthcheck"]["test"]
        assert how == "CMD"
        return (await (await self._process(command, service)).end()).code == 0

    async def kill(self) -> None:
        """Kill all processes."""
        for container in self._started:
            await container.kill()

    async def _process(self, command: Sequence[str], service: str) -> Container:
        composed = self._services[service]
        added = {name: self._here(value) for name, value in composed.get("environment", {}).items()}
        log = self._logs / f"{service}-{len(os.listdir(self._logs))}"
        here = [self._here(word) for word in command]
        folder = self._image.place(composed.get("working_dir", "."))
        self._started.append(await start(here, {**self._image.variables(), **added}, folder, log))
        return self._started[-1]

    def _here(self, text: str) -> str:
        emulator, worker, codec = (self.address(service) for service in LISTENS)
        addresses = {
            "emulator:8080": emulator,
            "127.0.0.1:8080": emulator,
            "127.0.0.1:8079": worker,
            "127.0.0.1:8234": codec,
        }
        for inside, here in {**self._network, **addresses}.items():
            text = text.replace(inside, here)
        return self._image.here(text)


async def start(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Container:
    """Start a process with this environment alone."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    return Container(process, log)


async def _healthy(engine: Engine, service: str) -> Container:
    container = await engine.run(service)

    async def healthy() -> bool:
        assert container.exit_code is None, f"{service} ended: {container.output}"
        return await engine.healthy(service)

    await eventually(healthy, f"{service} is healthy")
    return container


@asynccontextmanager
async def up(engine: Engine, *services: str) -> AsyncIterator[list[Container]]:
    """Start services, each healthy before the next; they end at the end, with everything that was run meanwhile."""
    try:
        yield [await _healthy(engine, service) for service in services]
    finally:
        await engine.kill()
