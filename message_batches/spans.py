"""The parts of an activity as spans: their names, times and outcome, where somebody records them.

It is apart from `observability`, which is built on the API client: the client and the landing name their parts here. A
span holds words of our own, ids and numbers: never a body, a prompt, a key, or a text that the API or a caller wrote.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from message_batches.errors import ApiError
from message_batches.log_context import context

Attributes = dict[str, str | int | bool]

_BATCHES = "/v1/messages/batches"


@dataclass
class Span:
    """A part of the work, with its time in nanoseconds since 1970.

    Attributes:
        parent_id: the span that it is a part of; None for the first of a trace.
        error: the name of the error that ended it.
        calls_out: whether another server did the work.
    """

    name: str
    parent_id: int | None
    span_id: int = field(default_factory=lambda: secrets.randbits(64) or 1)
    started: int = field(default_factory=time.time_ns)
    ended: int = 0
    attributes: Attributes = field(default_factory=dict)
    error: str | None = None
    calls_out: bool = False


@dataclass
class Recording:
    """The spans of one activity that have ended, and the one that is under way."""

    current: Span
    ended: list[Span] = field(default_factory=list)


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)


@contextmanager
def record(whole: Span) -> Iterator[list[Span]]:
    """Record the spans of the block, as parts of `whole`; yield the list of those that have ended."""
    recording = Recording(whole)
    token = _recording.set(recording)
    try:
        with _timed(whole, recording):
            yield recording.ended
    finally:
        _recording.reset(token)


@contextmanager
def span(name: str) -> Iterator[Attributes]:
    """Name the block as a part; yield its attributes, to add to."""
    recording = _recording.get()
    if recording is None:
        yield {}
        return
    outer = recording.current
    recording.current = part = Span(name, outer.span_id)
    try:
        with _timed(part, recording):
            yield part.attributes
    finally:
        recording.current = outer


@contextmanager
def call(method: str, url: str) -> Iterator[None]:
    """Name the block as one call of the API, by its method and path without the batch's id."""
    recording = _recording.get()
    if recording is None:
        yield
        return
    route = _route(url)
    part = Span(f"{method} {route}" if route else method, recording.current.span_id, calls_out=True)
    part.attributes["http.request.method"] = method
    if route:
        part.attributes["url.template"] = route
    with _timed(part, recording):
        try:
            yield
        except ApiError as error:
            _answered(part, error.status, error.request_id)
            raise
        _answered(part, 200, context()["request_id"])


def error_name(error: BaseException) -> str:
    """Return the name of an error: the type of a failure, or else its class; never its text."""
    kind = getattr(error, "type", None)
    return kind if isinstance(kind, str) and kind.isidentifier() else type(error).__name__


@contextmanager
def _timed(part: Span, recording: Recording) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        part.error = error_name(error)
        raise
    finally:
        part.ended = time.time_ns()
        recording.ended.append(part)


def _answered(part: Span, status: int | None, request_id: str | None) -> None:
    if status:
        part.attributes["http.response.status_code"] = status
    if request_id:
        part.attributes["anthropic.request_id"] = request_id


def _route(url: str) -> str | None:
    _, batches, rest = url.rpartition(_BATCHES)
    if not batches:
        return None
    # A batch, and what is asked of it.
    parts = rest.split("/")[1:]
    return "/".join((_BATCHES, *("{id}" for _ in parts[:1]), *parts[1:2]))
