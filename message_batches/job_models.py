"""The models of a job: its input and output, its progress, and its files in the store."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import Field

from message_batches.api.keys import NoKey
from message_batches.contract import NextAction
from message_batches.models import BatchInput, RequestsInput
from message_batches.result_models import Cost, ResultsFile, Summary
from message_batches.result_models import Unfinished as Unfinished
from message_batches.serialization import ContractModel

MAX_CONCURRENCY = 100

MAX_SHARDS = 10_000
"""The most shards of a wave: a job carries the numbers of those that it has not started from run to run."""


class ShardLimits(ContractModel):
    """The limits of one shard: those of a batch, or lower ones."""

    max_requests: int = Field(default=100_000, ge=1, le=100_000)
    max_bytes: int = Field(default=256_000_000, ge=1, le=256_000_000)


class RetryKind(StrEnum):
    """Which requests are sent again after a wave."""

    ERRORS = "errors"
    """Those that expired, were canceled, or have an error that passes by itself."""
    UNUSABLE = "unusable"
    """Those too whose reply was cut off: with a higher `max_tokens`."""


class Retries(ContractModel):
    """The waves after the first one: each sends again what has failed so far.

    Attributes:
        waves: how many there are at most.
        what: which requests.
        max_tokens: the limit that replies get which were cut off at a lower one; needed for `unusable`.
    """

    waves: int = Field(default=2, ge=0, le=20)
    what: RetryKind = RetryKind.ERRORS
    max_tokens: int | None = Field(default=None, ge=1)


class JobInput(RequestsInput):
    """The input of a job: `requests` or `requestsUri` of any size, or `base` alone.

    Attributes:
        shards: the limits of each batch.
        concurrency: how many batches are under way at once.
        retries: the waves after the first one.
        base: the workflow id of a run or a job whose results are the starting point: only what failed there is sent.
    """

    shards: ShardLimits = ShardLimits()
    concurrency: int = Field(default=8, ge=1, le=MAX_CONCURRENCY)
    retries: Retries = Retries()
    base: Annotated[str, Field(min_length=1, max_length=1000), NoKey] | None = None

    def of_shard(
        self, requests_uri: str, store_id: str, *, batch_id: str | None, summary: str, api_key: str | None = None
    ) -> BatchInput:
        """Return the input of a shard's run: that of the job, with the shard's own requests, or its batch and key."""
        shared = {name: getattr(self, name) for name in BatchInput.model_fields if name in JobInput.model_fields}
        own = {
            "api_key": api_key or self.api_key,
            "requests": None,
            "requests_uri": requests_uri,
            "requests_uri_zone": None,
            "wait_for_requests": None,
            "store_id": store_id,
            "batch_id": batch_id,
            # The history of the job would have the results of each shard.
            "inline_results": False,
            # The job may have been reset, and go on with a state of the shard that it had read before.
            "take_over": True,
            # That of the whole job was compared with the estimate of all shards.
            "max_cost": None,
            # The job has events of its own.
            "notify": (),
            "notify_signal": None,
            "static_summary": summary,
            "static_details": None,
        }
        return BatchInput(**(shared | own))


class JobPhase(StrEnum):
    """The phase of a job."""

    PLANNING = "planning"
    RUNNING = "running"
    PAUSED = "paused"
    MERGING = "merging"
    LANDED = "landed"
    FAILED = "failed"
    CANCELED = "canceled"


class JobWave(ContractModel):
    """A wave: requests that are sent at one time, in shards of one batch each.

    Attributes:
        number: 0 for the first, which sends all requests.
        shards: into how many batches they are split.
        sent: the number of requests.
        landed: how many of the shards have landed.
        usable: how many of the landed requests have a reply that is whole.
    """

    number: int
    shards: int
    sent: int
    landed: int = 0
    usable: int = 0


class FailedShard(ContractModel):
    """A shard without results, and the next step for an operator.

    Attributes:
        workflow_id: of its run; `number` counts from 0 within the wave.
        type, message: of the run's failure.
        batch_id: the batch that remains at the provider.
        candidates: batches that may be the shard's, if that was never decided.
    """

    wave: int
    number: int
    workflow_id: str
    type: str
    message: str
    action: NextAction | None = None
    batch_id: str | None = None
    candidates: tuple[str, ...] = ()


class ShardRecord(ContractModel):
    """A landed shard, as the store keeps it: its run, its batch, and its results.

    Attributes:
        possibly_paid_twice: as in the run's output.
    """

    wave: int
    number: int
    workflow_id: str
    batch_id: str
    requests: int
    results_file: ResultsFile
    summary: Summary
    cost: Cost | None = None
    possibly_paid_twice: tuple[str, ...] = ()


class ShardStatus(StrEnum):
    """The state of a shard."""

    NEW = "new"
    """Nothing of it was ever sent."""
    RUNNING = "running"
    LANDED = "landed"
    """Its results are in the store, and so is its record."""
    FAILED = "failed"
    """Its run has ended without results, and nothing was created at the provider."""
    BATCH_LEFT = "batchLeft"
    """Its run has ended without results, and its batch is at the provider."""
    UNKNOWN = "unknown"
    """Its run has ended, and whether there is a batch is not known."""


class ShardState(ContractModel):
    """The state of a shard; what is needed to start it, or how it has ended.

    Attributes:
        requests_uri: its manifest in the store.
        requests: their number.
        usable: of a landed one, how many requests have a reply that is whole.
        cost: of a landed one, in USD; None if it is not known, 0 if the job's base has paid for it.
        api_key: of a left batch the name of the key that has sent it, where the job's is another.
        attention: why one that is under way needs an operator: a `BatchStatus`.
        type, message, action, candidates: of the failure of its run.
    """

    number: int
    workflow_id: str
    status: ShardStatus
    requests_uri: str
    requests: int
    usable: int = 0
    cost: Decimal | None = None
    attention: str | None = None
    api_key: str | None = None
    batch_id: str | None = None
    type: str | None = None
    message: str | None = None
    action: NextAction | None = None
    candidates: tuple[str, ...] = ()


class ShardList(ContractModel):
    """The shards of a job: how many there are, and the JSONL file in the store with a `ShardRecord` for each."""

    count: int
    uri: str


class MergedResults(ContractModel):
    """The results of a job in the store; also the content of their publication.

    Attributes:
        results_file: one line for each request that has a result, in the order of the requests: the last that it got,
            where a reply is replaced by another reply only.
        shards: those whose results are in it.
        summary: of the lines of the file.
        cost: of all waves, replies that a later one has replaced included.
        verified: the file has each custom_id of the requests exactly once.
        unfinished: the requests that are not in the file; None if all are.
        possibly_paid_twice: as the runs of the shards report them.
    """

    results_file: ResultsFile
    shards: ShardList
    summary: Summary
    cost: Cost | None = None
    verified: bool
    unfinished: Unfinished | None = None
    possibly_paid_twice: tuple[str, ...] = ()


class JobOutput(MergedResults):
    """The output of a job.

    Attributes:
        waves: what each has sent, and what came back.
        failed_shards: up to twenty of the shards without results, each with its failure.
        stopped: why no further wave was sent although requests had failed; None if none was due.
    """

    waves: tuple[JobWave, ...]
    failed_shards: tuple[FailedShard, ...] = ()
    failed_shard_count: int = 0
    stopped: str | None = None


class JobProgress(ContractModel):
    """The answer to a job's `progress` query.

    Attributes:
        requests: the number of all requests, once they are planned.
        waves: those so far.
        alive: the workflow ids of the shards that are under way.
        failed_shards: as in the output.
        paused: why nothing new is started; None if the job is not paused.
        waiting_for: what the job waits for now, besides its shards.
        cost: of the shards that have landed so far, in USD; None as long as it is not known.
        stopping: the job was asked to stop: it lands what has finished.
        deadline: of the job's input.
    """

    phase: JobPhase
    requests: int | None = None
    waves: tuple[JobWave, ...] = ()
    alive: tuple[str, ...] = ()
    failed_shards: tuple[FailedShard, ...] = ()
    failed_shard_count: int = 0
    paused: str | None = None
    paused_since: datetime | None = None
    waiting_for: str | None = None
    cost: Decimal | None = None
    stopping: bool = False
    deadline: datetime | None = None
    unread_fields: tuple[str, ...] = ()


class ShardPlace(NamedTuple):
    """The place of a shard, as the workflow id of its run names it."""

    job_id: str
    wave: int
    number: int


def shard_place(workflow_id: str) -> ShardPlace | None:
    """Return the place of a shard by the workflow id of its run; None for an id that no shard has."""
    job_id, *numbers = workflow_id.rsplit("-", 2)
    if len(numbers) < 2 or not all(each.isascii() and each.isdecimal() and len(each) < 10 for each in numbers):
        return None
    return ShardPlace(job_id, *map(int, numbers))


def shard_workflow_id(job_id: str, wave: int, number: int) -> str:
    """Return the workflow id of a shard's run."""
    return f"{job_id}-{wave}-{number}"
