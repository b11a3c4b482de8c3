"""A shard that has ended without results: whether that concerns the whole job, passes by itself, or is its own."""

from datetime import timedelta
from enum import Enum, auto

from temporalio.exceptions import ApplicationError

from message_batches.contract import NextAction
from message_batches.errors import (
    ApiUnavailable,
    AuthenticationFailed,
    CostLimitExceeded,
    InvalidRequests,
    OtherWorkspace,
    PermissionDenied,
    ReplyLost,
    RequestRefused,
    SpendLimitReached,
    UnknownKey,
)
from message_batches.job_models import FailedShard, ShardState, ShardStatus
from message_batches.models import FailureDetails
from workflows.failures import REJECTED_RETRYABLE, failure
from workflows.jobs.state import JobState

LONGEST_HOLD = timedelta(days=30)
"""The time for which a job is paused, or a shard is started again and again, before it counts as failed."""

DEADLINE_PASSED = "DeadlinePassed"
"""The failure of a run whose deadline has come before anything was sent."""

PAST_DEADLINE = "its deadline has passed"

_RETRY_FACTOR = 10

_VOID = (
    "Its requests keep the results of the waves before. The job, started again, does not send this shard as it is, but "
    "what has failed in it as a new wave: with another limit of its replies, or once the reason is gone"
)

CONCERN_ALL = frozenset(
    error.__name__ for error in (SpendLimitReached, AuthenticationFailed, PermissionDenied, UnknownKey, OtherWorkspace)
)
"""The failures after which every other shard would fail too: an operator has to act first."""

PASSING = frozenset(error.__name__ for error in (*REJECTED_RETRYABLE, ApiUnavailable, ReplyLost)) - CONCERN_ALL
"""The failures that pass by themselves, such as a provider's queue that is full."""


REFUSED = frozenset(error.__name__ for error in (RequestRefused, InvalidRequests, CostLimitExceeded))
"""The failures that the same requests would have again; nothing of them was created."""


class Consequence(Enum):
    """The consequence of a shard's failure."""

    PAUSE = auto()
    """Nothing is started any more until an operator lets the job go on."""
    AGAIN = auto()
    """The shard is taken up again after a while."""
    GIVE_UP = auto()
    """The job ends without the shard's results, and names it."""


def consequence_of(shard: ShardState) -> Consequence:
    """Return the consequence of the failure of a shard that the job has followed."""
    if shard.status is ShardStatus.UNKNOWN:
        return Consequence.GIVE_UP
    if shard.type in CONCERN_ALL:
        return Consequence.PAUSE
    return Consequence.AGAIN if shard.type in PASSING else Consequence.GIVE_UP


def failed_shard(wave: int, shard: ShardState) -> FailedShard:
    """Return what is named of a shard without results."""
    void, message = is_void(wave, shard), shard.message or "its run has ended without results"
    return FailedShard(
        wave=wave,
        number=shard.number,
        workflow_id=shard.workflow_id,
        type=shard.type or "NotLanded",
        message=f"{message.rstrip('.')}. {_VOID}" if void else message,
        action=NextAction.RETRY if void else shard.action,
        batch_id=shard.batch_id,
        candidates=shard.candidates,
    )


def is_void(wave: int, shard: ShardState) -> bool:
    """Return whether a shard of a later wave was refused as it is: its requests keep the results that they had."""
    return wave > 0 and shard.status is ShardStatus.FAILED and shard.type in REFUSED


def again_after(retry_after: timedelta) -> timedelta:
    """Return the time before a shard is taken up again, from the interval of the document's own retries: 5 min."""
    return _RETRY_FACTOR * retry_after


def without_results(state: JobState) -> ApplicationError:
    """Return the job's failure where no shard has landed: that of the first one, or that nothing was sent."""
    if not state.failed:
        kind = DEADLINE_PASSED if state.stopped == PAST_DEADLINE else "NothingLanded"
        return failure(kind, f"No request has a result: {state.stopped or 'nothing was sent'}")
    first, count = state.failed[0], state.failed_count
    others = f", the first of {count:,} without results," if count > 1 else ""
    details = FailureDetails(action=first.action, batch_id=first.batch_id, candidates=first.candidates)
    message = f"No shard has landed. {first.workflow_id}{others} failed: {first.message}"
    return ApplicationError(message, details, type=first.type, non_retryable=True)
