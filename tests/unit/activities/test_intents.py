"""Two runs with one workflow id and the same requests, in every order of their steps: both never pay unseen."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from activities.intents import Decision, Search, Send, Take, Yield, decide
from message_batches.models import Anchor
from message_batches.storage.submission_records import SubmissionIntent, SubmissionOutcome, SubmissionRecord

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
TIMEOUT = timedelta(minutes=10)
SECOND = timedelta(seconds=1)
STEPS = ("intend", "decide", "post", "record")


def intent(run: str, time: datetime, number: int = 1, **changed: str) -> SubmissionIntent:
    anchor = Anchor(created_at=time - timedelta(minutes=1))
    given = {"workflow_id": "same", "first_run_id": run, "sha256": "same", "nonce": f"{run}-{number}"} | changed
    return SubmissionIntent(number=number, anchor=anchor, time=time, timeout=TIMEOUT, **given)


@dataclass
class Run:
    """One run: its clock differs from the store's by `skew`, its worker dies before step `dies_before`."""

    name: str
    skew: timedelta = timedelta(0)
    dies_before: int = len(STEPS)
    records: list[SubmissionRecord] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    batch: str | None = None
    named: set[str] = field(default_factory=set)

    @property
    def last(self) -> SubmissionRecord:
        return self.records[-1]

    def note(self, outcome: SubmissionOutcome) -> None:
        self.records[-1] = self.last.model_copy(update={"outcome": outcome})


@dataclass
class World:
    """The API and the store with two runs: the first is no longer in Temporal, its activity still works."""

    first: Run
    second: Run
    now: datetime = START
    batches: dict[str, str] = field(default_factory=dict)

    def step(self, run: Run, step: str) -> None:
        self.now += SECOND
        other = self.second if run is self.first else self.first
        match step:
            case "intend":
                run.records.append(SubmissionRecord(intent=intent(run.name, self.now + run.skew, len(run.records) + 1)))
            case "decide":
                began = START if run is self.second else START - timedelta(hours=1)
                run.decisions.append(decide(run.last.intent, run.records[:-1], other.records, began))
            case "post":
                self.post(run)
            case "record" if run.batch:
                run.note(SubmissionOutcome(batch_id=run.batch))

    def post(self, run: Run) -> None:
        match run.decisions[-1]:
            case Send(earlier):
                run.batch = f"batch of {run.name}-{len(run.records)}"
                if earlier:  # The run reads the list once more, from that anchor, before it lands.
                    run.named |= set(self.batches)
                self.batches[run.batch] = run.name
            case Take(batch_id):
                run.batch = batch_id
            case Yield():
                run.note(SubmissionOutcome(created=False, yielded=True))
            case Search():
                run.named |= set(self.batches)
                run.batch = next(iter(self.batches), None)
                if not run.batch:
                    run.note(SubmissionOutcome())

    def play(self, order: tuple[int, ...]) -> None:
        """Have the runs act in this order; then the second one, which Temporal has, goes on until it has a batch."""
        runs, done = (self.first, self.second), [0, 0]
        for each in order:
            if done[each] < runs[each].dies_before:
                self.step(runs[each], STEPS[done[each]])
            done[each] += 1
        for _ in range(5):
            if self.second.batch:
                return
            self.now += TIMEOUT + timedelta(minutes=1)
            for step in STEPS:
                self.step(self.second, step)
        raise AssertionError(f"the second run has no batch after {self.second.decisions}")


def orders() -> Iterator[tuple[int, ...]]:
    for places in itertools.combinations(range(2 * len(STEPS)), len(STEPS)):
        yield tuple(0 if place in places else 1 for place in range(2 * len(STEPS)))


@pytest.mark.parametrize("skew", [timedelta(0), 8 * SECOND, -8 * SECOND])
@pytest.mark.parametrize("dies_before", range(len(STEPS) + 1))
def test_two_runs_of_one_content_never_both_pay_unseen(skew: timedelta, dies_before: int) -> None:
    walked = 0
    for order in orders():
        world = World(Run("first", skew, dies_before), Run("second"))
        world.play(order)
        walked += 1
        unseen = set(world.batches) - {world.second.batch} - world.second.named
        assert not unseen, (order, world.first.decisions, world.second.decisions)
        assert len(world.batches) <= 1, (order, world.first.decisions, world.second.decisions)
    assert walked == 70


def test_both_yield_where_each_has_seen_the_other() -> None:
    world = World(Run("first"), Run("second"))

    world.play((0, 1, 0, 1, 0, 1, 0, 1))

    assert [type(each) for each in world.first.decisions] == [Yield]
    assert [type(each) for each in world.second.decisions] == [Yield, Send]
    assert set(world.batches.values()) == {"second"}


OTHER = START - timedelta(hours=2)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (SubmissionRecord(intent=intent("first", START + SECOND, workflow_id="another")), Send),
        (SubmissionRecord(intent=intent("first", START + SECOND, sha256="others")), Send),
        (SubmissionRecord(intent=intent("first", START + SECOND), outcome=SubmissionOutcome(created=False)), Send),
        (SubmissionRecord(intent=intent("first", OTHER), outcome=SubmissionOutcome(batch_id="b")), Send),
        (SubmissionRecord(intent=intent("first", START + SECOND), outcome=SubmissionOutcome(batch_id="b")), Take),
        (SubmissionRecord(intent=intent("first", START + SECOND)), Yield),
        (SubmissionRecord(intent=intent("first", START - TIMEOUT + 5 * SECOND)), Yield),
        (SubmissionRecord(intent=intent("first", START - TIMEOUT - 5 * SECOND)), Search),
    ],
)
def test_only_the_same_requests_of_the_same_workflow_id_hold_a_post_up(
    record: SubmissionRecord, expected: type[Decision]
) -> None:
    assert isinstance(decide(intent("second", START + 8 * SECOND), [], [record], START), expected)


@pytest.mark.parametrize("outcome", [None, SubmissionOutcome(), SubmissionOutcome(batch_id="b")])
def test_an_old_post_whose_batch_has_not_landed_is_named_and_holds_nothing_up(
    outcome: SubmissionOutcome | None,
) -> None:
    old = SubmissionRecord(intent=intent("first", OTHER), outcome=outcome)
    older = SubmissionRecord(intent=intent("zeroth", OTHER - timedelta(minutes=30)), outcome=outcome)
    ancient = SubmissionRecord(intent=intent("before", START - timedelta(days=2)), outcome=outcome)

    assert decide(intent("second", START), [], [old, older, ancient], START) == Send(older.intent.anchor)
    assert decide(intent("second", START), [], [ancient], START) == Send()


def test_a_landed_batch_of_an_earlier_run_is_no_second_payment() -> None:
    old = SubmissionRecord(intent=intent("first", OTHER), outcome=SubmissionOutcome(batch_id="b"))

    assert decide(intent("second", START), [], [old], START, {"b"}) == Send()


def test_a_batch_of_a_post_that_was_waited_for_is_taken_though_it_was_sent_before_this_run_began() -> None:
    sent = intent("first", START - timedelta(seconds=40))
    under_way, answered = (
        SubmissionRecord(intent=sent, outcome=outcome) for outcome in (None, SubmissionOutcome(batch_id="b"))
    )
    first, again = intent("second", START + SECOND), intent("second", START + timedelta(seconds=31), 2)
    waited = SubmissionRecord(intent=first, outcome=SubmissionOutcome(created=False, yielded=True))
    refused = SubmissionRecord(intent=first, outcome=SubmissionOutcome(created=False))

    assert decide(first, [], [under_way], START) == Yield()
    assert decide(again, [waited], [answered], START) == Take("b")
    assert decide(again, [refused], [answered], START) == Send(sent.anchor)


def test_a_post_that_was_searched_for_is_not_searched_for_again() -> None:
    lost = SubmissionRecord(intent=intent("first", START + SECOND))
    searched = SubmissionRecord(
        intent=intent("second", START + TIMEOUT + timedelta(minutes=1)), outcome=SubmissionOutcome()
    )
    later = intent("second", START + timedelta(hours=1), 2)

    assert decide(later, [], [lost], START) == Search(lost.intent.anchor)
    assert decide(later, [searched], [lost], START) == Send(lost.intent.anchor)


def test_another_spelling_of_the_same_requests_is_seen_as_the_same() -> None:
    mine = intent("second", START, sha256="spelled", content_sha256="content")
    theirs = SubmissionRecord(intent=intent("first", START - SECOND, sha256="written", content_sha256="content"))
    others = SubmissionRecord(intent=intent("first", START - SECOND, sha256="other", content_sha256="else"))

    assert decide(mine, [], [theirs], START) == Yield()
    assert decide(mine, [], [others], START) == Send()


def test_of_earlier_posts_that_of_another_account_is_named() -> None:
    def earlier(run: str, minutes: int, workspace_id: str) -> SubmissionRecord:
        other = intent(run, START - timedelta(minutes=minutes))
        anchor = other.anchor.model_copy(update={"workspace_id": workspace_id})
        return SubmissionRecord(intent=other.model_copy(update={"anchor": anchor}), outcome=SubmissionOutcome())

    oldest, other, last = earlier("a", 90, "mine"), earlier("b", 60, "another"), earlier("c", 30, "mine")
    ours = intent("now", START)
    ours = ours.model_copy(update={"anchor": ours.anchor.model_copy(update={"workspace_id": "mine"})})

    assert decide(ours, [], [oldest, other, last], START) == Send(other.intent.anchor)
    assert decide(ours, [], [last, oldest], START) == Send(oldest.intent.anchor)
