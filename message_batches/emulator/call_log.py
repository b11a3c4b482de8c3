"""The log of received calls, in the order of arrival."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from message_batches.emulator.clock import rfc3339

# A day of frequent polls by a thousand clients must not fill the memory.
_KEPT = 200_000


@dataclass(slots=True)
class Call:
    """One call; `status` stays null while it is in progress, and for good when no reply was sent."""

    time: datetime
    method: str
    path: str
    query: str = ""
    operation: str | None = None
    status: int | None = None
    batch_id: str | None = None
    workspace: str | None = None
    request_id: str | None = None
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Return the entry as `GET /_emulator/calls` shows it."""
        return {
            "time": rfc3339(self.time),
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "operation": self.operation,
            "status": self.status,
            "batchId": self.batch_id,
            "workspace": self.workspace,
            "requestId": self.request_id,
            "faults": self.faults,
        }


class CallLog:
    """The latest calls, oldest first."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=_KEPT)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    def add(self, call: Call) -> None:
        """Add a call that arrives."""
        self._calls.append(call)

    def clear(self) -> None:
        """Remove all calls."""
        self._calls.clear()
