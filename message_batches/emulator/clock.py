"""The emulator's clock: it can run faster than the real one, and be moved ahead."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime


class VirtualClock:
    """Starts at the real time and passes ``scale`` seconds in each real one."""

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()
        self._advanced = timedelta()

    def now(self) -> datetime:
        """The virtual time, in UTC."""
        passed = (time.monotonic() - self._started) * self._scale
        return self._started_at + timedelta(seconds=passed) + self._advanced

    def advance(self, by: timedelta) -> datetime:
        """Jump ahead, and say what time it is then."""
        self._advanced += by
        return self.now()


def rfc3339(moment: datetime) -> str:
    """Write a UTC time as the API does: ``2024-08-20T18:37:24.100435Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def http_date(moment: datetime) -> str:
    """Write a UTC time as the ``Date`` header does."""
    return format_datetime(moment, usegmt=True)
