"""The models on the wire: what the API sends, read leniently and kept in its own snake_case."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Wire(BaseModel):
    """What the API sends, in its own snake_case; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class RequestCounts(Wire):
    """Requests by state; all are `processing` until the whole batch has ended."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        """The number of requests in the batch, constant over its life."""
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired


class MessageBatch(Wire):
    """A batch as the API describes it: never its requests, names or metadata."""

    id: str
    processing_status: str
    request_counts: RequestCounts
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    cancel_initiated_at: datetime | None = None
    archived_at: datetime | None = None
    results_url: str | None = None

    @model_serializer(mode="wrap")
    def _brief(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without nulls and zero counts: a history holds the answer to each of its polls."""
        said = {name: value for name, value in serialize(self).items() if value is not None}
        counts = said.get("request_counts")
        return {**said, "request_counts": {name: n for name, n in counts.items() if n}} if counts else said

    @property
    def ended(self) -> bool:
        """Whether every request has an outcome; not whether any succeeded."""
        return self.processing_status == "ended"


class BatchPage(Wire):
    """One page of the account's batches, newest first.

    Attributes:
        date: the `Date` header of the answer, the API's own clock; None if absent.
    """

    data: tuple[MessageBatch, ...]
    has_more: bool
    last_id: str | None = None
    date: datetime | None = None
