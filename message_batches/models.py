"""The models of the contract: a run's input and output, its progress, and its files in the store.

They are JSON in the Arazzo document's camelCase, frozen, and ignore unknown fields, so that an older worker can
read a newer caller's. Durations are seconds in JSON and `timedelta` in Python.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field

from message_batches.api.keys import DEFAULT_KEY, NoKey
from message_batches.api.models import DEFAULT_VERSION, ApiProfile, BatchId, Betas, HeaderWord, RequestCounts, WithOwner
from message_batches.contract import NextAction
from message_batches.result_models import Cost, ResultsFile, Summary, Unfinished
from message_batches.serialization import ContractModel, Seconds
from message_batches.webhooks.events import NotifySignal, WebhookNames

DEFAULT_RETRY_LIMIT = 2880
"""The document's limit, 24 h at 30 s: it means "the batch's lifetime"; any other limit is exact to the poll."""

Interval = Annotated[Seconds, Field(gt=timedelta(0), le=timedelta(days=7))]

# Cut, not refused: text that is only displayed must not fail a run. Temporal accepts no more than this at a start.
DisplayText = Annotated[str, AfterValidator(lambda text: text[:20_000])]
MaxCost = Annotated[Decimal, Field(gt=0, le=1_000_000_000, allow_inf_nan=False)]
GivenBatchId = Annotated[BatchId, NoKey]


def _in_utc(time: datetime) -> datetime:
    """Return the time in UTC; `ValueError` for one that has none there, within the first or last day that there is."""
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is beyond the years 1 to 9999") from error


Deadline = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class RetrySchedule(ContractModel):
    """Arazzo `retryAfter` and `retryLimit` for transient errors: 429, 5xx, no connection."""

    retry_after: Interval = timedelta(seconds=30)
    retry_limit: int = Field(default=480, ge=0, le=1_000_000)


class PollSchedule(ContractModel):
    """Arazzo `retryAfter` and `retryLimit` of the polling step, as given at the run's start."""

    retry_after: Interval = timedelta(seconds=30)
    retry_limit: int = Field(default=DEFAULT_RETRY_LIMIT, ge=0, le=10_000_000)
    transient: RetrySchedule = RetrySchedule()


class SubmissionSchedule(ContractModel):
    """The time that a POST may take, and that the list is polled after a lost reply before another POST."""

    timeout: Interval = timedelta(seconds=600)
    quiet_period: Interval = timedelta(seconds=900)


class RequestsInput(ContractModel):
    """What the inputs of a run and of a job have in common: the requests, and how they are sent.

    Attributes:
        api_key: the name of a key that the worker holds, never a key.
        anthropic_beta: sent as the `anthropic-beta` header when a batch is created.
        requests: the items `{custom_id, params}`, at most 512 KiB encoded.
        requests_uri: a JSONL file of such items in the worker's store.
        requests_uri_zone: the time zone in which `{date}` and the like in `requestsUri` are the time that the run was
            scheduled for; without it, they are text.
        wait_for_requests: how long the file of `requestsUri` is waited for; by default it has to be there.
        store_id: the store that `requestsUri` is in, if the caller knows it.
        delete_after_landing: delete a batch at the provider once its results are landed and verified.
        max_cost: the most, in USD, that the requests may cost by the estimate; above it nothing is sent.
        deadline: when a batch that has not ended is canceled, and what has finished is landed; later nothing is sent.
        notify: the names of webhooks that the worker has, which are told of the events.
        notify_signal: the workflow that is signaled at the end.
        static_summary, static_details: the line and the markdown that the caller also gave Temporal under these names
            for the Web UI: they vanish when a long run continues as new, and are then shown in its current details.
    """

    api_key: str = DEFAULT_KEY
    anthropic_version: HeaderWord = DEFAULT_VERSION
    anthropic_beta: Betas = ()
    requests: list[Any] | None = None
    requests_uri: Annotated[str, Field(max_length=4000), NoKey] | None = None
    requests_uri_zone: Annotated[str, Field(max_length=100), NoKey] | None = None
    wait_for_requests: Interval | None = None
    poll: PollSchedule = PollSchedule()
    submission: SubmissionSchedule = SubmissionSchedule()
    store_id: Annotated[str, Field(max_length=200), NoKey] | None = None
    delete_after_landing: bool = False
    max_cost: MaxCost | None = None
    deadline: Deadline | None = None
    notify: WebhookNames = ()
    notify_signal: NotifySignal | None = None
    static_summary: DisplayText | None = None
    static_details: DisplayText | None = None

    @property
    def profile(self) -> ApiProfile:
        """The part of the input that every API call needs."""
        return ApiProfile(
            api_key=self.api_key, anthropic_version=self.anthropic_version, anthropic_beta=self.anthropic_beta
        )


class BatchInput(RequestsInput):
    """The input of a run: `requests`, `requestsUri`, or `batchId` (alone, or with the requests that it holds).

    Attributes:
        batch_id: an existing batch to attach to.
        inline_results: whether the output has the parsed results where they are small; their file is there in any case.
        take_over: whether a batch that an earlier run of the same workflow id has created for the same requests is
            this run's, instead of another one.
    """

    batch_id: GivenBatchId | None = None
    inline_results: bool = True
    take_over: bool = False


class Manifest(ContractModel):
    """A run's requests in the store, checked, one a line, never changed.

    Attributes:
        uri: the JSONL file, named by its own sha256.
        ids_uri: its custom_ids, one a line, in the same order.
        count: the number of requests.
        body_bytes: the length of the request body with them.
        sha256: of the JSONL file.
        content_sha256: of the same requests however they are written; empty if an older version wrote this.
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
    content_sha256: str = ""

    @property
    def content(self) -> str:
        """The identity of the requests: equal ones have the same, except where an older version did not compute it."""
        return self.content_sha256 or self.sha256


class Anchor(WithOwner, ContractModel):
    """The account's newest batch before the run's own was sent; if there was none, the time of the API's clock."""

    batch_id: str | None = None
    created_at: datetime


class BatchOutput(ContractModel):
    """The output of a run: the document's outputs, then the landed results.

    Attributes:
        possibly_paid_twice: batches that match ours after a second POST; normally empty.
        paid_twice_unchecked: why the list could not be searched for them; normally null.
        deleted: the batch was deleted at the provider, as the input requested.
        not_deleted: why it was not, although the input requested it; normally null.
        unfinished: the requests that the deadline has left without a result of their own; null if there are none.
        cost: by the list of prices, when the results landed; an invoice may differ.
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
    unfinished: Unfinished | None = None
    summary: Summary
    cost: Cost | None = None


class FailureDetails(ContractModel):
    """The first detail of a run's `ApplicationError`: the batch, as far as it is known, and the next step.

    Attributes:
        action: the next step for an operator, None if there is none beyond the message.
        batch_id: the batch that remains at the provider.
        candidates: batches that may be the run's, if that was never decided.
        possibly_paid_twice: batches that match the run's after a second POST; normally empty.
        estimate: what the requests may cost, in USD; null where that is not known, or was not the reason.
        limit: the most that they may cost, in USD; null where that was not the reason.
    """

    action: NextAction | None = None
    batch_id: str | None = None
    candidates: tuple[str, ...] = ()
    possibly_paid_twice: tuple[str, ...] = ()
    estimate: Decimal | None = None
    limit: Decimal | None = None


class Phase(StrEnum):
    """The phase of a run; SUBMITTING, POLLING and RETRIEVING are the document's steps."""

    PREPARING = "preparing"
    SUBMITTING = "submitting"
    UNDECIDED = "undecided"
    POLLING = "polling"
    RETRIEVING = "retrieving"
    LANDED = "landed"
    FAILED = "failed"
    CANCELED = "canceled"


class Candidate(ContractModel):
    """A batch that may be the run's after a lost reply: newer than the anchor, of the same count, unclaimed.

    Attributes:
        doubt: why its results, once it has ended, have not told whether it is; None while they have not been read.
    """

    batch_id: str
    created_at: datetime
    processing_status: str
    doubt: str | None = None

    @property
    def ended(self) -> bool:
        """Whether its results can be downloaded."""
        return self.processing_status == "ended"


class Progress(ContractModel):
    """The answer to the `progress` query.

    Attributes:
        unknown_status: `processingStatus` is not one that is known here, and nothing shows that the batch has ended.
        ended_at: when the batch ended, as the API says, which a batch of an unknown status may be without results.
        last_seen: when the API last described the batch.
        not_found_since: of the first of the 404s that the API gives for the batch now, None while it finds it.
        not_found: how many of these polls have got.
        polls: the number of polls that found the batch unfinished, over the whole chain of runs.
        next_poll: the time of the next poll, None if none is scheduled.
        posts: how many times the requests were sent.
        submission: one sentence on the submission, until its outcome is known.
        waiting_for: what the run waits for now, other than the next poll.
        candidates: batches that may be the run's, while that is undecided.
        deadline: of the run's input.
        canceled_at_deadline: the batch was canceled because its deadline had come.
        unread_fields: the fields of the run's input that the worker's version does not know.
    """

    phase: Phase
    batch_id: str | None = None
    processing_status: str | None = None
    request_counts: RequestCounts | None = None
    unknown_status: bool = False
    polls: int = 0
    next_poll: datetime | None = None
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    last_seen: datetime | None = None
    not_found_since: datetime | None = None
    not_found: int = 0
    posts: int = 0
    submission: str | None = None
    waiting_for: str | None = None
    candidates: tuple[Candidate, ...] = ()
    cancel_requested: bool = False
    deadline: datetime | None = None
    canceled_at_deadline: bool = False
    unread_fields: tuple[str, ...] = ()


class Resolution(ContractModel):
    """The argument of the `resolveSubmission` update: exactly one of the two fields."""

    adopt: GivenBatchId | None = None
    submit_again: bool = False
