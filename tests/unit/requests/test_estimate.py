"""The estimate of what requests cost: the tokens of each kind of content, caches, prices, and what is hostile."""

import base64
import json
import struct
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from message_batches.emulator.prompt_parsing import PromptReader
from message_batches.errors import CostLimitExceeded
from message_batches.prices import PriceList
from message_batches.requests.estimate import (
    MAX_USAGES,
    Estimator,
    check_limit,
    estimate_lines,
    input_tokens_of,
    sample,
    value_of,
)
from message_batches.requests.input_size import (
    CODE,
    ENGLISH,
    IMAGE_AT_MOST,
    OTHER,
    PER_MESSAGE,
    PER_TOOLS,
    PIXELS,
)
from message_batches.requests.reader import read_requests
from message_batches.result_models import CostEstimate, ModelUsage, PriceSource
from message_batches.storage.scratch import scratch_file
from tests.harness.requests import request

PROSE = "Please summarise the complaint of this customer in two sentences, and name the product. " * 20
JSON_TEXT = json.dumps({"orders": [{"id": number, "price": number * 3.5} for number in range(100)]})
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1000, 750) + b"\x08\x06\0\0\0"
GIF = b"GIF89a" + struct.pack("<HH", 1000, 750) + b"\0" * 20
JPEG = b"\xff\xd8\xff\xe1\0\x08preview"[:12] + b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 750, 1000) + b"\x03" * 10
WEBP = b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + (999).to_bytes(3, "little") + (749).to_bytes(3, "little")
WEBP_LOSSY = b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", 1000, 750)
HUGE = PNG[:16] + struct.pack(">II", 60_000, 60_000)


def encoded(item: Any) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode("utf-8", "surrogatepass")


def estimate_of(*items: Any, scale: float = 1.0) -> CostEstimate:
    """Return the estimate of requests; an item of bytes is a line."""
    estimator = Estimator(PriceList(), scale)
    for item in items:
        line = item if isinstance(item, bytes) else encoded(item)
        estimator.add(value_of(line), line)
    return estimator.result()


def tokens_of(content: Any, **params: Any) -> float:
    asked = request("r-1", content, **params)
    return input_tokens_of(asked, encoded(asked))


def image(data: bytes | str) -> list[dict[str, Any]]:
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    return [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": text}}]


def document(source: Any) -> list[dict[str, Any]]:
    return [{"type": "document", "source": source}]


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        pytest.param(PROSE, len(PROSE) / ENGLISH, id="prose"),
        pytest.param(JSON_TEXT, len(JSON_TEXT) / CODE, id="JSON"),
        pytest.param("Hello", 5 / ENGLISH, id="short"),
        pytest.param("Привет" * 200, 2400 / OTHER, id="Cyrillic"),
        pytest.param("你好" * 200, 1200 / OTHER, id="Chinese"),
        pytest.param("Ja" * 300 + "é" * 10, 600 / ENGLISH + 20 / OTHER, id="accents"),
        pytest.param([{"type": "text", "text": PROSE}] * 2, 2 * len(PROSE) / ENGLISH, id="blocks"),
        pytest.param(image(PNG), 1000 * 750 / PIXELS, id="PNG"),
        pytest.param(image(GIF), 1000 * 750 / PIXELS, id="GIF"),
        pytest.param(image(JPEG), 1000 * 750 / PIXELS, id="JPEG"),
        pytest.param(image(WEBP), 1000 * 750 / PIXELS, id="WebP"),
        pytest.param(image(WEBP_LOSSY), 1000 * 750 / PIXELS, id="lossy WebP"),
        pytest.param(image(HUGE), IMAGE_AT_MOST, id="a huge image"),
        pytest.param(image("no base64 ü"), IMAGE_AT_MOST, id="an image that is none"),
        pytest.param(image(b"\xff\xd8\xff\xff\xff\xff"), IMAGE_AT_MOST, id="a broken JPEG"),
        pytest.param([{"type": "image", "source": {"type": "url", "url": "x"}}], IMAGE_AT_MOST, id="an image by URL"),
        pytest.param(document({"type": "base64", "data": "A" * 4000}), 750, id="PDF"),
        pytest.param(document({"type": "text", "data": PROSE}), len(PROSE) / ENGLISH, id="a text document"),
        pytest.param(
            document({"type": "content", "content": [{"type": "text", "text": PROSE}]}),
            len(PROSE) / ENGLISH,
            id="parts",
        ),
        pytest.param([{"type": "tool_result", "content": PROSE}], len(PROSE) / ENGLISH, id="the result of a tool"),
        pytest.param([7, None, "x"], 0, id="no blocks"),
        pytest.param(None, 0, id="nothing"),
    ],
)
def test_each_kind_of_content_has_its_size(content: Any, tokens: float) -> None:
    assert tokens_of(content) == pytest.approx(PER_MESSAGE + tokens)


def test_system_tools_and_the_form_of_the_answer_are_input() -> None:
    tool = {"name": "book", "input_schema": {"type": "object"}}
    alone = tokens_of(PROSE)

    assert tokens_of(PROSE, system=PROSE) == pytest.approx(alone + len(PROSE) / ENGLISH)
    assert tokens_of(PROSE, tools=[tool]) == pytest.approx(
        alone + PER_TOOLS + len(json.dumps(tool, separators=(",", ":"))) / CODE
    )
    assert tokens_of(PROSE, output_config={"format": {"type": "json_schema"}}) > alone


def test_the_estimate_is_near_the_count_of_the_emulator() -> None:
    """Which counts four characters a token: the estimate errs upwards from there, and not without bound."""
    for params in (request("a", PROSE), request("a", JSON_TEXT, system=PROSE)):
        counted = PromptReader().read(params["params"], shows_thinking=False).input_tokens
        assert counted <= input_tokens_of(params, encoded(params)) <= 1.6 * counted


def test_a_cache_is_written_up_to_its_last_point_in_each_request() -> None:
    point = {"type": "ephemeral"}
    text = {"type": "text", "text": PROSE}
    some = estimate_of(request("a", PROSE, system=[{**text, "cache_control": point}, text]))
    hour = estimate_of(request("a", PROSE, system=[{**text, "cache_control": {**point, "ttl": "1h"}}]))
    whole = estimate_of(*[request("a", PROSE, cache_control=point)] * 2)
    tools = estimate_of(request("a", PROSE, tools=[{"name": "a", "cache_control": point}]))

    size = round(len(PROSE) / ENGLISH)
    assert some.usage[0].cache_write_5m == size
    assert some.usage[0].input == pytest.approx(2 * size + PER_MESSAGE, abs=1)
    assert (hour.usage[0].cache_write_1h, hour.usage[0].cache_write_5m) == (size, 0)
    assert whole.usage[0].cache_write_5m == pytest.approx(2 * size + 2 * PER_MESSAGE, abs=1)
    assert whole.usage[0].input == 0
    assert tools.usage[0].cache_write_5m > PER_TOOLS
    assert whole.input_tokens == whole.usage[0].cache_write_5m


def test_the_output_is_at_most_max_tokens_and_the_price_that_of_batches() -> None:
    estimate = estimate_of(*[request(f"r-{number}", PROSE, max_tokens=1000) for number in range(10)])

    assert estimate.output_tokens == 10_000
    assert estimate.amount == (estimate.input_tokens * Decimal(1) + 10_000 * Decimal(5)) / 1_000_000
    assert (estimate.partial, estimate.unpriced, estimate.unseen) == (False, (), 0)


def test_each_request_has_its_own_length_of_context_geography_and_model() -> None:
    long = "word " * 100_000
    estimate = estimate_of(
        request("a", PROSE, model="claude-haiku-5-5"),
        request("b", PROSE, model="claude-haiku-5-5", inference_geo="us"),
        request("c", long, model="claude-haiku-5-5"),
        request("d", PROSE, model="claude-new-9"),
    )

    assert [(each.model, each.inference_geo, each.long_context) for each in estimate.usage] == [
        ("claude-haiku-5-5", None, False),
        ("claude-haiku-5-5", None, True),
        ("claude-haiku-5-5", "us", False),
        ("claude-new-9", None, False),
    ]
    assert (estimate.partial, estimate.unpriced) == (True, ("claude-new-9",))
    assert estimate_of(request("d", PROSE, model="claude-new-9")).amount is None


@pytest.mark.parametrize(
    "params",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "advisor_20260301", "name": "advisor"}]},
        {"tools": [{"name": "own", "input_schema": {}}, {"type": "new_20270101"}]},
        {"mcp_servers": [{"url": "https://example.com"}]},
        {"messages": [{"role": "user", "content": document({"type": "file", "file_id": "file_1"})}]},
        {"messages": [{"role": "user", "content": document({"type": "url", "url": "https://example.com"})}]},
        {"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "file_1"}]}]},
    ],
)
def test_requests_that_do_not_show_all_of_their_tokens_are_counted(params: dict[str, Any]) -> None:
    own = [{"name": "own"}, {"type": "custom", "name": "b"}, {"type": "bash_20250124"}, {"type": "memory_20250818"}]
    assert estimate_of(request("a", **params), request("b", tools=own)).unseen == 1


@pytest.mark.parametrize(
    "hostile",
    [
        b'{"custom_id": "a", "params": {"model": ["claude-sonnet-5"], "max_tokens": "many", "messages": 7}}',
        b'{"custom_id": "a", "params": {"model": null, "max_tokens": -5, "messages": [[], 1, {"content": {}}]}}',
        b'{"custom_id": "a", "params": {"max_tokens": 1e400, "tools": {"a": 1}, "system": 5, "mcp_servers": "x"}}',
        b'{"custom_id": "a", "params": {"max_tokens": ' + b"9" * 5000 + b', "messages": []}}',
        b'{"custom_id": "a", "params": {"model": "\\ud800\\u0000\\u202e", "messages": [{"content": "\\ud800"}]}}',
        b'{"custom_id": "a", "params": {"messages": [{"content": [{"type": ["a"], "cache_control": 3}]}]}}',
        b'{"custom_id": "a", "params": {"messages": [{"content": [{"type": "document", "source": "x"}]}]}}',
        b'{"custom_id": "a", "params": {"messages": [{"content": ' + b"[" * 3000 + b"]" * 3000 + b"}]}}",
        b'{"custom_id": "a", "params": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"custom_id": "a", "params": {"max_tokens": NaN, "messages": []}}',
        b'{"custom_id": "a", "params": []}',
        b"[]",
        b"no JSON",
    ],
    ids=range(13),
)
def test_whatever_a_request_holds_it_is_counted(hostile: bytes) -> None:
    estimate = estimate_of(hostile, request("b"))

    assert sum(each.requests for each in estimate.usage) == 2
    assert 0 <= estimate.output_tokens <= 300_000 + 256
    assert json.loads(estimate.model_dump_json())["method"]


def test_a_line_that_costs_too_much_to_build_counts_by_its_bytes() -> None:
    text = "x" * (40 * 1024 * 1024)
    line = encoded(request("a", text, max_tokens=7))
    estimate = estimate_of(line)

    assert value_of(line) is None
    assert (estimate.input_tokens, estimate.output_tokens) == (round(len(line) / OTHER), 7)
    assert estimate.usage[0].model == "claude-sonnet-5"


def test_the_estimate_is_bounded_however_many_models_there_are() -> None:
    estimate = estimate_of(*[request("a", model=f"model-{number}" + "x" * 500) for number in range(200)])

    assert len(estimate.usage) <= MAX_USAGES + 1
    assert sum(each.requests for each in estimate.usage) == 200
    assert max(len(each.model) for each in estimate.usage) <= 100


def test_the_estimate_of_a_file_is_that_of_its_lines(tmp_path: Path) -> None:
    items = [request(f"r-{number}", f"{PROSE} {number}") for number in range(50)]
    file = tmp_path / "requests.json"
    file.write_text(json.dumps({"requests": items}, indent=2))

    with read_requests(str(file), prices=PriceList()) as checked:
        assert checked.estimate == estimate_lines(checked.lines, PriceList())
        twice = estimate_lines(checked.lines, PriceList(), 2.0)
        assert twice.input_tokens == pytest.approx(2 * checked.estimate.input_tokens, abs=1)
        assert (twice.output_tokens, twice.method != checked.estimate.method) == (50 * 256, True)
    with read_requests(str(file)) as unpriced:
        assert unpriced.estimate is None


@pytest.mark.parametrize(("count", "wanted", "taken"), [(100, 20, 20), (7, 20, 7), (1, 20, 1), (21, 20, 20)])
def test_a_sample_is_spread_over_the_requests(count: int, wanted: int, taken: int) -> None:
    with scratch_file(None) as lines:
        for number in range(count):
            lines.append(f"{number}\n".encode())
        found = [int(line) for line in sample(lines, count, wanted)]

    assert len(found) == taken
    assert found == sorted(set(found))
    assert (found[0], found[-1] >= count * (wanted - 1) // wanted - 1) == (0, True)


def made(amount: str | None, *, unpriced: tuple[str, ...] = (), unseen: int = 0) -> CostEstimate:
    return CostEstimate(
        input_tokens=1,
        output_tokens=1,
        amount=Decimal(amount) if amount else None,
        partial=bool(unpriced),
        unpriced=unpriced,
        unseen=unseen,
        method="size",
        usage=(ModelUsage(model="claude-sonnet-5", requests=3),),
        prices=PriceSource(version="x", date=date(2026, 11, 27)),
    )


@pytest.mark.parametrize("amount", ["0", "24.99", "25"])
def test_what_costs_at_most_the_limit_passes(amount: str) -> None:
    check_limit(made(amount), Decimal(25), "maxCost")


@pytest.mark.parametrize(
    ("estimate", "says"),
    [
        (made("25.01"), ("$25.01", "$25.00")),
        (made("25.0010"), ("$25.001", "$25.00")),
        (made("3", unpriced=("claude-new-9\x1b[2J",)), ("claude-new-9\\x1b[2J", "$25.00", "MESSAGE_BATCHES_PRICES")),
        (made(None, unpriced=tuple("abcdef")), ("a, b, c and 3 more", "$25.00")),
        (made("3", unseen=2), ("not shown by 2 requests", "$25.00")),
    ],
)
def test_what_may_cost_more_or_has_no_price_is_refused_with_both_figures(
    estimate: CostEstimate, says: tuple[str, ...]
) -> None:
    with pytest.raises(CostLimitExceeded) as caught:
        check_limit(estimate, Decimal(25), "maxCost")

    known = not estimate.partial and not estimate.unseen
    assert (caught.value.estimate, caught.value.limit) == (estimate.amount if known else None, Decimal(25))
    assert all(part in str(caught.value) for part in (*says, "3 requests", "maxCost"))
    assert not caught.value.retryable


def test_both_figures_are_shown_in_full_where_cents_do_not_tell_them_apart() -> None:
    with pytest.raises(CostLimitExceeded, match=r"up to \$25, and the limit is \$24\.999 "):
        check_limit(made("25.00"), Decimal("24.999"), "maxCost")
