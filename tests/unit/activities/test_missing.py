"""retrieveResults: a 404 for the results of a batch that is there, archived or late."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.missing import missing_results
from message_batches.api.models import MessageBatch
from message_batches.errors import BatchNotFound, ResultsArchived

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
    return MessageBatch.model_validate(said)


@pytest.mark.parametrize(
    ("fields", "archived"),
    [
        ({"archived_at": NOW}, True),
        ({"archived_at": NOW, **ENDED}, True),
        ({"created_at": NOW - timedelta(days=30)}, True),
        ({"created_at": NOW - timedelta(days=28)}, False),
        ({"created_at": NOW - timedelta(days=30), **ENDED}, False),
        ({}, False),
    ],
)
def test_results_that_are_missing_are_archived_or_late(fields: dict[str, Any], archived: bool) -> None:
    error = missing_results(batch(**fields), BatchNotFound("The API answered 404"))

    assert type(error) is (ResultsArchived if archived else BatchNotFound)
    assert error.retryable is not archived
    assert archived or (isinstance(error, BatchNotFound) and error.batch_is_there)
