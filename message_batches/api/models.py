"""The API's objects, as far as they are read, and the profile that a call is made with."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple, Self

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


BATCH_LIFETIME = timedelta(hours=24)
"""After that every batch has ended, also one that was deleted before it was seen to end."""

RESULTS_RETENTION = timedelta(days=29)
"""The time from a batch's creation for which the API keeps its results."""


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


class MessageBatch(ApiModel):
    """A batch as the API describes it: never its requests, names or metadata.

    The last four are set by the client and the store, not by the API: what a history has is not to be read otherwise
    by a later version.

    Attributes:
        reported_status: the API's own word, where `processing_status` is `ended` instead of that.
        unknown_status: whether `processing_status` is not one of the API's reference, and nothing says that it has
            ended.
        from_store: whether the API no longer has the batch, and the store has its results.
        server: names the server that its results come from, if that is not the one of all keys.
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
    reported_status: Annotated[str, Field(max_length=100)] | None = None
    unknown_status: bool | None = None
    from_store: bool | None = None
    server: str | None = None

    @model_serializer(mode="wrap")
    def _brief(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out nulls and zero counts: a history holds the answer to each of its polls."""
        said = {name: value for name, value in serialize(self).items() if value is not None}
        counts = said.get("request_counts")
        return {**said, "request_counts": {name: n for name, n in counts.items() if n}} if counts else said

    @property
    def fingerprint(self) -> str:
        """Four characters that another description of the batch has with a probability of one in 17 million."""
        return base64.b64encode(hashlib.sha256(self.model_dump_json().encode()).digest())[:4].decode()

    @property
    def ended(self) -> bool:
        """Whether every request has an outcome, successful or not."""
        return self.processing_status == _ENDED

    def with_status_read(self) -> Self:
        """Return the batch as ended, if it is, under whatever status; strings compare without case, as in Arazzo."""
        status, reported = self.processing_status.strip().casefold(), self.processing_status
        known = status in _KNOWN_STATUSES
        over = status == _ENDED or (not known and self.ended_at and self.results_url)
        return self.model_copy(
            update={
                "processing_status": _ENDED if over else reported,
                "reported_status": reported if over and reported != _ENDED else None,
                "unknown_status": True if not known and not over else None,
                "from_store": None,
                "server": None,
            }
        )


class DeletedBatch(ApiModel):
    """The API's answer to a DELETE."""

    id: str


class TokenCount(ApiModel):
    """The API's count of the tokens of a message's input."""

    input_tokens: int = Field(ge=0, le=2**53)


class KeyOwner(NamedTuple):
    """The organization and the workspace that a key belongs to; None where no answer named them."""

    organization_id: str | None = None
    workspace_id: str | None = None

    def agrees(self, other: "KeyOwner") -> bool:
        """Return whether both name the same, in at least one part that both name."""
        return any(own and its for own, its in zip(self, other, strict=True)) and self.conflict(other) is None

    def conflict(self, other: "KeyOwner") -> tuple[str, str, str] | None:
        """Return the first part that differs, by its word and both ids; None if none does that both name."""
        words = ("organization", "workspace")
        pairs = zip(words, self, other, strict=True)
        return next(((word, own, its) for word, own, its in pairs if own and its and own != its), None)


class WithOwner(BaseModel):
    """What an answer says, with the organization and the workspace of the key, from its headers; None if absent."""

    organization_id: str | None = None
    workspace_id: str | None = None

    @property
    def owner(self) -> KeyOwner:
        """The owner of the key, as far as the answer names it."""
        return KeyOwner(self.organization_id, self.workspace_id)


MAX_BATCHES = 1000
"""The most batches on a page of the list, by the API's reference."""


class BatchPage(WithOwner, ApiModel):
    """One page of the account's batches, newest first.

    Attributes:
        date: the `Date` header of the answer, the API's own clock; None if absent.
    """

    data: Annotated[tuple[MessageBatch, ...], Field(max_length=MAX_BATCHES)]
    has_more: bool
    last_id: BatchId | None = None
    date: datetime | None = None


class Supported(ApiModel):
    """Whether a model has a capability."""

    supported: bool


class ModelCapabilities(ApiModel):
    """The capabilities of a model, as far as they are read; None where the API does not name one."""

    batch: Supported | None = None


class ModelInfo(ApiModel):
    """A model as the API describes it.

    Attributes:
        max_tokens: the highest `max_tokens` of a request without a beta.
        lifecycle: `active`, `deprecated` or `retired`.
        retires_at: when it is to be retired, as planned now.
    """

    id: Annotated[str, Field(max_length=200)]
    max_tokens: _Count | None = None
    lifecycle: Annotated[str, Field(max_length=100)] | None = None
    retires_at: _Time | None = None
    capabilities: ModelCapabilities | None = None

    @property
    def takes_batches(self) -> bool:
        """Whether it takes batches, as far as the API says."""
        batch = self.capabilities.batch if self.capabilities else None
        return batch is None or batch.supported


class ApiProfile(ContractModel):
    """The *name* of a key that the worker holds, and the headers that are sent with every call."""

    api_key: str = DEFAULT_KEY
    anthropic_version: HeaderWord = DEFAULT_VERSION
    anthropic_beta: Betas = ()
