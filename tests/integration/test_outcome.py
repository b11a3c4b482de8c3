"""What came back and what it cost, in the output of a run: results of all kinds, worked out by hand."""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchOutput
from message_batches.result_models import Summary
from message_batches.temporal.dev_server import DevServer
from tests.harness.requests import request
from tests.harness.stack import running_stack
from tests.integration.test_search_attributes import shown

LONG = "all work and no play " * 20_000
"""105,000 tokens of the emulator's: over the 100,000 from which Claude Haiku 5.5 costs more."""


def cached(custom_id: str, ttl: str, text: str) -> dict[str, Any]:
    system = [{"type": "text", "text": text * 600, "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    return request(custom_id, model="claude-opus-5-5", system=system)


REQUESTS = [
    request("plain"),
    request("cut", max_tokens=5),
    request("refused"),
    request("paused"),
    request("window"),
    cached("writes-5m", "5m", "for five minutes"),
    cached("reads", "5m", "for five minutes"),
    cached("writes-1h", "1h", "for one hour..."),
    request(
        "searches",
        inference_geo="us",
        tools=[
            {"type": "web_search_20250305", "name": "web_search"},
            {"type": "web_fetch_20250910", "name": "web_fetch"},
        ],
    ),
    request("unknown", model="claude-next-9"),
    request("short", model="claude-haiku-5-5"),
    request("long", LONG, model="claude-haiku-5-5"),
    request("wrong", max_tokens=9_999_999),
]

ORDERED: Mapping[str, dict[str, Any]] = {
    "refused": {"stop_reason": "refusal", "category": "bio"},
    "paused": {"stop_reason": "pause_turn"},
    "window": {"stop_reason": "model_context_window_exceeded"},
}

RATES: Mapping[tuple[str, bool], tuple[str, str, str, str, str]] = {
    ("claude-sonnet-5", False): ("1", "5", "1.25", "2", "0.1"),
    ("claude-opus-5-5", False): ("2", "10", "2.5", "4", "0.1"),
    ("claude-haiku-5-5", False): ("0.05", "0.25", "0.0625", "0.1", "0.005"),
    ("claude-haiku-5-5", True): ("0.25", "1.25", "0.3125", "0.5", "0.025"),
}
"""USD of a million tokens at the price of batches: input, output, five-minute and one-hour writes, reads."""


def worked_out(lines: list[Any]) -> Decimal:
    """Return the price of result lines, each by itself."""
    total = Decimal(0)
    for line in lines:
        message = line["result"].get("message", {"model": "claude-next-9"})
        if message["model"] == "claude-next-9":
            continue
        usage = message["usage"]
        written = usage["cache_creation"]
        counts = [
            usage["input_tokens"],
            usage["output_tokens"],
            written["ephemeral_5m_input_tokens"],
            written["ephemeral_1h_input_tokens"],
            usage["cache_read_input_tokens"],
        ]
        over = message["model"] == "claude-haiku-5-5" and counts[0] + sum(counts[2:]) > 100_000
        factor = Decimal("1.1") if usage["inference_geo"] == "us" else 1
        pairs = zip(RATES[message["model"], over], counts, strict=True)
        total += sum(Decimal(rate) * count for rate, count in pairs) * factor / 1_000_000
        total += Decimal("0.01") * usage.get("server_tool_use", {}).get("web_search_requests", 0)
    return total


async def test_results_of_all_kinds_are_summed_up_and_priced(temporal: DevServer, tmp_path: Path) -> None:
    options = EmulatorOptions(ends_after_polls=1, models=("claude-next-9",))
    async with Emulator(options) as emulator, running_stack(temporal.client, emulator, tmp_path.as_uri()) as live:
        for custom_id, ordered in ORDERED.items():
            emulator.faults.add("outcome", operation="create", custom_id=custom_id, **ordered)
        run = await live.start(REQUESTS)
        output = await run.result()
        attributes = await shown(run)

    summary, lines = output.summary, [json.loads(line) for line in results_of(output)]
    assert (summary.counts.succeeded, summary.counts.errored, summary.usable) == (12, 1, 8)
    assert {(each.reason, each.category): (each.count, each.usable) for each in summary.stop_reasons} == {
        ("end_turn", None): (8, True),
        ("max_tokens", None): (1, False),
        ("refusal", "bio"): (1, False),
        ("pause_turn", None): (1, False),
        ("model_context_window_exceeded", None): (1, False),
    }
    assert [each.custom_ids for each in summary.stop_reasons if each.reason == "refusal"] == [("refused",)]
    assert [each.custom_ids for each in summary.stop_reasons if each.count > 1] == [("plain", "writes-5m", "reads")]
    used = {(each.model, each.inference_geo, each.long_context): each for each in summary.usage}
    assert {key: each.requests for key, each in used.items()} == {
        ("claude-sonnet-5", "global", False): 5,
        ("claude-sonnet-5", "us", False): 1,
        ("claude-opus-5-5", "global", False): 3,
        ("claude-haiku-5-5", "global", False): 1,
        ("claude-haiku-5-5", "global", True): 1,
        ("claude-next-9", "global", False): 1,
    }
    opus, searching = used["claude-opus-5-5", "global", False], used["claude-sonnet-5", "us", False]
    assert opus.cache_write_5m == opus.cache_read > 2_000
    assert opus.cache_write_1h > 2_000
    assert (searching.web_searches, searching.web_fetches) == (1, 1)

    cost = output.cost
    assert cost is not None
    assert cost.amount == worked_out(lines) == sum(cost.by_model.values())
    assert cost.standard_amount == 2 * (worked_out(lines) - Decimal("0.01")) + Decimal("0.01")
    assert cost.partial
    assert cost.unpriced == ("claude-next-9",)
    assert attributes["BatchOutcome"] == "partly"
    assert Summary.model_validate_json(summary.model_dump_json(by_alias=True)) == summary


async def test_replies_that_are_cut_off_make_the_outcome_truncated(temporal: DevServer, tmp_path: Path) -> None:
    options = EmulatorOptions(ends_after_polls=1)
    async with Emulator(options) as emulator, running_stack(temporal.client, emulator, tmp_path.as_uri()) as live:
        run = await live.start([request("whole"), request("cut", max_tokens=5)])
        output = await run.result()

        assert (output.summary.counts.succeeded, output.summary.usable) == (2, 1)
        assert (await shown(run))["BatchOutcome"] == "truncated"


def results_of(output: BatchOutput) -> list[bytes]:
    return Path(output.results_file.uri.removeprefix("file://")).read_bytes().splitlines()
