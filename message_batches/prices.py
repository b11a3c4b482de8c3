"""What usage costs at the price of batches: the list of `genai-prices`, offline, and prices of the operator's own."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache, lru_cache, reduce
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from message_batches.result_models import Cost, ModelUsage, PriceSource

US_FACTOR = Decimal("1.1")
"""Of the price of tokens where `inference_geo` is `us`: https://platform.claude.com/docs/en/about-claude/pricing, "Data
residency pricing". The list does not have it (issue 429 of `genai-prices`)."""

VARIABLE = "MESSAGE_BATCHES_PRICES"
UNKNOWN = "unknown"
"""The model of what is used where that is not said."""

_MILLION = 1_000_000


class Rates(NamedTuple):
    """Prices in USD: of a million tokens of each kind, and of a thousand web searches. Web fetches are free."""

    input: Decimal
    output: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal
    web_searches: Decimal


def price(rates: Rates, counts: Sequence[int], inference_geo: str | None = None) -> Decimal:
    """Return the price in USD, exactly.

    Args:
        rates: of the model and the length of context.
        counts: what is billed, in the order of `Rates`; what follows is free.
        inference_geo: where the model ran.
    """
    *tokens, searches = counts[: len(rates)]
    amount = sum((rate * count for rate, count in zip(rates[:-1], tokens, strict=True) if count), start=Decimal(0))
    if inference_geo == "us":
        amount *= US_FACTOR
    return amount / _MILLION + rates.web_searches * searches / 1000


# An amount with a million digits after the point would be shown in full.
_Price = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=12, allow_inf_nan=False)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _OwnRates(_File):
    input: _Price
    output: _Price
    cache_write_5m: _Price
    cache_write_1h: _Price
    cache_read: _Price
    web_searches: _Price = Decimal(10)

    def rates(self) -> Rates:
        return Rates(**dict(self))


class _BothRates(_File):
    batch: _OwnRates
    standard: _OwnRates

    @field_validator("standard")
    @classmethod
    def _not_below_batch(cls, standard: _OwnRates, given: ValidationInfo) -> _OwnRates:
        for (kind, price), (_, batch) in zip(standard, given.data.get("batch", standard), strict=True):
            if price < batch:
                raise PydanticCustomError("swapped", f"`{kind}` is below the price for batches: are they swapped?")
        return standard


class _LongContext(_BothRates):
    over: Annotated[int, Field(gt=0)]


class _OwnPrices(_BothRates):
    long_context: _LongContext | None = None


_OWN = TypeAdapter(dict[str, _OwnPrices])


class PriceList:
    """Prices by model; those of the operator go before those of the list.

    Args:
        own: by the id of a model, as results name it.
    """

    def __init__(self, own: Mapping[str, _OwnPrices] | None = None) -> None:
        self._own = own or {}

    def long_context_over(self, model: str) -> int | None:
        """Return the input tokens over which each token of a request costs more; None if there is no such bound."""
        if own := self._own.get(model):
            return own.long_context.over if own.long_context else None
        return _long_context_over(model, _today())

    def rates(self, model: str, *, long_context: bool = False, batch: bool = True) -> Rates | None:
        """Return the rates of a model today; None if it has no price, or none for batches."""
        if own := self._own.get(model):
            prices = own.long_context if long_context and own.long_context else own
            return (prices.batch if batch else prices.standard).rates()
        return _rates(model, long_context, batch, _today())

    def cost(self, usage: Iterable[ModelUsage]) -> Cost:
        """Return what usage costs: each part by its own model, geography and length of context."""
        by_model: dict[str, Decimal] = {}
        standard, unpriced, own = Decimal(0), [], []
        for part in usage:
            rates = self.rates(part.model, long_context=part.long_context)
            full = self.rates(part.model, long_context=part.long_context, batch=False)
            if rates is None or full is None:
                unpriced.append(part.model)
                continue
            if part.model in self._own:
                own.append(part.model)
            by_model[part.model] = by_model.get(part.model, Decimal(0)) + price(rates, part.counts, part.inference_geo)
            standard += price(full, part.counts, part.inference_geo)
        known = bool(by_model) or not unpriced
        return Cost(
            amount=_plain(sum(by_model.values(), start=Decimal(0))) if known else None,
            by_model={model: _plain(amount) for model, amount in by_model.items()},
            standard_amount=_plain(standard) if known else None,
            partial=bool(unpriced),
            unpriced=tuple(dict.fromkeys(unpriced)),
            prices=PriceSource(version=_version(), date=_today(), own=tuple(dict.fromkeys(own))),
        )


def total_cost(costs: Iterable[Cost | None]) -> Cost | None:
    """Return the sum of costs; None if none of them is known.

    It is partial if one of them is, or is not known; the prices are those of the newest.
    """
    given = list(costs)
    known = [cost for cost in given if cost]
    if not known:
        return None
    by_model: dict[str, Decimal] = {}
    for cost in known:
        for model, amount in cost.by_model.items():
            by_model[model] = by_model.get(model, Decimal(0)) + amount
    unpriced = dict.fromkeys(model for cost in known for model in cost.unpriced)
    if len(known) < len(given):
        unpriced[UNKNOWN] = None
    own = dict.fromkeys(model for cost in known for model in cost.prices.own)
    newest = max(known, key=lambda cost: cost.prices.date).prices
    return Cost(
        amount=_sum(cost.amount for cost in known),
        by_model={model: _plain(amount) for model, amount in by_model.items()},
        standard_amount=_sum(cost.standard_amount for cost in known),
        partial=bool(unpriced) or any(cost.partial for cost in known),
        unpriced=tuple(unpriced),
        prices=newest.model_copy(update={"own": tuple(own)}),
    )


def _sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    known = [amount for amount in amounts if amount is not None]
    return _plain(sum(known, start=Decimal(0))) if known else None


def read_prices(environment: Mapping[str, str]) -> PriceList:
    """Read the file of MESSAGE_BATCHES_PRICES; without one there is the list alone.

    Raises `ValueError` with the variable, the file, its line and the place in it, for a file that is of another form.
    """
    file = environment.get(VARIABLE, "").strip()
    if not file:
        return PriceList()
    from message_batches.arazzo.yaml_source import DocumentError, child, read_source

    try:
        source = read_source(Path(file), "a file of prices", "a file of prices is a mapping of the ids of models")
        try:
            return PriceList(_OWN.validate_python(source.data))
        except ValidationError as error:
            first = error.errors()[0]
            raise source.located(DocumentError(reduce(child, first["loc"], "#"), _said(first["msg"]))) from None
    except (DocumentError, ValueError) as error:
        raise ValueError(f"{VARIABLE} is not valid: {error}") from None


def _said(message: str) -> str:
    """Return what is wrong, without the name of a class."""
    return message.partition(" or instance of ")[0]


def _plain(amount: Decimal) -> Decimal:
    """Return an amount without trailing zeros and without an exponent."""
    return Decimal(f"{amount.normalize():f}")


def _today() -> date:
    return datetime.now(UTC).date()


@cache
def _version() -> str:
    import genai_prices

    return f"genai-prices {genai_prices.__version__}"


def _find(model: str) -> Any:
    """Return what the list has of a model of Anthropic's; None if it does not have it.

    The list takes some ids by how they begin, and would price `claude-opus-4-55` as `claude-opus-4-5`: only the id
    itself counts here, and the id with its date.
    """
    # Imported where it is used: it takes 0.4 s and 36 MB.
    import genai_prices

    try:
        found = genai_prices.calc_price(genai_prices.Usage(input_tokens=0), model, provider_id="anthropic").model
    except LookupError:
        return None
    rest = model.removeprefix(found.id)
    dated = len(rest) == 9 and rest[0] in "-@" and rest[1:].isdecimal() and rest.isascii()
    return found if model.startswith(found.id) and (not rest or dated) else None


@lru_cache(256)
def _long_context_over(model: str, day: date) -> int | None:
    from genai_prices.types import TieredPrices

    found = _find(model)
    prices = vars(found.get_prices(_moment(day))).values() if found else ()
    starts = [tier.start for price in prices if isinstance(price, TieredPrices) for tier in price.tiers]
    return min(starts, default=None)


@lru_cache(1024)
def _rates(model: str, long_context: bool, batch: bool, day: date) -> Rates | None:
    """Price one unit of each kind, on top of an input that is long enough."""
    import genai_prices

    found = _find(model)
    moment, context = _moment(day), {"processing": "batch"}
    # A key or a day that the list does not know gives the full price without a word.
    discounted = found and any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(moment))
        for variant in found.price_variants or ()
    )
    if not discounted:
        return None
    before = (_long_context_over(model, day) or 0) + 1 if long_context else 0

    def total(**counts: int) -> Decimal:
        counts["input_tokens"] = before + counts.get("input_tokens", 0)
        return genai_prices.calc_price(
            genai_prices.Usage(**counts),
            model,
            provider_id="anthropic",
            genai_request_timestamp=moment,
            price_context=context if batch else None,
        ).total_price

    base = total()
    return Rates(
        input=(total(input_tokens=1) - base) * _MILLION,
        output=(total(output_tokens=1) - base) * _MILLION,
        cache_write_5m=(total(input_tokens=1, cache_write_tokens=1, cache_write_5m_tokens=1) - base) * _MILLION,
        cache_write_1h=(total(input_tokens=1, cache_write_tokens=1, cache_write_1h_tokens=1) - base) * _MILLION,
        cache_read=(total(input_tokens=1, cache_read_tokens=1) - base) * _MILLION,
        web_searches=(total(web_searches=1) - base) * 1000,
    )


def _moment(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)
