"""The external linters, Redocly CLI and Spectral: installed from the lock in `arazzo/`, and run."""

import subprocess
from pathlib import Path

from tests.harness import npm
from tests.harness.project import ARAZZO

_QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


def install() -> None:
    """Install them, once a lock; skip the test without npm."""
    npm.install(ARAZZO, target="contract")


def run(tool: str, *arguments: str | Path, cwd: Path = ARAZZO) -> subprocess.CompletedProcess[str]:
    """Run a linter; `stdout` is its output, errors included."""
    return npm.run(str(ARAZZO / "node_modules" / ".bin" / tool), *map(str, arguments), cwd=cwd, **_QUIET)
