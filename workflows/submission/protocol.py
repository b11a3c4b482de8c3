"""The submission protocol: what to do next so that a batch is paid for once, whatever was lost.

A pure state machine. `Submission` remembers, `next_move` decides, the methods in the past tense report what happened.
Nothing here waits, calls or reads a clock, so a test can walk every order of crash, loss and reply.

    anchor -> POST -> batch id                                                        (nearly always)
                   -> refused for now -> POST again, later
                   -> unknown -> wait until it cannot be under way -> look at the list through a quiet period
                        none found      -> POST again from the same anchor, twice at most -> give up
                        candidates      -> follow them; when one has ended, its custom_ids prove or refute it
                        proof ambiguous -> a person decides, or give up 24 h after the last candidate ended
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import Field

from activities.models import Sighting
from message_batches.models import Anchor, Resolution, RetrySchedule, SubmissionSchedule
from workflows.submission.candidates import Candidates, has_ended
from workflows.submission.commands import (
    Claim,
    Examine,
    FindAnchor,
    GiveUp,
    Look,
    Move,
    NoteAbsent,
    Post,
    Settled,
    WaitUntil,
)

MOST_LOST = 3
"""POSTs whose batch was looked for and not found, before giving up: the first and two more."""

PATIENCE = timedelta(hours=24)
"""How long after the last candidate has ended a person may still decide."""


class Submission(Candidates):
    """What is known of a submission; carried over continue-as-new.

    Attributes:
        number: of the last POST intended, 0 before the first.
        posted: how many of them may have reached the API.
        recorded: how many of them the store knows of; more than that where the run was reset.
        lost: how many were looked for through the quiet period and not found.
        refusals: consecutive answers that say "not now".
        in_doubt: whether the last POST may have created a batch that is not known.
        safe_at: when that POST can no longer be under way.
        watching_since: the first look since the POST: during an outage nothing is seen, and nothing proved absent.
        unnoted: POSTs given up on, of which the store does not know yet.
    """

    batch_id: str | None = None
    anchor: Anchor | None = None
    number: int = 0
    posted: int = 0
    recorded: int = 0
    lost: int = 0
    refusals: int = 0
    not_before: datetime | None = None
    in_doubt: bool = False
    safe_at: datetime | None = None
    watching_since: datetime | None = None
    unnoted: list[int] = Field(default_factory=list)

    # --- what to do next -------------------------------------------------------------------------------------------

    def next_move(self, now: datetime, schedule: SubmissionSchedule, look_every: timedelta) -> Move:
        """The one thing to do now."""
        if self.batch_id:
            return Settled(self.batch_id)
        if self.in_doubt and self.anchor:
            return self._reconcile(self.anchor, now, schedule, look_every)
        if self.unnoted:
            return NoteAbsent(tuple(self.unnoted))
        if self.lost >= MOST_LOST:
            return GiveUp(f"the requests were sent {self.posted} times without a reply and no batch was found")
        if self.not_before and now < self.not_before:
            return WaitUntil(self.not_before, "the API refused the POST for now; nothing was created")
        if self.anchor is None:
            return FindAnchor()
        return Post(self.number + 1, self.anchor)

    def _reconcile(self, anchor: Anchor, now: datetime, schedule: SubmissionSchedule, look_every: timedelta) -> Move:
        if self.safe_at and now < self.safe_at:
            return WaitUntil(self.safe_at, "no reply to the POST, which may still be under way")
        for sighting in self.sightings.values():
            known = (*self.matching, *self.unreadable)
            if has_ended(sighting, now) and sighting.candidate.batch_id not in known:
                return Examine(sighting.candidate.batch_id)
        provable = [i for i in self.matching if not self.sightings[i].rivals]
        # With one POST only one of several matches can be ours, and the ids do not say which.
        if provable and (len(self.matching) == 1 or self.may_be_paid_twice):
            return Claim(provable[0])
        if self.undecidable_since and now >= self.undecidable_since + PATIENCE:
            return GiveUp("several batches may be ours and nobody has decided which", tuple(self.sightings))
        if self.looked_at and now < self.looked_at + look_every:
            return WaitUntil(self.looked_at + look_every, self._waiting_for())
        return Look(anchor)

    def _waiting_for(self) -> str:
        if self.matching:
            return "more than one run or batch has these custom_ids: a person must decide"
        if self.sightings:
            return "no reply to the POST: following the batches that may be ours until their results tell"
        return "no reply to the POST: watching the list of batches"

    @property
    def undecided(self) -> bool:
        """Whether the last POST got no answer, and nobody knows yet what came of it."""
        return self.in_doubt and self.safe_at is not None

    @property
    def may_be_paid_twice(self) -> bool:
        """Whether more than one POST may have created a batch."""
        return max(self.posted, self.recorded) > 1

    @property
    def may_stop(self) -> bool:
        """Whether nothing is out that could still turn out to be paid for."""
        return not self.in_doubt and self.batch_id is None

    # --- what happened ---------------------------------------------------------------------------------------------

    def anchored(self, anchor: Anchor) -> None:
        """The account's newest batch was read; it stays the anchor from the first POST on that may have created one."""
        self.anchor = anchor

    def began_before(self, anchor: Anchor) -> None:
        """A POST from before a reset has left its anchor: its batch may be older than the newest one now."""
        if self.anchor is None or anchor.created_at < self.anchor.created_at:
            self.anchor = anchor

    def posting(self) -> None:
        """A POST is about to be made: from here on it counts as being in doubt."""
        self.number += 1
        self.in_doubt = True
        self.safe_at = None
        self.looked_at = None
        self.watching_since = None

    def answered(self, batch_id: str, *, posted: bool = True) -> None:
        """The API answered with a batch, or an earlier record names it."""
        self.posted += posted
        self._decided(batch_id)

    def not_created(
        self, *, not_before: datetime | None = None, refused: bool = True, forget_anchor: bool = False
    ) -> None:
        """The last POST certainly created nothing; the next one not before that time."""
        self.in_doubt = False
        self.anchor = None if forget_anchor else self.anchor
        self.refusals += refused
        self.not_before = not_before

    def out_of_patience(self, schedule: RetrySchedule) -> bool:
        """Whether "not now" was heard more often than the schedule has retries."""
        return self.refusals > schedule.retry_limit

    def unanswered(self, safe_at: datetime) -> None:
        """The last POST may or may not have created a batch."""
        self.posted += 1
        self.refusals = 0
        self.safe_at = safe_at

    def absent_before(self) -> None:
        """An earlier run of this submission looked for this POST's batch and did not find it."""
        self.posted += 1
        self.lost += 1
        self._out_of_doubt()

    def looked(
        self,
        sightings: Sequence[Sighting],
        now: datetime,
        schedule: SubmissionSchedule,
        *,
        recorded: int = 0,
        asked_at: datetime | None = None,
    ) -> None:
        """The list was read; at the end of the quiet period, without a candidate, the POST created nothing.

        A candidate that this list lacks stays one: real batches are missing from it now and then.
        """
        asked_at = asked_at or now
        self.recorded = max(self.recorded, recorded)
        self.looked_at = now
        self.watching_since = self.watching_since or asked_at
        self._sighted(sightings, now)
        if not self.sightings and asked_at >= self.watching_since + schedule.quiet_period:
            self.lost += 1
            self.unnoted.append(self.number)
            self._out_of_doubt()

    def noted(self) -> None:
        """The store knows of the POSTs that were given up on."""
        self.unnoted = []

    def claimed(self, batch_id: str, *, ours: bool) -> None:
        """A proved candidate was claimed, or somebody else was first."""
        if ours:
            self._decided(batch_id)
        else:
            self._drop(batch_id)

    def resolved(self, resolution: Resolution) -> None:
        """A person decided: this batch, or none of them and another POST."""
        if resolution.adopt:
            self._decided(resolution.adopt)
        else:
            # What becomes of the batch of the last POST, if there is one, nobody knows: no other run may take it.
            self.unnoted.append(self.number)
            self.dismissed += self.sightings
            self.lost = 0
            self._out_of_doubt()

    def _decided(self, batch_id: str) -> None:
        self.batch_id = batch_id
        self._out_of_doubt()

    def _out_of_doubt(self) -> None:
        self.in_doubt = False
        self.not_before = None
        self._forgotten()
