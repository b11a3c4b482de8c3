"""What a run carries over continue-as-new: ids, counters and everything undecided, never the requests."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field, PrivateAttr

from message_batches.api.models import MessageBatch
from message_batches.models import BatchInput, Manifest, Phase, Progress
from workflows.submission.protocol import Submission


class RunState(BaseModel):
    """Where a run stands.

    Attributes:
        started: when the first run of the chain was.
        settled: the submission's outcome is in the store and the batch is claimed.
        first_seen: when the batch was first seen; its lifetime counts from here.
        not_found_since: of the first of the 404s in a row that polling gets now.
        results_missing_since: of the first 404 in the place of results.
        polls: answers that were not `ended`, over the whole chain.
        next_poll: when the timer that is set fires.
        waiting_for: what that timer is for.
        downloads: results that were downloaded and not complete.
        landing_fails_since: of the first landing that failed.
        cancel_requested: the run is to end as cancelled once nothing is in doubt.
        search_attributes: those that the namespace has.
        outcome: the `BatchOutcome`, or a failure's type, once the run has come to its end.
    """

    phase: Phase = Phase.PREPARING
    store_id: str | None = None
    manifest: Manifest | None = None
    submission: Submission = Field(default_factory=Submission)
    started: datetime | None = None
    settled: bool = False
    batch: MessageBatch | None = None
    first_seen: datetime | None = None
    not_found_since: datetime | None = None
    results_missing_since: datetime | None = None
    polls: int = 0
    next_poll: datetime | None = None
    waiting_for: str | None = None
    downloads: int = 0
    landing_fails_since: datetime | None = None
    cancel_requested: bool = False
    search_attributes: tuple[str, ...] = ()
    outcome: str | None = None

    @property
    def status(self) -> str:
        """The batch's `processing_status`, as last seen."""
        return self.batch.processing_status if self.batch else "not yet seen"

    @property
    def requests(self) -> int | None:
        """How many there are, once that is known."""
        if self.manifest:
            return self.manifest.count
        return self.batch.request_counts.total if self.batch else None

    def saw(self, batch: MessageBatch, now: datetime) -> None:
        """The API described the batch."""
        self.batch = batch
        self.first_seen = self.first_seen or now
        self.not_found_since = None

    def progress(self) -> Progress:
        """The state as a caller is told it."""
        batch = self.batch
        return Progress(
            phase=self.phase,
            batch_id=self.submission.batch_id,
            processing_status=batch.processing_status if batch else None,
            request_counts=batch.request_counts if batch else None,
            polls=self.polls,
            next_poll=self.next_poll,
            expires_at=batch.expires_at if batch else None,
            posts=self.submission.posted,
            submission=self.waiting_for if self.phase in (Phase.SUBMITTING, Phase.UNDECIDED) else None,
            waiting_for=self.waiting_for,
            candidates=self.submission.candidates,
            cancel_requested=self.cancel_requested,
        )


class BatchRun(BatchInput):
    """The input of one run in the chain.

    Attributes:
        state: set by continue-as-new alone.
    """

    state: RunState | None = None
    _problem: str | None = PrivateAttr(None)

    @property
    def problem(self) -> str | None:
        """Why the input cannot be used."""
        return self._problem

    @classmethod
    def unusable(cls, problem: str) -> Self:
        """What stands for an input that cannot be read."""
        run = cls()
        run._problem = problem
        return run
