"""Rows of results: their cells, what a spreadsheet makes of them, what they cost, and Parquet."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from pyarrow import BufferReader, parquet  # type: ignore[import-untyped]  # It ships no types.

from message_batches.prices import PriceList
from message_batches.results.parser import read_result
from message_batches.results.summary import SummaryBuilder
from message_batches.results.tables import COLUMNS, Table, csv_of, parquet_of, spreadsheet_cell
from tests.harness.project import ROOT


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\tplain",
        "\rplain",
        "\n=1",
        " =1",
        "\u00a0=1",
        "\ufeff=1",
        '"=1',
        "'=1",
        "\u201c=1",
        '" \t=1',
        "\uff1d1",
        "=cmd|' /C calc'!A0",
        "- a list",
        "-1-",
        "--1",
        "=5",
        "@5",
        "-\u0665",
        "-",
        '"-5',
        " - ",
    ],
)
def test_a_formula_is_shown_as_text(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "5", "-5", "+5", "-5.25", "\n\nHello", "a\tb\r\nc", "<b>", "\u202e"])
def test_a_text_that_is_no_formula_is_as_it_was(text: str) -> None:
    assert spreadsheet_cell(text) == text


def test_control_characters_are_replaced() -> None:
    kept = "\t\n\r \xa0"
    text = "".join(map(chr, [*range(33), *range(127, 161)]))

    shown = spreadsheet_cell(f"a{text}")

    assert len(shown) == 1 + len(text)
    assert set(shown) == {"a", "\ufffd", *kept}
    assert [shown.count(each) for each in kept] == [1] * len(kept)


def line(custom_id: str = "a", text: Any = "Hello", model: str = "claude-sonnet-5", **usage: Any) -> bytes:
    message = {"model": model, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}
    return json.dumps({"custom_id": custom_id, "result": {"type": "succeeded", "message": message}}).encode()


async def stream(lines: Sequence[bytes]) -> AsyncIterator[bytes]:
    for each in lines:
        yield each


async def rows_of(lines: Sequence[bytes], table: Table | None = None) -> list[dict[str, str]]:
    text = b"".join([piece async for piece in csv_of(table or Table(PriceList()), stream(lines))]).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


async def test_a_row_has_what_is_billed_and_what_it_costs() -> None:
    written: Any = {"ephemeral_5m_input_tokens": 1_000_000, "ephemeral_1h_input_tokens": 2_000_000}
    used: Any = {"input_tokens": 1_000_000, "output_tokens": 1_000_000, "cache_read_input_tokens": 4_000_000}
    tools: Any = {"server_tool_use": {"web_search_requests": 1000, "web_fetch_requests": 3}}

    [row] = await rows_of([line(model="claude-sonnet-5-5", cache_creation=written, **used, **tools)])

    assert list(row) == list(COLUMNS)
    assert list(row.values()) == [
        *("a", "succeeded", "end_turn", "claude-sonnet-5-5"),
        *("1000000", "1000000", "1000000", "2000000", "4000000", "1000", "3"),
        *("21.45", "Hello", ""),
    ]


async def test_rows_cost_together_what_the_summary_costs() -> None:
    """Also over a band, in a geography with a factor, and beside a model without a price."""
    lines = [
        *(line(str(number), input_tokens=50_000, output_tokens=number) for number in range(100)),
        line("long", model="claude-haiku-5-5", input_tokens=500_001, cache_read_input_tokens=3),
        line("short", model="claude-haiku-5-5", input_tokens=7),
        line("us", model="claude-opus-5-5", input_tokens=1001, output_tokens=7, inference_geo="us"),
        line("unknown", model="claude-does-not-exist-9", input_tokens=7),
        line("name", model="claude-opus-5-5" + "x" * 9000, input_tokens=7),
        b'{"custom_id":"u","result":{"type":"succeeded","message":{"model":"claude-opus-5-5"}}}',
        b'{"custom_id":"e","result":{"type":"errored","error":{"error":{"type":"api_error","message":"why"}}}}',
    ]
    builder, table = SummaryBuilder(PriceList()), Table(PriceList())
    for position, each in enumerate(lines):
        builder.add(read_result(each), position)

    rows = await rows_of(lines, table)

    cost = PriceList().cost(builder.build().usage)
    assert sum(Decimal(row["cost"] or 0) for row in rows) == cost.amount == table.cost
    assert (table.rows, table.unpriced) == (107, 3)
    assert [row["cost"] for row in rows[-4:]] == [""] * 4
    assert rows[-1]["error"] == "api_error: why"


async def test_a_table_of_nothing_has_its_head() -> None:
    pieces = [piece async for piece in csv_of(Table(PriceList()), stream([]), bom=True)]

    assert b"".join(pieces).decode("utf-8-sig") == ",".join(COLUMNS) + "\r\n"


async def test_parquet_has_types_and_row_groups() -> None:
    lines = [line(str(number), text="\ud83d=1\0", input_tokens=number) for number in range(10_001)]

    data = b"".join([piece async for piece in parquet_of(Table(PriceList()), stream(lines))])

    file = parquet.ParquetFile(BufferReader(data))
    kinds = {each.name: str(each.type) for each in file.schema_arrow}
    assert file.num_row_groups == 2
    assert file.read().column("input_tokens").to_pylist() == list(range(10_001))
    assert file.read().column("text")[0].as_py() == "?=1\0"
    assert file.read().column("cost")[1].as_py() == Decimal("0.000001")
    assert {name for name, kind in kinds.items() if kind == "int64"} == {
        *(name for name in COLUMNS if name.endswith("_tokens")),
        *("web_searches", "web_fetches"),
    }
    assert (kinds["cost"], kinds["text"]) == ("decimal128(38, 12)", "string")


def test_without_pyarrow_the_extra_is_named() -> None:
    code = """
import asyncio, sys
sys.modules["pyarrow"] = None
from message_batches.prices import PriceList
from message_batches.errors import ExtraMissing
from message_batches.results.tables import Table, parquet_of
async def make():
    async for _ in parquet_of(Table(PriceList()), None):
        pass
try:
    asyncio.run(make())
except ExtraMissing as error:
    print(error)
"""
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout

    assert "message-batches[parquet]" in said
