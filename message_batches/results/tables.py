"""Results as tables: a row for each request, as CSV for spreadsheets and as Parquet, with columns of the user's own."""

import csv
import io
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Protocol

from message_batches.errors import ExtraMissing
from message_batches.jsonl import BOM
from message_batches.prices import PriceList, Rates, price
from message_batches.result_models import BILLED
from message_batches.results.parser import NOTHING, ResultLine, read_result
from message_batches.results.replies import read_reply
from message_batches.results.summary import MAX_NAME

COLUMNS = (
    "custom_id",
    "outcome",
    "stop_reason",
    "model",
    *(f"{kind}_tokens" for kind in BILLED[:5]),
    *BILLED[5:],
    "cost",
    "text",
    "error",
)
_COUNTS = slice(4, 4 + len(BILLED))

BATCH_ROWS = 1000
BATCH_CHARACTERS = 8_000_000
"""A part of a table that is in memory at a time: whichever comes first."""

MAX_MODELS = 1000
"""Models whose prices are kept: of further ones a row has no cost."""


class OwnColumns(Protocol):
    """Columns of the user's own, beside those of the results."""

    @property
    def columns(self) -> Sequence[str]:
        """Their names."""

    def cells(self, custom_id: str) -> Sequence[str] | None:
        """Return the cells of a request; None if there are none."""


class Table:
    """The rows of results, in their order.

    Args:
        prices: of which each row has its cost.
        own: columns that come before those of `COLUMNS`.

    Attributes:
        rows: how many there are so far.
        cost: what they cost together; None if none of them has a price.
        unpriced: succeeded rows without a usage, or whose model has no price.
        matched: rows that have cells of the user's own.
    """

    def __init__(self, prices: PriceList, own: OwnColumns | None = None) -> None:
        self.columns = (*(own.columns if own else ()), *COLUMNS)
        self.rows = self.unpriced = self.matched = 0
        self.cost: Decimal | None = None
        self._prices = prices
        self._own = own
        self._models: dict[str, tuple[int | None, dict[bool, Rates | None]]] = {}

    def row(self, line: bytes) -> list[Any]:
        """Return the row of a result; None in a cell where there is nothing to be said."""
        result = read_result(line, landed=True)
        billed = result.type == "succeeded"
        cost = self._cost(result) if billed else None
        counts: Sequence[int | None] = result.usage if billed else [None] * len(NOTHING)
        self.rows += 1
        row: list[Any] = [
            result.custom_id,
            result.type,
            result.stop_reason or None,
            result.model or None,
            *counts,
            cost,
            read_reply(line).text if result.type == "succeeded" else None,
            ": ".join(result.error) if result.error else None,
        ]
        if self._own is None:
            return row
        cells = self._own.cells(result.custom_id)
        self.matched += cells is not None
        return [*(cells if cells is not None else [None] * len(self._own.columns)), *row]

    def _cost(self, result: ResultLine) -> Decimal | None:
        # Cut as the summary cuts it: a thousand names of a megabyte each would be kept.
        model = result.model[:MAX_NAME]
        if model not in self._models and len(self._models) < MAX_MODELS:
            over = self._prices.long_context_over(model)
            rates = {long: self._prices.rates(model, long_context=long) for long in (False, True)}
            self._models[model] = over, rates
        over, rates = self._models.get(model, (None, {}))
        prompt = result.usage[0] + sum(result.usage[2:5])
        found = rates.get(over is not None and prompt > over) if result.usage != NOTHING else None
        if found is None:
            self.unpriced += 1
            return None
        cost = price(found, result.usage, result.inference_geo)
        self.cost = cost if self.cost is None else self.cost + cost
        return cost


async def csv_of(table: Table, lines: AsyncIterable[bytes], *, bom: bool = False) -> AsyncIterator[bytes]:
    """Yield a table as CSV: UTF-8, commas, CRLF, quotes where they are needed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([spreadsheet_cell(name) for name in table.columns])
    if bom:
        yield BOM
    async for row in _rows(table, lines):
        writer.writerow([spreadsheet_cell(cell) if isinstance(cell, str) else _number(cell) for cell in row])
        if buffer.tell() >= BATCH_CHARACTERS or table.rows % BATCH_ROWS == 0:
            yield buffer.getvalue().encode("utf-8", "replace")
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode("utf-8", "replace")


async def _rows(table: Table, lines: AsyncIterable[bytes]) -> AsyncIterator[list[Any]]:
    async for line in lines:
        if line.strip():
            yield table.row(line)


def _number(value: Decimal | int | None) -> str:
    return "" if value is None else f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


_CONTROLS = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)], "\ufffd")
"""Control characters other than the tab and the ends of lines: some programs take them for the end of a file."""
_BEGIN_A_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_SKIPPED = (
    "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\ufeff\u200b\u200c\u200d\u2060\"'`\u201c\u201d\u2018\u2019"
)
"""Blanks and quotes before a formula, which programs drop."""


def spreadsheet_cell(text: str) -> str:
    """Return a text as a spreadsheet shows it: without control characters, and never as a formula.

    A text that would be one gets an apostrophe before it, as in https://owasp.org/www-community/attacks/CSV_Injection.
    A number is none.
    """
    text = text.translate(_CONTROLS)
    formula = text.startswith(("\t", "\r")) or text.lstrip(_SKIPPED).startswith(_BEGIN_A_FORMULA)
    return f"'{text}" if formula and not _is_number(text) else text


def _is_number(text: str) -> bool:
    digits = text[1:].replace(".", "", 1)
    return text[0] in "+-" and digits.isascii() and digits.isdigit()


_MONEY = Context(prec=38)


async def parquet_of(table: Table, lines: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield a table as Parquet, in row groups; `ExtraMissing` where `pyarrow` is not installed."""
    try:
        import pyarrow  # type: ignore[import-untyped]  # It ships no types.
        from pyarrow import parquet
    except ImportError as error:
        raise ExtraMissing(
            f"Parquet needs pyarrow ({error}): install message-batches with the extra `parquet`, as in "
            "`pip install 'message-batches[parquet]'`"
        ) from error
    kinds = dict.fromkeys(COLUMNS[_COUNTS], pyarrow.int64()) | {"cost": pyarrow.decimal128(38, 12)}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in table.columns])
    out = _Pieces()
    with parquet.ParquetWriter(pyarrow.PythonFile(out, mode="w"), schema, compression="zstd") as writer:

        def write(rows: Sequence[list[Any]]) -> bytes:
            columns = dict(zip(table.columns, zip(*rows, strict=True), strict=True))
            columns["cost"] = tuple(map(_money, columns["cost"]))
            writer.write_table(pyarrow.table(columns, schema))
            return out.take()

        rows: list[list[Any]] = []
        characters = 0
        async for row in _rows(table, lines):
            rows.append(row)
            characters += sum(len(cell) for cell in row if isinstance(cell, str))
            if len(rows) >= 10 * BATCH_ROWS or characters >= BATCH_CHARACTERS:
                yield write(rows)
                rows, characters = [], 0
        if rows:
            yield write(rows)
    yield out.take()


def _money(cost: Decimal | None) -> Decimal | None:
    """Return an amount as the column takes it; None for one of more digits, which no result costs."""
    try:
        return None if cost is None else cost.quantize(Decimal("1e-12"), context=_MONEY)
    except InvalidOperation:
        return None


class _Pieces:
    """A file to be written, of which the caller takes the bytes as they come."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._size += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Do nothing: all is taken as it comes."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken
