"""The API's objects, as far as they are read, and the profile that a call is made with."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from message_batches.api.keys import DEFAULT_KEY, NoKey
from message_batches.serialization import ContractModel

DEFAULT_VERSION = "2023-06-01"
HeaderWord = Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,128}$"), NoKey]
Betas = Annotated[tuple[HeaderWord, ...], Field(max_length=32)]
BATCH_ID_PATTERN = r"^[A-Za-z0-9_-]{1,128}$"
BatchId = Annotated[str, Field(pattern=BATCH_ID_PATTERN)]
_Count = Annotated[int, Field(ge=0, le=10**9)]
_ENDED = "ended"
_KNOWN_STATUSES = ("in_progress", "canceling", _ENDED)
_Status = Annotated[str, BeforeValidator(lambda status: "null" if status is None else status), Field(max_length=100)]
_Time = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))]


class ApiModel(BaseModel):
    """An object that the API sends, in its own snake_case; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class RequestCounts(ApiModel):
    """Requests by state; all are `processing` until the whole batch has ended."""

    processing: _Count = 0
    succeeded: _Count = 0
    errored: _Count = 0
    canceled: _Count = 0
    expired: _Count = 0

    @property
    def total(self) -> int:
        """The number of requests in the batch, constant over its life."""
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired


class StatusReading(StrEnum):
    """The reading of a status that is not known here, or of a batch that the API no longer has."""

    ENDED = "ended"
    """The rest of the description says that it has ended."""
    UNKNOWN = "unknown"
    """It is polled on, and an operator has to look at it."""
    LANDED = "landed"
    """The API does not have the batch; the store has its results."""


class MessageBatch(ApiModel):
    """A batch as the API describes it: never its requests, names or metadata.

    Attributes:
        reading: how the client reads a status that it does not know; None for those of the API's reference. It is
            set by the client, once: a later version of it must not read a run's history otherwise.
    """

    id: BatchId
    processing_status: _Status
    request_counts: RequestCounts
    created_at: _Time
    expires_at: _Time
    ended_at: _Time | None = None
    cancel_initiated_at: _Time | None = None
    archived_at: _Time | None = None
    results_url: Annotated[str, Field(max_length=2000)] | None = None
    reading: StatusReading | None = None

    @model_serializer(mode="wrap")
    def _brief(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out nulls and zero counts: a history holds the answer to each of its polls."""
        said = {name: value for name, value in serialize(self).items() if value is not None}
        counts = said.get("request_counts")
        return {**said, "request_counts": {name: n for name, n in counts.items() if n}} if counts else said

    @property
    def ended(self) -> bool:
        """Whether every request has an outcome, successful or not."""
        return self.processing_status == _ENDED or self.reading in (StatusReading.ENDED, StatusReading.LANDED)

    def read_status(self) -> Self:
        """Return the batch with the reading of its status; strings compare without case, as in the Arazzo document."""
        status = self.processing_status.strip().casefold()
        reading = None
        if status not in _KNOWN_STATUSES:
            reading = StatusReading.ENDED if self.ended_at and self.results_url else StatusReading.UNKNOWN
        elif status == _ENDED != self.processing_status:
            reading = StatusReading.ENDED
        return self.model_copy(update={"reading": reading})


class DeletedBatch(ApiModel):
    """The API's answer to a DELETE."""

    id: str


class BatchPage(ApiModel):
    """One page of the account's batches, newest first.

    Attributes:
        date: the `Date` header of the answer, the API's own clock; None if absent.
    """

    data: Annotated[tuple[MessageBatch, ...], Field(max_length=1000)]
    has_more: bool
    last_id: str | None = None
    date: datetime | None = None


class ApiProfile(ContractModel):
    """The *name* of a key that the worker holds, and the headers that are sent with every call."""

    api_key: str = DEFAULT_KEY
    anthropic_version: HeaderWord = DEFAULT_VERSION
    anthropic_beta: Betas = ()
