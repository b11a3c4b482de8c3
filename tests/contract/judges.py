"""The judges that are not ours, Redocly CLI and Spectral: installed from the lock in `arazzo/`, and run."""

import subprocess
from pathlib import Path

from tests import npm

ARAZZO = Path(__file__).parents[2] / "arazzo"
DOCUMENT = ARAZZO / "claude-batch-process-and-retrieve-results-workflow.yml"
OPENAPI = ARAZZO / "openapi" / "claude-messages-api.yml"
PUBLISHED = Path(__file__).with_name("published.yml")

_QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


def install() -> None:
    """Install them, once a lock; skip the test where there is no npm."""
    npm.install(ARAZZO, target="contract")


def run(tool: str, *arguments: str | Path, cwd: Path = ARAZZO) -> subprocess.CompletedProcess[str]:
    """Run a judge; its output, errors included, is `stdout`."""
    return npm.run(str(ARAZZO / "node_modules" / ".bin" / tool), *map(str, arguments), cwd=cwd, **_QUIET)


def calls_for(batch_id: str, *, looks: int) -> list[tuple[str, str, int | None]]:
    """The calls that carrying out the document makes for a batch that has ended at the given look."""
    path = f"/v1/messages/batches/{batch_id}"
    return [("POST", "/v1/messages/batches", 200), *[("GET", path, 200)] * looks, ("GET", f"{path}/results", 200)]
