"""The models of landed results: their file, what came back and how it ended, what was used, and what it cost."""

from datetime import date
from decimal import Decimal
from typing import Any

from pydantic import Field

from message_batches.serialization import ContractModel


class ResultsFile(ContractModel):
    """The landed results: JSONL in the order of the requests, every line byte for byte as received."""

    uri: str
    bytes: int
    lines: int
    sha256: str


class ResultCounts(ContractModel):
    """The number of results of each type."""

    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class ErrorGroup(ContractModel):
    """The errored results of one type and message: numbers and ids in it may differ. The first, and three custom_ids.

    Past twenty groups, one takes the further messages of its type, and names one of them.
    """

    type: str
    count: int
    message: str
    custom_ids: tuple[str, ...]


class StopReason(ContractModel):
    """The succeeded results that ended for one reason, with the first three custom_ids.

    Attributes:
        reason: as the API gives it; `none` where it gives none, `other` for all beyond twenty.
        category: of a refusal, where the API names one.
        usable: whether the reply is whole: it ended by itself, by a tool call or at a stop sequence.
    """

    reason: str
    category: str | None = None
    count: int
    usable: bool
    custom_ids: tuple[str, ...]


BILLED = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read", "web_searches", "web_fetches")
"""The kinds of what is billed: tokens, then calls of the provider's tools."""


class ModelUsage(ContractModel):
    """What is billed of the results that have one price: tokens by kind, and calls of the provider's tools.

    Attributes:
        model: as the results name it; `unknown` for replies that do not say what they used, `other` for all beyond
            fifty of these.
        inference_geo: where the model ran, as the results say; null where they do not.
        long_context: each of these requests is over the input tokens from which the model's price is higher.
        input: tokens neither written to a cache nor read from one.
        cache_write_5m: tokens written to a cache for five minutes; `cache_write_1h` for an hour.
    """

    model: str
    inference_geo: str | None = None
    long_context: bool = False
    requests: int = 0
    input: int = 0
    output: int = 0
    cache_write_5m: int = Field(default=0, alias="cacheWrite5m")
    cache_write_1h: int = Field(default=0, alias="cacheWrite1h")
    cache_read: int = 0
    web_searches: int = 0
    web_fetches: int = 0

    @property
    def counts(self) -> tuple[int, ...]:
        """What is billed, in the order of `BILLED`."""
        return tuple(getattr(self, kind) for kind in BILLED)


class Unfinished(ContractModel):
    """Requests without a result of their own: how many, and the first three in the order of the requests."""

    count: int
    custom_ids: tuple[str, ...]


class Summary(ContractModel):
    """A summary of results, of a bounded size.

    Attributes:
        usable: how many succeeded and are whole; null for results that an older version has landed.
        stop_reasons: why the succeeded results ended, most frequent first.
        errors: by type and message, most frequent first.
        usage: what is billed, by model, geography and long context.
        unanswered: the first three custom_ids of the canceled and the expired.
    """

    counts: ResultCounts = ResultCounts()
    usable: int | None = None
    stop_reasons: tuple[StopReason, ...] = ()
    errors: tuple[ErrorGroup, ...] = ()
    usage: tuple[ModelUsage, ...] = ()
    unanswered: tuple[str, ...] = ()

    @property
    def unfinished(self) -> Unfinished | None:
        """The requests that were canceled or have expired; None if there are none."""
        count = self.counts.canceled + self.counts.expired
        return Unfinished(count=count, custom_ids=self.unanswered) if count else None


class PriceSource(ContractModel):
    """Where prices are from: the version of the list, and the day for which they hold.

    Attributes:
        own: models that have prices of the operator's own, from MESSAGE_BATCHES_PRICES.
    """

    version: str
    date: date
    own: tuple[str, ...] = ()


class Cost(ContractModel):
    """What results cost, by the list of prices: an invoice may differ.

    Attributes:
        amount: at the price of batches; null if no model has a price.
        by_model: the same for each model that has a price.
        standard_amount: at the price without the discount for batches.
        partial: `amount` lacks the usage of the models in `unpriced`.
    """

    currency: str = "USD"
    amount: Decimal | None
    by_model: dict[str, Decimal]
    standard_amount: Decimal | None
    partial: bool = False
    unpriced: tuple[str, ...] = ()
    prices: PriceSource


class CostEstimate(ContractModel):
    """What requests may cost, before they are sent: an estimate of the input, and the most that can come back.

    Attributes:
        input_tokens: by `method`; those that are marked for a cache count as written to it, in each request.
        output_tokens: the sum of `max_tokens`, of each at most what any model gives.
        amount: of both, in USD, at the price of batches; null if no model has a price.
        partial: `amount` lacks the models in `unpriced`.
        unseen: the requests with files, or tools of the provider, whose tokens the requests do not show.
        expected: the amount if replies are as long as in `past_runs` earlier runs of requests of the same template;
            null where there are none.
    """

    input_tokens: int
    output_tokens: int
    amount: Decimal | None
    partial: bool = False
    unpriced: tuple[str, ...] = ()
    unseen: int = 0
    method: str
    usage: tuple[ModelUsage, ...] = ()
    prices: PriceSource
    expected: Decimal | None = None
    past_runs: int = 0


class LandedResults(ContractModel):
    """The results of a batch in the store; also the content of their publication.

    Attributes:
        results: the parsed lines, if the file is at most 256 KiB and parses.
        results_omitted: why `results` is null.
        verified: each custom_id of the manifest exactly once; without a manifest only count and uniqueness.
        cost: computed when they landed; null for results that an older version has landed.
    """

    batch_id: str
    results_file: ResultsFile
    results: list[Any] | None = None
    results_omitted: str | None = None
    verified: bool
    summary: Summary
    cost: Cost | None = None
