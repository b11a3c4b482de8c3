"""The upload of a POST's body: nothing is sent after the deadline, and it is known whether all of it was sent."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from message_batches.errors import NotSent


class Upload:
    """A body of `length` bytes, to be sent before a deadline on the server's clock and on this process's own.

    After a freeze of the worker both clocks have passed it; after a late start of the task, only the first has.

    Attributes:
        complete: whether its last chunk was sent; before that no batch can have been created.
    """

    def __init__(self, body: AsyncIterator[bytes], length: int, *, started: datetime, timeout: timedelta) -> None:
        self._body = body
        self._left = length
        self._at = started + timeout
        self._monotonic = time.monotonic() + timeout.total_seconds()
        self.complete = False

    def time_left(self) -> float:
        """Return the seconds until the deadline, 0 after it."""
        by_clock = (self._at - datetime.now(UTC)).total_seconds()
        return max(0.0, min(by_clock, self._monotonic - time.monotonic()))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body, each chunk only before the deadline; `NotSent` if that cuts it short."""
        async for chunk in self._body:
            if not self.time_left():
                raise NotSent(
                    "The deadline of the POST passed before all of it was sent, so nothing was created. If this "
                    "happens again, give it more time, or compare this worker's clock with the Temporal server's"
                )
            self._left -= len(chunk)
            self.complete = self._left <= 0
            yield chunk
