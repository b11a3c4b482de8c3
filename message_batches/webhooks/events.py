"""The events of runs and jobs that webhooks are told of, and what each says: ids, counts, cost, where results are.

It is thin: no prompt, no reply, no key, and no text that the API or a caller has written.
"""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from message_batches.api.keys import NoKey
from message_batches.contract import NextAction
from message_batches.result_models import ResultCounts, ResultsFile
from message_batches.serialization import ContractModel, Seconds

MAX_NAMES = 10
"""Webhooks of one run."""

MAX_IDS = 20
"""Batch ids in one list of an event: the body of a webhook may have 20 KB."""

MAX_ID_BYTES = 1000
"""Temporal accepts no longer workflow ids and signal names; a run that used one would stall."""

WEBHOOK_NAME = re.compile(r"[a-z0-9-]{1,32}")


def _webhook_name(name: str) -> str:
    if not WEBHOOK_NAME.fullmatch(name):
        raise ValueError(
            "expected the name of a webhook that the worker has (lower-case letters, digits, '-', at most 32), never "
            "its address"
        )
    return name


def _temporal_name(text: str) -> str:
    if len(text.encode(errors="replace")) > MAX_ID_BYTES or not text.isprintable() or text.startswith("__"):
        raise ValueError(f"expected at most {MAX_ID_BYTES} bytes of text that can be printed, and no __ before it")
    return text


WebhookName = Annotated[str, AfterValidator(_webhook_name)]
WebhookNames = Annotated[tuple[WebhookName, ...], Field(max_length=MAX_NAMES)]
_TemporalName = Annotated[str, Field(min_length=1), AfterValidator(_temporal_name), NoKey]


class NotifySignal(ContractModel):
    """A signal to a workflow in the same namespace, which a run sends it when the run has ended.

    Attributes:
        workflow_id: of the workflow that is signaled.
        signal: its name there; its argument is an `Event`.
    """

    workflow_id: _TemporalName
    signal: _TemporalName


class EventType(StrEnum):
    """The events."""

    BATCH_SUBMITTED = "batch.submitted"
    BATCH_UNDECIDED = "batch.undecided"
    BATCH_NEEDS_ATTENTION = "batch.needs_attention"
    BATCH_LANDED = "batch.landed"
    BATCH_FAILED = "batch.failed"
    BATCH_CANCELED = "batch.canceled"
    JOB_SUBMITTED = "job.submitted"
    JOB_NEEDS_ATTENTION = "job.needs_attention"
    JOB_LANDED = "job.landed"
    JOB_FAILED = "job.failed"
    JOB_CANCELED = "job.canceled"


class EventCost(ContractModel):
    """What results cost, by the list of prices.

    Attributes:
        amount: null if no model has a price.
        partial: the amount lacks usage of models without a price.
    """

    currency: str
    amount: Decimal | None
    partial: bool = False


class EventData(ContractModel):
    """What an event says of its run or job; a field that does not apply is left out of the body.

    Attributes:
        run_id: of the run that began the chain.
        batch_id: of a run, once it is known; a failed one's remains at the provider.
        requests: their number, once it is known.
        reason: why it needs attention: a `BatchStatus`.
        candidates: the batches that may be the run's, while that is not decided.
        outcome: a `BatchOutcome`, or the type of the failure.
        action: after a failure, the next step for an operator.
        counts: the results by type; `usable` of those that succeeded are whole.
        unfinished: how many requests a deadline or a stop has left without a result.
        results_file: the place of the results in the store.
        possibly_paid_twice: batches that match the run's after a second POST.
        shards: of a job's first wave.
        failed_shards: those of a job that have no results.
    """

    namespace: str
    workflow_id: str
    run_id: str
    batch_id: str | None = None
    requests: int | None = None
    reason: str | None = None
    candidates: Annotated[tuple[str, ...], Field(max_length=MAX_IDS)] | None = None
    outcome: str | None = None
    action: NextAction | None = None
    counts: ResultCounts | None = None
    usable: int | None = None
    unfinished: int | None = None
    cost: EventCost | None = None
    results_file: ResultsFile | None = None
    verified: bool | None = None
    possibly_paid_twice: Annotated[tuple[str, ...], Field(max_length=MAX_IDS)] | None = None
    shards: int | None = None
    failed_shards: int | None = None


class Event(ContractModel):
    """An event: the body of a webhook, and the argument of a `notifySignal`."""

    type: EventType
    timestamp: datetime
    data: EventData

    @property
    def body(self) -> bytes:
        """The body of a webhook, the same bytes at each attempt."""
        unset = {name for name, value in self.data if value is None}
        return self.model_dump_json(exclude={"data": unset}).encode()


class Notification(ContractModel):
    """An event for one webhook: the input of the workflow that delivers it.

    Attributes:
        webhook: its name.
        id: the `webhook-id`, the same whenever the event is sent.
        retry_after: the time before the second attempt; later ones wait longer.
    """

    webhook: WebhookName
    id: Annotated[str, Field(pattern=r"^msg_[0-9a-f]{32}$")]
    event: Event
    retry_after: Annotated[Seconds, Field(gt=timedelta(0))]


class DeliveryReport(ContractModel):
    """What the run is told of a notification that does not get through; nothing is told of one that does at once.

    Attributes:
        run_id: of the event's run.
        id: of the notification.
        problem: why it is not delivered; null once it is.
        given_up: no further attempt is made.
    """

    run_id: str
    id: str
    event: EventType
    webhook: WebhookName
    problem: str | None
    given_up: bool = False


_ID = re.compile(r"notify:([0-9a-f-]{36}):([a-z_.]+(?:-[0-9a-z-]+)?):([a-z0-9-]{1,32})")


def notification_prefix(run_id: str) -> str:
    """Return the beginning of the workflow ids of the notifications of a chain of runs."""
    return f"notify:{run_id}:"


def notification_id(run_id: str, key: str, webhook: str) -> str:
    """Return the workflow id of a notification.

    Args:
        run_id: of the run that began the chain.
        key: the event's type, and what makes it one of several of that type.
        webhook: its name.
    """
    return f"{notification_prefix(run_id)}{key}:{webhook}"


def notification_parts(workflow_id: str) -> tuple[str, str] | None:
    """Return the event's type and the webhook's name of a notification; None for an id that none has."""
    found = _ID.fullmatch(workflow_id)
    return (found[2].partition("-")[0], found[3]) if found else None
