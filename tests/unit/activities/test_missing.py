"""A 404 for a batch, or for its results: archived, late, or landed already in the run's own store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.batch import MessageBatchActivities
from activities.missing import missing_results, refuses_results
from activities.models import BatchRef
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile, MessageBatch
from message_batches.api.responses import error_of
from message_batches.emulator import Emulator
from message_batches.errors import BatchNotFound, ReplyLost, ResultsArchived
from message_batches.storage.object_store import open_store
from tests.harness.stack import KEYS

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


@pytest.mark.parametrize("status", [400, 402, 403, 404, 409, 410, 451])
def test_results_of_an_archived_batch_are_archived_by_whatever_refusal(status: int) -> None:
    error = error_of(httpx.Response(status))

    assert refuses_results(error)
    assert type(missing_results(batch(archived_at=NOW), error)) is ResultsArchived
    kept = missing_results(batch(**ENDED), error)
    assert kept is error or (status == 404 and isinstance(kept, BatchNotFound))


@pytest.mark.parametrize("status", [401, 429, 500, 503, 529])
def test_an_answer_that_is_not_about_the_batch_does_not_ask_for_it(status: int) -> None:
    assert not refuses_results(error_of(httpx.Response(status)))
    assert not refuses_results(ReplyLost("The connection to the API was lost"))


@pytest.mark.parametrize("same", [True, False])
async def test_a_batch_that_is_gone_is_looked_for_in_the_runs_own_store(
    emulator: Emulator, tmp_path: Path, same: bool
) -> None:
    store = open_store(tmp_path.as_uri())
    async with http_client(emulator.url) as http:
        poll = MessageBatchActivities(HttpBatchApi(http, ApiKeys(KEYS)), store).poll_batch_status
        asked = BatchRef(profile=ApiProfile(), batch_id="msgbatch_1", store_id=await store.identity() if same else "x")
        with pytest.raises(ApplicationError) as caught:
            await ActivityEnvironment().run(poll, asked)

    assert caught.value.type == ("BatchNotFound" if same else "WrongStore")


def test_a_poll_without_a_store_says_as_little_as_before() -> None:
    said = BatchRef(profile=ApiProfile(), batch_id="msgbatch_1").model_dump(mode="json")

    assert said == {"batchId": "msgbatch_1", "account": {}}
