"""Formatting for people: times, sizes, and markdown that text from outside cannot break."""

import json
from datetime import date, timedelta
from decimal import Decimal

import pytest

from message_batches.formatting import (
    MAX_TEXT,
    describe_cost,
    format_duration,
    format_money,
    format_size,
    markdown_code,
    markdown_table,
    markdown_text,
    plural,
    spell_out_controls,
    truncate_payload,
)
from message_batches.result_models import Cost, PriceSource


@pytest.mark.parametrize(
    ("seconds", "shown"), [(7, "0:07"), (65, "1:05"), (3661, "1:01:01"), (-5, "0:00"), (86399, "23:59:59")]
)
def test_time_is_shown_as_a_clock_shows_it(seconds: int, shown: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("0.00000005", "$0.00000005"),
        ("0.00004", "$0.00004"),
        ("0.0041249", "$0.00412"),
        ("0.1", "$0.10"),
        ("123456.7", "$123,456.70"),
        ("9e20", "$900,000,000,000,000,000,000.00"),
        ("1e-99999999", "$1e-99999999"),
    ],
)
def test_money_is_shown_in_cents_where_they_say_something(amount: str, shown: str) -> None:
    assert format_money(Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (7528, "7.5 KB"),
        (31_400, "31 KB"),
        (999_499, "999 KB"),
        (999_500, "1.0 MB"),
        (256_000_000, "256 MB"),
        (4_500_000_000, "4,500 MB"),
    ],
)
def test_a_size_is_short(count: int, shown: str) -> None:
    assert format_size(count) == shown


def test_of_many_models_without_a_price_or_with_an_own_one_the_first_are_named() -> None:
    models = tuple(f"model-{number}\n" for number in range(9))
    source = PriceSource(version="a list", date=date(2026, 11, 27), own=models)
    cost = Cost(
        amount=Decimal(1), by_model={}, standard_amount=Decimal(2), partial=True, unpriced=models, prices=source
    )
    unknown = cost.model_copy(update={"amount": None, "standard_amount": None})

    first = "model-0\\n, model-1\\n, model-2\\n and 6 more"
    assert describe_cost(unknown) == f"not known: no price for {first}"
    assert describe_cost(cost).endswith(f" for {first}; no price for {first}: partial")


def test_only_one_is_singular() -> None:
    assert [plural(count, "request") for count in (0, 1, 2880)] == ["0 requests", "1 request", "2,880 requests"]


def test_markdown_in_text_from_outside_is_escaped() -> None:
    assert markdown_text("a|b\n# <img src=x> `c` [d](e)") == r"a\|b \# \<img src=x\> \`c\` \[d\]\(e\)"
    assert markdown_code("a`b\nc") == "`a'b c`"
    assert len(markdown_text("x" * 10_000)) == MAX_TEXT


def test_a_table_has_its_numbers_on_the_right() -> None:
    lines = markdown_table(("a", "b"), [("x", "1")], numbers=1).replace("\u2003", "").splitlines()

    assert lines == ["| a | b |", "| --- | ---: |", "| x | 1 |"]


@pytest.mark.parametrize("text", ["x" * 1000, '"' * 1000, "\x01" * 1000, "😀" * 1000, "😀" * 3])
def test_a_truncated_text_is_cut_by_the_bytes_of_its_payload(text: str) -> None:
    payload = len(json.dumps(truncate_payload(text, 350), ensure_ascii=False).encode())

    assert payload <= 350
    assert payload > 300 or truncate_payload(text, 350) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\n", "a\tb\n"),
        ("\x00\x1b[2J\x9b\x7f\r", r"\x00\x1b[2J\x9b\x7f\r"),
        ("\u202e\u2066\u200f\ufeff\u2028", r"\u202e\u2066\u200f\ufeff\u2028"),
        ("\u00a0\u3000", "\u00a0\u3000"),
        ("\U0001f469\u200d\U0001f4bb \u0645\u06cc\u200c", "\U0001f469\u200d\U0001f4bb \u0645\u06cc\u200c"),
        ("\ud83d", r"\ud83d"),
    ],
)
def test_what_a_terminal_or_a_browser_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert spell_out_controls(text) == shown
