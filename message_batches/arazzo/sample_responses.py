"""Samples of the API's possible responses, to evaluate a document's criteria on."""

from pydantic import JsonValue

from message_batches.arazzo.conditions import SampleResponse

UNFINISHED = ("in_progress", "canceling")
TRANSIENT = (429, 500, 502, 503, 504, 529)

# Waiting does not help with these. 404 is in neither list: a new batch may be invisible for a while, and the workflow
# has its own grace for that; 408 and 409 are in neither, since Arazzo documents seldom name them.
PERMANENT = (400, 401, 402, 403, 413, 422)
ERRORS = tuple(sorted((*TRANSIENT, *PERMANENT, 404, 408, 409)))


def batch(processing_status: str) -> SampleResponse:
    """Return a 200 with a batch of two requests."""
    ended = processing_status == "ended"
    url = "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"
    body: dict[str, JsonValue] = {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": processing_status,
        "request_counts": {
            "processing": 0 if ended else 2,
            "succeeded": 1 if ended else 0,
            "errored": 1 if ended else 0,
            "canceled": 0,
            "expired": 0,
        },
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "ended_at": "2026-01-01T01:00:00Z" if ended else None,
        "cancel_initiated_at": "2026-01-01T00:30:00Z" if processing_status == "canceling" else None,
        "archived_at": None,
        "results_url": url if ended else None,
    }
    return SampleResponse(200, body)


def results() -> SampleResponse:
    """Return a 200 with JSONL, which is not JSON that a criterion could read."""
    return SampleResponse(200, '{"custom_id":"a","result":{"type":"canceled"}}\n')


def error(status: int) -> SampleResponse:
    """Return an error response; its type does not matter, since criteria use the status."""
    return SampleResponse(
        status, {"type": "error", "error": {"type": "api_error", "message": "..."}, "request_id": "req_1"}
    )
