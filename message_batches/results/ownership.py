"""The proof that a batch is ours: its results are for exactly our custom_ids."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence

from message_batches.concurrency import work_through
from message_batches.errors import ResultsIncomplete
from message_batches.jsonl import Splitter
from message_batches.results.collector import MOST_STRAY
from message_batches.results.parser import read_result

PIECE = 64 * 1024

CERTAINLY_FOREIGN = 100
"""So many foreign custom_ids are no damaged line or two: the rest need not be read."""


async def holds_exactly(chunks: AsyncIterable[bytes], ids: Sequence[str]) -> bool:
    """Whether results are for exactly these custom_ids, each once; `ResultsIncomplete` where they leave it open.

    A single foreign line among ours leaves it open: taking our own batch for foreign would have it bought again.
    """
    lines = _Lines(ids)
    await work_through(_until(chunks, lines), lines.feed, lambda: None)
    return lines.verdict()


async def _until(chunks: AsyncIterable[bytes], lines: "_Lines") -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if len(lines.foreign) >= CERTAINLY_FOREIGN:
            return
        yield chunk


class _Lines:
    """Result lines held against the custom_ids."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.foreign: set[str] = set()
        self._count = len(ids)
        self._missing = set(ids)
        self._ours = frozenset(ids)
        self._repeated = 0
        self._seen = 0
        self._broken = 0
        self._splitter = Splitter(ResultsIncomplete)

    def feed(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            if len(self.foreign) >= CERTAINLY_FOREIGN:
                return
            piece = data[start : start + PIECE]
            self._seen += piece.count(b"\n")
            if self._seen > 2 * self._count + MOST_STRAY:
                raise ResultsIncomplete(
                    f"It stays open whose results these are: {self._seen:,} lines, and more to come"
                )
            self._look(self._splitter.feed(piece))

    def verdict(self) -> bool:
        if len(self.foreign) >= CERTAINLY_FOREIGN:
            return False
        self._look(self._splitter.end())
        arrived = self._count - len(self._missing) + len(self.foreign)
        if not self._broken and not self._repeated and arrived == self._count:
            if not self._missing:
                return True
            if len(self.foreign) > 1 or self._count == 1:
                return False
        raise ResultsIncomplete(
            f"It stays open whose results these are: of {self._count:,} custom_ids {len(self._missing):,} are "
            f"missing, {self._repeated:,} repeated, {len(self.foreign):,} foreign; {self._broken:,} lines no results"
        )

    def _look(self, lines: list[bytes]) -> None:
        for line in lines:
            if not line.strip():
                continue
            try:
                custom_id = read_result(line).custom_id
            except ValueError:
                self._broken += 1
                continue
            if custom_id in self._missing:
                self._missing.discard(custom_id)
            elif custom_id in self._ours or custom_id in self.foreign:
                self._repeated += 1
            else:
                self.foreign.add(custom_id)
