"""Earlier runs of the same template of requests, in the store: what new ones cost with replies as long as theirs."""

import json
import os
import socket
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from message_batches.api.keys import Account
from message_batches.prices import PriceList, read_prices
from message_batches.requests.manifest import write_inline_manifest
from message_batches.requests.past_runs import HEAD_BYTES, NEWEST, PATIENCE, with_past_runs
from message_batches.requests.reader import read_requests
from message_batches.result_models import CostEstimate, LandedResults, ModelUsage, ResultsFile, Summary
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.storage.paths import (
    account_path,
    claim_path,
    publication_path,
    requests_path,
    results_folder,
)
from message_batches.storage.submission_records import BatchClaim, SubmissionRecords
from tests.harness import local_s3
from tests.harness.requests import request
from tests.harness.stack import ACCOUNT

SONNET, HAIKU, HAIKU_ID = "claude-sonnet-5", "claude-haiku-4-5", "claude-haiku-4-5-20251001"
LIMIT = 256
"""The limit of each request's reply."""


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with local_s3.buckets("bucket") as client:
        yield client


@pytest.fixture
def prices(tmp_path: Path) -> PriceList:
    """A dollar for each token of a reply, and nothing else: the cost is the number of tokens."""
    rates = {"input": 0, "output": 1_000_000, "cache_write_5m": 0, "cache_write_1h": 0, "cache_read": 0}
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({name: {"batch": rates, "standard": rates} for name in (SONNET, HAIKU)}))
    return read_prices({"MESSAGE_BATCHES_PRICES": str(file)})


async def landed(
    store: ObjectStore, run: str, *usage: ModelUsage, account: Account = ACCOUNT, **params: Any
) -> tuple[str, str]:
    """Publish results with such a usage, of requests with these params; return the paths of both."""
    await store.identity()
    await SubmissionRecords(store).claim(account, run, BatchClaim(owner=run, first_run_id=run))
    manifest = await write_inline_manifest(store, [request("r-1", f"Earlier, in {run}", **params)])
    path = publication_path(account.part, run, manifest.sha256)
    results = LandedResults(
        batch_id=run,
        results_file=ResultsFile(uri=store.uri("results/none.jsonl"), bytes=0, lines=0, sha256=""),
        verified=True,
        summary=Summary(usage=usage),
    )
    await store.create(path, results.model_dump_json().encode())
    return path, requests_path(manifest.sha256)


def used(requests: int, output: int, model: str = SONNET, **other: Any) -> ModelUsage:
    return ModelUsage(model=model, requests=requests, output=output, input=9, **other)


async def expected(
    store: ObjectStore, prices: PriceList, folder: Path, asked: Sequence[Any] | int, key: str = "default", **params: Any
) -> CostEstimate:
    """Return the estimate of requests, or of so many with these params."""
    given = [request(f"r-{n}", **params) for n in range(asked)] if isinstance(asked, int) else asked
    file = folder / "requests.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in given))
    with read_requests(str(file), prices=prices) as requests:
        estimate = await with_past_runs(requests, store, key, prices)
    assert estimate
    return estimate


def figures(estimate: CostEstimate) -> tuple[Any, ...]:
    """Return the bound, the amount that is expected, and the number of runs."""
    return estimate.amount, estimate.expected, estimate.past_runs


@pytest.mark.parametrize("kind", ["file", "s3"])
async def test_the_output_is_the_mean_of_all_runs_of_the_template(
    kind: str, s3: Any, prices: PriceList, tmp_path: Path
) -> None:
    """Replies of 140 tokens to 4 requests, and so 35 for each: 5 of them use 175."""
    where = (tmp_path / "store").as_uri() if kind == "file" else f"s3://bucket/{tmp_path.name}"
    store = open_store(where, **({} if kind == "file" else {"endpoint": s3.meta.endpoint_url, **local_s3.KEYS}))
    await landed(store, "one", used(2, 60), used(1, 30, inference_geo="us"))
    await landed(store, "two", used(1, 50))
    await landed(store, "another", used(1, 9), system="Be brief")

    estimate = await expected(store, prices, tmp_path, 5)

    assert figures(estimate) == (5 * LIMIT, 175, 2)


async def test_a_user_s_id_is_no_part_of_the_template(store: ObjectStore, prices: PriceList, tmp_path: Path) -> None:
    await landed(store, "one", used(1, 50), metadata={"user_id": "a"})

    assert (await expected(store, prices, tmp_path, 2, metadata={"user_id": "b"})).expected == 100


async def test_a_geography_costs_its_own_price(store: ObjectStore, tmp_path: Path) -> None:
    """By the list a million tokens of output of `claude-sonnet-5` cost $5 in a batch, and in `us` 1.1 times as much."""
    await landed(store, "one", used(1, 100), inference_geo="us")

    estimate = await expected(store, PriceList(), tmp_path, 1, inference_geo="us")

    without_output = PriceList().cost([part.model_copy(update={"output": 0}) for part in estimate.usage]).amount
    assert estimate.expected is not None
    assert without_output is not None
    assert estimate.expected - without_output == Decimal("0.00055")


async def test_more_than_the_limit_is_never_expected(store: ObjectStore, prices: PriceList, tmp_path: Path) -> None:
    await landed(store, "one", used(1, 5000))

    estimate = await expected(store, prices, tmp_path, 3)

    assert estimate.expected == estimate.amount == 3 * LIMIT


@pytest.mark.parametrize(
    "params",
    [
        {"model": HAIKU},
        {"max_tokens": 100},
        {"system": "Be brief"},
        {"tools": [{"name": "a", "input_schema": {"type": "object"}}]},
    ],
    ids=lambda params: next(iter(params)),
)
async def test_another_template_shows_nothing(
    store: ObjectStore, prices: PriceList, tmp_path: Path, params: dict[str, Any]
) -> None:
    await landed(store, "one", used(1, 50), **params)

    estimate = await expected(store, prices, tmp_path, 1)

    assert figures(estimate) == (LIMIT, None, 0)


async def test_another_key_s_batches_show_nothing(store: ObjectStore, prices: PriceList, tmp_path: Path) -> None:
    await landed(store, "one", used(1, 50), account=Account(api_key="team-a", base_url=ACCOUNT.base_url))

    assert (await expected(store, prices, tmp_path, 1)).expected is None
    assert (await expected(store, prices, tmp_path, 1, "team-a")).expected == 50


async def test_a_model_that_answers_by_its_dated_id_is_the_one_that_was_asked(
    store: ObjectStore, prices: PriceList, tmp_path: Path
) -> None:
    await landed(store, "one", used(1, 50, HAIKU_ID), model=HAIKU)

    assert (await expected(store, prices, tmp_path, 2, model=HAIKU)).expected == 100


async def test_each_model_has_its_own_mean_and_one_without_any_leaves_all_unknown(
    store: ObjectStore, prices: PriceList, tmp_path: Path
) -> None:
    both = [request("r-1"), request("r-2"), request("r-3", model=HAIKU)]
    await landed(store, "one", used(1, 50))
    one = await expected(store, prices, tmp_path, both)
    await landed(store, "two", used(1, 50), used(1, 7, HAIKU_ID))
    two = await expected(store, prices, tmp_path, both)

    assert figures(one) == (3 * LIMIT, None, 0)
    assert figures(two) == (3 * LIMIT, 2 * 50 + 7, 2)


async def test_a_model_without_a_price_is_in_neither_figure(
    store: ObjectStore, prices: PriceList, tmp_path: Path
) -> None:
    await landed(store, "one", used(1, 50))

    estimate = await expected(store, prices, tmp_path, [request("r-1"), request("r-2", model="new-9")])
    unknown = await expected(store, PriceList(), tmp_path, 1, model="new-9")

    assert figures(estimate) == (LIMIT, 50, 1)
    assert estimate.partial
    assert figures(unknown) == (None, None, 0)


async def test_what_cannot_be_read_shows_nothing_and_hides_nothing(
    store: ObjectStore, prices: PriceList, tmp_path: Path
) -> None:
    broken, _ = await landed(store, "broken", used(1, 9))
    empty, _ = await landed(store, "empty", used(1, 9))
    _, gone = await landed(store, "without its requests", used(1, 9))
    _, odd = await landed(store, "with other requests", used(1, 9))
    await landed(store, "of an earlier version, without its usage")
    root = tmp_path / "store"
    (root / broken).write_bytes(b'{"batchId": 1')
    (root / empty).write_bytes(b"")
    (root / gone).unlink()
    (root / odd).write_bytes(b"[" * 100_000 + b"\n")
    before = await expected(store, prices, tmp_path, 1)
    await landed(store, "whole", used(1, 50))

    after = await expected(store, prices, tmp_path, 1)

    assert figures(before) == (LIMIT, None, 0)
    assert figures(after) == (LIMIT, 50, 1)


async def test_a_damaged_record_of_an_account_and_a_store_that_is_not_there_show_nothing(
    store: ObjectStore, prices: PriceList, tmp_path: Path
) -> None:
    await landed(store, "one", used(1, 50))
    (tmp_path / "store" / account_path(ACCOUNT.part)).write_text("{")
    none = open_store((tmp_path / "none").as_uri())

    assert [(await expected(each, prices, tmp_path, 1)).expected for each in (store, none)] == [None, None]
    assert not (tmp_path / "none").exists()


async def test_only_the_newest_are_compared(store: ObjectStore, prices: PriceList, tmp_path: Path) -> None:
    for number in range(NEWEST + 1):
        await landed(store, f"run-{number:02}", used(1, number))
        claim = claim_path(ACCOUNT.part, f"run-{number:02}")
        os.utime(tmp_path / "store" / claim, (number, number))

    estimate = await expected(store, prices, tmp_path, 2)

    # 1 to 50, on average 25.5; the oldest has 0.
    assert figures(estimate) == (2 * LIMIT, 51, NEWEST)


@pytest.mark.slow
async def test_a_store_of_thousands_of_batches_answers_in_time(
    store: ObjectStore, prices: PriceList, tmp_path: Path
) -> None:
    """Each batch has a folder for its results: to list all of them took longer than an estimate is worth."""
    await landed(store, "one", used(1, 50))
    content = (tmp_path / "store" / claim_path(ACCOUNT.part, "one")).read_bytes()
    for number in range(5000):
        claim = tmp_path / "store" / claim_path(ACCOUNT.part, f"old-{number}")
        claim.write_bytes(content)
        os.utime(claim, (number, number))
        folder = tmp_path / "store" / results_folder(ACCOUNT.part, f"old-{number}")
        folder.mkdir()
        (folder / "unverified.json").touch()

    assert (await expected(store, prices, tmp_path, 2)).expected == 100


async def test_a_first_request_of_more_than_the_first_part_is_compared_with_none(
    store: ObjectStore, prices: PriceList, tmp_path: Path
) -> None:
    long = request("r-1", "x" * HEAD_BYTES)
    await landed(store, "one", used(1, 50))

    assert (await expected(store, prices, tmp_path, [long])).expected is None
    assert (await expected(store, prices, tmp_path, [request("r-0"), long])).expected == 100


async def test_a_store_that_does_not_answer_is_not_waited_for(prices: PriceList, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = open_store("s3://bucket/prefix", endpoint=endpoint, **local_s3.KEYS)
        begin = monotonic()

        estimate = await expected(store, prices, tmp_path, 1)

    assert estimate.expected is None
    assert PATIENCE <= monotonic() - begin < PATIENCE + 2
