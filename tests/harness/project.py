"""The project's own files, and the calls that its document means."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HISTORIES = ROOT / "tests" / "histories"
EXAMPLES = ROOT / "examples"
ARAZZO = ROOT / "arazzo"
DOCUMENT = ARAZZO / "claude-batch-process-and-retrieve-results-workflow.yml"
OPENAPI = ARAZZO / "openapi" / "claude-messages-api.yml"
PUBLISHED = ROOT / "tests" / "unit" / "arazzo" / "published.yml"
SIX_OPERATIONS = ROOT / "tests" / "unit" / "arazzo" / "six-operations.yml"


def calls_for(batch_id: str, *, polls: int) -> list[tuple[str, str, int | None]]:
    """Return the calls that carrying out the document makes for a batch that has ended at the given poll."""
    path = f"/v1/messages/batches/{batch_id}"
    return [("POST", "/v1/messages/batches", 200), *[("GET", path, 200)] * polls, ("GET", f"{path}/results", 200)]
