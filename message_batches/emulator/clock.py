"""The emulator's clock: it can run faster than the real one, and be moved ahead."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""The latest time: times that are computed from it, such as expiry, need room."""


class VirtualClock:
    """A clock that starts at the real time and passes `scale` seconds in each real one, until the year 9000."""

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()
        self._advanced = timedelta()

    def now(self) -> datetime:
        """Return the virtual time, in UTC."""
        passed = (time.monotonic() - self._started) * self._scale
        try:
            return min(self._started_at + timedelta(seconds=passed) + self._advanced, _LATEST)
        except OverflowError:
            return _LATEST

    def advance(self, by: timedelta) -> datetime:
        """Jump ahead, and return the new time; raise ValueError if it is beyond the clock."""
        if by > _LATEST - self.now():
            raise ValueError(f"the clock ends at {rfc3339(_LATEST)}")
        self._advanced += by
        return self.now()


def rfc3339(moment: datetime) -> str:
    """Format a UTC time as the API does: `2024-08-20T18:37:24.100435Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def http_date(moment: datetime) -> str:
    """Format a UTC time as the `Date` header does."""
    return format_datetime(moment, usegmt=True)
