"""What `--json` prints: runs, results and requests as plain data, in camelCase."""

from datetime import datetime
from typing import Any

from message_batches.models import BatchOutput, Landed
from message_batches.requests.reader import Requests
from message_batches.runs.describe import RunView
from message_batches.runs.list import Listed


def view_document(view: RunView) -> dict[str, Any]:
    """A run as it was seen; the parsed results are left to `results --json`."""
    failure = view.failure
    return {
        "workflowId": view.workflow_id,
        "runId": view.run_id,
        "status": view.status.value,
        "taskQueue": view.task_queue,
        "startTime": _time(view.started),
        "closeTime": _time(view.closed),
        "batchId": view.batch_id,
        "progress": view.progress.model_dump(mode="json") if view.progress else None,
        "answeredByWorker": view.answered if view.running else None,
        "workerPolls": view.worker,
        "retrying": [
            {
                "activity": trouble.activity,
                "attempt": trouble.attempt,
                "failure": trouble.failure,
                "nextAttempt": _time(trouble.next_attempt),
            }
            for trouble in view.troubles
        ],
        "output": view.output.model_dump(mode="json", exclude={"results"}) if view.output else None,
        "failure": (
            {
                "type": failure.kind,
                "message": failure.message,
                "batchId": failure.batch_id,
                "candidates": list(failure.candidates),
            }
            if failure
            else None
        ),
    }


def landed_document(landed: Landed | BatchOutput, *, workflow_id: str) -> dict[str, Any]:
    """A run whose results had landed before; Temporal may no longer know it."""
    return {
        "workflowId": workflow_id,
        "status": "completed",
        "batchId": landed.batch_id,
        "output": landed.model_dump(mode="json", exclude={"results"}),
        "failure": None,
    }


def requests_document(requests: Requests) -> dict[str, Any]:
    """What a file of requests holds."""
    return {
        "count": requests.count,
        "bodyBytes": requests.body_bytes,
        "sha256": requests.sha256,
        "models": requests.models,
        "maxTokens": requests.max_tokens,
        "warnings": [
            {"message": warning.message, "count": warning.count, "customIds": list(warning.custom_ids)}
            for warning in requests.warnings
        ],
    }


def listed_document(runs: list[Listed]) -> list[dict[str, Any]]:
    """Runs, newest first."""
    return [
        {
            "workflowId": run.workflow_id,
            "runId": run.run_id,
            "status": run.status.value,
            "startTime": _time(run.started),
            "closeTime": _time(run.closed),
            "batchId": run.batch_id,
            "batchStatus": run.batch_status,
            "batchOutcome": run.outcome,
            "batchRequests": run.requests,
        }
        for run in runs
    ]


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
