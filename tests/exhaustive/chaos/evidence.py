"""The evidence of a round, collected from outside once it is over: the invariants are checked on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.exhaustive.chaos.plan import Act, Harm, Round, Run

TERMINATED = "Terminated"
"""The end of a run that was terminated."""


@dataclass(frozen=True)
class RunSeen:
    """One run, the run of one shard of a job, or the job.

    Attributes:
        ended: `completed`, the type of its failure, or None if it has not ended in time.
        said: the failure's message, with the messages that caused it.
        batch_id: the batch that the output or the failure names.
        output: the output, as a caller gets it.
        results: the file that the output names, or that a failure names for the partial results.
        posts: the number of its intents in the store.
        shard: of a shard, the wave and the number, as they end its workflow id.
        record: of a landed shard, the job's record in the store.
    """

    plan: Run
    ids: Sequence[str]
    ended: str | None
    said: str = ""
    batch_id: str | None = None
    output: Mapping[str, Any] | None = None
    results: bytes | None = None
    posts: int = 0
    shard: str = ""
    record: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of the run in what the checks say."""
        return f"{self.plan.name}{self.shard}"

    @property
    def workflow_id(self) -> str:
        """Its workflow id."""
        return f"run-{self.name}"

    @property
    def lines(self) -> list[bytes]:
        """The lines of its results file."""
        return (self.results or b"").split(b"\n")[:-1]


@dataclass(frozen=True)
class BatchSeen:
    """A batch of the emulator's records; `of` is the run whose prompts it answers."""

    id: str
    of: str | None
    custom_ids: Sequence[str]
    created_at: datetime


@dataclass(frozen=True)
class Evidence:
    """A round that is over.

    Attributes:
        runs: those of a job's shards included.
        job: the job, if the round has one and it was started.
        faults: the emulator's report on those in force, with how often each was applied.
        harms: the harms that were done.
        decided: the operator's decisions.
        store: the names of all objects.
        claims: the workflow that has claimed each batch.
        litter: the files left in the folders for temporary files.
        leaks: the places where the API key was found.
        readable: the places where prompts were found that are encrypted.
        strays: the processes of this round that still run.
        exits: the exit codes of the workers that were terminated.
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
    readable: Sequence[str]
    strays: Sequence[str]
    exits: Sequence[int]
    job: RunSeen | None = None

    def applied(self, kind: str, operation: str | None = None) -> int:
        """Return how often a fault was applied."""
        return sum(
            int(fault["applied"])
            for fault in self.faults
            if fault["fault"] == kind and operation in (None, fault["operation"])
        )

    def batches_of(self, run: RunSeen) -> list[BatchSeen]:
        """Return the batches with this run's requests."""
        return [
            batch
            for batch in self.batches
            if batch.of == run.plan.name and (not run.shard or self._is_of_shard(batch, run))
        ]

    def _is_of_shard(self, batch: BatchSeen, shard: RunSeen) -> bool:
        """Return whether a batch may be that of a shard: a later wave may have one with the same requests."""
        others = {
            each.workflow_id for each in self.shards if each.name != shard.name and set(each.ids) == set(shard.ids)
        }
        return set(batch.custom_ids) == set(shard.ids) and self.claims.get(batch.id) not in others

    @property
    def cut_short(self) -> bool:
        """Whether the job was to be stopped before its end, by an operator or its deadline."""
        job = self.plan.job
        return any(harm.act is Act.STOP for harm in self.harms) or bool(job and job.deadline)

    @property
    def shards(self) -> list[RunSeen]:
        """Return the shards of the job, wave by wave."""
        return [run for run in self.runs if run.shard]
