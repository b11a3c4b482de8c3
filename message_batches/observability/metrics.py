"""Our metrics: names, meanings and labels.

On the worker's page a counter's name ends in `_total`, a timing's in `_seconds`. Labels are our own words and
the names of models, namespaces and queues; never an id, a key, or text from a caller.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio.common import MetricMeter

from message_batches.claude_models import by_name
from message_batches.result_models import Summary

MAX_MODELS = 30
"""Model names besides Claude's own that a process labels separately; all later ones are `other`, and a server that
makes names up takes none of Claude's away."""

OTHER = "other"


@dataclass(frozen=True)
class Counter:
    """A total that only grows."""

    name: str
    help: str

    def add(self, meter: MetricMeter, value: int = 1, **labels: str) -> None:
        """Add to the total."""
        meter.create_counter(self.name, self.help).add(value, labels)


@dataclass(frozen=True)
class Timing:
    """A duration in seconds; `buckets` are the upper bounds."""

    name: str
    help: str
    buckets: Sequence[float]

    def record(self, meter: MetricMeter, duration: timedelta, **labels: str) -> None:
        """Record a duration; a negative one, from clocks that differ, counts as zero."""
        meter.create_histogram_timedelta(self.name, self.help, "s").record(max(duration, timedelta()), labels)


@dataclass(frozen=True)
class Gauge:
    """A current number."""

    name: str
    help: str

    def set(self, meter: MetricMeter, value: int, **labels: str) -> None:
        """Set the number."""
        meter.create_gauge(self.name, self.help).set(value, labels)


SUBMITTED = Counter("message_batches_submitted", "Batches that runs have submitted")
ENDED = Counter("message_batches_ended", "Batches that runs have seen end")
RUNS_ENDED = Counter("message_batches_runs_ended", "Runs that have ended, by BatchStatus and BatchOutcome")
OPEN_RUNS = Gauge("message_batches_open_runs", "Runs under way, by BatchStatus, as each worker has counted them")

STALLED_RUNS = Gauge(
    "message_batches_stalled_runs", "Runs under way that do not move, by cause, as each worker has looked at them"
)

TOKEN_KINDS = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
STOP_REASONS = (
    *("end_turn", "tool_use", "stop_sequence"),
    *("max_tokens", "refusal", "pause_turn", "model_context_window_exceeded"),
)
"""Those of `types/stop_reason.py` of `anthropic` 2.14.0; any other is `other`."""

REPLIES = Counter("message_batches_replies", "Succeeded requests with landed results, by the reason for their end")
REQUESTS = Counter("message_batches_requests", "Requests with landed results, by outcome")
TOKENS = Counter("message_batches_tokens", "Tokens that landed results say were billed, by model and kind")
LANDED_BYTES = Counter("message_batches_landed_bytes", "Bytes of results that have landed")

LANDING = Timing(
    "message_batches_landing", "Duration of successful landings", (0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 7200)
)

LOST_REPLIES = Counter("message_batches_lost_replies", "POSTs with an unknown outcome")
RECONCILIATIONS = Counter("message_batches_reconciliations", "Ends of the search for a POST's outcome, by result")
PAID_TWICE = Counter("message_batches_possibly_paid_twice", "Further batches that match one that was landed")
FAILED_ATTEMPTS = Counter("message_batches_failed_attempts", "Attempts of activities that failed, by error")

NOTIFICATIONS = Counter("message_batches_notifications", "Events sent to webhooks, by event and by what came of it")

POLL_LATENESS = Timing(
    "message_batches_poll_lateness",
    "How late polls were, by stage: timer, until the run asked; and after that, queue, until a worker began; answer, "
    "until it had the API's",
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900),
)

METRICS = (
    *(SUBMITTED, ENDED, RUNS_ENDED, OPEN_RUNS, STALLED_RUNS, REQUESTS, REPLIES, TOKENS, LANDED_BYTES, LANDING),
    *(LOST_REPLIES, RECONCILIATIONS, PAID_TWICE, FAILED_ATTEMPTS, NOTIFICATIONS, POLL_LATENESS),
)


def buckets() -> Mapping[str, Sequence[float]]:
    """Return the bounds of all timings by name."""
    return {metric.name: metric.buckets for metric in METRICS if isinstance(metric, Timing)}


def count_results(meter: MetricMeter, summary: Summary, size: int) -> None:
    """Count landed results: requests by outcome, replies by stop reason, tokens by model, bytes."""
    for outcome, number in summary.counts:
        REQUESTS.add(meter, number, outcome=outcome)
    for reason in summary.stop_reasons:
        known = reason.reason in STOP_REASONS
        REPLIES.add(meter, reason.count, stop_reason=reason.reason if known else OTHER)
    for usage in summary.usage:
        for kind in TOKEN_KINDS:
            TOKENS.add(meter, getattr(usage, kind), model=_models.label(usage.model), kind=kind)
    LANDED_BYTES.add(meter, size)


class _Models:
    """Model names as labels: they come from outside, so their number is bounded."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, model: str) -> str:
        if model not in self._known and model not in _CLAUDE:
            if len(self._known) >= MAX_MODELS or not re.fullmatch(r"[A-Za-z0-9._:/@-]{1,100}", model):
                return OTHER
            self._known.add(model)
        return model


_CLAUDE = by_name()
_models = _Models()
