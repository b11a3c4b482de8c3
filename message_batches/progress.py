"""Where a run stands, as it tells whoever asks, and what a person can tell it."""

from datetime import datetime, timedelta
from enum import StrEnum

from message_batches.models import Boundary, GivenBatchId
from message_batches.wire import RequestCounts

EXPIRING = timedelta(hours=2)
"""Before the end of its lifetime a batch that has not ended is worth a look."""


class Phase(StrEnum):
    """Where a run stands; the three in the middle are the document's steps."""

    PREPARING = "preparing"
    SUBMITTING = "submitting"
    UNDECIDED = "undecided"
    POLLING = "polling"
    RETRIEVING = "retrieving"
    LANDED = "landed"
    FAILED = "failed"
    CANCELED = "canceled"


class Candidate(Boundary):
    """A batch that may be ours after a lost reply: newer than the anchor, our count, claimed by nobody else."""

    batch_id: str
    created_at: datetime
    processing_status: str

    @property
    def ended(self) -> bool:
        """Whether its results can be looked at."""
        return self.processing_status == "ended"


class Progress(Boundary):
    """The answer to the `progress` query.

    Attributes:
        polls: unfinished answers seen so far, over the whole chain of runs.
        next_poll: when the timer fires next, None if none is set.
        posts: how often the requests were sent.
        submission: one sentence on the submission, while it is not settled.
        waiting_for: what the run waits for now, other than the next poll.
        candidates: batches that may be ours, while that is undecided.
    """

    phase: Phase
    batch_id: str | None = None
    processing_status: str | None = None
    request_counts: RequestCounts | None = None
    polls: int = 0
    next_poll: datetime | None = None
    expires_at: datetime | None = None
    posts: int = 0
    submission: str | None = None
    waiting_for: str | None = None
    candidates: tuple[Candidate, ...] = ()
    cancel_requested: bool = False


class Resolution(Boundary):
    """The argument of the `resolveSubmission` update: exactly one of the two."""

    adopt: GivenBatchId | None = None
    submit_again: bool = False
