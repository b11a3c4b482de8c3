"""One call and its reply."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import web

from message_batches.emulator.batches import BatchRequest
from message_batches.emulator.call_log import Call
from message_batches.emulator.errors import ErrorReply, compact


@dataclass
class Exchange:
    """A call while it is served."""

    request: web.Request
    call: Call
    operation: str
    request_id: str
    workspace: str = ""
    version: str = ""
    betas: frozenset[str] = frozenset()
    requests: list[BatchRequest] = field(default_factory=list)
    """The requests of a create."""
    input_tokens: int = 0
    """The tokens of the message of a count."""

    @property
    def batch_id(self) -> str:
        """The id in the path."""
        return self.request.match_info["batch_id"]


@dataclass
class Reply:
    """A reply with its body whole, or in pieces."""

    status: int
    body: bytes | Iterable[bytes]
    content_type: str | None = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def ok(cls, value: dict[str, object], headers: dict[str, str] | None = None) -> "Reply":
        """Return a 200 with JSON."""
        return cls(200, compact(value), headers=headers or {})

    @classmethod
    def error(cls, error: ErrorReply, request_id: str | None) -> "Reply":
        """Return an error with its JSON."""
        return cls(error.status, error.body(request_id), headers=error.headers)
