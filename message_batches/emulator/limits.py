"""Calls per minute, and the headers that tell how many are left."""

import time
from datetime import timedelta

from message_batches.emulator.clock import VirtualClock
from message_batches.emulator.errors import ApiError

# What the headers show when no limit is set: the highest published tier.
_PLAUSIBLE = 4_000


class RateLimits:
    """A bucket of calls for each workspace, refilled in real time: it is real calls that it limits."""

    def __init__(self, requests_per_minute: int, clock: VirtualClock) -> None:
        self._limit = requests_per_minute
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def spend(self, workspace: str) -> None:
        """Take one call out of the bucket; raise 429 when there is none."""
        if not self._limit:
            return
        left = self._left(workspace)
        if left < 1:
            told = f"This request would exceed the limit of {self._limit} requests per minute to the Batches API."
            raise ApiError(429, told, retry_after=max(1, round((1 - left) * 60 / self._limit)))
        self._buckets[workspace] = (left - 1, time.monotonic())

    def headers(self, workspace: str) -> dict[str, str]:
        """The ``anthropic-ratelimit-requests-*`` headers as they are now."""
        limit = self._limit or _PLAUSIBLE
        left = self._left(workspace) if self._limit else float(limit)
        full = self._clock.now() + timedelta(minutes=(limit - left) / limit)
        return {
            "anthropic-ratelimit-requests-limit": str(limit),
            "anthropic-ratelimit-requests-remaining": str(int(left)),
            "anthropic-ratelimit-requests-reset": f"{full:%Y-%m-%dT%H:%M:%SZ}",
        }

    def _left(self, workspace: str) -> float:
        now = time.monotonic()
        left, at = self._buckets.get(workspace, (float(self._limit), now))
        return min(float(self._limit), left + (now - at) * self._limit / 60)
