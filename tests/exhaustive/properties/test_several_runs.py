"""Several runs on one account, of equal counts and ids, with any losses: each pays once, or reports otherwise."""

import asyncio
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from message_batches.models import Resolution
from message_batches.requests.manifest import write_inline_manifest
from tests.exhaustive.properties.runs import EVERY, PROFILE, SCHEDULE, Fate, PostConditions, Run, World
from workflows.submission.commands import Done, Fail

MOST_RUNS = 4
MAX_COMMANDS = 5_000
OURS = ("a-1", "a-2", "a-3")
OTHERS = ("b-1", "b-2", "b-3")
MINUTES = st.integers(0, 25).map(lambda minutes: timedelta(minutes=minutes))

# The last is longer than the quiet period: that batch is submitted again, and must be reported.
LAGS = st.sampled_from([0, 0, 0, 1, 7, 20, 180]).map(lambda minutes: timedelta(minutes=minutes))
CONDITIONS = st.builds(
    PostConditions,
    fate=st.sampled_from(Fate),
    lag=LAGS,
    processing=st.sampled_from([0, 1, 20, 90, 1440]).map(lambda minutes: timedelta(minutes=minutes)),
    recorded=st.booleans(),
    late=st.integers(0, 119).map(lambda seconds: timedelta(seconds=seconds)),
)


class SeveralRuns(RuleBasedStateMachine):
    """Runs that share an account and a store."""

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = World(self.runner, timedelta(0))
        self.all: list[Run] = []
        self.overlooked: set[str] = set()

    @initialize(ahead=st.integers(-20, 20))
    def begin(self, ahead: int) -> None:
        self.world = World(self.runner, timedelta(minutes=ahead))

    @precondition(lambda self: len(self.all) < MOST_RUNS)
    @rule(target=runs, ids=st.sampled_from([OURS, OURS, OTHERS]))
    def start(self, ids: tuple[str, ...]) -> Run:
        items = [{"custom_id": custom_id, "params": {}} for custom_id in ids]
        manifest = self.runner.run(write_inline_manifest(self.world.store, items))
        run = Run(f"run-{len(self.all)}", ids, manifest)
        self.all.append(run)
        return run

    @rule(run=runs, conditions=CONDITIONS)
    def step(self, run: Run, conditions: PostConditions) -> None:
        self.world.step(run, conditions)

    @rule(run=runs, conditions=CONDITIONS, count=st.integers(2, 12))
    def continue_run(self, run: Run, conditions: PostConditions, count: int) -> None:
        for _ in range(count):
            if run.waits and run.waits.time > self.world.clock.now:
                self.world.pass_time(run.waits.time - self.world.clock.now)
            self.world.step(run, conditions)

    @rule(by=MINUTES)
    def pass_time(self, by: timedelta) -> None:
        self.world.pass_time(by)

    @rule(lag=LAGS, same_count=st.booleans())
    def stranger(self, lag: timedelta, same_count: bool) -> None:
        ids = ("c-1", "c-2", "c-3") if same_count else ("c-1",)
        self.world.account.make("a stranger", ids, lag=lag, processing=timedelta(minutes=10))

    @precondition(lambda self: self.left_to_overlook())
    @rule(data=st.data())
    def overlook(self, data: st.DataObject) -> None:
        batch_id = data.draw(st.sampled_from(self.left_to_overlook()))
        self.world.account.overlooked = {batch_id}
        self.overlooked.add(batch_id)

    def left_to_overlook(self) -> list[str]:
        return [batch.id for batch in self.world.account.batches if batch.id not in self.overlooked]

    @rule(run=runs, back=st.integers(0, 100))
    def reset(self, run: Run, back: int) -> None:
        self.world.reset(run, max(-1, len(run.past) - 1 - back))

    @rule(run=runs, again=st.booleans())
    def resolve(self, run: Run, again: bool) -> None:
        if run.end or not run.submission.undecided:
            return
        own = self.world.account.by(run.id)
        if again or not own:
            self.world.resolve(run, Resolution(submit_again=True))
        else:
            self.world.resolve(run, Resolution(adopt=own[0].id))

    @invariant()
    def no_two_runs_have_one_batch(self) -> None:
        decided = [run.end.batch_id for run in self.all if isinstance(run.end, Done)]
        assert len(set(decided)) == len(decided)

    @invariant()
    def a_batch_belongs_to_its_sender_unless_an_operator_decided(self) -> None:
        for run in self.all:
            if isinstance(run.end, Done) and not self.resolved(run.ids):
                assert self.world.account.named(run.end.batch_id).by == run.id
        for batch in self.world.account.batches:
            claim = self.runner.run(self.world.records.claim_of(self.world.api.account(PROFILE), batch.id))
            assert claim is None or claim.owner == batch.by or self.resolved(batch.ids)

    def resolved(self, ids: tuple[str, ...]) -> bool:
        """Return whether an operator, who may know less than the protocol, has decided."""
        return any(run.resolved for run in self.all if run.ids == ids)

    def teardown(self) -> None:
        try:
            self.come_to_an_end()
            for run in self.all:
                self.has_paid_once_or_reports_it(run)
        finally:
            self.runner.close()

    def come_to_an_end(self) -> None:
        """Let each run end without further interference, with a batch or with an unknown outcome."""
        for run in self.all:
            run.commands = 0
        while going := [run for run in self.all if not run.end]:
            for run in going:
                self.world.step(run, PostConditions(processing=timedelta(minutes=10)))
                assert run.commands < MAX_COMMANDS, f"{run.id} is stuck: {run.submission}"
            times = [run.waits.time for run in going if run.waits]
            if len(times) == len(going):
                self.world.pass_time(max(min(times) - self.world.clock.now, timedelta(0)))
        self.no_two_runs_have_one_batch()
        self.a_batch_belongs_to_its_sender_unless_an_operator_decided()

    def has_paid_once_or_reports_it(self, run: Run) -> None:
        """Check, once all is visible and has ended, that a run's batches are reported or another run's result."""
        self.world.pass_time(timedelta(hours=30))
        self.world.account.overlooked.clear()
        made = self.world.account.by(run.id)
        paid = {batch.id for batch in made}
        used = {other.end.batch_id for other in self.all if isinstance(other.end, Done)}
        late = any(batch.visible - self.world.account.made_at(batch) > SCHEDULE.quiet_period - EVERY for batch in made)
        if isinstance(run.end, Fail):
            # Its outcome is unknown; it names the batches that it has seen.
            assert late or run.resolved or paid <= {*run.end.candidates, *used}
            return
        assert isinstance(run.end, Done)
        reported = set(self.world.find_duplicate_batches(run))
        assert paid <= {*reported, *used}, f"{run.id} has paid for {paid}, and reports {reported}"
        assert len(paid) == 1 or late or run.resolved, f"{run.id} has paid for {paid}, and nobody told it to"


TestSeveralRuns = SeveralRuns.TestCase
TestSeveralRuns.settings = settings(max_examples=settings().max_examples // 2)


def one_run() -> tuple[SeveralRuns, Run]:
    state = SeveralRuns()
    state.begin(ahead=0)
    state.start(ids=OURS)
    return state, state.all[0]


def test_a_second_batch_from_before_a_reset_to_the_beginning_is_reported() -> None:
    state, run = one_run()
    state.continue_run(run=run, conditions=PostConditions(Fate.LOST, processing=timedelta(hours=2)), count=2)
    state.pass_time(timedelta(minutes=5))
    state.resolve(run=run, again=True)
    state.continue_run(run=run, conditions=PostConditions(Fate.ANSWERED, processing=timedelta(hours=2)), count=4)
    state.reset(run=run, back=100)
    state.continue_run(run=run, conditions=PostConditions(), count=10)

    assert run.end == Done("msgbatch_002")
    assert state.world.find_duplicate_batches(run) == ["msgbatch_001"]
    state.teardown()


def test_an_outcome_in_the_store_belongs_to_the_only_post() -> None:
    state, run = one_run()
    state.continue_run(run=run, conditions=PostConditions(Fate.GONE_AFTER), count=4)
    state.stranger(lag=timedelta(0), same_count=True)
    state.pass_time(timedelta(minutes=3))
    state.continue_run(run=run, conditions=PostConditions(), count=4)

    assert run.end == Done("msgbatch_001")
    assert run.submission.posted == 1
    assert state.world.find_duplicate_batches(run) == []
    state.teardown()


def test_a_second_batch_of_a_post_forgotten_by_a_reset_is_reported() -> None:
    state, run = one_run()
    state.continue_run(run=run, conditions=PostConditions(Fate.LOST), count=2)
    state.resolve(run=run, again=True)
    state.continue_run(run=run, conditions=PostConditions(Fate.ANSWERED, recorded=False), count=2)
    state.reset(run=run, back=len(run.past) - 1)
    state.continue_run(run=run, conditions=PostConditions(Fate.GONE_BEFORE), count=1)
    state.world.account.overlooked = {"msgbatch_001"}
    state.continue_run(run=run, conditions=PostConditions(), count=10)

    assert run.end == Done("msgbatch_002")
    assert run.submission.posted == 1
    assert state.world.find_duplicate_batches(run) == ["msgbatch_001"]
    state.teardown()
