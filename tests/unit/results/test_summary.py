"""The summary of results: which replies are whole and why not, and what is billed of them, in parts of one price."""

import json
from typing import Any

import pytest

from message_batches.jsonl import LONG_LINE
from message_batches.requests.manifest import write_inline_manifest
from message_batches.result_models import StopReason, Summary, Unfinished
from message_batches.results.parser import MAX_TOKEN_COUNT
from message_batches.storage.object_store import ObjectStore
from tests.unit.results.test_landing import arriving, landing


def usage_line(custom_id: str, model: str = "claude-haiku-5-5", **message: Any) -> bytes:
    """Return a succeeded result with more of its message."""
    return json.dumps(
        {"custom_id": custom_id, "result": {"type": "succeeded", "message": {"model": model, **message}}}
    ).encode()


async def summary_of(store: ObjectStore, *lines: bytes) -> Summary:
    return (await landing(store, arriving(lines, 10**6), None, len(lines))).summary


async def test_each_request_is_over_the_bound_of_a_long_context_by_itself(store: ObjectStore) -> None:
    """Read and written tokens count too; a hundred requests of 50,000 tokens are none of 5,000,000."""
    inputs = [
        *[{"input_tokens": 50_000}] * 100,
        {"input_tokens": 100_000},
        {"input_tokens": 1, "cache_read_input_tokens": 60_000, "cache_creation_input_tokens": 40_000},
    ]
    summary = await summary_of(store, *(usage_line(f"r-{n}", usage=usage) for n, usage in enumerate(inputs)))
    assert [(used.long_context, used.requests) for used in summary.usage] == [(False, 101), (True, 1)]


@pytest.mark.parametrize(
    ("usage", "five", "hour"),
    [
        ({"cache_creation_input_tokens": 7}, 7, 0),
        ({"cache_creation_input_tokens": 7, "cache_creation": None}, 7, 0),
        ({"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 7}}, 0, 7),
        ({"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 5}}, 2, 5),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}}, 3, 4),
        ({"cache_creation_input_tokens": 0, "cache_creation": {"ephemeral_5m_input_tokens": 3}}, 3, 0),
        ({"cache_creation_input_tokens": -1, "cache_creation": "x"}, 0, 0),
    ],
)
async def test_a_write_of_which_the_lifetime_is_not_said_is_of_five_minutes(
    store: ObjectStore, usage: dict[str, Any], five: int, hour: int
) -> None:
    summary = await summary_of(store, usage_line("r-0", usage=usage))
    assert [(used.cache_write_5m, used.cache_write_1h) for used in summary.usage] == [(five, hour)]


@pytest.mark.parametrize("filling", ["", "x" * LONG_LINE, "\ud83d"], ids=["short", "long", "lenient"])
async def test_a_line_of_any_form_has_its_stop_reason_geography_and_calls(store: ObjectStore, filling: str) -> None:
    usage = {
        "output_tokens": 2,
        "inference_geo": "us",
        "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 4},
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 6},
    }
    message: dict[str, Any] = {
        "stop_reason": "refusal",
        "stop_details": {"type": "refusal", "category": "cyber", "explanation": filling},
        "usage": usage,
    }
    summary = await summary_of(store, usage_line("r-0", filling=filling, **message))
    assert summary.usable == 0
    assert summary.stop_reasons == (
        StopReason(reason="refusal", category="cyber", count=1, usable=False, custom_ids=("r-0",)),
    )
    assert [(used.inference_geo, *used.counts) for used in summary.usage] == [("us", 0, 2, 5, 6, 0, 3, 4)]


async def test_stop_reasons_have_the_first_requests_and_stay_few(store: ObjectStore) -> None:
    ended = [usage_line(f"end-{n}", stop_reason="end_turn") for n in range(5)]
    odd = [usage_line(f"odd-{n}", stop_reason=f"reason {n}", stop_details={"category": "c"}) for n in range(40)]
    missing = [usage_line("none-0"), usage_line("none-1", stop_reason=None), usage_line("none-2", stop_reason=7)]
    ids = [json.loads(line)["custom_id"] for line in (*ended, *missing, *odd)]
    manifest = await write_inline_manifest(store, [{"custom_id": each, "params": {}} for each in ids])
    landed = await landing(store, arriving([*ended[::-1], *missing, *odd]), manifest, 48)

    reasons = {each.reason: each for each in landed.summary.stop_reasons}
    assert landed.summary.usable == 5
    assert sum(each.count for each in reasons.values()) == 48
    assert reasons["end_turn"].custom_ids == ("end-0", "end-1", "end-2")
    assert reasons["none"].custom_ids == ("none-0", "none-1", "none-2")
    assert len(reasons) == 21
    assert not any(each.usable for each in reasons.values() if each.reason != "end_turn")


async def test_usage_stays_small_for_any_models_and_geographies(store: ObjectStore) -> None:
    lines = [
        usage_line(f"r-{n}", f"m-{n % 30}" + "m" * 900, usage={"inference_geo": f"g-{n}" * 90, "input_tokens": 1})
        for n in range(300)
    ]
    landed = await landing(store, arriving(lines, 10**6), None, len(lines))
    assert sum(used.input for used in landed.summary.usage) == 300
    assert len(landed.summary.usage) <= 52
    assert landed.cost
    assert landed.cost.amount is None
    assert len(landed.model_dump_json()) < 30_000


@pytest.mark.parametrize("filling", ["", "x" * LONG_LINE, "\ud83d"], ids=["short", "long", "lenient"])
async def test_a_whole_number_written_with_a_fraction_is_a_count(store: ObjectStore, filling: str) -> None:
    usage = {"input_tokens": 5.0, "output_tokens": 1e3, "cache_read_input_tokens": 0.5, "x": filling}
    summary = await summary_of(store, usage_line("r-0", usage=usage))
    assert summary.usage[0].counts[:5] == (5, 1000, 0, 0, 0)


async def test_a_reply_that_does_not_say_its_usage_makes_the_cost_partial(store: ObjectStore) -> None:
    lines = [
        usage_line("r-0", usage={"input_tokens": 1_000_000}),
        usage_line("r-1"),
        usage_line("r-2", usage={"input_tokens": -1, "output_tokens": "7"}),
    ]
    landed = await landing(store, arriving(lines, 10**6), None, len(lines))
    assert [(used.model, used.requests) for used in landed.summary.usage] == [("claude-haiku-5-5", 1), ("unknown", 2)]
    assert landed.cost
    assert (landed.cost.partial, landed.cost.unpriced) == (True, ("unknown",))


async def test_only_what_succeeded_is_billed(store: ObjectStore) -> None:
    message = {"model": "claude-haiku-5-5", "usage": {"input_tokens": 1_000_000}}
    lines = [
        json.dumps({"custom_id": each, "result": {"type": each, "message": message}}).encode()
        for each in ("errored", "canceled", "expired", "new")
    ]
    summary = await summary_of(store, *lines)
    assert (summary.usage, summary.counts.errored) == ((), 2)


async def test_the_sum_of_the_largest_counts_is_a_number_that_metrics_take(store: ObjectStore) -> None:
    counts = (MAX_TOKEN_COUNT, MAX_TOKEN_COUNT + 1, 2**53)
    summary = await summary_of(store, *(usage_line(f"r-{n}", usage={"input_tokens": n}) for n in counts))
    assert sum(used.input for used in summary.usage) == MAX_TOKEN_COUNT
    assert MAX_TOKEN_COUNT * 100_000 <= 2**53


async def test_the_first_requests_without_an_answer_are_named_in_their_order(store: ObjectStore) -> None:
    kinds = ["succeeded", "expired", "canceled", "errored", "canceled", "expired"]
    manifest = await write_inline_manifest(store, [{"custom_id": f"r-{n}", "params": {}} for n in range(len(kinds))])
    lines = [json.dumps({"custom_id": f"r-{n}", "result": {"type": kind}}).encode() for n, kind in enumerate(kinds)]

    summary = (await landing(store, arriving(lines[::-1], 10**6), manifest, len(lines))).summary
    none = await summary_of(store, usage_line("r-0"))

    assert summary.unanswered == ("r-1", "r-2", "r-4")
    assert summary.unfinished == Unfinished(count=4, custom_ids=summary.unanswered)
    assert (none.unanswered, none.unfinished) == ((), None)
