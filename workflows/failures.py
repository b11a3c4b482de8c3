"""How a run fails: a type, what happened, the batch's id, and what to do next."""

from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError

from message_batches.errors import BY_NAME, MessageBatchesError, StoreUnavailable, UnknownKey, WrongStore

WORKER_LACKS = (StoreUnavailable, UnknownKey, WrongStore)
"""What mending or replacing a worker mends: waited for as long as it takes."""


def failure(kind: str, message: str, *, batch_id: str | None = None, **details: object) -> ApplicationError:
    """A typed failure of the run; it is never retried, a second run could buy a second batch."""
    if batch_id and kind == "BatchNotFound":
        message = f"{message.rstrip('.')}. Check the id, and that the key's workspace is the batch's"
    elif batch_id:
        message = (
            f"{message.rstrip('.')}. Batch {batch_id} is not lost: it stays at the provider, results for 29 days; "
            f"`starter.py attach {batch_id}` takes it up again."
        )
    return ApplicationError(message, {"batchId": batch_id or None, **details}, type=kind, non_retryable=True)


def extended(failed: ApplicationError, note: str, **details: object) -> ApplicationError:
    """The same failure, which says and holds some more."""
    known = failed.details[0] if failed.details and isinstance(failed.details[0], dict) else {}
    message = f"{failed.message.rstrip('.')}. {note}"
    return ApplicationError(message, {**known, **details}, type=failed.type, non_retryable=True)


def from_activity(error: ActivityError, *, batch_id: str | None = None) -> ApplicationError:
    """The run's failure for an activity's last one."""
    cause = _cause(error)
    if isinstance(cause, ApplicationError):
        return failure(cause.type or "ActivityFailed", cause.message, batch_id=batch_id)
    return failure("ActivityFailed", f"{error.activity_type}: {cause or error}", batch_id=batch_id)


def refused(error: ActivityError, *, sent_before: bool) -> ApplicationError:
    """The run's failure for a POST that was refused for good: that one has created nothing."""
    refusal = from_activity(error)
    note = "Nothing was created"
    if sent_before:
        note = (
            "An earlier POST of these requests got no reply, and its batch was not found: there may be one. Look at "
            "the batches in the Console before buying again (`starter.py start --again`)"
        )
    return failure(refusal.type or "", f"{refusal.message.rstrip('.')}. {note}")


def unknown(why: str, candidates: tuple[str, ...]) -> ApplicationError:
    """The run's failure where nobody can tell whether there is a batch, or which."""
    named = f" These may be ours: {', '.join(candidates)}; attach to the right one." if candidates else ""
    return failure(
        "SubmissionUnknown",
        f"Whether the requests were accepted cannot be told: {why}.{named} Look at the batches in the Console "
        "before buying again (`starter.py start --again`).",
        candidates=list(candidates),
    )


def kind_of(error: ActivityError) -> type[MessageBatchesError] | None:
    """Which of our errors an activity ended with; None for a timeout, a lost worker, or a defect."""
    cause = _cause(error)
    return BY_NAME.get(cause.type or "") if isinstance(cause, ApplicationError) else None


def name_of(error: ActivityError) -> str:
    """What an activity ended with, in a word that may be logged: its message may be somebody else's."""
    cause = _cause(error)
    return (cause.type if isinstance(cause, ApplicationError) else None) or type(cause).__name__


def stopped_by_itself(error: ActivityError) -> bool:
    """Whether the activity is known to be over: it reported, or was given longer than its own deadline."""
    cause = error.cause
    if isinstance(cause, TimeoutError):
        return cause.type is not None and cause.type.name == "START_TO_CLOSE"
    # The SDK says so of an activity that it stopped, and that has come to its end.
    stopped = isinstance(cause, ApplicationError) and cause.type == "WorkerShutdown"
    return stopped or kind_of(error) is not None


def _cause(error: ActivityError) -> BaseException | None:
    """What an activity ended with; the SDK puts words of its own around why an input could not be read."""
    cause = error.cause
    reason = cause.cause if isinstance(cause, ApplicationError) and not cause.type else None
    return reason if isinstance(reason, ApplicationError) else cause
