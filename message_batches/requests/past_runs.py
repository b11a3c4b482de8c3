"""Earlier runs of the same template of requests: how long their replies were, for the estimate of new ones.

The template of a file is the `params` of its first request, without what each request has for itself. Nothing is
recorded for this: the store has the requests of each batch, and with its results how many tokens they used.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from heapq import nlargest
from typing import Any

from pydantic import ValidationError

from message_batches.claude_models import by_name
from message_batches.errors import StoreUnavailable
from message_batches.prices import PriceList
from message_batches.requests.estimate import value_of
from message_batches.requests.reader import CheckedRequests
from message_batches.result_models import CostEstimate, LandedResults, ModelUsage
from message_batches.storage.accounts import AccountRecords
from message_batches.storage.groups import claimed_results, manifest_sha256_of
from message_batches.storage.interface import Store
from message_batches.storage.paths import claims_folder, requests_path

NEWEST = 50
"""The number of batches that are looked at; those that have not landed are no past."""
PATIENCE = 2.0
"""Seconds that the store may take: an estimate is not worth more."""
HEAD_BYTES = 1024 * 1024
"""Where a first request is longer, it is compared with none."""
_OWN = ("messages", "metadata")


async def with_past_runs(
    requests: CheckedRequests, store: Store, api_key: str, prices: PriceList
) -> CostEstimate | None:
    """Return the estimate of requests with what is expected by earlier runs, or as it is if the store shows none.

    Args:
        requests: from `read_requests()`.
        store: that of the workers; if it does not answer in time, or fails, it shows none.
        api_key: the name of the key whose batches are compared.
        prices: those of the estimate.
    """
    estimate, template = requests.estimate, _template(requests.lines.read(0, HEAD_BYTES))
    if estimate is None or estimate.amount is None or template is None:
        return estimate
    try:
        async with asyncio.timeout(PATIENCE):
            newest = await _newest(store, api_key)
            found = await asyncio.gather(*(_usage_of(store, folder, template) for folder in newest))
    except (StoreUnavailable, TimeoutError):
        return estimate
    runs = [usage for usage in found if usage]
    expected = _expected(estimate, [part for usage in runs for part in usage])
    if expected is None:
        return estimate
    return estimate.model_copy(update={"expected": prices.cost(expected).amount, "past_runs": len(runs)})


def _template(head: bytes) -> dict[str, Any] | None:
    """Return the template of requests that begin with these bytes; None if their first one is longer."""
    line, newline, _ = head.partition(b"\n")
    request = value_of(line) if newline else None
    params = request.get("params") if type(request) is dict else None
    return {name: params[name] for name in params if name not in _OWN} if type(params) is dict else None


async def _newest(store: Store, api_key: str) -> list[str]:
    """Return the folders of the results of the newest batches."""
    newest: list[tuple[datetime, str]] = []
    for account in await AccountRecords(store).all(api_key):
        # Their claims are in one folder and small, their results in one for each batch.
        async for page in store.listing(claims_folder(account.part)):
            claimed = [(claim.modified, claimed_results(claim.name)) for claim in page]
            newest = nlargest(NEWEST, [*newest, *((time, folder) for time, folder in claimed if folder)])
    return [folder for _, folder in newest]


async def _usage_of(store: Store, folder: str, template: dict[str, Any]) -> Sequence[ModelUsage]:
    """Return the usage of a batch's results; none if they have not landed, are of another template, or not readable."""
    try:
        for publication in await store.names(f"{folder}/"):
            if not (sha256 := manifest_sha256_of(publication)):
                continue  # They were not checked against their requests.
            async for head in store.stream(requests_path(sha256)):
                if _template(head) == template:
                    return LandedResults.model_validate_json(await store.read(publication) or b"").summary.usage
                break
    except (StoreUnavailable, FileNotFoundError, ValidationError, RecursionError):
        pass
    return ()


def _expected(estimate: CostEstimate, past: Iterable[ModelUsage]) -> list[ModelUsage] | None:
    """Return the usage of an estimate with replies as long as in the past; None if one of its models has no past."""
    requests, output = Counter[str](), Counter[str]()
    for part in past:
        requests[part.model] += part.requests
        output[part.model] += part.output
    known, expected = by_name(), []
    for part in estimate.usage:
        if part.model in estimate.unpriced:
            continue
        # A model that is asked for by its alias answers with its dated id.
        names = {part.model, known[part.model].id} if part.model in known else {part.model}
        answered = sum(requests[name] for name in names)
        if not answered:
            return None
        mean = sum(output[name] for name in names) / answered
        expected.append(part.model_copy(update={"output": min(part.output, round(part.requests * mean))}))
    return expected
