"""Our errors as Temporal failures: the only place that knows both."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from message_batches.errors import ApiError, MessageBatchesError


@contextmanager
def as_failures() -> Iterator[None]:
    """Raise an expected error as an `ApplicationError` of its type; only what passes by itself may be retried."""
    try:
        yield
    except MessageBatchesError as error:
        raise ApplicationError(
            str(error),
            type=type(error).__name__,
            non_retryable=not error.retryable,
            next_retry_delay=error.retry_after if isinstance(error, ApiError) else None,
            # Expected and handled by the caller: no traceback in the worker's log at each attempt.
            category=ApplicationErrorCategory.BENIGN,
        ) from error
