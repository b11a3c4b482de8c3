"""The judges that are not ours, Redocly CLI and Spectral: installed from the lock in `arazzo/`, and run."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ARAZZO = Path(__file__).parents[2] / "arazzo"
DOCUMENT = ARAZZO / "claude-batch-process-and-retrieve-results-workflow.yml"
OPENAPI = ARAZZO / "openapi" / "claude-messages-api.yml"
PUBLISHED = Path(__file__).with_name("published.yml")

NODE = (20, 19)
_ENVIRONMENT = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "NO_COLOR": "1"}


def install() -> None:
    """Install what the lock names, once a lock; skip the test where Node is missing, fail where npm cannot install."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or _version(node) < NODE:
        pytest.skip(
            f"NOT JUDGED: no npm with Node {'.'.join(map(str, NODE))} or newer; install it, then `make contract`"
        )
    modules, lock = ARAZZO / "node_modules", ARAZZO / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = modules / ".installed"
    # Two suites may run in one checkout; npm would pull the folder from under the other's feet.
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != digest:
            _run("npm", "ci", cwd=ARAZZO).check_returncode()
            stamp.write_text(digest)


def _version(node: str) -> tuple[int, ...]:
    text = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in text.strip().lstrip("v").split(".")[:2])


def run(tool: str, *arguments: str | Path, cwd: Path = ARAZZO) -> subprocess.CompletedProcess[str]:
    """Run a judge; its output, errors included, is `stdout`."""
    return _run(str(ARAZZO / "node_modules" / ".bin" / tool), *map(str, arguments), cwd=cwd)


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **_ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    # pytest shows it beside a failure.
    print("$", *command, f"\n{done.stdout}")
    return done


def calls_for(batch_id: str, *, looks: int) -> list[tuple[str, str, int | None]]:
    """The calls that carrying out the document makes for a batch that has ended at the given look."""
    path = f"/v1/messages/batches/{batch_id}"
    return [("POST", "/v1/messages/batches", 200), *[("GET", path, 200)] * looks, ("GET", f"{path}/results", 200)]
