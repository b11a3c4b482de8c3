"""Context of an activity's log lines: the batch, and the request id of the last answered API call.

It is apart from `observability`, which is built on the API client: the client sets the request id.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_batch_id: ContextVar[str | None] = ContextVar("batch_id", default=None)
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


@contextmanager
def log_batch_id(batch_id: str | None) -> Iterator[None]:
    """Give log lines written inside the block this batch id."""
    token = _batch_id.set(batch_id)
    try:
        yield
    finally:
        _batch_id.reset(token)


def log_request_id(request_id: str | None) -> None:
    """Give later log lines of this task the API's id of an answered call."""
    _request_id.set(request_id)


def context() -> dict[str, str | None]:
    """Return the current fields."""
    return {"batch_id": _batch_id.get(), "request_id": _request_id.get()}
