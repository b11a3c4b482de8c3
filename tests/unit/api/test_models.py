"""A batch's status as it is read: known, ended all the same, or unknown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from message_batches.api.models import MessageBatch, StatusReading

NOW = datetime.now(UTC)
ENDED = {"ended_at": NOW, "results_url": "https://api.invalid/results"}


def batch(**fields: Any) -> MessageBatch:
    said = {
        "id": "msgbatch_1",
        "processing_status": "ended",
        "request_counts": {"succeeded": 1},
        "created_at": NOW,
        "expires_at": NOW + timedelta(days=1),
        **fields,
    }
    return MessageBatch.model_validate(said).read_status()


@pytest.mark.parametrize(
    ("fields", "reading", "ended"),
    [
        ({"processing_status": "in_progress"}, None, False),
        ({"processing_status": "canceling"}, None, False),
        ({"processing_status": "ended"}, None, True),
        ({"processing_status": "Ended"}, StatusReading.ENDED, True),
        ({"processing_status": " ENDED\n"}, StatusReading.ENDED, True),
        ({"processing_status": "In_Progress"}, None, False),
        ({"processing_status": "in_progress", **ENDED}, None, False),
        *[
            ({"processing_status": each, **ENDED}, StatusReading.ENDED, True)
            for each in ("failed", "expired", "", None)
        ],
        ({"processing_status": "canceled", "ended_at": NOW}, StatusReading.UNKNOWN, False),
        ({"processing_status": "failed", "results_url": "x"}, StatusReading.UNKNOWN, False),
        ({"processing_status": "paused"}, StatusReading.UNKNOWN, False),
        ({"processing_status": None}, StatusReading.UNKNOWN, False),
        ({"processing_status": "in_progress", "reading": "ended"}, None, False),
    ],
)
def test_a_status_is_read_by_what_else_the_batch_says(
    fields: dict[str, Any], reading: StatusReading | None, ended: bool
) -> None:
    read = batch(**fields)

    assert (read.reading, read.ended) == (reading, ended)
    assert MessageBatch.model_validate_json(read.model_dump_json()) == read


@pytest.mark.parametrize("status", [7, [], {}, "x" * 101])
def test_a_status_that_is_no_text_is_invalid(status: Any) -> None:
    with pytest.raises(ValidationError):
        batch(processing_status=status)


def test_a_history_of_an_older_version_is_read_as_it_was() -> None:
    """A run polled on at such a status: were it read otherwise now, its history would not replay."""
    said = batch(processing_status="failed", **ENDED).model_dump(mode="json", exclude={"reading"})

    assert not MessageBatch.model_validate(said).ended
