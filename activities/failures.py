"""The project's errors as Temporal failures: the only module that knows both."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.models import FailedCall
from message_batches.errors import ApiError, BatchNotFound, MessageBatchesError, WrongStore
from message_batches.log_context import log_batch_id
from message_batches.observability.logs import error_fields
from message_batches.observability.metrics import FAILED_ATTEMPTS
from message_batches.storage.interface import Store


@contextmanager
def errors_as_failures(batch_id: str | None = None) -> Iterator[None]:
    """Raise an expected error as an `ApplicationError` of its type; only what passes by itself may be retried."""
    with log_batch_id(batch_id):
        try:
            yield
        except MessageBatchesError as error:
            _report(error)
            failure = ApplicationError(
                str(error),
                *_details(error),
                type=type(error).__name__,
                non_retryable=not error.retryable,
                next_retry_delay=error.retry_after if isinstance(error, ApiError) else None,
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


def _details(error: MessageBatchesError) -> tuple[FailedCall, ...]:
    """Return the API's answer, by which a run knows whether the API still works on a call."""
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
