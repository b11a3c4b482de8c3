"""A CSV file of the user's own that is joined to results: a row for each request, found by its custom_id."""

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from message_batches.errors import MessageBatchesError
from message_batches.results.tables import COLUMNS

MAX_ROWS = 1_000_000
"""Rows of a file: where each begins is in memory, some 200 MB for so many."""


class FileNotJoined(MessageBatchesError):
    """A file that cannot be read, is not CSV in UTF-8, or lacks what a join needs."""


@dataclass
class _Place:
    """A line of a file that is read, and where it begins."""

    number: int = 0
    offset: int = 0


class JoinedFile:
    """A CSV file of the user's own, with a row for each request; a row is read again when it is asked for.

    `FileNotJoined` if it cannot be read, or has an id twice.

    Args:
        path: the file; its columns are separated by commas, semicolons or tabs.
        column: the name of the column that has the custom_ids.

    Attributes:
        columns: their names; one that results have as well begins with `joined_` here.
        rows: how many there are.
    """

    def __init__(self, path: Path, column: str) -> None:
        self._path = path
        if path.exists() and not path.is_file():
            raise FileNotJoined(f"{path} is not a regular file, and its rows are read more than once: make it one")
        try:
            self._file: IO[bytes] = path.open("rb")
        except OSError as error:
            raise FileNotJoined(f"{path} cannot be read: {error.strerror or error}") from error
        try:
            self._index(column)
        except BaseException:
            self._file.close()
            raise

    def cells(self, custom_id: str) -> list[str] | None:
        """Return the row of a request; None if there is none."""
        offset = self._offsets.get(custom_id)
        if offset is None:
            return None
        cells = next(self._records(_Place(), offset), [])
        if len(cells) != len(self.columns) or cells[self._key] != custom_id:
            raise FileNotJoined(f"{self._path} has changed while it was read: run the command again")
        return cells

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _index(self, column: str) -> None:
        # By default a cell has at most 131,072 characters.
        csv.field_size_limit(2**31 - 1)
        names = self._header(column)
        self._key = names.index(column)
        self.columns = tuple(f"joined_{name}" if name in COLUMNS else name for name in names)
        if twice := {name for name in self.columns if self.columns.count(name) > 1}:
            raise FileNotJoined(f"{self._path} has two columns {min(twice)!r}: rename one of them")
        self._offsets: dict[str, int] = {}
        place, begins, line = _Place(), 0, 0
        for cells in self._records(place, 0):
            if line and cells:
                self._add(cells, begins, line + 1)
            begins, line = place.offset, place.number
        self.rows = len(self._offsets)

    def _header(self, column: str) -> list[str]:
        """Return the names of the columns, separated by the sign that makes `column` one of them."""
        names: list[str] = []
        for self._separator in (",", ";", "\t"):
            found = next(self._records(_Place(), 0), [])
            if column in found:
                return found
            names = max(names, found, key=len)
        listed = ", ".join(map(repr, names[:20]))
        raise FileNotJoined(f"{self._path} has no column {column!r}; its first line has {listed or 'none'}")

    def _add(self, cells: list[str], offset: int, line: int) -> None:
        if len(cells) != len(self.columns):
            raise FileNotJoined(f"{self._path}, line {line}: {len(cells)} cells, and {len(self.columns)} columns")
        if cells[self._key] in self._offsets:
            raise FileNotJoined(f"{self._path}, line {line}: {cells[self._key]!r} is there a second time")
        if len(self._offsets) >= MAX_ROWS:
            raise FileNotJoined(f"{self._path} has more than {MAX_ROWS:,} rows: leave out those of other batches")
        self._offsets[cells[self._key]] = offset

    def _records(self, place: _Place, offset: int) -> Iterator[list[str]]:
        """Yield the rows from a place in the file on; a row takes no more lines than it has."""
        self._file.seek(offset)
        place.offset = offset

        def lines() -> Iterator[str]:
            for line in self._file:
                place.number += 1
                place.offset += len(line)
                yield (line.removeprefix(BOM_UTF8) if place.offset == len(line) else line).decode()

        try:
            yield from csv.reader(lines(), delimiter=self._separator, strict=True)
        except UnicodeDecodeError as error:
            raise FileNotJoined(
                f"{self._path}, line {place.number}: not UTF-8. Save it as `CSV UTF-8`, or convert it with iconv"
            ) from error
        except csv.Error as error:
            raise FileNotJoined(f"{self._path}, line {place.number}: not CSV: {error}") from error
