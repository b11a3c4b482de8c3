"""The figures of a report, gathered in one pass over the results and one over their requests, in bounded memory."""

import heapq
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from message_batches.job_models import JobOutput, MergedResults
from message_batches.models import BatchOutput
from message_batches.prices import PriceList, Rates, price
from message_batches.report.charts import Lengths
from message_batches.report.moments import Moments
from message_batches.result_models import BILLED, LandedResults, ModelUsage
from message_batches.results import reader
from message_batches.results.parser import MAX_TOKEN_COUNT, ResultLine, read_result
from message_batches.results.reader import Publication, ResultsNotFound
from message_batches.results.replies import read_reply
from message_batches.results.summary import OTHER, USABLE
from message_batches.runs.describe import ExecutionView
from message_batches.storage.interface import Store

MAX_ROWS = 300
MAX_FAILED_ROWS = 200
"""Of these rows, where there are others to be shown."""

MAX_TEXT = 4000
"""Characters of a text that are kept for the page."""

MAX_LIMITS = 1000
"""Different `max_tokens` that are told apart."""

MAX_OUTCOMES = 8
"""Kinds of results without a usable reply of which each has its share of the rows."""

_USABLE = "usable"
_OUTPUT = BILLED.index("output")
_GOLDEN = 2_654_435_769
T = TypeVar("T")


class Evenly(Generic[T]):
    """Some of many items, spread over all of them, also where every second or tenth is of another kind.

    Items are ranked by multiples of the golden ratio, of which the smallest lie at even distances.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen = 0
        self._kept: list[tuple[int, int, T]] = []

    def offer(self, make: Callable[[], T]) -> None:
        """Count an item, and make and keep it if it is one of those that are spread."""
        rank = -(self._seen * _GOLDEN % 2**32)
        if len(self._kept) < self._most:
            heapq.heappush(self._kept, (rank, self._seen, make()))
        elif rank > self._kept[0][0]:
            heapq.heapreplace(self._kept, (rank, self._seen, make()))
        self._seen += 1

    def pick(self, most: int) -> list[T]:
        """Return at most so many of those that are kept, in their order."""
        best = heapq.nlargest(most, self._kept, key=lambda each: each[:2])
        return [item for _, _, item in sorted(best, key=lambda each: each[1])]

    def __len__(self) -> int:
        return len(self._kept)


@dataclass(frozen=True)
class Row:
    """A result that is shown with its text.

    Attributes:
        position: its place in the order of the results, from 1.
        outcome: `usable`, the stop reason of a reply that is not, or why there is none.
        size: bytes of the whole line.
        whole: whether that is all of the text.
    """

    position: int
    custom_id: str
    type: str
    outcome: str
    model: str
    tokens: int
    text: str
    size: int
    whole: bool


@dataclass
class Figures:
    """The part of a report that no summary has: the lengths of the replies, and some of the results.

    Attributes:
        longest_cut: the tokens of the longest reply that was cut off at `max_tokens`.
        limits: how many requests have a `max_tokens`; None where the requests are not known.
    """

    lengths: Lengths = field(default_factory=Lengths)
    rows: list[Row] = field(default_factory=list)
    results: int = 0
    longest_cut: int = 0
    limits: Counter[int] | None = None


@dataclass(frozen=True)
class Report:
    """The content of a report.

    Attributes:
        identity: the id that it was asked for by.
        landed: the results of a batch, or the merged ones of a job.
        run: the run, or the job, as Temporal knows it; None where it does not.
        kinds: by model, what each kind of its usage cost; without a model whose rates are others since.
        link: the run's page in the Web UI, where that is known.
    """

    identity: str
    landed: LandedResults | MergedResults
    figures: Figures
    moments: Moments
    kinds: dict[str, Rates]
    run: ExecutionView[Any, Any] | None = None
    link: str | None = None

    @property
    def output(self) -> BatchOutput | None:
        """The run's output."""
        output = self.run.output if self.run else None
        return output if isinstance(output, BatchOutput) else None

    @property
    def job(self) -> MergedResults | None:
        """The merged results, if they are those of a job; with its waves, where Temporal knows these."""
        output = self.run.output if self.run else None
        merged = self.landed if isinstance(self.landed, MergedResults) else None
        return output if merged and isinstance(output, JobOutput) else merged

    @property
    def name(self) -> str:
        """The id of the batch, or of the job."""
        return self.identity if isinstance(self.landed, MergedResults) else self.landed.batch_id


async def read_figures(store: Store, publication: Publication) -> Figures:
    """Read the results and their requests; `ResultsChanged` if the results are not what was landed."""
    requests = None
    if publication.manifest_name and publication.manifest_sha256:
        uri = store.uri(publication.manifest_name)
        requests = reader.lines(reader.unchanged(store, uri, publication.manifest_sha256))
    return await figures_of(reader.results_in(store, publication.landed.results_file), requests)


async def figures_of(results: AsyncIterator[bytes], requests: AsyncIterable[bytes] | None) -> Figures:
    """Read pieces of results, and the lines of their requests, as far as these are there."""
    figures = await _of_results(reader.lines(results))
    if requests:
        try:
            figures.limits = await _limits(requests)
        except ResultsNotFound:
            figures.limits = None
    return figures


async def _of_results(lines: AsyncIterable[bytes]) -> Figures:
    figures = Figures()
    rows: dict[str, Evenly[Row]] = {_USABLE: Evenly(MAX_ROWS)}
    async for line in lines:
        if not line.strip():
            continue
        figures.results += 1
        result = read_result(line, landed=True)
        outcome = (
            result.type if result.type in ("errored", "expired", "canceled") else f"type {result.type[:MAX_TEXT]!r}"
        )
        if result.type == "succeeded":
            outcome = _USABLE if result.stop_reason in USABLE else result.stop_reason or "no stop reason"
            cut = result.stop_reason == "max_tokens"
            figures.lengths.add(result.usage[_OUTPUT], cut=cut)
            figures.longest_cut = max(figures.longest_cut, result.usage[_OUTPUT] if cut else 0)
        kind = outcome if outcome in rows or len(rows) <= MAX_OUTCOMES else OTHER
        rows.setdefault(kind, Evenly(MAX_ROWS)).offer(
            partial(_row, line=line, position=figures.results, result=result, outcome=outcome)
        )
    figures.rows = _chosen(rows)
    return figures


def _row(line: bytes, position: int, result: ResultLine, outcome: str) -> Row:
    reply = read_reply(line, MAX_TEXT)
    return Row(
        position=position,
        custom_id=result.custom_id[:MAX_TEXT],
        type=result.type[:MAX_TEXT],
        outcome=outcome[:MAX_TEXT],
        model=result.model[:MAX_TEXT],
        tokens=result.usage[_OUTPUT],
        text=reply.text,
        size=len(line),
        whole=reply.whole,
    )


def _chosen(rows: dict[str, Evenly[Row]]) -> list[Row]:
    """Return the rows that are shown, those without a usable reply first: each kind has a fair share of them."""
    usable = rows.pop(_USABLE)
    left, chosen = max(MAX_FAILED_ROWS, MAX_ROWS - len(usable)), []
    for number, kind in enumerate(sorted(rows.values(), key=len)):
        picked = kind.pick(left // (len(rows) - number))
        left -= len(picked)
        chosen += picked
    return [*sorted(chosen, key=lambda row: row.position), *usable.pick(MAX_ROWS - len(chosen))]


class _Params(msgspec.Struct):
    max_tokens: int = 0


class _Request(msgspec.Struct):
    params: _Params


_decode = msgspec.json.Decoder(_Request).decode


async def _limits(requests: AsyncIterable[bytes]) -> Counter[int]:
    limits: Counter[int] = Counter()
    async for line in requests:
        try:
            limit = _decode(line).params.max_tokens
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue  # One that the API has refused, or a blank line.
        if 0 < limit <= MAX_TOKEN_COUNT and (limit in limits or len(limits) < MAX_LIMITS):
            limits[limit] += 1
    return limits


def cost_by_kind(landed: LandedResults | MergedResults, prices: PriceList) -> dict[str, Rates]:
    """Return by model what each kind of usage cost, where it adds up to the cost that was computed at landing.

    Rates may be others since, or those of another machine: then the parts would not be those of the whole.
    """
    found: dict[str, list[Decimal]] = {}
    for part in landed.summary.usage:
        rates = prices.rates(part.model, long_context=part.long_context)
        if rates and landed.cost and part.model in landed.cost.by_model:
            sums = found.setdefault(part.model, [Decimal(0)] * len(rates))
            for kind, amount in enumerate(_by_kind(rates, part)):
                sums[kind] += amount
    known = landed.cost.by_model if landed.cost else {}
    return {model: Rates(*sums) for model, sums in found.items() if sum(sums) == known[model]}


def _by_kind(rates: Rates, part: ModelUsage) -> list[Decimal]:
    counts = part.counts[: len(rates)]
    return [
        price(rates, [count if at == kind else 0 for at, count in enumerate(counts)], part.inference_geo)
        for kind in range(len(rates))
    ]
