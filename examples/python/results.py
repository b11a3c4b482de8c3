"""The evaluation of result lines, and the activity that reads those too large to pass through a workflow."""

import json
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from temporalio import activity
from temporalio.exceptions import ApplicationError


def outcome(line: dict[str, Any]) -> tuple[Literal["answer", "unanswered"], str]:
    """Return the answer, or why there is none: a batch that has ended may have failed requests."""
    match line["result"]:
        case {"type": "succeeded", "message": message}:
            return "answer", "".join(block["text"] for block in message["content"] if block["type"] == "text")
        case {"type": "errored", "error": {"error": error}}:
            return "unanswered", f"{error['type']}: {error['message']}"
        case {"type": ended}:
            return "unanswered", ended
    raise ValueError(f"not a result line: {line}")


class AnswerFiles:
    """The activity that writes answers to a folder, as a caller's own would write them to its database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @activity.defn(name="write-answers")
    def write(self, results_uri: str) -> str:
        """Read a batch's results from the store, write the outcomes to a JSONL file, and return its URI."""
        address = urlsplit(results_uri)
        if address.scheme != "file":
            raise ApplicationError(
                f"This example reads file:// only; for {results_uri}, use obstore or the client of that store.",
                type="UnreadableStore",
                non_retryable=True,
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        # Named by the run: another attempt writes the same file.
        path = (self._folder / f"{activity.info().workflow_run_id}.jsonl").resolve()
        with Path(unquote(address.path)).open("rb") as results, path.open("w") as answers:
            # Line by line: the file may be hundreds of megabytes.
            for line in map(json.loads, results):
                kind, text = outcome(line)
                answers.write(json.dumps({"custom_id": line["custom_id"], kind: text}) + "\n")
        return path.as_uri()
