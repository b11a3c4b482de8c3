"""Task queue rates that keep all workers of a queue within a limit of API calls a minute."""

from dataclasses import dataclass

PARTITIONS = 4
"""Partitions of a task queue on the server, by its default configuration."""

WINDOW = 64
"""Seconds: the minute, one for the server's burst, and three for a call that follows its dispatch late."""

LANDING_SHARE = 10
"""One call in this many is for landings: a run polls for hours and lands once."""


@dataclass(frozen=True)
class RateLimits:
    """Activities a second for each of the two queues, as stated to the server.

    Measured on server 1.32 with a queue that is never empty: each partition hands out one activity every
    `PARTITIONS / rate` seconds, the first after a pause up to a second sooner; so in a minute at most
    `floor(61 * rate / PARTITIONS) + 1`. At 1 a second 64 were seen, at 0.9 a second 56. Hence a partition is given a
    whole number of calls for the minute, at that number over `WINDOW` a second.

    The result is the same for one worker or six, for workers that come and go, and for a backlog that waits for the
    first. But every worker must state the same rate: the server uses the rate of the last poll (1, 5 and 1 a second
    gave 2), and a partition polled only by a worker without a rate is not bounded (1 a second alongside two workers
    without: 457 in a minute).
    """

    runs: float
    landings: float

    @classmethod
    def within(cls, calls_per_minute: int) -> "RateLimits":
        """Return rates within a limit of calls a minute; a limit below 8 is kept on average only."""
        each = calls_per_minute // PARTITIONS
        landings: float = max(1, each // LANDING_SHARE)
        runs: float = each - landings
        if runs < 1:
            runs = landings = calls_per_minute / PARTITIONS / 2
        return cls(runs=PARTITIONS * runs / WINDOW, landings=PARTITIONS * landings / WINDOW)
