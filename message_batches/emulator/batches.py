"""Batches and their requests: of a request only what is needed to answer it, whatever its size."""

import random
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from message_batches.emulator.clock import rfc3339
from message_batches.emulator.params_validation import Refusal
from message_batches.emulator.prompt_parsing import Prompt


class BatchRequest(NamedTuple):
    """One request of a batch; a hundred thousand of them take some tens of megabytes."""

    custom_id: str
    model: str
    max_tokens: int
    refusal: Refusal | None
    prompt: Prompt


class OrderedOutcome(NamedTuple):
    """The outcome of some requests by order: a result type, known or not, with what goes with it."""

    share: float
    type: str = "errored"
    refusal: Refusal = Refusal("api_error", "Internal server error", at_work=True)
    stop_reason: str | None = None
    category: str | None = None
    """Of a refusal."""
    blocks: int = 1
    """Text blocks that the text is split into."""
    custom_id: str | None = None

    def strikes(self, request: BatchRequest, chance: random.Random) -> bool:
        """Decide about one request."""
        if self.custom_id is not None and self.custom_id != request.custom_id:
            return False
        return chance.random() < self.share


LIFETIME = timedelta(hours=24)
KEPT = timedelta(days=29)

# A batch that ended at the moment of its creation would never be seen in progress, not even by its creator.
_INSTANT = timedelta(microseconds=1)


class ProcessingStatus(StrEnum):
    """The values of `processing_status`."""

    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    ENDED = "ended"


class ResultType(StrEnum):
    """The values of a result's `type`."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    CANCELED = "canceled"
    EXPIRED = "expired"


@dataclass(frozen=True)
class ProcessingPace:
    """The pace of processing: a batch ends after some time, or at some retrieve."""

    duration: timedelta
    polls: int | None
    cancel_time: timedelta


@dataclass(frozen=True)
class BatchEnd:
    """The end of a batch: its time, the number of requests done by then, and the result type of the others."""

    at: datetime
    done: int
    others: ResultType


class Batch:
    """One batch; its state is computed from the time of the call."""

    def __init__(
        self,
        *,
        id: str,
        workspace: str,
        requests: Sequence[BatchRequest],
        created_at: datetime,
        pace: ProcessingPace,
        seed: int,
        live_counts: bool = False,
        ordered: Sequence[OrderedOutcome] = (),
        visible_from: float = 0.0,
    ) -> None:
        self.id = id
        self.workspace = workspace
        self.requests = requests
        self.created_at = created_at
        self.expires_at = created_at + LIFETIME
        self.cancel_initiated_at: datetime | None = None
        self.seed = seed
        self.visible_from = visible_from
        # The order in which requests are processed, and of their results.
        chance = random.Random(seed)
        self.order = array("I", range(len(requests)))
        chance.shuffle(self.order)
        self._ordered = dict(_by_order(ordered, requests, chance))
        self._pace = pace
        self._live_counts = live_counts
        self._polls = 0
        self._done_at_cancel = 0
        self._end: BatchEnd | None = None
        self._tally: Counter[str] = Counter()
        self._tallied = 0

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def custom_ids(self) -> list[str]:
        """The custom_ids, in the order of the requests."""
        return [request.custom_id for request in self.requests]

    def end(self, now: datetime) -> BatchEnd | None:
        """Return how it ended, or None while it has not."""
        if self._end is None:
            end = self._coming_end()
            if end.at <= now:
                self._end = end
        return self._end

    def status(self, now: datetime) -> ProcessingStatus:
        """Return its `processing_status`."""
        if self.end(now) is not None:
            return ProcessingStatus.ENDED
        return ProcessingStatus.CANCELING if self.cancel_initiated_at else ProcessingStatus.IN_PROGRESS

    def archived_at(self, now: datetime) -> datetime | None:
        """Return when its results were archived, or None while they are available."""
        moment = self.created_at + KEPT
        return moment if moment <= now else None

    def poll(self, now: datetime) -> None:
        """Count that the batch is looked at, by itself or in a list: some end after a number of looks."""
        self._polls += 1
        by_polls = self._pace.polls is not None and self._polls >= self._pace.polls
        if by_polls and self.status(now) is ProcessingStatus.IN_PROGRESS:
            self._end = BatchEnd(now, len(self), ResultType.EXPIRED)

    def cancel(self, now: datetime) -> None:
        """Stop the batch: requests that are done by now stay done."""
        self._done_at_cancel = self._done(now)
        self.cancel_initiated_at = now

    def outcome(self, rank: int, end: BatchEnd) -> str:
        """Return the result type of the request at a rank of `order`."""
        return self._outcome_when_done(self.order[rank]) if rank < end.done else end.others

    def _outcome_when_done(self, number: int) -> str:
        if self.requests[number].refusal is not None:
            return ResultType.ERRORED
        ordered = self._ordered.get(number)
        return ResultType.SUCCEEDED if ordered is None else ordered.type

    def refusal(self, number: int) -> Refusal:
        """Return why a request comes back errored."""
        return self.requests[number].refusal or self._ordered[number].refusal

    def ordered(self, number: int) -> OrderedOutcome | None:
        """Return the outcome of a request by order, or None."""
        return self._ordered.get(number)

    def counts(self, now: datetime) -> dict[str, int]:
        """Return its `request_counts`."""
        end = self.end(now)
        counts = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        if end is not None:
            done = end.done
            counts[end.others] += len(self) - done
        else:
            done = self._done_now(now) if self._live_counts else 0
            counts["processing"] = len(self) - done
        for outcome, count in self._tally_of(done).items():
            # There is no count for a result type that the API does not have.
            counts[outcome if outcome in counts else ResultType.ERRORED] += count
        return counts

    def as_json(self, now: datetime, results_url: str) -> dict[str, object]:
        """Return the MessageBatch object."""
        end, archived = self.end(now), self.archived_at(now)
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.status(now).value,
            "request_counts": self.counts(now),
            "ended_at": rfc3339(end.at) if end else None,
            "created_at": rfc3339(self.created_at),
            "expires_at": rfc3339(self.expires_at),
            "archived_at": rfc3339(archived) if archived else None,
            "cancel_initiated_at": rfc3339(self.cancel_initiated_at) if self.cancel_initiated_at else None,
            "results_url": results_url if end and not archived else None,
        }

    def _coming_end(self) -> BatchEnd:
        """Return the end that it will reach without a further call."""
        natural = self.expires_at
        if self._pace.polls is None:
            natural = min(natural, self.created_at + max(self._pace.duration, _INSTANT))
        if self.cancel_initiated_at is None:
            return BatchEnd(natural, self._done(natural), ResultType.EXPIRED)
        stopped = self.cancel_initiated_at + max(self._pace.cancel_time, _INSTANT)
        return BatchEnd(min(natural, stopped), self._done_at_cancel, ResultType.CANCELED)

    def _done_now(self, now: datetime) -> int:
        return self._done(now) if self.cancel_initiated_at is None else self._done_at_cancel

    def _done(self, at: datetime) -> int:
        """Return how many requests are done by then, not counting a cancel."""
        if self._pace.polls is not None:
            return min(len(self), len(self) * self._polls // self._pace.polls)
        return min(len(self), int(len(self) * ((at - self.created_at) / max(self._pace.duration, _INSTANT))))

    def _tally_of(self, done: int) -> Mapping[str, int]:
        # A batch of 100,000 requests may be polled a thousand times: count on from where the last poll stopped.
        if self._tallied > done:
            self._tallied = 0
            self._tally.clear()
        self._tally.update(map(self._outcome_when_done, self.order[self._tallied : done]))
        self._tallied = done
        return self._tally


def _by_order(
    ordered: Sequence[OrderedOutcome], requests: Sequence[BatchRequest], chance: random.Random
) -> Iterator[tuple[int, OrderedOutcome]]:
    """Yield the requests that an order strikes, each for itself, so that small batches have their share too."""
    for number, request in enumerate(requests if ordered else ()):
        struck = [outcome for outcome in ordered if outcome.strikes(request, chance)]
        if struck:
            yield number, struck[0]
