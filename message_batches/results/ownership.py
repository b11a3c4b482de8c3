"""The proof that a batch is ours: its results are for exactly our custom_ids, and may be answers to our requests."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping

from message_batches.concurrency import process_in_thread
from message_batches.errors import OwnerUndecided, ResultsIncomplete
from message_batches.jsonl import LONG_LINE, Splitter, without_bom
from message_batches.results.contradictions import Expected, contradiction_of, refutes
from message_batches.results.parser import read_result
from message_batches.results.validation import MAX_EXTRA_LINES

PIECE_BYTES = 64 * 1024
MAX_EXAMPLE = 300
"""Characters of an answer's contradiction that an error repeats."""

FOREIGN_LIMIT = 100
"""The number of foreign custom_ids that proves a foreign batch; fewer may be damaged lines."""


async def are_ours(chunks: AsyncIterable[bytes], expected: Mapping[str, Expected]) -> bool:
    """Return whether results are for exactly these custom_ids, each once, and contradict none of the requests.

    `ResultsIncomplete` if that is undecided, such as for a single foreign line among ours; `OwnerUndecided` if a few
    answers contradict their requests, since taking our own batch for foreign would pay for it twice.
    """
    check = _OwnershipCheck(expected)
    await process_in_thread(_until_foreign(chunks, check), check.feed)
    return check.verdict()


async def _until_foreign(chunks: AsyncIterable[bytes], check: "_OwnershipCheck") -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if len(check.foreign) >= FOREIGN_LIMIT:
            return
        yield chunk


class _OwnershipCheck:
    """Compares result lines with our requests, by custom_id."""

    def __init__(self, expected: Mapping[str, Expected]) -> None:
        self.foreign: set[str] = set()
        self._count = len(expected)
        self._missing = set(expected)
        self._expected = expected
        self._contradicting = 0
        self._example = ""
        self._repeated = 0
        self._line_feeds = 0
        self._malformed = 0
        self._splitter = Splitter(ResultsIncomplete)

    def feed(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            if len(self.foreign) >= FOREIGN_LIMIT:
                return
            piece = data[start : start + PIECE_BYTES]
            self._line_feeds += piece.count(b"\n")
            if self._line_feeds > 2 * self._count + MAX_EXTRA_LINES:
                raise ResultsIncomplete(
                    f"The owner of these results is undecided: {self._line_feeds:,} lines arrived for "
                    f"{self._count:,} requests, and the download went on"
                )
            self._add_lines(self._splitter.feed(piece))

    def verdict(self) -> bool:
        if len(self.foreign) >= FOREIGN_LIMIT:
            return False
        self._add_lines(self._splitter.end())
        arrived = self._count - len(self._missing) + len(self.foreign)
        if not self._malformed and not self._repeated and arrived == self._count:
            if not self._missing and not self._contradicting:
                return True
            if refutes(self._contradicting, self._count):
                return False
            if not self._missing:
                raise OwnerUndecided(
                    f"The owner of these results is undecided: {self._contradicting:,} of {self._count:,} cannot be "
                    f"answers to the requests with their custom_ids ({self._example})"
                )
            if len(self.foreign) > 1 or self._count == 1:
                return False
        raise ResultsIncomplete(
            f"The owner of these results is undecided: of {self._count:,} custom_ids {len(self._missing):,} are "
            f"missing, {self._repeated:,} repeated, {len(self.foreign):,} foreign; {self._malformed:,} lines are not "
            "results"
        )

    def _add_lines(self, lines: list[bytes]) -> None:
        for line in map(without_bom, lines):
            if len(line) <= LONG_LINE and not bytes(line).strip():
                continue
            try:
                custom_id = read_result(line).custom_id
            except ValueError:
                self._malformed += 1
                continue
            if custom_id in self._missing:
                self._missing.discard(custom_id)
                if why := contradiction_of(line, self._expected[custom_id]):
                    self._contradicting += 1
                    self._example = self._example or f"{custom_id}: {why}"[:MAX_EXAMPLE]
            elif custom_id in self._expected or custom_id in self.foreign:
                self._repeated += 1
            else:
                self.foreign.add(custom_id)
