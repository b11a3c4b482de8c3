"""A model of a run in the submitBatch step: the protocol's decisions and the activities are the real ones.

The workflow around them, and the outcome of a POST, are modelled here.
"""

import dataclasses
import itertools
from asyncio import Runner
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, TypeVar, cast

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.intents import from_earlier_record
from activities.models import FindCandidatesInput, FindCandidatesResult, RecordOutcomeInput, VerifyCandidateInput
from activities.submission import SubmissionActivities
from message_batches.api.interface import BatchApi
from message_batches.api.models import ApiProfile
from message_batches.models import Anchor, Manifest, Resolution, SubmissionSchedule
from message_batches.storage.submission_records import SubmissionIntent, SubmissionOutcome, SubmissionRecords, Submitter
from tests.exhaustive.properties.account import Clock, MemoryStore, ModelAccount, ModelApi
from workflows.submission.commands import (
    ClaimBatch,
    Done,
    Fail,
    FindAnchor,
    ListCandidates,
    Post,
    RecordNotFound,
    VerifyCandidate,
    WaitUntil,
)
from workflows.submission.protocol import Submission

SCHEDULE = SubmissionSchedule(timeout=timedelta(minutes=2), quiet_period=timedelta(minutes=30))
EVERY = timedelta(minutes=5)
PROFILE = ApiProfile()
T = TypeVar("T")


class Fate(Enum):
    """The outcome of one POST, and the reply that its run gets."""

    ANSWERED = "200"
    REJECTED = "429"
    STORE_UNAVAILABLE = "the store takes the intent and does not confirm it; nothing sent"
    LOST = "created, reply lost"
    LOST_NOTHING = "not created, reply lost"
    GONE_BEFORE = "worker gone before it wrote its intent"
    GONE_BETWEEN = "worker gone between intent and POST"
    GONE_AFTER = "created, worker gone"
    FROZEN = "worker frozen and believed dead, sends it within its deadline"


@dataclass(frozen=True)
class PostConditions:
    """The conditions of a POST.

    Attributes:
        lag: the time for which its batch is invisible.
        processing: the time that its batch takes.
        recorded: whether the worker records its outcome.
        late: the delay after which a frozen worker sends it, within its deadline.
    """

    fate: Fate = Fate.ANSWERED
    lag: timedelta = timedelta(0)
    processing: timedelta = timedelta(0)
    recorded: bool = True
    late: timedelta = timedelta(0)


@dataclass
class Run:
    """One run, its state, and the test's knowledge of it.

    Attributes:
        past: its state after each command, to which it can be reset.
        resolved: whether an operator has decided.
    """

    id: str
    ids: tuple[str, ...]
    manifest: Manifest
    profile: ApiProfile = PROFILE
    submission: Submission = field(default_factory=Submission)
    past: list[str] = field(default_factory=list)
    end: Done | Fail | None = None
    waits: WaitUntil | None = None
    resolved: bool = False
    commands: int = 0

    @property
    def submitter(self) -> Submitter:
        return Submitter.of(
            self.manifest, api_key=self.profile.api_key, workflow_id=self.id, first_run_id=f"{self.id}-first"
        )


class World:
    """The account, the store, the clock, and the runs on them."""

    def __init__(self, runner: Runner, api_ahead: timedelta) -> None:
        self.clock = Clock(api_ahead=api_ahead)
        self.account = ModelAccount(self.clock)
        self.accounts = {PROFILE.api_key: self.account}
        self.api = cast(BatchApi, ModelApi(self.accounts))
        self._runner = runner
        self.use(MemoryStore())
        self._nonces = itertools.count()
        self._frozen: list[tuple[Any, Run, PostConditions]] = []

    def use(self, store: MemoryStore) -> None:
        """Keep all records in this store."""
        self.store = store
        self.records = SubmissionRecords(store)
        self.activities = SubmissionActivities(self.api, store)

    def pass_time(self, by: timedelta) -> None:
        """Advance the clock; the POSTs of frozen workers are sent when their time comes."""
        until = self.clock.now + by
        for at, run, conditions in sorted(self._frozen, key=lambda each: cast(Any, each[0])):
            if at <= until:
                self.clock.now = max(self.clock.now, at)
                self._make(run, conditions)
        self._frozen = [each for each in self._frozen if each[0] > until]
        self.clock.now = until

    def step(self, run: Run, conditions: PostConditions) -> None:
        """Execute one command of a run, which forgets everything that continue-as-new does not carry."""
        if run.end:
            return
        submission = run.submission = Submission.model_validate_json(run.submission.model_dump_json())
        run.commands += 1
        run.waits = None
        now = self.clock.now
        match submission.next_command(now, SCHEDULE, EVERY):
            case Done() | Fail() as end:
                run.end = end
                if isinstance(end, Done):
                    self._record_outcome(run, (submission.number,), end.batch_id, certain=True)
            case FindAnchor():
                submission.on_anchor_read(self.call(self.activities.find_anchor, run.profile))
            case Post(number, anchor):
                self._post(run, number, anchor, conditions)
            case WaitUntil() as waits:
                run.waits = waits
                return
            case ListCandidates(anchor):
                found = self._find_candidates(run, anchor, submission.number)
                if found.recorded:
                    submission.on_record_found(found.recorded)
                else:
                    submission.on_list_read(found.matches, now, SCHEDULE, recorded_posts=found.posts)
            case RecordNotFound(numbers):
                self._record_outcome(run, numbers, None)
                submission.on_not_found_recorded()
            case VerifyCandidate(batch_id):
                ours = self._is_ours(run, batch_id)
                if ours is None:
                    submission.candidates.on_unreadable(batch_id)
                else:
                    submission.candidates.on_verified(batch_id, ours=ours, now=now)
            case ClaimBatch(batch_id):
                submission.on_claim_result(batch_id, ours=self._record_outcome(run, (submission.number,), batch_id))
        run.past.append(submission.model_dump_json())

    def reset(self, run: Run, to: int) -> None:
        """Reset a run to an earlier state, or below 0 to its beginning; its effects outside remain."""
        run.submission = Submission.model_validate_json(run.past[to]) if 0 <= to < len(run.past) else Submission()
        run.past = run.past[: to + 1]
        run.end = run.waits = None

    def resolve(self, run: Run, resolution: Resolution) -> None:
        """Decide an undecided run as an operator."""
        run.resolved = True
        run.waits = None
        run.submission.on_resolved(resolution)

    def find_duplicate_batches(self, run: Run) -> list[str]:
        """Return the batches that a run which has sent twice reports, before landing, as possibly paid for."""
        submission = run.submission
        if not submission.may_be_paid_twice or submission.anchor is None:
            return []
        known = (submission.batch_id, *submission.candidates.refuted)
        seen = [each for each in self._find_candidates(run, submission.anchor, 0).matches if not each.taken]
        others = [each.candidate for each in seen if each.candidate.batch_id not in known]
        return [each.batch_id for each in others if not each.ended or self._is_ours(run, each.batch_id) is not False]

    def _post(self, run: Run, number: int, anchor: Anchor, conditions: PostConditions) -> None:
        submission, now, fate = run.submission, self.clock.now, conditions.fate
        over = now + SCHEDULE.timeout
        submission.on_post_started(now)
        if fate is Fate.GONE_BEFORE:
            submission.on_post_unknown(over, until=over)
            return
        intent = SubmissionIntent(
            workflow_id=run.id,
            first_run_id=run.submitter.first_run_id,
            number=number,
            anchor=anchor,
            sha256=run.manifest.sha256,
            time=now,
            timeout=SCHEDULE.timeout,
            nonce=f"{next(self._nonces)}",
        )
        earlier = self._runner.run(self.records.record_intent(run.submitter, intent))
        if earlier:
            left = from_earlier_record(earlier, run.manifest)
            assert left.earlier_anchor
            submission.on_earlier_anchor(left.earlier_anchor)
            if left.recorded:
                submission.on_post_succeeded(left.recorded)
            elif left.earlier_not_created:
                submission.on_post_rejected()
            elif left.earlier_absent:
                submission.on_earlier_not_found()
            else:
                submission.on_post_unknown(over, until=over, earlier=True)
            return
        made = self._make(run, conditions) if fate in (Fate.ANSWERED, Fate.LOST, Fate.GONE_AFTER) else None
        match fate:
            case Fate.ANSWERED | Fate.GONE_AFTER if made:
                if conditions.recorded:
                    self._runner.run(
                        self.records.record_outcome(run.submitter, number, SubmissionOutcome(batch_id=made.id))
                    )
                    claiming = self.records.claim(self.api.account(run.profile), made.id, run.submitter.claim)
                    self._runner.run(claiming)
                if fate is Fate.ANSWERED:
                    submission.on_post_succeeded(made.id)
                else:
                    submission.on_post_unknown(over, until=over)
            case Fate.REJECTED:
                if conditions.recorded:
                    self._runner.run(
                        self.records.record_outcome(run.submitter, number, SubmissionOutcome(created=False))
                    )
                submission.on_post_rejected(retry_at=now + timedelta(minutes=1))
            case Fate.STORE_UNAVAILABLE:
                submission.on_post_rejected(retry_at=now + timedelta(minutes=1))
            case Fate.LOST | Fate.LOST_NOTHING:
                submission.on_post_unknown(now, until=now)
            case Fate.FROZEN:
                self._frozen.append((now + conditions.late, run, conditions))
                submission.on_post_unknown(over, until=over)
            case _:
                submission.on_post_unknown(over, until=over)

    def _make(self, run: Run, conditions: PostConditions) -> Any:
        return self.accounts[run.profile.api_key].make(
            run.id, run.ids, lag=conditions.lag, processing=conditions.processing
        )

    def _find_candidates(self, run: Run, anchor: Anchor, number: int) -> FindCandidatesResult:
        until = (run.submission.safe_at or self.clock.now) + SCHEDULE.quiet_period
        given = FindCandidatesInput(
            profile=run.profile,
            manifest=run.manifest,
            submitter=run.submitter,
            number=number,
            anchor=anchor,
            until=until,
            windows=tuple(run.submission.windows) if number else (),
        )
        found = self.call(self.activities.find_candidates, given)
        self.account.overlooked.clear()
        return found

    def _is_ours(self, run: Run, batch_id: str) -> bool | None:
        given = VerifyCandidateInput(profile=run.profile, manifest=run.manifest, batch_id=batch_id)
        try:
            return self.call(self.activities.verify_candidate, given)
        except ApplicationError:
            return None

    def _record_outcome(
        self, run: Run, numbers: tuple[int, ...], batch_id: str | None, *, certain: bool = False
    ) -> bool:
        given = RecordOutcomeInput(
            profile=run.profile,
            submitter=run.submitter,
            claim=run.submitter.claim,
            store_id="memory",
            numbers=numbers,
            batch_id=batch_id,
            certain=certain,
        )
        return self.call(self.activities.record_outcome, given)

    def call(self, activity: Callable[[Any], Coroutine[Any, Any, T]], given: Any) -> T:
        """Carry out an activity, at the time of the clock."""
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, started_time=self.clock.now)

        async def call() -> T:
            return await environment.run(activity, given)

        return self._runner.run(call())
