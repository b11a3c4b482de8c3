"""The options of an emulator."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h|d)")


@dataclass(frozen=True, kw_only=True)
class UndocumentedBehaviour:
    """The statuses of responses that the real API's documentation does not specify."""

    cancel_after_ended: int = 400
    cancel_twice: int = 200
    delete_while_canceling: int = 400
    unknown_cursor: int = 400
    both_cursors: int = 400
    limit_out_of_range: int = 400
    results_archived: int = 404
    params_refused: int = 400
    """For requests with `params` that the API refuses in words of its own: a 400 makes them errored."""

    # A 200 means: the batch as it is, the batch deleted, an empty page, `after_id` only, the nearest limit, a reply.
    CHOICES: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "cancel_after_ended": (400, 409, 200),
        "cancel_twice": (200, 400, 409),
        "delete_while_canceling": (400, 409, 200),
        "unknown_cursor": (400, 404, 200),
        "both_cursors": (400, 200),
        "limit_out_of_range": (400, 200),
        "results_archived": (404, 400, 410),
        "params_refused": (400, 200),
    }

    def __post_init__(self) -> None:
        for name, choices in self.CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is one of {', '.join(map(str, choices))}")


@dataclass(frozen=True, kw_only=True)
class EmulatorOptions:
    """All options of an emulator; durations are on its virtual clock unless said otherwise."""

    host: str = "127.0.0.1"
    port: int = 0
    public_url: str | None = None
    """The URL for clients; without it, `results_url` follows the request's own Host."""
    time_scale: float = 1.0
    """Virtual seconds that pass in one real second."""
    processing_time: timedelta = timedelta(seconds=10)
    jitter: float = 0.0
    """Share by which a processing time may be longer or shorter: 0.2 is plus or minus 20 %."""
    cancel_time: timedelta = timedelta(seconds=2)
    """The time for which a batch stays `canceling`, unless it would have ended sooner."""
    ends_after_polls: int | None = None
    """Batches end at this retrieve, or list that they are in, and no longer by time."""
    live_counts: bool = False
    """Move `request_counts` while a batch is processed; else all stays `processing` until the end."""
    seed: int | None = None
    """The seed of ids, orders and outcomes; without one they differ at every start."""
    reply_bytes: int = 0
    """The approximate length of a reply's text; 0 is a few plausible sentences."""
    error_rate: float = 0.0
    """The chance of each valid request to come back errored with an `api_error`."""
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """The only keys that are accepted; if empty, every key except `sk-invalid*`.

    Each key has a workspace of its own, unless it names one: `KEY=wrkspc_one`. A key that is given several times can
    act on all of these workspaces, and without the header `anthropic-workspace-id` acts on the first.
    """
    models: tuple[str, ...] = ()
    """Models besides those of now, in the form of `--model`."""
    requests_per_minute: int = 0
    """Calls that a workspace may make in a (real) minute; 0 is no limit."""
    queue_limit: int = 0
    """Requests a workspace may have in processing; 0 is no limit."""
    max_bytes: int = 256_000_000
    """The largest request body."""
    max_requests: int = 100_000
    """The most requests in a batch."""
    faults: tuple[str, ...] = ()
    """Faults from the start, in the form of `--fault`."""
    undocumented: UndocumentedBehaviour = UndocumentedBehaviour()

    def __post_init__(self) -> None:
        if not 0 < self.time_scale <= 1e9:
            raise ValueError("time_scale is above 0, and at most 1e9")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter is between 0 and 1")
        if not 0 <= self.error_rate <= 1:
            raise ValueError("error_rate is between 0 and 1")
        if self.ends_after_polls is not None and self.ends_after_polls < 1:
            raise ValueError("ends_after_polls is at least 1")
        for name in ("reply_bytes", "requests_per_minute", "queue_limit", "max_bytes", "max_requests"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is at least 0")
        for name in ("processing_time", "cancel_time"):
            if getattr(self, name) < timedelta():
                raise ValueError(f"{name} is at least 0")


def parse_duration(text: str) -> timedelta:
    """Read `30s`, `1m`, `0.2s`, `24h`, `29d` or `250ms`; raise ValueError for anything else."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 1m, 0.2s or 24h")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
