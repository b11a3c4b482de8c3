"""What a round is made of, and what can be done in it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tests.exhaustive.chaos.fault_coverage import FaultSet
from tests.exhaustive.chaos.moments import Moment

POST_TIMEOUT, QUIET = 5.0, 3.0
RETRIES = 20
"""Of errors that pass; more than all faults of a round together, save one that lasts."""


class Act(StrEnum):
    """What is done to a process or to a run's surroundings."""

    KILL = "kill"
    FREEZE = "freeze"
    RESTART = "restart Temporal"
    FILL = "fill the disk"
    CLOSE = "close the bucket"
    ISOLATE = "cut off from Temporal"
    OUTAGE = "cut off from the API"


@dataclass(frozen=True)
class Harm:
    """One act, so many seconds after its moment.

    Attributes:
        everyone: all workers, otherwise one of them.
        lasts: seconds until it is undone; of a kill, until another worker is started.
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
class Round:
    """Everything that a round is made of.

    Attributes:
        faults: in the emulator's JSON form; those of `harms` come with them.
        needed: the faults that make the moments of the harms come.
        lifted_after: seconds until a fault that lasts is lifted, from when it first struck.
        ahead: seconds by which the API's clock is ahead of the workers'.
        scale: how fast the API's clock goes: below 1 it falls behind, by much less than the quiet period while a lost
            batch is looked for, as all clocks do against 15 minutes.
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

    @property
    def kinds(self) -> FaultSet:
        """The faults whose turn it is."""
        return tuple(sorted({str(fault["fault"]) for fault in self.faults}))

    @property
    def all_faults(self) -> Sequence[Mapping[str, Any]]:
        """Those whose turn it is, and those that make a moment come."""
        return (*self.needed, *self.faults)

    def as_json(self) -> dict[str, Any]:
        """For a person who looks at a round."""
        return asdict(self)
