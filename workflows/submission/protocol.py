"""The submission protocol: what to do next so that a batch is paid for once, whatever is lost.

A pure state machine. `Submission` remembers, `next_command` decides, the methods `on_...` take in what happened.
Nothing here waits, calls or reads a clock, so a test can walk every order of crash, loss and reply.

    anchor -> POST -> batch id                                                        (nearly always)
                   -> rejected for now -> POST again, later
                   -> unknown -> wait until it cannot be under way -> read the list through a quiet period
                        none found      -> POST again from the same anchor, twice at most -> fail
                        candidates      -> follow them; when one has ended, its results prove or refute it
                        proof ambiguous -> an operator decides, or fail 24 h after the last candidate ended
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from activities.models import CandidateMatch, PostWindow
from message_batches.models import Anchor, Resolution, RetrySchedule, SubmissionSchedule
from workflows.submission.candidates import Candidates
from workflows.submission.commands import (
    ClaimBatch,
    Command,
    Done,
    Fail,
    FindAnchor,
    ListCandidates,
    Post,
    RecordNotFound,
    StopAtDeadline,
    VerifyCandidate,
    WaitUntil,
)

MAX_LOST_POSTS = 3
"""POSTs whose batch was searched for and not found, before the run fails: the first and two more."""

OPERATOR_GRACE = timedelta(hours=24)
"""The time after the end of the last candidate within which an operator may still decide."""


class Submission(BaseModel):
    """The state of a submission; carried over continue-as-new.

    Attributes:
        number: of the last POST intended, 0 before the first.
        posted: how many of them may have reached the API.
        recorded_posts: how many of them the store knows of; more than that where the run was reset.
        lost: how many were searched for during the quiet period and not found.
        refusals: consecutive answers that say "not now".
        not_before: the earliest time of the next POST.
        refused_for: why the last POST created nothing, in the words of its failure.
        outcome_unknown: whether the last POST may have created a batch that is not known.
        safe_at: when that POST can no longer be under way.
        watching_since: when the list was first read since the POST: an outage of the list proves nothing absent.
        unrecorded: POSTs whose batch was not found or was dismissed, of which the store does not know yet.
        adopted: whether an operator has named the batch.
        windows: when the POSTs that may have created a batch can have done so.
    """

    batch_id: str | None = None
    anchor: Anchor | None = None
    number: int = 0
    posted: int = 0
    recorded_posts: int = 0
    lost: int = 0
    refusals: int = 0
    not_before: datetime | None = None
    refused_for: str = ""
    outcome_unknown: bool = False
    safe_at: datetime | None = None
    watching_since: datetime | None = None
    unrecorded: list[int] = Field(default_factory=list)
    adopted: bool = False
    windows: list[PostWindow] = Field(default_factory=list)
    candidates: Candidates = Field(default_factory=Candidates)

    @property
    def undecided(self) -> bool:
        """Whether the last POST got no answer, and its outcome is not known yet."""
        return self.outcome_unknown and self.safe_at is not None

    @property
    def may_be_paid_twice(self) -> bool:
        """Whether more than one POST may have created a batch."""
        return max(self.posted, self.recorded_posts) > 1

    @property
    def may_stop(self) -> bool:
        """Whether there is no batch, and no POST with an unknown outcome that may have created one."""
        return not self.outcome_unknown and self.batch_id is None

    def next_command(
        self, now: datetime, schedule: SubmissionSchedule, list_interval: timedelta, *, deadline_passed: bool = False
    ) -> Command:
        """Return the one thing to do now."""
        if self.batch_id:
            return Done(self.batch_id)
        if self.outcome_unknown and self.anchor:
            return self._find_outcome(self.anchor, now, list_interval)
        if self.unrecorded:
            return RecordNotFound(tuple(self.unrecorded))
        if self.lost >= MAX_LOST_POSTS:
            return Fail(f"the requests were sent {self.posted} times without a reply and no batch was found")
        if deadline_passed:
            return StopAtDeadline()
        if self.not_before and now < self.not_before:
            why = f": {self.refused_for}" if self.refused_for else ""
            return WaitUntil(self.not_before, f"the POST is made again, the last one created nothing{why}")
        if self.anchor is None:
            return FindAnchor()
        return Post(self.number + 1, self.anchor)

    def _find_outcome(self, anchor: Anchor, now: datetime, list_interval: timedelta) -> Command:
        candidates = self.candidates
        if self.safe_at and now < self.safe_at:
            return WaitUntil(self.safe_at, "no usable reply to the POST, which may still be under way")
        if batch_id := candidates.next_to_verify(now):
            return VerifyCandidate(batch_id)
        # With one POST only one of several matches can be ours, and the ids do not say which.
        if candidates.provable and (len(candidates.verified) == 1 or self.may_be_paid_twice):
            return ClaimBatch(candidates.provable[0])
        if candidates.undecidable_since and now >= candidates.undecidable_since + OPERATOR_GRACE:
            doubt = f" ({candidates.doubt})" if candidates.doubt else ""
            return Fail(f"nobody has decided which batch is ours{doubt}", tuple(candidates.matches))
        if candidates.list_read_at and now < candidates.list_read_at + list_interval:
            return WaitUntil(candidates.list_read_at + list_interval, self._waiting_for())
        return ListCandidates(anchor)

    def _waiting_for(self) -> str:
        if self.candidates.verified:
            return "more than one run or batch has these custom_ids: an operator must decide"
        if self.candidates.doubt:
            return "the results of a batch do not tell whether it is ours: an operator must decide"
        if self.candidates.matches:
            return "no usable reply to the POST: following the batches that may be ours until their results tell"
        return "no usable reply to the POST: watching the list of batches"

    def on_anchor_read(self, anchor: Anchor | None) -> None:
        """Take in the account's newest batch: the anchor from the first POST on that may have created a batch.

        None where the deadline has come before it was read.
        """
        self.anchor = anchor

    def on_earlier_anchor(self, anchor: Anchor) -> None:
        """Take in the anchor of a POST from before a reset, whose batch may be older than the newest one now.

        One of another account stays, however young: with the key of now its batch cannot be seen.
        """
        other = self.anchor is not None and self.anchor.owner.conflict(anchor.owner)
        if self.anchor is None or other or anchor.created_at < self.anchor.created_at:
            self.anchor = anchor

    def on_post_started(self, now: datetime) -> None:
        """Count a POST that is about to be made: from here on its outcome is unknown."""
        self.number += 1
        if self.posted and not self.windows:
            # Carried over from a version that did not keep them.
            self.windows.append(PostWindow(until=now))
        self.windows.append(PostWindow(since=now))
        self.outcome_unknown = True
        self.safe_at = None
        self.watching_since = None
        self.candidates.list_read_at = None

    def on_post_succeeded(self, batch_id: str) -> None:
        """Take in the batch of the last POST: from the API's answer, or from a record of a POST not counted yet."""
        self.posted += 1
        self._decide(batch_id)

    def on_post_of_another_run(self) -> None:
        """Take in that the store has another POST of these requests, which may have created a batch too."""
        self.recorded_posts = max(self.recorded_posts, 2)

    def on_post_rejected(self, *, retry_at: datetime | None = None, why: str = "", counts: bool = True) -> None:
        """Take in that the last POST certainly created nothing.

        Args:
            retry_at: the earliest time of the next one, where it was rejected for now. As long as no POST may have
                created a batch, the anchor is read again before that one: batches of others in between are not ours.
            why: the failure, in its own words.
            counts: whether it is one of the refusals that the schedule limits.
        """
        self.outcome_unknown = False
        self.windows.pop()
        self.refusals += counts
        self.not_before, self.refused_for = retry_at, why
        if retry_at and not self.posted:
            self.anchor = None

    def retries_exhausted(self, schedule: RetrySchedule) -> bool:
        """Return whether there were more consecutive refusals than the schedule has retries."""
        return self.refusals > schedule.retry_limit

    def on_post_unknown(self, safe_at: datetime, *, until: datetime, earlier: bool = False) -> None:
        """Take in that the last POST may or may not have created a batch.

        Args:
            safe_at: when the list is worth reading: the POST is no longer under way from here.
            until: when it can no longer create anything, at the API either.
            earlier: whether it was made before a reset of the run, at a time that is not known.
        """
        self.posted += 1
        self.refusals = 0
        self.safe_at = safe_at
        self.windows[-1] = PostWindow(since=None if earlier else self.windows[-1].since, until=until)

    def on_earlier_not_found(self) -> None:
        """Take in that an earlier run of this submission searched for this POST's batch and did not find it."""
        self.windows[-1] = PostWindow(until=self.windows[-1].since)
        self.posted += 1
        self.lost += 1
        self._end_search()

    def on_record_found(self, batch_id: str) -> None:
        """Take in that the store names the batch of the last POST, which was counted when its reply was lost."""
        self._decide(batch_id)

    def on_list_read(
        self,
        matches: Sequence[CandidateMatch],
        now: datetime,
        schedule: SubmissionSchedule,
        *,
        read_at: datetime | None = None,
        recorded_posts: int = 0,
    ) -> None:
        """Take in the list; at the end of the quiet period, without a candidate, the POST created nothing.

        Args:
            matches: the batches that may be ours.
            now: the run's time.
            schedule: the length of the quiet period.
            read_at: when the list was requested, on the server's clock, if that was before `now`.
            recorded_posts: POSTs of this run that may have created a batch, as the store knows them.
        """
        read_at = read_at or now
        self.recorded_posts = max(self.recorded_posts, recorded_posts)
        self.watching_since = self.watching_since or read_at
        self.candidates.on_list_read(matches, now)
        if not self.candidates.matches and read_at >= self.watching_since + schedule.quiet_period:
            self.lost += 1
            self.unrecorded.append(self.number)
            self._end_search()

    def on_not_found_recorded(self) -> None:
        """Take in that the store knows of the POSTs without a batch."""
        self.unrecorded = []

    def on_claim_result(self, batch_id: str, *, ours: bool) -> None:
        """Take in whether a proved candidate was claimed, or another run had claimed it first."""
        if ours:
            self._decide(batch_id)
        else:
            self.candidates.drop(batch_id)

    def on_resolved(self, resolution: Resolution) -> None:
        """Take in an operator's decision: this batch, or none of them and another POST."""
        if resolution.adopt:
            self.adopted = True
            self._decide(resolution.adopt)
        else:
            # The last POST may still have created a batch: as a recorded POST without one it keeps other runs from it.
            self.unrecorded.append(self.number)
            self.lost = 0
            self.candidates.dismiss_all()
            self._end_search()

    def _decide(self, batch_id: str) -> None:
        self.batch_id = batch_id
        self._end_search()

    def _end_search(self) -> None:
        self.outcome_unknown = False
        self.not_before, self.refused_for = None, ""
        self.candidates.clear()
