"""A batch's status as it is read: known, ended all the same, or unknown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from message_batches.api.models import MessageBatch

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
    return MessageBatch.model_validate(said).with_status_read()


@pytest.mark.parametrize(
    ("fields", "ended", "unknown"),
    [
        ({"processing_status": "in_progress"}, False, False),
        ({"processing_status": "canceling"}, False, False),
        ({"processing_status": "ended"}, True, False),
        ({"processing_status": "Ended"}, True, False),
        ({"processing_status": " ENDED\n"}, True, False),
        ({"processing_status": "In_Progress"}, False, False),
        ({"processing_status": "in_progress", **ENDED}, False, False),
        *[({"processing_status": each, **ENDED}, True, False) for each in ("failed", "expired", "canceled", "", None)],
        ({"processing_status": "canceled", "ended_at": NOW}, False, True),
        ({"processing_status": "failed", "results_url": "x"}, False, True),
        ({"processing_status": "paused"}, False, True),
        ({"processing_status": None}, False, True),
        ({"processing_status": "in_progress", "unknown_status": True, "from_store": True}, False, False),
    ],
)
def test_a_status_is_read_by_what_else_the_batch_says(fields: dict[str, Any], ended: bool, unknown: bool) -> None:
    read = batch(**fields)

    assert (read.ended, bool(read.unknown_status)) == (ended, unknown)
    assert read.reported_status in (None, fields["processing_status"], "null")
    assert (read.reported_status is not None) is (ended and fields["processing_status"] != "ended")
    assert not read.from_store
    assert MessageBatch.model_validate_json(read.model_dump_json()) == read


@pytest.mark.parametrize("status", [7, [], {}, "x" * 101])
def test_a_status_that_is_no_text_is_invalid(status: Any) -> None:
    with pytest.raises(ValidationError):
        batch(processing_status=status)


def test_a_history_of_an_older_version_is_read_as_it_was() -> None:
    """A run polled on at such a status: were it read otherwise now, its history would not replay."""
    said = {**batch().model_dump(mode="json"), "processing_status": "failed", **ENDED}

    assert not MessageBatch.model_validate(said).ended
