"""The input and the state of one run: carried over continue-as-new are ids, counters and decisions, never requests."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field, PrivateAttr

from message_batches.api.models import MessageBatch
from message_batches.models import BatchInput, Manifest, Phase, Progress, RequestsInput
from workflows.notifications.state import NotificationState
from workflows.submission.protocol import Submission


class RunState(BaseModel):
    """The state of a run.

    Attributes:
        started: when the run began, before it continued as new.
        outcome_recorded: the submission's outcome is in the store and the batch is claimed.
        first_seen: when the batch was first seen; its lifetime counts from here.
        last_seen: when the API last described the batch.
        not_found_since: of the first of the 404s in a row that polling gets now.
        not_found: how many there are.
        results_missing_since: of the first 404 instead of results.
        polls: answers that were not `ended`, also those before it continued as new.
        next_poll: when the timer that is set fires.
        waiting_for: the reason for that timer.
        downloads: results that were downloaded and not complete.
        landing_fails_since: of the first landing that failed.
        cancel_requested: the run is to end as cancelled once the outcome of each POST is known.
        search_attributes: those that the namespace has.
        outcome: the `BatchOutcome`, or a failure's type, once the run has ended.
        unread_fields: the fields of the input that this version does not know.
        deadline: of the run's input.
        canceled_at_deadline: the batch was canceled because its deadline had come.
        notifications: those of its events.
        server: names the server that results come from, if that is not the one of all keys.
    """

    phase: Phase = Phase.PREPARING
    store_id: str | None = None
    manifest: Manifest | None = None
    submission: Submission = Field(default_factory=Submission)
    started: datetime | None = None
    outcome_recorded: bool = False
    batch: MessageBatch | None = None
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    not_found_since: datetime | None = None
    not_found: int = 0
    results_missing_since: datetime | None = None
    polls: int = 0
    next_poll: datetime | None = None
    waiting_for: str | None = None
    downloads: int = 0
    landing_fails_since: datetime | None = None
    cancel_requested: bool = False
    search_attributes: tuple[str, ...] = ()
    outcome: str | None = None
    unread_fields: tuple[str, ...] = ()
    server: str | None = None
    deadline: datetime | None = None
    canceled_at_deadline: bool = False
    notifications: NotificationState = Field(default_factory=NotificationState)

    @property
    def status(self) -> str:
        """The batch's `processing_status`, as last seen."""
        return self.batch.processing_status if self.batch else "not yet seen"

    @property
    def requests(self) -> int | None:
        """The number of requests, once it is known."""
        if self.manifest:
            return self.manifest.count
        return self.batch.request_counts.total if self.batch else None

    def update_batch(self, batch: MessageBatch, now: datetime) -> None:
        """Take in the API's description of the batch, or the store's of one that the API no longer has."""
        if batch.from_store and self.batch:
            landed = {name: getattr(batch, name) for name in ("processing_status", "request_counts", "from_store")}
            self.batch = self.batch.model_copy(update=landed)
        else:
            self.batch = batch
        self.server = batch.server
        self.first_seen = self.first_seen or now
        self.last_seen = self.last_seen if batch.from_store else now
        self.not_found_since, self.not_found = None, 0

    def progress(self) -> Progress:
        """Return the state as callers see it."""
        batch = self.batch
        return Progress(
            phase=self.phase,
            batch_id=self.submission.batch_id,
            processing_status=batch.processing_status if batch else None,
            request_counts=batch.request_counts if batch else None,
            polls=self.polls,
            next_poll=self.next_poll,
            unknown_status=bool(batch and batch.unknown_status),
            expires_at=batch.expires_at if batch else None,
            ended_at=batch.ended_at if batch else None,
            last_seen=self.last_seen,
            not_found_since=self.not_found_since or self.results_missing_since,
            not_found=self.not_found,
            posts=self.submission.posted,
            submission=self.waiting_for if self.phase in (Phase.SUBMITTING, Phase.UNDECIDED) else None,
            waiting_for=self.waiting_for,
            candidates=self.submission.candidates.batches,
            cancel_requested=self.cancel_requested,
            deadline=self.deadline,
            canceled_at_deadline=self.canceled_at_deadline,
            unread_fields=self.unread_fields,
        )


class GivenInput(RequestsInput):
    """The input of a workflow as it was given: with the fields that were not read, or the reason why it cannot be.

    Attributes:
        state: set by continue-as-new alone.
    """

    state: BaseModel | None = None
    _problem: str | None = PrivateAttr(None)
    _unread: tuple[str, ...] = PrivateAttr(())

    @property
    def problem(self) -> str | None:
        """The reason why the input cannot be used, or None."""
        return self._problem

    @property
    def unread_fields(self) -> tuple[str, ...]:
        """The fields of the input that this version does not know; of a run that continues another, none."""
        return self._unread

    def with_unread(self, fields: tuple[str, ...]) -> Self:
        """Return the input with the names of the fields that were not read."""
        self._unread = fields
        return self

    @classmethod
    def unusable(cls, problem: str) -> Self:
        """Return a placeholder for an input that cannot be read."""
        run = cls()
        run._problem = problem
        return run


class BatchRun(GivenInput, BatchInput):
    """The input of a run, and of each run that continues it."""

    state: RunState | None = None
