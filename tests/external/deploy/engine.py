"""A container engine with images, networks and volumes of its own, which are gone with it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.harness.project import ROOT

STAND_IN = Path(__file__).parent / "stand_in"
BASE = "python:3.13.14-slim-trixie"
"""What Dockerfile begins with."""

NEEDED = ("podman", "buildah", "runc", "catatonit", "iptables", "mmdebstrap")
HOW_TO_GET = (
    "NOT RUN: containers need root and a container engine. On Debian: apt-get install --no-install-recommends "
    f"{' '.join(NEEDED)} containernetworking-plugins golang-github-containernetworking-plugin-dnsname"
)

# What the host may not allow more of, where it is a container itself.
_CONTAINERS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=2048:2048"]
[network]
network_config_dir = "{folder}/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
volume_path = "{folder}/volumes"
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""


class Done(NamedTuple):
    """The end of a command."""

    code: int
    output: str


class Failed(Exception):
    """A command ended with another status than 0."""


def available() -> bool:
    """Return whether containers can be run here."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in NEEDED)


class Engine:
    """Podman, with everything that it keeps in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("networks", "scratch"):
            (folder / name).mkdir()
        for name, text in (("containers.conf", _CONTAINERS), ("storage.conf", _STORAGE)):
            (folder / name).write_text(text.format(folder=folder))
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "TMPDIR": str(folder / "scratch"),
        }

    async def __call__(self, *arguments: str) -> str:
        """Run podman; return its standard output. Raise `Failed` if it fails."""
        done = await self.attempt(*arguments)
        if done.code:
            raise Failed(f"podman {' '.join(arguments)}: {done.output}")
        return done.output.strip()

    async def attempt(self, *arguments: str) -> Done:
        """Run podman, which may fail; return the output with what it says of that."""
        return await command("podman", *arguments, environment=self.environment)

    async def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """Return what the engine says of an `image`, a `container` or a `network`."""
        [found] = json.loads(await self(kind, "inspect", name))
        assert isinstance(found, dict)
        return found

    async def logs(self, container: str) -> str:
        """Return what a container has said, on both outputs."""
        done = await command("sh", "-c", f"podman logs {container} 2>&1", environment=self.environment)
        return done.output

    async def base(self) -> bool:
        """Pull the image that ours begins with; return False if Debian's Python had to take its place."""
        if (await self.attempt("pull", "--quiet", BASE)).code == 0:
            return True
        packed = self.folder / "base.tar"
        made = ("mmdebstrap", "--variant=apt", f"--include={_PYTHON}", *_AS_THE_OFFICIAL_ONE, "trixie", str(packed))
        await succeeds(*made, _mirror())
        await self("import", "--quiet", str(packed), BASE)
        packed.unlink()
        return False

    async def build(self, tag: str, context: Path) -> None:
        """Build an image of ours from a folder."""
        # An index of packages may be reachable for this machine alone, by its own certificates.
        await self._build(tag, context, "--volume=/etc/ssl/certs:/etc/ssl/certs:ro")

    async def stand_in(self) -> None:
        """Build what stands in for the images of others."""
        context = self.folder / "stand-in"
        shutil.copytree(STAND_IN, context)
        shutil.copy(Path(sys.executable).parent / "temporal", context)
        await self._build("stand-in", context)

    async def _build(self, tag: str, context: Path, *options: str) -> None:
        await self("build", "--quiet", "--network=host", *options, f"--tag={tag}", str(context))

    async def remove(self) -> None:
        """Remove all containers, networks and volumes, then the folder, with the images."""
        await self("pod", "rm", "--all", "--force")
        await self("rm", "--all", "--force", "--time", "0")
        await self("network", "prune", "--force")
        await self("volume", "rm", "--all", "--force")
        # Those of a build that was broken off too.
        for mount in reversed(psutil.disk_partitions(all=True)):
            if mount.mountpoint.startswith(f"{self.folder}/"):
                # At once for the eyes, and whenever what still uses it has ended.
                await command("umount", "--lazy", mount.mountpoint)
        shutil.rmtree(self.folder)


_PYTHON = "python3,python3-venv,python3-pip,ca-certificates"
_AS_THE_OFFICIAL_ONE = (
    '--customize-hook=ln -s python3 "$1/usr/bin/python"',
    '--customize-hook=rm "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
)


def _mirror() -> str:
    """Return the address that this machine has Debian's packages from."""
    sources = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian"], capture_output=True, text=True
    ).stdout.split()
    found = [source for source in sources if source.rstrip("/").endswith("/debian")]
    assert found, "apt knows no source of Debian's packages"
    return found[0]


async def succeeds(*arguments: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a command that must not fail."""
    done = await command(*arguments, environment=environment)
    assert done.code == 0, f"{' '.join(arguments)}: {done.output[-2000:]}"


async def command(
    *arguments: str, environment: Mapping[str, str] | None = None, folder: Path = ROOT, given: str = ""
) -> Done:
    """Run a command with this standard input; return the end of it, both outputs together where it failed."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate(given.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Done(process.returncode or 0, (output + (errors if process.returncode else b"")).decode())
