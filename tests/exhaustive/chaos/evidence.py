"""What is seen of a round from outside, once it is over: what the invariants are held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.exhaustive.chaos.plan import Harm, Round, Run


@dataclass(frozen=True)
class RunSeen:
    """One run.

    Attributes:
        ended: `completed`, the type of its failure, or None if it has not ended in time.
        said: the failure's message, with the messages that caused it.
        batch_id: that the output or the failure names.
        output: as a caller gets it.
        results: the file that the output names, or that a failure says holds what did arrive.
        posts: its intents in the store.
    """

    plan: Run
    ids: Sequence[str]
    ended: str | None
    said: str = ""
    batch_id: str | None = None
    output: Mapping[str, Any] | None = None
    results: bytes | None = None
    posts: int = 0


@dataclass(frozen=True)
class BatchSeen:
    """A batch, by the emulator's own books; `of` is the run whose prompts it answers."""

    id: str
    of: str | None
    custom_ids: Sequence[str]
    created_at: datetime


@dataclass(frozen=True)
class Evidence:
    """A round that is over.

    Attributes:
        faults: what the emulator said of those in force, with how often each was applied.
        harms: those that were done.
        decided: what was left to a person.
        store: the names of all objects.
        claims: the workflow that has claimed each batch.
        litter: what is left in the folders for temporary files.
        leaks: where the API key was found.
        strays: processes of this round that are still there.
        exits: of the workers that were asked to leave.
    """

    plan: Round
    runs: Sequence[RunSeen]
    batches: Sequence[BatchSeen]
    calls: Sequence[Mapping[str, Any]]
    faults: Sequence[Mapping[str, Any]]
    harms: Sequence[Harm]
    decided: Sequence[str]
    store: frozenset[str]
    claims: Mapping[str, str]
    litter: Sequence[str]
    leaks: Sequence[str]
    strays: Sequence[str]
    exits: Sequence[int]

    def applied(self, kind: str, operation: str | None = None) -> int:
        """How often a fault has struck."""
        return sum(
            int(fault["applied"])
            for fault in self.faults
            if fault["fault"] == kind and operation in (None, fault["operation"])
        )

    def batches_of(self, run: RunSeen) -> list[BatchSeen]:
        """The batches with this run's requests."""
        return [batch for batch in self.batches if batch.of == run.plan.name]
