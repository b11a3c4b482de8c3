"""The project's errors as Temporal failures, which no other module knows; the checks of a worker's store and key."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.models import DeleteInput, FailedCall, SubmitInput
from message_batches.api.interface import BatchApi
from message_batches.api.models import KeyOwner
from message_batches.errors import (
    ApiError,
    ApiUnavailable,
    BatchNotFound,
    CostLimitExceeded,
    MessageBatchesError,
    NotSent,
    OtherWorkspace,
    WrongStore,
)
from message_batches.log_context import log_batch_id
from message_batches.models import FailureDetails
from message_batches.observability.logs import error_fields
from message_batches.observability.metrics import FAILED_ATTEMPTS
from message_batches.storage.interface import Store
from message_batches.webhooks.errors import NotDelivered


@contextmanager
def errors_as_failures(batch_id: str | None = None, *, poll: activity.Info | None = None) -> Iterator[None]:
    """Raise an expected error as an `ApplicationError` of its type; only what passes by itself may be retried.

    A `poll` that finds nothing is not repeated; one that failed is after the document's interval, since the policy of
    its activity repeats the poll of a lost worker sooner.
    """
    policy = poll.retry_policy if poll else None
    interval = policy.initial_interval * policy.backoff_coefficient if policy else None
    with log_batch_id(batch_id):
        try:
            yield
        except MessageBatchesError as error:
            _report(error)
            failure = ApplicationError(
                str(error),
                *_details(error),
                type=type(error).__name__,
                non_retryable=not error.retryable or (poll is not None and isinstance(error, BatchNotFound)),
                next_retry_delay=(isinstance(error, ApiError | NotDelivered) and error.retry_after) or interval,
                # Expected and handled by the caller: no traceback in the worker's log at each attempt.
                category=ApplicationErrorCategory.BENIGN,
            )
            # With our own stack and without the cause: a history has the texts of all causes, and those of libraries
            # repeat answers whole, such as S3's to a wrong signature, which holds the session token.
            raise failure.with_traceback(error.__traceback__) from None


async def check_store(store: Store, store_id: str) -> None:
    """Raise `WrongStore` unless the store is the one the run began with: two machines may each have such a path."""
    found = await store.known_identity()
    if found != store_id:
        has = f"has the id {found}" if found else "is a new one, or is not mounted there"
        raise WrongStore(
            f"This worker's store {store.uri('')} {has}, and the run's store has the id {store_id}. Set "
            "MESSAGE_BATCHES_STORE of every worker and caller to one shared store, or stop the workers on the other"
        )


async def check_owner(api: BatchApi, given: SubmitInput | DeleteInput) -> None:
    """Raise `OtherWorkspace` if this worker's key is of another account than the one that the anchor was read with.

    Workers may hold different keys under one name: what one sends, the others would search for in vain, and send
    again. The API is asked only where its answers to this process have not named the account yet.
    """
    anchor = given.anchor.owner if given.anchor else KeyOwner()
    owner = api.owner(given.profile)
    if not any(anchor) or (owner and owner.agrees(anchor)):
        return
    try:
        owner = (await api.list(given.profile, limit=1)).owner
    except ApiUnavailable as error:
        why = f"The account of the key could not be read, so nothing was done: {error}"
        raise NotSent(why, retry_after=error.retry_after) from error
    if conflict := anchor.conflict(owner):
        what, began, now = conflict
        raise OtherWorkspace(
            f"The key {given.profile.api_key!r} of this worker is of the {what} {now}, and the submission began in "
            f"{began}: nothing was done, since a batch of the one cannot be seen from the other. Give every worker "
            f"a key of the same {what} under that name"
        )


def _details(error: MessageBatchesError) -> tuple[FailedCall | FailureDetails, ...]:
    """Return the API's answer, by which a run knows whether the API still works on a call; or a limit's figures."""
    if isinstance(error, CostLimitExceeded):
        return (FailureDetails(estimate=error.estimate, limit=error.limit),)
    if isinstance(error, ApiError) and error.status:
        there = isinstance(error, BatchNotFound) and error.batch_is_there
        request_id = error.request_id if error.by_api else None
        return (FailedCall(status=error.status, request_id=request_id, batch_is_there=there),)
    return ()


def _report(error: MessageBatchesError) -> None:
    """Count and log an error by its type: its message may repeat what the API or a caller has written."""
    kind = type(error).__name__
    FAILED_ATTEMPTS.add(activity.metric_meter(), error=kind)
    level = logging.INFO if error.retryable else logging.WARNING
    name = activity.info().activity_type
    activity.logger.log(level, "%s failed: %s", name, kind, extra=error_fields(error))
