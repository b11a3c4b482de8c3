"""The plan of a round: its runs, its faults and its harms."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tests.exhaustive.chaos.fault_coverage import FaultSet
from tests.exhaustive.chaos.moments import Moment

POST_TIMEOUT, QUIET = 5.0, 3.0
RETRIES = 20
"""Retries of transient errors: more than all faults of a round together, except one that lasts."""


class Act(StrEnum):
    """Something done to a process or to a run's surroundings."""

    KILL = "kill"
    FREEZE = "freeze"
    RESTART = "restart Temporal"
    FILL = "fill the disk"
    CLOSE = "close the bucket"
    ISOLATE = "cut off from Temporal"
    OUTAGE = "cut off from the API"
    MISLAY = "lose Temporal's answers"
    SET_BACK = "set Temporal's database back"
    LOSE = "take the store's folder away"
    INTRUDE = "a batch of another program with our ids"
    SPEND = "reach the spend limit"
    TERMINATE = "terminate the job"
    STRIKE_OUT = "terminate a shard"
    STOP = "stop the job"


@dataclass(frozen=True)
class Harm:
    """One act, so many seconds after its moment.

    Attributes:
        everyone: whether it is done to all workers; otherwise to one of them.
        lasts: seconds until it is undone; after a kill, until another worker is started. 0 for what cannot be undone.
    """

    act: Act
    moment: Moment
    after: float
    everyone: bool
    lasts: float

    def __str__(self) -> str:
        return f"{self.act} {self.moment}"


@dataclass(frozen=True)
class Run:
    """One run; `ids` begins each of its custom_ids, `name` each of its prompts."""

    name: str
    ids: str
    count: int
    words: int
    by_reference: bool
    after: float


@dataclass(frozen=True)
class Job(Run):
    """One job, in shards of so many requests; `failing` are the requests that come back errored in the first wave.

    At most one of a shard fails, and none of the last one: so no shard of a later wave has the ids of an earlier one.
    With `again`, the job is started once more if it ends without the results of all shards.

    Attributes:
        deadline: the seconds after its start at which its batches are cancelled; None if it has none.
    """

    shard: int
    waves: int
    failing: tuple[int, ...]
    again: bool
    deadline: float | None = None

    @property
    def faults(self) -> Sequence[Mapping[str, Any]]:
        """Return the faults that make these requests fail, until the second wave is planned."""
        ids = [f"{self.ids}-{number:04}" for number in self.failing]
        return [{"fault": "outcome", "operation": "create", "custom_id": custom_id} for custom_id in ids]


@dataclass(frozen=True)
class Round:
    """The plan of one round.

    Attributes:
        faults: in the emulator's JSON form; those of `harms` come with them.
        needed: the faults that make the moments of the harms come.
        lifted_after: seconds until a fault that lasts is lifted, from when it first struck.
        ahead: the seconds that the API's clock is ahead of the workers'.
        queue_limit: the requests that the API processes at one time; 0 is no limit.
        encrypted: whether payloads are encrypted.
        scale: the speed of the API's clock: below 1 it falls behind, by much less than the quiet period while a lost
            batch is searched for, as real clocks do by much less than 15 minutes.
    """

    seed: int
    number: int
    workers: int
    in_bucket: bool
    runs: tuple[Run, ...]
    faults: tuple[Mapping[str, Any], ...]
    needed: tuple[Mapping[str, Any], ...]
    harms: tuple[Harm, ...]
    lifted_after: float
    processing: float
    poll_every: float
    reply_bytes: int
    ahead: float
    scale: float
    queue_limit: int = 0
    encrypted: bool = False

    @property
    def job(self) -> Job | None:
        """Return its job, which some rounds have besides the runs."""
        return next((run for run in self.runs if isinstance(run, Job)), None)

    @property
    def kinds(self) -> FaultSet:
        """Return the kinds of the faults that the cycle assigns to this round."""
        return tuple(sorted({str(fault["fault"]) for fault in self.faults}))

    def has(self, act: Act) -> bool:
        """Return whether one of its harms is that act."""
        return any(harm.act is act for harm in self.harms)

    @property
    def all_faults(self) -> Sequence[Mapping[str, Any]]:
        """Return the assigned faults, those that cause a moment, and those that make requests of the job fail."""
        return (*self.needed, *self.faults, *(self.job.faults if self.job else ()))

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON, for a reader."""
        return asdict(self)
