"""An estimate of what requests will cost, before they are sent: input by the size of what they hold, output at most.

The sizes and their sources are in docs/cost.md. The input is no bound, but errs upwards; the output is one, since no
reply is longer than its `max_tokens`.
"""

import json
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from typing import Any

import msgspec

from message_batches.concurrency import process_in_thread
from message_batches.errors import CostLimitExceeded, RequestsNotFound
from message_batches.formatting import describe_unpriced, format_money, plural
from message_batches.jsonl import LONG_LINE, Line, Splitter
from message_batches.models import Manifest
from message_batches.prices import PriceList
from message_batches.requests.content import is_costly
from message_batches.requests.input_size import OTHER, InputSize, characters_of
from message_batches.requests.params import LONG_OUTPUT, number_of
from message_batches.result_models import CostEstimate, ModelUsage
from message_batches.storage.interface import Store
from message_batches.storage.scratch import Scratch

METHOD = "size of the contents"
COUNTED = "size of the contents, scaled by the API's count of a sample"

MAX_USAGES = 50
MAX_NAME = 100
OTHER_MODELS = "other"


class _Params(msgspec.Struct):
    model: Any = None
    max_tokens: Any = None
    inference_geo: Any = None


class _Request(msgspec.Struct):
    params: _Params


_read_request = msgspec.json.Decoder().decode
_read_outline = msgspec.json.Decoder(_Request).decode


class Estimator:
    """Adds up requests, one each time: bounded, whatever they hold.

    Args:
        prices: know from which input on a model costs more: each request is counted by its own.
        scale: by which the tokens of the input are multiplied.
    """

    def __init__(self, prices: PriceList, scale: float = 1.0) -> None:
        self._prices = prices
        self._scale = scale
        self._over: dict[str, int | None] = {}
        self._sums: dict[tuple[str, str, bool], list[float]] = {}
        self._unseen = 0

    def add(self, request: Any, line: Line) -> None:
        """Add a request.

        Args:
            request: its value; None for one that is not built, since it is too long or nested too deeply.
            line: its JSON.
        """
        params = request.get("params") if type(request) is dict else None
        if type(params) is dict:
            size = _size_of(params, line)
        else:
            params, size = _outline(line), _size_of_bytes(line)
        model, geo, limit = params.get("model"), params.get("inference_geo"), params.get("max_tokens")
        if type(limit) is not int or not 0 <= limit <= LONG_OUTPUT:
            written = number_of(limit) or 0
            limit = int(min(written, LONG_OUTPUT)) if written > 0 else 0
        if type(model) is not str or model not in self._over:
            model = self._known(model)
        tokens = size.tokens * self._scale
        over = self._over[model]
        key = model, "us" if geo == "us" else "", over is not None and tokens > over
        sums = self._sums.get(key)
        if sums is None:
            if len(self._sums) >= MAX_USAGES:
                key = OTHER_MODELS, "", False
            sums = self._sums.setdefault(key, [0, 0, 0, 0, 0])
        sums[0] += 1
        sums[2] += limit
        if size.written:
            cached = size.written * self._scale
            sums[4 if size.for_an_hour else 3] += cached
            tokens -= cached
        sums[1] += tokens
        if size.unseen:
            self._unseen += 1

    def _known(self, name: Any) -> str:
        """Return a model's name as it is counted, once it is known from which input on it costs more."""
        model = name[:MAX_NAME].encode("utf-8", "replace").decode() if type(name) is str and name else "(none)"
        if model not in self._over and len(self._over) >= MAX_USAGES:
            model = OTHER_MODELS
        if model not in self._over:
            self._over[model] = self._prices.long_context_over(model)
        return model

    def result(self) -> CostEstimate:
        """Return the estimate of the requests so far."""
        usage = [
            ModelUsage(
                model=model,
                inference_geo=geo or None,
                long_context=long_context,
                requests=int(requests),
                input=round(given),
                output=int(output),
                cache_write_5m=round(five),
                cache_write_1h=round(hour),
            )
            for (model, geo, long_context), (requests, given, output, five, hour) in sorted(self._sums.items())
        ]
        cost = self._prices.cost(usage)
        return CostEstimate(
            input_tokens=sum(each.input + each.cache_write_5m + each.cache_write_1h for each in usage),
            output_tokens=sum(each.output for each in usage),
            amount=cost.amount,
            partial=cost.partial,
            unpriced=cost.unpriced,
            unseen=self._unseen,
            method=METHOD if self._scale == 1 else COUNTED,
            usage=tuple(usage),
            prices=cost.prices,
        )


def estimate_lines(lines: Scratch, prices: PriceList, scale: float = 1.0) -> CostEstimate:
    """Estimate what requests will cost, one a line, with the tokens of the input multiplied by `scale`."""
    estimator, splitter = Estimator(prices, scale), Splitter()
    for chunk in lines.chunks(lines.size):
        for line in splitter.feed(chunk):
            estimator.add(value_of(line), line)
    return estimator.result()


def sample(lines: Scratch, count: int, wanted: int) -> list[bytes]:
    """Return some lines of requests, evenly spread; none that is longer than a call should be."""
    taken, found, number, splitter = {place * count // wanted for place in range(wanted)}, [], 0, Splitter()
    for chunk in lines.chunks(lines.size):
        for line in splitter.feed(chunk):
            if number in taken and len(line) <= LONG_LINE:
                found.append(bytes(line))
            number += 1
    return found


def input_tokens_of(request: Any, line: Line) -> float:
    """Return the estimated tokens of the input of one request."""
    return _size_of(request["params"], line).tokens


async def estimate_manifests(store: Store, manifests: Iterable[Manifest], prices: PriceList) -> CostEstimate:
    """Estimate what requests in the store will cost, all together, without holding them."""
    estimator = Estimator(prices)
    for manifest in manifests:
        await _add_manifest(store, manifest, estimator)
    return estimator.result()


async def _add_manifest(store: Store, manifest: Manifest, estimator: Estimator) -> None:
    splitter = Splitter()

    def add(lines: Iterable[Line]) -> None:
        for line in lines:
            if line:
                estimator.add(value_of(line), line)

    try:
        chunks: AsyncIterator[bytes] = store.stream(store.name(manifest.uri))
        await process_in_thread(chunks, lambda data: add(splitter.feed(data)))
    except FileNotFoundError as error:
        raise RequestsNotFound(f"{manifest.uri} is no longer in the store: start a new run") from error
    add(splitter.end())


def lowest_limit(asked: Decimal | None, worker: Decimal | None) -> tuple[Decimal, str] | None:
    """Return the limit of an input or that of the worker, whichever is lower, and the words that name it."""
    limits = [(asked, "maxCost of the input"), (worker, "MESSAGE_BATCHES_MAX_COST of this worker")]
    return min([(limit, source) for limit, source in limits if limit is not None], default=None)


def check_limit(estimate: CostEstimate, limit: Decimal, source: str) -> None:
    """Raise `CostLimitExceeded` for requests that may cost more than a limit, or for which that is not wholly known.

    Args:
        estimate: of the requests.
        limit: the most that they may cost, in USD.
        source: names what has set the limit.
    """
    requests = plural(sum(each.requests for each in estimate.usage), "request")
    amount = format_money(estimate.amount or Decimal(0))
    bound = format_money(limit)
    if amount == bound:
        amount, bound = (f"${each.normalize():f}" for each in (estimate.amount or Decimal(0), limit))
    unknown = f"What {requests} may cost is not known, and the limit is {bound} ({source})"
    # A run that was reset may have sent them before: "is", not "was".
    if estimate.partial:
        said = (
            f"{unknown}: {describe_unpriced(estimate.unpriced)}. Nothing is sent. Set a price for it in "
            "MESSAGE_BATCHES_PRICES, of the worker and of the caller, or leave the limit out"
        )
    elif estimate.unseen:
        said = (
            f"{unknown}: the tokens of files and of the provider's tools are not shown by "
            f"{plural(estimate.unseen, 'request')}. Nothing is sent. Put the files in, or leave the limit out"
        )
    elif estimate.amount is not None and estimate.amount > limit:
        said = (
            f"{requests} may cost up to {amount}, and the limit is {bound} ({source}). Nothing is sent. "
            "Lower `max_tokens`, send fewer requests, or raise the limit"
        )
    else:
        return
    known = None if estimate.partial or estimate.unseen else estimate.amount
    raise CostLimitExceeded(said, estimate=known, limit=limit)


def _size_of(params: dict[str, Any], line: Line) -> InputSize:
    size = InputSize(characters_of(line))
    try:
        size.add(params)
    except RecursionError:
        return _size_of_bytes(line)
    return size


def _size_of_bytes(line: Line) -> InputSize:
    """Return a size that is not below that of any content of a request whose value is not read."""
    size = InputSize(OTHER)
    size.tokens = len(line) / OTHER
    return size


def value_of(line: Line) -> Any:
    """Return the value of a request; None for a line that costs too much to build, or that is not JSON."""
    if len(line) > LONG_LINE and is_costly(line):
        return None
    try:
        return _read_request(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return json.loads(bytes(line))
    except (ValueError, RecursionError):
        return None


def _outline(line: Line) -> dict[str, Any]:
    """Return the model and the limit of a request that is not built."""
    try:
        return msgspec.structs.asdict(_read_outline(line).params)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
