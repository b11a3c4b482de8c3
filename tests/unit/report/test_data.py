"""The figures of a report: one pass over the results, a sample of them, the costs by kind."""

import json
import tracemalloc
from collections import Counter
from decimal import Decimal
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from message_batches.prices import PriceList
from message_batches.report.data import (
    MAX_FAILED_ROWS,
    MAX_ROWS,
    MAX_TEXT,
    Evenly,
    cost_by_kind,
    read_figures,
)
from message_batches.report.moments import moments_in_store
from message_batches.result_models import Cost
from message_batches.results.reader import Publication, ResultsChanged
from message_batches.storage.object_store import ObjectStore, open_store
from tests.harness.landed import error, put_results, reply, without_reply
from tests.harness.requests import request


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "store").as_uri())


@pytest.mark.parametrize("count", [0, 1, 5, 10, 11, 20, 21, 1000, 12_345])
@pytest.mark.parametrize("step", [1, 2, 10])
def test_a_sample_is_spread_over_the_whole(count: int, step: int) -> None:
    sample = Evenly[int](10)
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number

    for number in range(0, count * step, step):
        sample.offer(partial(make, number))
    picked = sample.pick(10)

    assert picked == sorted(picked)
    assert len(picked) == len(sample) == min(count, 10)
    assert picked[:1] == [0] * min(count, 1)
    assert len(made) <= 100
    gaps = [after - before for before, after in pairwise([*picked, count * step])]
    assert max(gaps, default=1) <= max(4 * count * step / 10, step)


async def test_results_without_a_usable_reply_are_shown_first_and_leave_room_for_the_others(store: ObjectStore) -> None:
    lines = [
        error(f"e-{n}") if n % 2 else reply(f"s-{n}", stop_reason="max_tokens" if n % 10 == 0 else "end_turn")
        for n in range(2000)
    ]
    figures = await read_figures(store, await put_results(store, lines))

    usable = [row.outcome == "usable" for row in figures.rows]
    assert figures.results == 2000
    assert len(figures.rows) == MAX_ROWS
    assert usable == sorted(usable)
    assert usable.count(False) == MAX_FAILED_ROWS
    assert {row.outcome for row in figures.rows} == {"errored", "max_tokens", "usable"}
    assert max(row.position for row in figures.rows[:MAX_FAILED_ROWS]) > 1900


async def test_every_result_of_a_small_batch_is_shown_in_words(store: ObjectStore) -> None:
    lines = [reply("a", "Yes", stop_reason="tool_use"), without_reply("b", "expired"), error("c", "t", "why")]
    figures = await read_figures(store, await put_results(store, lines))

    shown = [(row.custom_id, row.type, row.outcome, row.text, row.position) for row in figures.rows]
    assert shown == [
        ("b", "expired", "expired", "", 2),
        ("c", "errored", "errored", "t: why", 3),
        ("a", "succeeded", "usable", "Yes", 1),
    ]
    assert (figures.lengths.replies, figures.lengths.tokens) == (1, 20)


async def test_the_requests_say_their_limits_where_they_are_known(store: ObjectStore) -> None:
    requests = [request("a", max_tokens=5), request("b", max_tokens=7), request("c", max_tokens=7)]
    requests += [request("d", max_tokens=10**30), request("e", max_tokens="many")]
    lines = [reply(each["custom_id"], stop_reason="max_tokens", usage={"output_tokens": 7}) for each in requests]

    known = await put_results(store, lines, requests)
    figures = await read_figures(store, known)

    assert figures.limits == Counter({7: 2, 5: 1})
    assert figures.longest_cut == 7
    assert (await read_figures(store, Publication(known.landed, None))).limits is None
    assert (await read_figures(store, Publication(known.landed, "0" * 64))).limits is None


async def test_changed_results_make_no_report(store: ObjectStore) -> None:
    publication = await put_results(store, [reply("a")])
    file = publication.landed.results_file
    changed = publication.landed.model_copy(update={"results_file": file.model_copy(update={"sha256": "0" * 64})})

    with pytest.raises(ResultsChanged):
        await read_figures(store, Publication(changed, None))


async def test_long_replies_are_held_only_as_far_as_they_are_shown(store: ObjectStore) -> None:
    text = "word " * 400_000
    publication = await put_results(store, [reply(str(n), text) for n in range(12)])

    tracemalloc.start()
    figures = await read_figures(store, publication)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 6 * len(text)
    assert [(row.text, row.whole) for row in figures.rows] == [(text[:MAX_TEXT], False)] * 12


async def test_costs_by_kind_add_up_to_what_was_computed_at_landing(store: ObjectStore) -> None:
    usage = {
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        "cache_read_input_tokens": 3000,
        "server_tool_use": {"web_search_requests": 2},
        "inference_geo": "us",
    }
    lines = [reply("a", usage=usage), reply("b"), reply("c", model="claude-unheard-of")]
    landed = (await put_results(store, lines)).landed
    assert landed.cost

    found = cost_by_kind(landed, PriceList())

    assert set(found) == {"claude-sonnet-5"}
    assert sum(found["claude-sonnet-5"]) == landed.cost.amount
    assert found["claude-sonnet-5"].web_searches == Decimal("0.02")


async def test_costs_by_other_rates_are_not_split(store: ObjectStore) -> None:
    landed = (await put_results(store, [reply("a")])).landed
    assert landed.cost
    other = Cost.model_validate({**dict(landed.cost), "by_model": {"claude-sonnet-5": Decimal(1)}})

    assert cost_by_kind(landed.model_copy(update={"cost": other}), PriceList()) == {}
    assert cost_by_kind(landed.model_copy(update={"cost": None}), PriceList()) == {}


async def test_a_store_without_records_knows_when_the_results_landed(store: ObjectStore) -> None:
    landed = (await put_results(store, [reply("a")])).landed

    moments = await moments_in_store(store, landed)

    assert moments.submitted is None
    assert moments.landed is not None
    assert moments.polls is None


async def test_a_line_without_its_fields_is_counted(store: ObjectStore) -> None:
    lines = [json.dumps({"custom_id": "a", "result": {"type": "succeeded"}}).encode(), b'{"custom_id":"b","result":7}']
    figures = await read_figures(store, await put_results(store, lines))

    assert [(row.custom_id, row.outcome) for row in figures.rows] == [
        ("a", "no stop reason"),
        ("b", "type ''"),
    ]
    assert figures.lengths.empty == 1
