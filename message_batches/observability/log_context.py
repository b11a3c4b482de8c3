"""What the log lines of one activity are about, beside its run: the batch, and the last call that the API answered."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_batch_id: ContextVar[str | None] = ContextVar("batch_id", default=None)

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


@contextmanager
def log_batch_id(batch_id: str | None) -> Iterator[None]:
    """Lines that are written inside are about that batch."""
    token = _batch_id.set(batch_id)
    try:
        yield
    finally:
        _batch_id.reset(token)


def log_request_id(request_id: str | None) -> None:
    """The API has answered a call, which it knows by that id."""
    _request_id.set(request_id)


def context() -> dict[str, str | None]:
    """What is known now."""
    return {"batch_id": _batch_id.get(), "request_id": _request_id.get()}
