"""The input and the state of a job: carried over continue-as-new are numbers and counters, never requests."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, Field

from activities.job_models import PlannedWave
from message_batches.job_models import FailedShard, JobInput, JobPhase, JobProgress, JobWave, ShardState
from workflows.notifications.state import NotificationState
from workflows.state import GivenInput

MAX_NAMED = 20
"""Failed shards that are described; the others are counted."""


class HeldShard(BaseModel):
    """A shard of the current wave that is taken up again, and its last failure.

    Attributes:
        due: when; None as long as the job is paused.
    """

    failure: FailedShard
    due: datetime | None


class JobState(BaseModel):
    """The state of a job.

    Attributes:
        started: when the job began, before it continued as new.
        requests: the number of all of them.
        waves: those so far; the last is the current one.
        planned: how many later waves this run of the job has planned.
        attention: why shards that are under way need an operator, each since when any has.
        alive: the shards of the current wave whose runs are under way: the workflow id of each by its number.
        waiting: those that were not started yet, in the order in which they are.
        left: those whose batch an earlier run of the job has left at the provider; they are started first.
        void: of each wave the shards that the API has refused as they were when an earlier run of the job sent them.
        held: those that failed and are taken up again.
        failing_since: when each of the current wave first failed.
        failed: the first of the shards without results, of all waves.
        failed_count: their number.
        asked_to_stop: the shards that were asked to cancel their batches.
        cost: of the shards that have landed, as far as it is known.
        paused: why nothing new is started.
        stopping: an operator has canceled the job: what has finished is landed.
        stopped: why nothing new is started any more, once there is a reason for it.
        unread_fields: the fields of the input that this version does not know.
        search_attributes: those that the namespace has.
        outcome: the `BatchOutcome`, or a failure's type, once the job has ended.
        notifications: those of its events.
    """

    phase: JobPhase = JobPhase.PLANNING
    started: datetime | None = None
    store_id: str = ""
    folder: str = ""
    requests: int | None = None
    waves: list[JobWave] = Field(default_factory=list)
    planned: int = 0
    attention: dict[str, datetime] = Field(default_factory=dict)
    alive: dict[int, str] = Field(default_factory=dict)
    waiting: list[int] = Field(default_factory=list)
    left: list[int] = Field(default_factory=list)
    void: dict[int, list[int]] = Field(default_factory=dict)
    held: list[HeldShard] = Field(default_factory=list)
    failing_since: dict[int, datetime] = Field(default_factory=dict)
    failed: list[FailedShard] = Field(default_factory=list)
    failed_count: int = 0
    asked_to_stop: list[int] = Field(default_factory=list)
    cost: Decimal | None = None
    paused: str | None = None
    paused_since: datetime | None = None
    waiting_for: str | None = None
    stopping: bool = False
    stopped: str | None = None
    unread_fields: tuple[str, ...] = ()
    search_attributes: tuple[str, ...] = ()
    outcome: str | None = None
    notifications: NotificationState = Field(default_factory=NotificationState)

    @property
    def wave(self) -> JobWave:
        """The current wave."""
        return self.waves[-1]

    @property
    def landed(self) -> int:
        """The number of shards that have landed, of all waves."""
        return sum(wave.landed for wave in self.waves)

    @property
    def to_start(self) -> bool:
        """Whether shards of the current wave are still to be started, now or later."""
        return bool(self.held or self.left or (self.waiting and self.stopped is None))

    def on_planned(self, planned: PlannedWave) -> None:
        """Begin a wave."""
        self.store_id, self.folder = planned.store_id, planned.folder
        self.search_attributes = planned.search_attributes or self.search_attributes
        if self.waves:
            self.planned += planned.attempted_before or not planned.planned_before
        else:
            self.requests = planned.requests
        self.waves.append(JobWave(number=len(self.waves), shards=planned.shards, sent=planned.requests))
        self.waiting = list(range(planned.shards))
        self.alive, self.left, self.held, self.failing_since, self.asked_to_stop = {}, [], [], {}, []
        self.attention = {}

    def on_landed(self, shard: ShardState) -> None:
        """Count a landed shard."""
        wave = self.wave
        self.failing_since.pop(shard.number, None)
        counted = {"landed": wave.landed + 1, "usable": wave.usable + shard.usable}
        self.waves[-1] = wave.model_copy(update=counted)
        if shard.cost is not None:
            self.cost = (self.cost or Decimal(0)) + shard.cost

    def on_attention(self, reasons: Iterable[str | None], now: datetime) -> None:
        """Take in why shards that are under way need an operator."""
        self.attention = {each: self.attention.get(each, now) for each in sorted(filter(None, {*reasons}))}

    def resume(self, now: datetime) -> None:
        """End the pause: shards that failed for its reason are taken up again now."""
        self.paused = self.paused_since = None
        self.held = [each.model_copy(update={"due": each.due or now}) for each in self.held]

    def add_failed(self, shards: Iterable[FailedShard]) -> None:
        """Name shards without results; those past the first ones are counted."""
        for shard in shards:
            self.failed_count += 1
            if len(self.failed) < MAX_NAMED:
                self.failed.append(shard)

    def stop(self, reason: str, now: datetime) -> None:
        """Submit nothing any more, for that reason; of the shards that were to be taken up again, batches are, now."""
        self.stopped = self.stopped or reason
        self.paused = self.paused_since = None
        self.add_failed(each.failure for each in self.held if not each.failure.batch_id)
        self.held = [HeldShard(failure=each.failure, due=now) for each in self.held if each.failure.batch_id]

    def progress(self, deadline: datetime | None) -> JobProgress:
        """Return the state as callers see it, with the deadline of the input."""
        return JobProgress(
            phase=self.phase,
            requests=self.requests,
            waves=tuple(self.waves),
            alive=tuple(self.alive.values()),
            failed_shards=tuple(self.failed),
            failed_shard_count=self.failed_count,
            paused=self.paused,
            paused_since=self.paused_since,
            waiting_for=self.waiting_for,
            cost=self.cost,
            stopping=self.stopping,
            deadline=deadline,
            unread_fields=self.unread_fields,
        )


class JobRun(GivenInput, JobInput):
    """The input of a job, and of each run that continues it."""

    state: JobState | None = None
