"""The failures of a run: a type, a sentence on what happened, and details with the batch's id and the next step."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError

from message_batches.contract import NextAction
from message_batches.errors import (
    ERRORS_BY_NAME,
    BatchNotFound,
    CannotDecrypt,
    CostLimitExceeded,
    MessageBatchesError,
    NotSent,
    RateLimited,
    RefusedForNow,
    ResultsArchived,
    SentByAnotherRun,
    StoreUnavailable,
    UnknownKey,
    WrongStore,
)
from message_batches.formatting import format_time
from message_batches.models import FailureDetails, RequestsInput

FIXED_BY_ANOTHER_WORKER = (StoreUnavailable, UnknownKey, WrongStore)
"""Fixed by repairing or replacing a worker, and so waited for as long as it takes."""

NOT_COUNTED = (*FIXED_BY_ANOTHER_WORKER, SentByAnotherRun)
"""The refusals that do not count: they pass when something else does."""

REJECTED_RETRYABLE = (*NOT_COUNTED, CannotDecrypt, NotSent, RateLimited, RefusedForNow)
"""After these a POST has certainly created nothing, and may be made again later."""


_SENT_BEFORE = (
    "An earlier POST of these requests got no reply, and its batch was not found: there may be one. Look at the "
    "batches in the Console before the requests are submitted again"
)


def failure(kind: str, message: str, *, action: NextAction | None = None) -> ApplicationError:
    """Return a typed failure of a run without a batch; it is never retried, a second run could pay for a second one."""
    return _failure(kind, message, FailureDetails(action=action))


def batch_failure(kind: str, message: str, batch_id: str) -> ApplicationError:
    """Return a typed failure of a run whose batch stays at the provider."""
    note = f"Batch {batch_id} is not lost: it stays at the provider, its results for 29 days"
    return _about_batch(kind, message, note, batch_id, NextAction.ATTACH)


def batch_gone(kind: str, message: str, batch_id: str, *, last_seen: datetime | None) -> ApplicationError:
    """Return a typed failure of a run whose batch or its results are gone from the provider, or were never there."""
    if kind == ResultsArchived.__name__:
        note = "Nothing is to be had of it any more: its requests can only be submitted, and paid for, again"
    elif last_seen:
        note = (
            f"It was there until {format_time(last_seen)} UTC: somebody has deleted it since, and its results with it, "
            "or the key is no longer one of its workspace"
        )
    else:
        note = "Check the id, and that the key's workspace is the batch's"
    return _about_batch(kind, message, note, batch_id, None)


def with_duplicates(failed: ApplicationError, batch_ids: Sequence[str], unchecked: str | None) -> ApplicationError:
    """Return the failure with the batches that may have been paid for as well, or why that is not known."""
    message, details = failed.message.rstrip("."), _details_of(failed)
    if unchecked:
        return _failure(
            failed.type or "", f"{message}. Whether it was paid for twice is not known: {unchecked}", details
        )
    if not batch_ids:
        return failed
    named = details.model_copy(update={"possibly_paid_twice": tuple(batch_ids)})
    return _failure(failed.type or "", f"{message}. Possibly paid for besides: {', '.join(batch_ids)}", named)


def from_activity(error: ActivityError, *, batch_id: str = "", last_seen: datetime | None = None) -> ApplicationError:
    """Return the run's failure for an activity's last one."""
    cause = _cause(error)
    if isinstance(cause, ApplicationError):
        kind, message = cause.type or "ActivityFailed", cause.message
    else:
        kind, message = "ActivityFailed", f"{error.activity_type}: {cause or error}"
    if not batch_id:
        figures = _detail_of(cause) if kind == CostLimitExceeded.__name__ else {}
        return _failure(kind, message, FailureDetails.model_validate(figures))
    there = bool(_detail_of(cause).get("batchIsThere"))
    if kind == ResultsArchived.__name__ or (kind == BatchNotFound.__name__ and not there):
        return batch_gone(kind, message, batch_id, last_seen=last_seen)
    return batch_failure(kind, message, batch_id)


def post_refused(error: ActivityError, *, sent_before: bool) -> ApplicationError:
    """Return the run's failure for a POST that was refused for good: that one has created nothing."""
    refusal = from_activity(error)
    note, action = (_SENT_BEFORE, NextAction.CHECK_BATCHES) if sent_before else ("Nothing was created", None)
    return failure(refusal.type or "", f"{refusal.message.rstrip('.')}. {note}", action=action)


def deadline_passed(request: RequestsInput, *, sent_before: bool) -> ApplicationError:
    """Return the run's failure where its deadline has come before there was a batch."""
    time = format_time(request.deadline) if request.deadline else ""
    note, action = (_SENT_BEFORE, NextAction.CHECK_BATCHES) if sent_before else ("This run has sent nothing", None)
    return failure("DeadlinePassed", f"The deadline, {time} UTC, came before there was a batch. {note}", action=action)


def submission_unknown(reason: str, candidates: tuple[str, ...]) -> ApplicationError:
    """Return the run's failure where it cannot be known whether there is a batch, or which."""
    named = f" These may be ours: {', '.join(candidates)}; attach to the right one." if candidates else ""
    return _failure(
        "SubmissionUnknown",
        f"Whether the requests were accepted is not known: {reason}.{named} Look at the batches in the Console before "
        "the requests are submitted again",
        FailureDetails(action=NextAction.CHECK_BATCHES, candidates=candidates),
    )


def error_type_of(error: ActivityError) -> type[MessageBatchesError] | None:
    """Return the class of our error that an activity ended with; None for a timeout, a lost worker, or a defect."""
    cause = _cause(error)
    return ERRORS_BY_NAME.get(cause.type or "") if isinstance(cause, ApplicationError) else None


def error_name_of(error: ActivityError) -> str:
    """Return the type of what an activity ended with, which may be logged; its message may hold others' words."""
    cause = _cause(error)
    return (cause.type if isinstance(cause, ApplicationError) else None) or type(cause).__name__


def is_known_ended(error: ActivityError) -> bool:
    """Return whether the activity is known to be over: it reported, or was given longer than its own deadline."""
    cause = error.cause
    if isinstance(cause, TimeoutError):
        return cause.type is not None and cause.type.name == "START_TO_CLOSE"
    # The SDK reports this for an activity that it stopped, once that has ended.
    stopped = isinstance(cause, ApplicationError) and cause.type == "WorkerShutdown"
    return stopped or error_type_of(error) is not None


_STILL_AT_WORK = (408, 502, 503, 504, *range(520, 528))
"""Replies that a gateway may send while the API still works on the call."""


def is_answered(error: ActivityError) -> bool:
    """Return whether the API itself answered the activity's call, and so does no more about it."""
    answer = _detail_of(error.cause)
    return bool(answer.get("requestId")) and answer.get("status") not in _STILL_AT_WORK


def had_no_turn(error: ActivityError) -> bool:
    """Return whether the workers' own limit of calls has left no turn for the call: the API was not asked."""
    return error_type_of(error) is RateLimited and not _detail_of(error.cause)


def _detail_of(cause: BaseException | None) -> Mapping[str, Any]:
    """Return the detail of an activity's failure: of an answer of the API a `FailedCall`; empty if there is none."""
    details = cause.details if isinstance(cause, ApplicationError) else ()
    return details[0] if details and isinstance(details[0], Mapping) else {}


def _about_batch(kind: str, message: str, note: str, batch_id: str, action: NextAction | None) -> ApplicationError:
    return _failure(kind, f"{message.rstrip('.')}. {note}", FailureDetails(action=action, batch_id=batch_id))


def _failure(kind: str, message: str, details: FailureDetails) -> ApplicationError:
    return ApplicationError(message, details, type=kind, non_retryable=True)


def _details_of(failed: ApplicationError) -> FailureDetails:
    """Return the details of a failure that this run has made."""
    details = failed.details[0] if failed.details else None
    return details if isinstance(details, FailureDetails) else FailureDetails()


def _cause(error: ActivityError) -> BaseException | None:
    """Return what an activity ended with, without the SDK's own error around an input that could not be read."""
    cause = error.cause
    reason = cause.cause if isinstance(cause, ApplicationError) and not cause.type else None
    return reason if isinstance(reason, ApplicationError) else cause
