"""A batch, or results, that the API does not give: what the store has of them, or why there are none."""

from datetime import UTC, datetime

from message_batches.api.interface import BatchApi
from message_batches.api.keys import Account
from message_batches.api.models import RESULTS_RETENTION, ApiProfile, MessageBatch, RequestCounts
from message_batches.errors import ApiError, BatchNotFound, ResultsArchived
from message_batches.formatting import format_time
from message_batches.result_models import LandedResults
from message_batches.results import reader
from message_batches.storage.interface import Store


async def find_landed_batch(store: Store, account: Account, batch_id: str, error: BatchNotFound) -> MessageBatch:
    """Return a batch that the API no longer has as the store has it landed; raise the API's 404 if it has not."""
    found = await reader.of_batch(store, batch_id, [account.part])
    if not found:
        raise error
    landed, now = found[0].landed, datetime.now(UTC)
    if not found[0].file_there:
        raise BatchNotFound(f"{error}. Its results were landed, and are gone from the store: {landed.results_file.uri}")
    return MessageBatch(
        id=batch_id,
        processing_status="ended",
        request_counts=RequestCounts(**dict(landed.summary.counts)),
        created_at=now,
        expires_at=now,
        from_store=True,
    )


def refuses_results(error: ApiError) -> bool:
    """Return whether an answer to the call for results may be said of the batch, so that the batch is asked why.

    Which 4xx the API gives for archived results is not documented; a 401 is about the key, a 429 about the pace.
    """
    return error.status is not None and 400 <= error.status < 500 and error.status not in (401, 429)


def missing_results(batch: MessageBatch, error: ApiError) -> ApiError:
    """Return the error for a batch that is there and whose results are not: archived, late, or refused as it says."""
    gone_since = batch.archived_at
    if not batch.results_url and datetime.now(UTC) >= batch.created_at + RESULTS_RETENTION:
        gone_since = gone_since or batch.created_at + RESULTS_RETENTION
    if gone_since:
        return ResultsArchived(
            f"The results of {batch.id} have been archived since {format_time(gone_since)} UTC: {error}"
        )
    if not isinstance(error, BatchNotFound):
        return error
    return BatchNotFound(f"{error}. The batch is there, its results are not", status=404, batch_is_there=True)


async def find_landed_results(
    store: Store, api: BatchApi, profile: ApiProfile, batch_id: str, error: ApiError
) -> LandedResults:
    """Return the landed results of a batch for which the API has none any more; else raise the reason why it has none.

    Args:
        store: where they may be.
        api: is asked for the batch itself.
        profile: of the call.
        batch_id: the batch.
        error: the API's refusal of the results.
    """
    try:
        why: ApiError = missing_results(await api.retrieve(profile, batch_id), error)
    except BatchNotFound as missing:
        why = missing
    gone = isinstance(why, ResultsArchived) or (isinstance(why, BatchNotFound) and not why.batch_is_there)
    found = await reader.of_batch(store, batch_id, [api.account(profile).part]) if gone else []
    if not (found and found[0].file_there):
        raise why
    return found[0].landed
