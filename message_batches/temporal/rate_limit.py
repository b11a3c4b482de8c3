"""How fast the server may hand out activities, so that all workers of a queue stay within so many calls a minute."""

from dataclasses import dataclass

PARTITIONS = 4
"""Into how many partitions the server splits a task queue, unless its configuration says otherwise."""

WINDOW = 64
"""Seconds: the minute, one of the server's burst, and three for a call that comes later than its dispatch."""

LANDING_SHARE = 10
"""One call in so many is for landings: a run polls for hours and lands once."""


@dataclass(frozen=True)
class RateLimits:
    """Activities a second, as stated to the server for each of the two queues.

    Measured on server 1.32 with a queue that is never empty: each partition hands out one activity every
    `PARTITIONS / rate` seconds, the first after a pause up to a second sooner; so in a minute at most
    `floor(61 * rate / PARTITIONS) + 1`. At 1 a second 64 were seen, at 0.9 a second 56. Hence a partition is given a
    whole number of calls for the minute, at that number over `WINDOW` a second.

    One worker or six, workers that come and go, a backlog that waits for the first: all the same. But every worker must
    state the same: of different rates the last to poll is heard (1, 5 and 1 a second came to 2), and a partition that
    only a worker without one polls is not bounded at all (1 a second beside two without: 457 in a minute).
    """

    runs: float
    landings: float

    @classmethod
    def within(cls, calls_per_minute: int) -> "RateLimits":
        """The rates whose calls stay within a minute's limit; below 8 no more than on average."""
        each = calls_per_minute // PARTITIONS
        landings: float = max(1, each // LANDING_SHARE)
        runs: float = each - landings
        if runs < 1:
            runs = landings = calls_per_minute / PARTITIONS / 2
        return cls(runs=PARTITIONS * runs / WINDOW, landings=PARTITIONS * landings / WINDOW)
