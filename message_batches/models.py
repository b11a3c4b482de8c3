"""The models at the boundary: inputs, outputs, progress, stored files.

They are JSON in the Arazzo document's camelCase, frozen, and ignore what they do not know, so that an older
worker can read a newer caller. Durations are seconds in JSON and `timedelta` in Python.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from message_batches.api.keys import DEFAULT_KEY, NoKey
from message_batches.api.models import DEFAULT_VERSION, Account, BatchId, Betas, HeaderWord, RequestCounts
from message_batches.contract import NextAction
from message_batches.serialization import Boundary, Seconds

DEFAULT_RETRY_LIMIT = 2880
"""The document's limit: 24 h at 30 s. It stands for "the batch's lifetime"; any other limit is obeyed to the poll."""

Interval = Annotated[Seconds, Field(gt=timedelta(0), le=timedelta(days=7))]

# Cut, not refused: what is only shown must not fail a run. Temporal takes no more than this at a start.
Shown = Annotated[str, AfterValidator(lambda text: text[:20_000])]

GivenBatchId = Annotated[BatchId, NoKey]


# --- the run's input -----------------------------------------------------------------------------------------------


class RetrySchedule(Boundary):
    """Arazzo `retryAfter` and `retryLimit` for errors that pass by themselves: 429, 5xx, no connection."""

    retry_after: Interval = timedelta(seconds=30)
    retry_limit: int = Field(default=480, ge=0, le=1_000_000)


class PollSchedule(Boundary):
    """Arazzo `retryAfter` and `retryLimit` of the polling step, as the run was started with."""

    retry_after: Interval = timedelta(seconds=30)
    retry_limit: int = Field(default=DEFAULT_RETRY_LIMIT, ge=0, le=10_000_000)
    transient: RetrySchedule = RetrySchedule()


class SubmissionSchedule(Boundary):
    """How long the one POST may take, and how long the list is watched after a lost reply before another POST."""

    timeout: Interval = timedelta(seconds=600)
    quiet_period: Interval = timedelta(seconds=900)


class BatchInput(Boundary):
    """What starts a run: `requests`, `requestsUri`, or `batchId` (alone, or with the requests that it holds).

    Attributes:
        api_key: the name of a key that the worker holds, never a key.
        anthropic_beta: sent as the `anthropic-beta` header when the batch is created.
        requests: the items `{custom_id, params}`, at most 512 KiB encoded.
        requests_uri: a JSONL file of such items in the worker's store.
        batch_id: attach: take over a batch that exists.
        store_id: which store `requestsUri` is in, where the caller knows.
        delete_after_landing: delete the batch at the provider once its results are landed and verified.
        static_summary, static_details: what the caller also gave Temporal under these names for the Web UI (a line,
            and markdown): they vanish when a long run continues as new, and are shown in its current details then.
    """

    api_key: str = DEFAULT_KEY
    anthropic_version: HeaderWord = DEFAULT_VERSION
    anthropic_beta: Betas = ()
    requests: list[Any] | None = None
    requests_uri: Annotated[str, Field(max_length=4000), NoKey] | None = None
    batch_id: GivenBatchId | None = None
    poll: PollSchedule = PollSchedule()
    submission: SubmissionSchedule = SubmissionSchedule()
    store_id: Annotated[str, Field(max_length=200), NoKey] | None = None
    delete_after_landing: bool = False
    static_summary: Shown | None = None
    static_details: Shown | None = None

    @property
    def account(self) -> Account:
        """The part of the input that every call to the API needs."""
        return Account(
            api_key=self.api_key, anthropic_version=self.anthropic_version, anthropic_beta=self.anthropic_beta
        )


# --- what is in the store ------------------------------------------------------------------------------------------


class Manifest(Boundary):
    """The run's requests in the store, checked, one a line, never changed.

    Attributes:
        uri: the JSONL file, named by its own sha256.
        ids_uri: its custom_ids, one a line, in the same order.
        count: number of requests.
        body_bytes: length of the request body that carries them.
        sha256: of the JSONL file.
        ids_sha256: of the sorted custom_ids.
        store_id: the store that holds it.
    """

    uri: str
    ids_uri: str
    count: int
    body_bytes: int
    sha256: str
    ids_sha256: str
    store_id: str


class Anchor(Boundary):
    """The account's newest batch before ours was sent; without any, the API's clock."""

    batch_id: str | None = None
    created_at: datetime


class ResultsFile(Boundary):
    """The landed results: JSONL in the order of the requests, every line byte for byte as it came."""

    uri: str
    bytes: int
    lines: int
    sha256: str


# --- the run's output ----------------------------------------------------------------------------------------------


class ErrorGroup(Boundary):
    """The errored results of one type, with one message and up to three custom_ids."""

    type: str
    count: int
    message: str
    custom_ids: tuple[str, ...]


class TokenUsage(Boundary):
    """Tokens billed, added up."""

    input: int = 0
    output: int = 0
    cache_write: int = 0
    cache_read: int = 0


class Outcomes(Boundary):
    """Results by outcome."""

    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class Summary(Boundary):
    """What came back: outcomes, errors by type (most frequent first), tokens by model."""

    counts: Outcomes = Outcomes()
    errors: tuple[ErrorGroup, ...] = ()
    tokens: dict[str, TokenUsage] = Field(default_factory=dict)


class Landed(Boundary):
    """The results of a batch in the store; also the content of its `results.json`.

    Attributes:
        results: the parsed lines where the file is at most 256 KiB and parses.
        results_omitted: why `results` is null.
        verified: each custom_id of the manifest exactly once; without a manifest only count and uniqueness.
    """

    batch_id: str
    results_file: ResultsFile
    results: list[Any] | None = None
    results_omitted: str | None = None
    verified: bool
    summary: Summary


class BatchOutput(Boundary):
    """What a run returns: the document's outputs, then what was landed.

    Attributes:
        possibly_paid_twice: batches that match ours after a second POST; normally empty.
        paid_twice_unchecked: why the list could not be looked at for them; normally null.
        deleted: the batch is no longer at the provider, as the input asked.
        not_deleted: why it is, although the input asked; normally null.
    """

    batch_id: str
    request_counts: RequestCounts
    results_url: str | None
    results: list[Any] | None
    results_omitted: str | None = None
    results_file: ResultsFile
    verified: bool
    possibly_paid_twice: tuple[str, ...] = ()
    paid_twice_unchecked: str | None = None
    deleted: bool = False
    not_deleted: str | None = None
    summary: Summary


class FailureDetails(Boundary):
    """The first detail of a run's `ApplicationError`: what is known of the batch, and the next step.

    Attributes:
        action: the next step for an operator, None where the message says all there is.
        batch_id: the batch that stays at the provider.
        candidates: batches that may be the run's, where that stayed undecided.
        possibly_paid_twice: batches that match the requests besides `batch_id`, after a second POST.
    """

    action: NextAction | None = None
    batch_id: str | None = None
    candidates: tuple[str, ...] = ()
    possibly_paid_twice: tuple[str, ...] = ()


# --- the progress of a run and decisions on it --------------------------------------------------------------------

EXPIRING = timedelta(hours=2)
"""Before the end of its lifetime a batch that has not ended is worth a look."""


class Phase(StrEnum):
    """Where a run stands; the three in the middle are the document's steps."""

    PREPARING = "preparing"
    SUBMITTING = "submitting"
    UNDECIDED = "undecided"
    POLLING = "polling"
    RETRIEVING = "retrieving"
    LANDED = "landed"
    FAILED = "failed"
    CANCELED = "canceled"


class Candidate(Boundary):
    """A batch that may be ours after a lost reply: newer than the anchor, our count, claimed by nobody else."""

    batch_id: str
    created_at: datetime
    processing_status: str

    @property
    def ended(self) -> bool:
        """Whether its results can be looked at."""
        return self.processing_status == "ended"


class Progress(Boundary):
    """The answer to the `progress` query.

    Attributes:
        polls: unfinished answers seen so far, over the whole chain of runs.
        next_poll: when the timer fires next, None if none is set.
        posts: how often the requests were sent.
        submission: one sentence on the submission, while it is not settled.
        waiting_for: what the run waits for now, other than the next poll.
        candidates: batches that may be ours, while that is undecided.
    """

    phase: Phase
    batch_id: str | None = None
    processing_status: str | None = None
    request_counts: RequestCounts | None = None
    polls: int = 0
    next_poll: datetime | None = None
    expires_at: datetime | None = None
    posts: int = 0
    submission: str | None = None
    waiting_for: str | None = None
    candidates: tuple[Candidate, ...] = ()
    cancel_requested: bool = False


class Resolution(Boundary):
    """The argument of the `resolveSubmission` update: exactly one of the two."""

    adopt: GivenBatchId | None = None
    submit_again: bool = False
