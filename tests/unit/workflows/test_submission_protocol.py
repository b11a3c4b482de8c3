"""The submission protocol, in every order of crash, loss, reply and visibility."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

import pytest

from activities.models import CandidateMatch
from message_batches.api.models import BATCH_LIFETIME
from message_batches.models import Anchor, Candidate, Resolution, RetrySchedule, SubmissionSchedule
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
from workflows.submission.protocol import MAX_LOST_POSTS, OPERATOR_GRACE, Submission

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
SCHEDULE = SubmissionSchedule(timeout=timedelta(seconds=60), quiet_period=timedelta(seconds=90))
EVERY = timedelta(seconds=10)
ANCHOR = Anchor(batch_id="msgbatch_anchor", created_at=START - timedelta(hours=1))


class Reply(Enum):
    """The outcome of one POST: whether a batch is created, and the reply that the run gets."""

    ANSWERED = "200"
    REFUSED = "429"
    LOST_CREATED = "created, reply lost"
    LOST_CREATED_LATE = "created, reply lost, visible only after a while"
    LOST_NOTHING = "not created, reply lost"
    CRASH_BEFORE = "worker gone before the POST"
    CRASH_AFTER = "worker gone after the POST"

    @property
    def creates(self) -> bool:
        return self in (Reply.ANSWERED, Reply.LOST_CREATED, Reply.LOST_CREATED_LATE, Reply.CRASH_AFTER)

    @property
    def worker_gone(self) -> bool:
        return self in (Reply.CRASH_BEFORE, Reply.CRASH_AFTER)


class Stranger(Enum):
    """A batch of our count that another program creates at the same time."""

    NONE = "none"
    OTHER_IDS = "other custom_ids"
    CLAIMED = "our custom_ids, claimed by its own run"
    CLAIMED_LATE = "our custom_ids, claimed by its own run after we have seen it"
    OTHER_REQUESTS = "our custom_ids, its results contradict our requests"
    AFTERWARDS = "our custom_ids and requests, created well after our POST was answered"


@dataclass
class Batch:
    id: str
    ours: bool
    visible: datetime
    ends: datetime
    claimed: datetime | None = None
    may_be_ours: bool = True
    created: datetime = START
    rivals: tuple[str, ...] = ()


@dataclass
class World:
    """The API and the store as the protocol sees them, on a clock that advances only by waiting."""

    replies: list[Reply]
    stranger: Stranger = Stranger.NONE
    processing: timedelta = timedelta(seconds=30)
    late: timedelta = timedelta(seconds=40)
    now: datetime = START
    batches: list[Batch] = field(default_factory=list)
    posts: int = 0
    commands: list[Command] = field(default_factory=list)

    def post(self, submission: Submission) -> None:
        reply = self.replies[self.posts] if self.posts < len(self.replies) else Reply.ANSWERED
        self.posts += 1
        submission.on_post_started(self.now)
        # One that comes afterwards would be within the time of the next POST, if this one is refused.
        after = self.stranger is Stranger.AFTERWARDS and reply is not Reply.REFUSED and not self.batches
        if after or (self.posts == 1 and self.stranger not in (Stranger.NONE, Stranger.AFTERWARDS)):
            claims = {Stranger.CLAIMED: self.now, Stranger.CLAIMED_LATE: self.now + timedelta(seconds=75)}
            created = self.now
            if self.stranger is Stranger.AFTERWARDS:
                created += timedelta(seconds=24) + (SCHEDULE.timeout if reply.worker_gone else timedelta(0))
            self.batches.append(
                Batch(
                    "msgbatch_stranger",
                    ours=False,
                    visible=created,
                    ends=self.now + timedelta(seconds=80),
                    claimed=claims.get(self.stranger),
                    may_be_ours=self.stranger not in (Stranger.OTHER_IDS, Stranger.OTHER_REQUESTS),
                    created=created,
                )
            )
        if reply.creates:
            visible = self.now + (self.late if reply is Reply.LOST_CREATED_LATE else timedelta(0))
            batch = Batch(
                f"msgbatch_ours{self.posts}",
                ours=True,
                visible=visible,
                ends=self.now + self.processing,
                created=self.now,
            )
            self.batches.append(batch)
        if reply is Reply.ANSWERED:
            submission.on_post_succeeded(self.batches[-1].id)
        elif reply is Reply.REFUSED:
            submission.on_post_rejected(retry_at=self.now + timedelta(seconds=5))
        else:
            over = self.now + (SCHEDULE.timeout if reply.worker_gone else timedelta(0))
            submission.on_post_unknown(over, until=over)

    def matches(self, submission: Submission) -> list[CandidateMatch]:
        return [
            CandidateMatch(
                candidate=Candidate(
                    batch_id=batch.id,
                    created_at=batch.created,
                    processing_status="ended" if self.now >= batch.ends else "in_progress",
                ),
                taken=batch.claimed is not None and self.now >= batch.claimed,
                rivals=batch.rivals,
            )
            for batch in self.batches
            if self.now >= batch.visible
            and (not submission.windows or any(window.admits(batch.created) for window in submission.windows))
        ]

    def walk(self, submission: Submission, *, most: int = 500) -> Command:
        """Execute the protocol's commands until it is done, carrying it over continue-as-new at every step."""
        for _ in range(most):
            submission = Submission.model_validate_json(submission.model_dump_json())
            step = submission.next_command(self.now, SCHEDULE, EVERY)
            self.commands.append(step)
            match step:
                case Done() | Fail():
                    return step
                case FindAnchor():
                    submission.on_anchor_read(ANCHOR)
                case Post(_, anchor):
                    assert anchor == ANCHOR
                    self.post(submission)
                case WaitUntil(time, _):
                    assert time > self.now
                    self.now = time
                case ListCandidates(anchor):
                    assert anchor == ANCHOR
                    submission.on_list_read(self.matches(submission), self.now, SCHEDULE)
                case RecordNotFound(numbers):
                    assert numbers == (submission.number,)
                    submission.on_not_found_recorded()
                case VerifyCandidate(batch_id):
                    submission.candidates.on_verified(batch_id, ours=self.batch(batch_id).may_be_ours, now=self.now)
                case ClaimBatch(batch_id):
                    batch = self.batch(batch_id)
                    submission.on_claim_result(batch_id, ours=batch.claimed is None or self.now < batch.claimed)
        raise AssertionError(f"not done after {most} steps: {self.commands[-5:]}")

    def batch(self, batch_id: str) -> Batch:
        return next(batch for batch in self.batches if batch.id == batch_id)

    @property
    def paid(self) -> list[str]:
        return [batch.id for batch in self.batches if batch.ours]


@pytest.mark.parametrize("stranger", Stranger)
@pytest.mark.parametrize(
    "processing", [timedelta(0), timedelta(seconds=30), pytest.param(timedelta(minutes=10), marks=pytest.mark.slow)]
)
def test_every_order_of_crash_and_reply_pays_once_and_ends_with_our_batch(
    stranger: Stranger, processing: timedelta
) -> None:
    walked = 0
    for replies in itertools.product(Reply, repeat=3):
        world = World([*replies, Reply.ANSWERED], stranger, processing)
        end = world.walk(Submission())
        walked += 1
        assert len(world.paid) <= 1, f"paid twice after {replies}"
        if isinstance(end, Done):
            assert world.paid == [end.batch_id], f"settled on another's batch after {replies}"
        else:
            nothing = [r for r in replies if r is not Reply.REFUSED][:MAX_LOST_POSTS]
            assert not any(reply.creates for reply in nothing), f"gave up after {replies}"
            assert world.paid == []
    assert walked == len(Reply) ** 3


def test_a_batch_that_appears_only_after_the_quiet_period_is_not_detected() -> None:
    world = World([Reply.LOST_CREATED_LATE, Reply.ANSWERED], late=timedelta(hours=1))

    end = world.walk(Submission())

    assert end == Done("msgbatch_ours2")
    assert world.paid == ["msgbatch_ours1", "msgbatch_ours2"]


def test_nothing_is_posted_before_the_quiet_period_is_over() -> None:
    world = World([Reply.CRASH_BEFORE, Reply.ANSWERED])
    submission = Submission()

    world.walk(submission)

    assert world.now >= START + SCHEDULE.timeout + SCHEDULE.quiet_period


@pytest.mark.slow
def test_a_candidate_with_a_rival_waits_a_day_for_an_operator() -> None:
    world = World([Reply.LOST_CREATED, Reply.LOST_NOTHING, Reply.LOST_NOTHING])
    world.batches.append(
        Batch("msgbatch_rival", ours=False, visible=START, ends=START + timedelta(minutes=30), rivals=("run-b",))
    )
    submission = Submission(anchor=ANCHOR)
    world.post(submission)
    world.batches[-1].rivals = ("run-b",)

    end = world.walk(submission, most=20_000)

    assert isinstance(end, Fail)
    assert set(end.candidates) == {"msgbatch_rival", "msgbatch_ours1"}
    assert (
        START + timedelta(minutes=30) + OPERATOR_GRACE
        <= world.now
        <= START + timedelta(minutes=30) + OPERATOR_GRACE + 2 * EVERY
    )
    assert not any(isinstance(command, ClaimBatch) for command in world.commands)


def test_a_decided_rival_makes_the_remaining_candidate_provable() -> None:
    submission = Submission(anchor=ANCHOR)
    world = World([Reply.LOST_CREATED])
    world.post(submission)
    world.batches[0].rivals = ("run-b",)
    for _ in range(20):
        match submission.next_command(world.now, SCHEDULE, EVERY):
            case ListCandidates():
                submission.on_list_read(world.matches(submission), world.now, SCHEDULE)
            case WaitUntil(time, _):
                world.now = time
            case VerifyCandidate(batch_id):
                submission.candidates.on_verified(batch_id, ours=True, now=world.now)
    assert submission.undecided
    assert [candidate.batch_id for candidate in submission.candidates.batches] == ["msgbatch_ours1"]

    world.batches[0].rivals = ()

    assert world.walk(submission) == Done("msgbatch_ours1")


def test_two_matches_of_one_post_are_ambiguous_and_of_two_posts_the_older_is_adopted() -> None:
    twins = [Batch(f"msgbatch_{n}", ours=True, visible=START, ends=START) for n in (1, 2)]
    once = Submission(anchor=ANCHOR, number=1, posted=1, outcome_unknown=True, safe_at=START)
    twice = Submission(anchor=ANCHOR, number=2, posted=2, lost=1, outcome_unknown=True, safe_at=START)
    again_after_a_reset = once.model_copy(update={"recorded_posts": 2}, deep=True)

    undecided = World([], batches=list(twins)).walk(once, most=20_000)
    settled = [World([], batches=list(twins)).walk(each) for each in (twice, again_after_a_reset)]

    assert isinstance(undecided, Fail)
    assert settled == [Done("msgbatch_1"), Done("msgbatch_1")]


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        (Resolution(adopt="msgbatch_chosen"), Done("msgbatch_chosen")),
        (Resolution(submit_again=True), RecordNotFound((1,))),
    ],
)
def test_an_operator_resolves_an_undecided_submission(resolution: Resolution, expected: Command) -> None:
    submission = Submission(anchor=ANCHOR, number=1, posted=1, outcome_unknown=True, safe_at=START)
    submission.on_list_read(
        [CandidateMatch(candidate=Candidate(batch_id="b", created_at=START, processing_status="ended"))],
        START,
        SCHEDULE,
    )

    submission.on_resolved(resolution)

    assert submission.next_command(START, SCHEDULE, EVERY) == expected
    assert not submission.undecided


def test_a_candidate_missing_from_one_list_stays_a_candidate() -> None:
    world = World([Reply.LOST_CREATED], processing=timedelta(hours=1))
    submission = Submission(anchor=ANCHOR)
    world.post(submission)
    submission.on_list_read(world.matches(submission), world.now, SCHEDULE)

    gone_at = world.now + SCHEDULE.quiet_period + EVERY
    submission.on_list_read([], gone_at, SCHEDULE)

    assert submission.outcome_unknown
    assert [candidate.batch_id for candidate in submission.candidates.batches] == ["msgbatch_ours1"]


def test_a_deleted_candidate_does_not_block_the_run_for_ever() -> None:
    running = Candidate(batch_id="msgbatch_deleted", created_at=START, processing_status="in_progress")
    submission = Submission(anchor=ANCHOR, number=1, posted=1, outcome_unknown=True, safe_at=START)
    submission.on_list_read([CandidateMatch(candidate=running)], START, SCHEDULE)
    submission.on_list_read([], START + BATCH_LIFETIME - EVERY, SCHEDULE)
    assert isinstance(submission.next_command(START + BATCH_LIFETIME - EVERY / 2, SCHEDULE, EVERY), WaitUntil)

    for now in (START + BATCH_LIFETIME, START + BATCH_LIFETIME + OPERATOR_GRACE):
        submission.on_list_read([], now, SCHEDULE)
        assert submission.next_command(now, SCHEDULE, EVERY) == VerifyCandidate("msgbatch_deleted")
        submission.candidates.on_unreadable("msgbatch_deleted")
        command = submission.next_command(now, SCHEDULE, EVERY)

    assert isinstance(command, Fail)
    assert command.candidates == ("msgbatch_deleted",)


def test_unreadable_results_are_read_again_after_the_next_list() -> None:
    world = World([Reply.LOST_CREATED], processing=timedelta(0))
    submission = Submission(anchor=ANCHOR)
    world.post(submission)
    submission.on_list_read(world.matches(submission), world.now, SCHEDULE)
    assert submission.next_command(world.now, SCHEDULE, EVERY) == VerifyCandidate("msgbatch_ours1")

    submission.candidates.on_unreadable("msgbatch_ours1")

    assert isinstance(submission.next_command(world.now, SCHEDULE, EVERY), WaitUntil)
    assert world.walk(submission) == Done("msgbatch_ours1")


def test_results_that_are_whole_and_tell_nothing_are_read_once_and_the_reason_is_kept() -> None:
    world = World([Reply.LOST_CREATED], processing=timedelta(0))
    submission = Submission(anchor=ANCHOR)
    world.post(submission)
    submission.on_list_read(world.matches(submission), world.now, SCHEDULE)

    submission.candidates.on_unreadable("msgbatch_ours1", "1 of 4", final=True)
    world.now += EVERY
    submission = Submission.model_validate_json(submission.model_dump_json())
    submission.on_list_read(world.matches(submission), world.now, SCHEDULE)
    waits = submission.next_command(world.now, SCHEDULE, EVERY)
    gives_up = submission.next_command(world.now + OPERATOR_GRACE, SCHEDULE, EVERY)

    assert isinstance(waits, WaitUntil)
    assert "operator" in waits.reason
    assert [(each.batch_id, each.doubt) for each in submission.candidates.batches] == [("msgbatch_ours1", "1 of 4")]
    assert isinstance(gives_up, Fail)
    assert "1 of 4" in gives_up.reason
    submission.on_resolved(Resolution(adopt="msgbatch_ours1"))
    assert submission.next_command(world.now, SCHEDULE, EVERY) == Done("msgbatch_ours1")


def test_a_post_is_repeated_as_often_as_the_schedule_allows() -> None:
    schedule = RetrySchedule(retry_limit=2)
    submission = Submission(anchor=ANCHOR)
    exhausted = []
    for _ in range(3):
        submission.on_post_started(START)
        submission.on_post_rejected(retry_at=START)
        exhausted.append(submission.retries_exhausted(schedule))

    assert exhausted == [False, False, True]


def test_an_earlier_intent_keeps_its_own_anchor_and_an_unknown_outcome() -> None:
    earlier = Anchor(batch_id="msgbatch_before", created_at=START - timedelta(days=1))
    submission = Submission(anchor=ANCHOR)
    submission.on_post_started(START)
    submission.on_earlier_anchor(earlier)
    submission.on_post_unknown(START, until=START)
    submission.on_earlier_anchor(ANCHOR)

    assert submission.next_command(START, SCHEDULE, EVERY) == ListCandidates(earlier)
    assert not submission.may_stop


@pytest.mark.parametrize(("then", "kept"), [("wrkspc_b", True), ("wrkspc_a", False), (None, False)])
def test_an_earlier_anchor_of_another_account_is_kept_however_young(then: str | None, kept: bool) -> None:
    earlier = Anchor(batch_id="msgbatch_before", created_at=START, workspace_id=then)
    now = ANCHOR.model_copy(update={"workspace_id": "wrkspc_a"})
    submission = Submission(anchor=now)
    submission.on_post_started(START)
    submission.on_earlier_anchor(earlier)
    submission.on_post_unknown(START, until=START)

    assert submission.next_command(START, SCHEDULE, EVERY) == ListCandidates(earlier if kept else now)


def test_the_anchor_is_read_again_before_each_post_while_none_may_have_created_a_batch() -> None:
    submission = Submission(anchor=ANCHOR)
    submission.on_post_started(START)
    submission.on_post_rejected(retry_at=START + EVERY)

    refused = submission.next_command(START, SCHEDULE, EVERY)
    then = submission.next_command(START + EVERY, SCHEDULE, EVERY)

    assert isinstance(refused, WaitUntil)
    assert then == FindAnchor()


def test_a_dismissed_batch_is_not_a_candidate_of_the_next_post() -> None:
    foreign = Batch("msgbatch_foreign", ours=False, visible=START, ends=START + timedelta(hours=2))
    submission = Submission(anchor=ANCHOR, number=1, posted=1, outcome_unknown=True, safe_at=START)
    matches = World([], batches=[foreign]).matches(submission)
    submission.on_list_read(matches, START, SCHEDULE)
    submission.on_resolved(Resolution(submit_again=True))
    submission.on_not_found_recorded()
    submission.on_post_started(START)
    submission.on_post_unknown(START, until=START)

    submission.on_list_read(matches, START, SCHEDULE)

    assert submission.candidates.batches == ()


def test_after_an_outage_of_the_list_the_quiet_period_begins_with_the_first_read() -> None:
    world = World([Reply.LOST_CREATED_LATE, Reply.ANSWERED], late=timedelta(minutes=30, seconds=20))
    submission = Submission(anchor=ANCHOR)
    world.post(submission)
    world.now += timedelta(minutes=30)

    assert world.walk(submission) == Done("msgbatch_ours1")
    assert world.posts == 1


@pytest.mark.slow
def test_the_batch_of_an_earlier_post_stays_a_candidate_where_its_time_is_not_known() -> None:
    from_an_older_version = Submission(anchor=ANCHOR, number=1, posted=1, lost=1)
    after_a_reset = Submission(anchor=ANCHOR)
    after_a_reset.on_post_started(START)
    after_a_reset.on_earlier_not_found()

    for submission in (from_an_older_version, after_a_reset):
        submission.on_post_started(START)
        submission.on_post_unknown(START, until=START)

        assert any(window.admits(START - timedelta(minutes=30)) for window in submission.windows)
        assert not any(window.admits(START + timedelta(minutes=30)) for window in submission.windows)


def test_after_the_deadline_nothing_is_sent_and_a_lost_reply_is_still_decided() -> None:
    fresh, refused, lost, undecided, known = (Submission(anchor=ANCHOR) for _ in range(5))
    refused.on_post_started(START)
    refused.on_post_rejected(retry_at=START + EVERY)
    lost.unrecorded = [1]
    undecided.on_post_started(START)
    undecided.on_post_unknown(START, until=START)
    known.on_post_started(START)
    known.on_post_succeeded("msgbatch_ours1")

    def command(submission: Submission) -> Command:
        return submission.next_command(START, SCHEDULE, EVERY, deadline_passed=True)

    assert command(fresh) == command(refused) == command(Submission()) == StopAtDeadline()
    assert command(lost) == RecordNotFound((1,))
    assert command(undecided) == ListCandidates(ANCHOR)
    assert command(known) == Done("msgbatch_ours1")
