"""Packages of npm: installed from a folder's lock, and run."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = (20, 19)


def install(folder: Path, *, target: str) -> None:
    """Install the packages of a lock, once; skip the test without Node, fail it if npm cannot install."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or _version(node) < NODE:
        wanted = ".".join(map(str, NODE))
        pytest.skip(
            f"NOT RUN: no npm with Node {wanted} or newer; install Node.js (https://nodejs.org), then `make {target}`"
        )
    modules, lock = folder / "node_modules", folder / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = modules / ".installed"
    # Two suites may run in one checkout; npm would remove the folder while the other uses it.
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != digest:
            run("npm", "ci", cwd=folder).check_returncode()
            stamp.write_text(digest)


def _version(node: str) -> tuple[int, ...]:
    text = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in text.strip().lstrip("v").split(".")[:2])


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command; `stdout` is its output, errors included."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    # pytest shows it with a failure.
    print("$", *command, f"\n{done.stdout}")
    return done
