"""The price of usage: the list's figures to the cent, what it does not have, and prices of the operator's own."""

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from message_batches.claude_models import CLAUDE_MODELS
from message_batches.prices import PriceList, read_prices, total_cost
from message_batches.result_models import Cost, ModelUsage
from message_batches.results.parser import ResultLine, read_result
from message_batches.results.summary import SummaryBuilder
from message_batches.settings import InvalidSettings, Settings

MILLION = 1_000_000


class Counts(NamedTuple):
    """What is billed of a result, in the order of `BILLED`."""

    input: int = 0
    output: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0
    web_searches: int = 0
    web_fetches: int = 0


ALL_KINDS = {
    "input": MILLION,
    "output": MILLION,
    "cache_write_5m": MILLION,
    "cache_write_1h": 2 * MILLION,
    "cache_read": 4 * MILLION,
    "web_searches": 1000,
}
RATES = {"input": 1, "output": 5, "cache_write_5m": 1.25, "cache_write_1h": 2, "cache_read": 0.1}


def cost_of(*lines: ResultLine, prices: PriceList | None = None) -> Cost:
    """Return the cost of results, as it is computed when they land."""
    prices = prices or PriceList()
    builder = SummaryBuilder(prices)
    for position, line in enumerate(lines):
        builder.add(line, position)
    return prices.cost(builder.build().usage)


def succeeded(model: str, counts: Counts, geo: str = "") -> ResultLine:
    return ResultLine("a", "succeeded", None, model, counts, "", geo, "end_turn")


@pytest.mark.parametrize(
    ("model", "batch", "standard"),
    [
        ("claude-haiku-4-5", "15.825", "21.65"),
        ("claude-haiku-4-5-20251001", "15.825", "21.65"),
        ("claude-haiku-5-5", "12.9125", "15.825"),
        ("claude-sonnet-5", "21.65", "33.30"),
        ("claude-sonnet-5-5", "21.45", "32.90"),
        ("claude-opus-5", "39.125", "68.25"),
        ("claude-opus-5-5", "32.90", "55.80"),
        ("claude-fable-5-2", "55.40", "100.80"),
        ("claude-mythos-5-2", "55.40", "100.80"),
    ],
)
def test_a_request_of_all_kinds_costs_what_the_provider_charges(model: str, batch: str, standard: str) -> None:
    cost = cost_of(succeeded(model, Counts(**ALL_KINDS)))

    assert (cost.amount, cost.standard_amount) == (Decimal(batch), Decimal(standard))
    assert (cost.by_model, cost.partial, cost.unpriced) == ({model: Decimal(batch)}, False, ())


def test_the_length_of_context_is_that_of_each_request_not_of_their_sum() -> None:
    short = [succeeded("claude-haiku-5-5", Counts(50_000, 1_000))] * 100
    long = [succeeded("claude-haiku-5-5", Counts(100_001, 1_000))]
    # What is read from a cache and written to one is input too.
    cached = [succeeded("claude-haiku-5-5", Counts(50_000, 0, 0, 0, 50_001))]

    assert cost_of(*short).amount == Decimal("0.275")
    assert cost_of(*long).amount == Decimal("0.0262502500")
    assert cost_of(*short, *long).amount == Decimal("0.275") + Decimal("0.02625025")
    assert cost_of(*cached).amount == (50_000 * Decimal("0.25") + 50_001 * Decimal("0.025")) / MILLION


def result_line(number: int, model: str, stop: str, usage: dict[str, object], **message: object) -> bytes:
    """Return a succeeded result as the API writes it."""
    answer = {"model": model, "stop_reason": stop, "usage": usage, **message}
    return json.dumps({"custom_id": f"r-{number}", "result": {"type": "succeeded", "message": answer}}).encode()


def test_a_batch_of_all_kinds_costs_what_is_worked_out_by_hand() -> None:
    written = {"ephemeral_5m_input_tokens": 10_000, "ephemeral_1h_input_tokens": 20_000}
    cached = {"cache_creation_input_tokens": 30_000, "cache_creation": written, "cache_read_input_tokens": 40_000}
    tools = {"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 2}}
    lines = [
        # 1,000 at 0.50 and 500 at 2.50 a million: 0.00175
        result_line(1, "claude-haiku-4-5-20251001", "end_turn", {"input_tokens": 1_000, "output_tokens": 500}),
        # 2,000 at 1 and 1,000 at 5, 1.1 times: 0.0077
        result_line(
            2, "claude-sonnet-5", "max_tokens", {"input_tokens": 2_000, "output_tokens": 1_000, "inference_geo": "us"}
        ),
        # 100 at 2.50 and 20 at 12.50: 0.0005
        result_line(
            3,
            "claude-opus-5",
            "refusal",
            {"input_tokens": 100, "output_tokens": 20},
            stop_details={"type": "refusal", "category": "cyber"},
        ),
        # 100 at 1, 10 at 5, 10,000 at 1.25, 20,000 at 2 and 40,000 at 0.05: 0.05465
        result_line(4, "claude-sonnet-5-5", "tool_use", {"input_tokens": 100, "output_tokens": 10, **cached}),
        # Over 100,000: 150,000 at 0.25 and 1,000 at 1.25: 0.03875
        result_line(5, "claude-haiku-5-5", "end_turn", {"input_tokens": 150_000, "output_tokens": 1_000}),
        # 50,000 at 0.05 and 1,000 at 0.25: 0.00275
        result_line(6, "claude-haiku-5-5", "end_turn", {"input_tokens": 50_000, "output_tokens": 1_000}),
        # 1,000 at 1, 100 at 5 and 3 searches at 0.01: 0.0315
        result_line(7, "claude-sonnet-5", "pause_turn", {"input_tokens": 1_000, "output_tokens": 100, **tools}),
        # No price.
        result_line(8, "claude-new-9", "end_turn", {"input_tokens": 7, "output_tokens": 9}),
        b'{"custom_id": "r-9", "result": {"type": "errored", "error": {"error": {"type": "api_error"}}}}',
        b'{"custom_id": "r-10", "result": {"type": "expired"}}',
    ]
    cost = cost_of(*map(read_result, lines))

    assert cost.by_model == {
        "claude-haiku-4-5-20251001": Decimal("0.00175"),
        "claude-sonnet-5": Decimal("0.0392"),
        "claude-opus-5": Decimal("0.0005"),
        "claude-sonnet-5-5": Decimal("0.05465"),
        "claude-haiku-5-5": Decimal("0.0415"),
    }
    assert (cost.amount, cost.standard_amount) == (Decimal("0.1376"), Decimal("0.2452"))
    assert (cost.partial, cost.unpriced) == (True, ("claude-new-9",))


@pytest.mark.parametrize(
    ("model", "multiplier"),
    [
        ("claude-sonnet-5", "0.1"),
        ("claude-haiku-4-5", "0.1"),
        ("claude-haiku-5-5", "0.1"),
        ("claude-opus-5", "0.1"),
        ("claude-sonnet-5-5", "0.05"),
        ("claude-opus-5-5", "0.05"),
        ("claude-fable-5-2", "0.025"),
        ("claude-mythos-5-2", "0.025"),
        ("claude-fable-5-1", "0.025"),
    ],
)
def test_a_cache_read_costs_a_part_of_the_input_that_differs_by_model(model: str, multiplier: str) -> None:
    rates = PriceList().rates(model)

    assert rates is not None
    assert rates.cache_read == rates.input * Decimal(multiplier)


def test_tokens_cost_a_tenth_more_in_the_united_states_and_searches_do_not() -> None:
    counts = Counts(**ALL_KINDS)
    cost = cost_of(succeeded("claude-sonnet-5", counts, "us"))

    assert cost.amount == (Decimal("21.65") - 10) * Decimal("1.1") + 10
    assert cost.standard_amount == (Decimal("33.30") - 10) * Decimal("1.1") + 10
    assert cost_of(succeeded("claude-sonnet-5", counts, "global")).amount == Decimal("21.65")


def test_only_succeeded_results_are_billed() -> None:
    errored = ResultLine("b", "errored", ("overloaded_error", "Overloaded"))
    expired = ResultLine("c", "expired")
    cost = cost_of(succeeded("claude-sonnet-5", Counts(MILLION)), errored, expired)

    assert (cost.amount, cost.partial) == (Decimal(1), False)
    assert cost_of(errored, expired).amount == 0


def test_an_unknown_model_has_no_price_and_the_rest_is_partial() -> None:
    known, unknown = succeeded("claude-sonnet-5", Counts(MILLION)), succeeded("claude-new-9", Counts(7, 9))
    partly, alone = cost_of(known, unknown), cost_of(unknown)

    assert (partly.amount, partly.partial, partly.unpriced) == (Decimal(1), True, ("claude-new-9",))
    assert (alone.amount, alone.standard_amount, alone.by_model) == (None, None, {})
    assert (alone.partial, alone.unpriced) == (True, ("claude-new-9",))


@pytest.mark.parametrize("model", CLAUDE_MODELS, ids=lambda model: model.id)
def test_no_model_comes_out_at_the_full_price(model: object) -> None:
    counts = Counts(MILLION, MILLION, MILLION, MILLION, MILLION)
    for name in filter(None, (model.id, model.alias)):  # type: ignore[attr-defined]
        cost = cost_of(succeeded(name, counts))

        if name in cost.unpriced:
            assert cost.amount is None
        else:
            assert cost.amount is not None
            assert cost.standard_amount == 2 * cost.amount > 0


def test_models_without_a_price_for_batches_are_these() -> None:
    """A model that moves in or out of this list changes what the documentation says."""
    unpriced = {model.id for model in CLAUDE_MODELS if PriceList().rates(model.id) is None}

    assert unpriced == {
        "claude-mythos-5-1",
        "claude-mythos-5",
        "claude-mythos-preview",
        "claude-opus-4-1-20250805",
    }


@pytest.mark.parametrize(
    "model",
    [
        "claude-sonnet-9",
        "claude-haiku-5",
        "claude-opus-4-9",
        "claude-opus-4-55",
        "claude-haiku-4-5-20251001-x",
        "claude-haiku-4-5-2025100",
        "claude-haiku-4-5-preview",
        "claude-sonnet-5.5",
        "claude-4-5-haiku",
        "CLAUDE-SONNET-5",
        "xclaude-sonnet-5",
        "claude-sonnet-5\n",
        "claude-sonnet-5-२०२५०६३०",
        "gpt-5",
        "other",
        "",
        "\ud800",
    ],
)
def test_an_id_that_looks_like_a_known_one_has_no_price(model: str) -> None:
    prices = PriceList()

    assert prices.rates(model) is None
    assert prices.rates(model, batch=False) is None
    assert prices.long_context_over(model) is None


TINY = "'1e-900000'"
"""An amount that has a megabyte of digits if it is shown."""


def written(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "prices.yaml"
    file.write_text(text, encoding="utf-8")
    return {"MESSAGE_BATCHES_PRICES": str(file), "XDG_DATA_HOME": "/data"}


def flow(rates: dict[str, float], **other: object) -> str:
    """Return rates as YAML on one line."""
    return "{" + ", ".join(f"{name}: {value}" for name, value in {**rates, **other}.items()) + "}"


def test_prices_of_ones_own_go_before_those_of_the_list(tmp_path: Path) -> None:
    double = {name: 2 * rate for name, rate in RATES.items()}
    text = (
        f"claude-sonnet-5:\n  batch: {flow(RATES)}\n  standard: {flow(double)}\n"
        f"claude-new-9:\n  batch: {flow(RATES, web_searches=8)}\n  standard: {flow(double)}\n"
        f"  long_context: {{over: 1000, batch: {flow(double)}, standard: {flow(double)}}}\n"
    )
    prices = read_prices(written(tmp_path, text))
    short, long = Counts(1_000, 0, 0, 0, 0, 1_000), Counts(1_001)
    cost = cost_of(
        succeeded("claude-sonnet-5", Counts(MILLION)),
        succeeded("claude-new-9", short),
        succeeded("claude-new-9", long),
        succeeded("claude-opus-5", Counts(MILLION)),
        prices=prices,
    )

    assert cost.by_model == {
        "claude-sonnet-5": Decimal(1),
        "claude-new-9": Decimal("0.001") + 8 + Decimal("0.002002"),
        "claude-opus-5": Decimal("2.5"),
    }
    assert cost.prices.own == ("claude-new-9", "claude-sonnet-5")
    assert not cost.partial


def test_a_file_of_prices_may_be_json(tmp_path: Path) -> None:
    rates = '{"input": 1, "output": 5, "cache_write_5m": 1.25, "cache_write_1h": "2", "cache_read": 0.1}'
    prices = read_prices(written(tmp_path, f'{{"claude-new-9": {{"batch": {rates}, "standard": {rates}}}}}'))

    assert prices.rates("claude-new-9") == tuple(map(Decimal, ("1", "5", "1.25", "2", "0.1", "10")))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ""),
        ("[1]", ""),
        ("a price", ""),
        (f"m:\n  batch: {flow(RATES)}\n", ":1: #/m/standard"),
        (f"m:\n  batch: {flow(RATES)}\n  standard: {flow(RATES, input=-1)}\n", ":3: #/m/standard/input"),
        (f"m:\n  batch: {flow(RATES, input='cheap')}\n  standard: {flow(RATES)}\n", ":2: #/m/batch/input"),
        (f"m:\n  batch: {flow(RATES, input='.nan')}\n  standard: {flow(RATES)}\n", ":2: #/m/batch/input"),
        (f"m:\n  batch: {flow(RATES, input='true')}\n  standard: {flow(RATES)}\n", ":2: #/m/batch/input"),
        (f"m:\n  batch: {flow(RATES, input='1e30')}\n  standard: {flow(RATES)}\n", ":2: #/m/batch/input"),
        (f"m:\n  batch: {flow(RATES, input=TINY)}\n  standard: {flow(RATES)}\n", ":2: #/m/batch/input"),
        (f"m:\n  batch: {flow(RATES)}\n  standard: {flow(RATES, cache_read=0.01)}\n", ":3: #/m/standard"),
        (f"m:\n  batch: {flow(RATES, inptu=1)}\n  standard: {flow(RATES)}\n", ":2: #/m/batch/inptu"),
        (f"m:\n  batch: {flow(RATES)}\n  standard: {flow(RATES)}\n  discount: 1\n", ":4: #/m/discount"),
        ("m: 3\n", ":1: #/m"),
        ("m: {}\nm: {}\n", ":2: #/m"),
        ("m:\n\tbatch: 1\n", ":2"),
        ("a: &a [*a]\n", ":1"),
        ("[" * 5_000, ""),
        ("m: !!python/object/apply:os.system ['x']\n", ":1: #/m"),
        ("m: '\\ud83d'\nn: \"\\ud83d\"\n", ":2: #/n"),
    ],
)
def test_a_bad_file_is_refused_with_the_variable_the_file_and_the_place(tmp_path: Path, text: str, place: str) -> None:
    environment = written(tmp_path, text)

    with pytest.raises(InvalidSettings) as caught:
        Settings.from_environment(environment)

    assert str(caught.value).startswith(
        f"MESSAGE_BATCHES_PRICES is not valid: {environment['MESSAGE_BATCHES_PRICES']}{place}: "
    )
    assert "_Own" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    for file in (tmp_path / "nowhere", tmp_path, tmp_path / "binary"):
        with pytest.raises(ValueError, match=f"MESSAGE_BATCHES_PRICES is not valid: {file}: "):
            read_prices({"MESSAGE_BATCHES_PRICES": str(file)})


def test_counts_beyond_all_bounds_are_priced_too() -> None:
    usage = ModelUsage(model="claude-sonnet-5", requests=1, input=2**53 * 100_000)

    assert PriceList().cost([usage]).amount == Decimal(2**53 * 100_000) / MILLION


def test_costs_add_up_to_that_of_all_usage() -> None:
    usage = [ModelUsage(model=model, input=1_000, output=7) for model in ("claude-sonnet-5", "claude-haiku-4-5")]
    prices = PriceList()

    assert total_cost([prices.cost(usage[:1]), prices.cost(usage[1:])]) == prices.cost(usage)
    assert total_cost([prices.cost(usage), prices.cost(())]) == prices.cost(usage)
    assert total_cost([]) is None
    assert total_cost([None]) is None


def test_a_sum_with_a_cost_that_is_not_known_is_partial_and_names_what_has_no_price() -> None:
    prices = PriceList()
    known = prices.cost([ModelUsage(model="claude-sonnet-5", output=10)])
    unpriced = prices.cost([ModelUsage(model="claude-of-tomorrow", output=10)])

    total = total_cost([unpriced, known, None])

    assert total
    assert (total.amount, total.partial) == (known.amount, True)
    assert total.unpriced == ("claude-of-tomorrow", "unknown")
    alone = total_cost([unpriced, unpriced])
    assert alone
    assert (alone.amount, alone.unpriced) == (None, ("claude-of-tomorrow",))


def test_a_sum_has_the_prices_of_its_newest_part_and_names_all_of_the_operators_own() -> None:
    cost = PriceList().cost([ModelUsage(model="claude-sonnet-5", output=10)])
    newer = cost.prices.model_copy(update={"date": cost.prices.date + timedelta(days=1), "own": ("a",)})
    older = cost.prices.model_copy(update={"own": ("b",)})

    total = total_cost(cost.model_copy(update={"prices": prices}) for prices in (newer, older))

    assert total
    assert total.prices == newer.model_copy(update={"own": ("a", "b")})
