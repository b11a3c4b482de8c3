"""The check of results as they arrive: where each line is in the scratch file, and what is wrong with the lines."""

import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

from message_batches.errors import ResultsIncomplete
from message_batches.jsonl import LONG_LINE, MAX_BODY_BYTES, MAX_RESULT_BYTES, Line, without_bom
from message_batches.prices import PriceList
from message_batches.results.parser import read_result
from message_batches.results.summary import SummaryBuilder
from message_batches.storage.scratch import Scratch

MAX_EXAMPLES = 10
MAX_EXTRA_LINES = 1000
"""Lines beyond twice the expected number, after which no more are read: they would only fill disk and memory."""

CHUNK_BYTES = 1024 * 1024

_one_long_line = threading.Lock()
"""Held while a long line is in memory: landings from several servers go on at the same time."""


class ResultCollector:
    """Collects results in a scratch file, and the offset and length of each line in the order of the requests.

    Args:
        file: receives the stream as it is.
        ids: the custom_ids that must arrive, each once; None if they are not known, which leaves the provider's order.
        expected: how many lines must arrive.
        prices: know from which input on a model costs more.
        hidden: the secrets of the call, which the summary does not repeat.

    Attributes:
        summary: the summary of the lines so far.
        lines: how many have arrived.
        complete_bytes: the size of the part of the scratch file that holds complete lines.
    """

    def __init__(
        self,
        file: Scratch,
        ids: Sequence[str] | None,
        expected: int,
        prices: PriceList | None = None,
        hidden: Sequence[str] = (),
    ) -> None:
        self.summary = SummaryBuilder(prices or PriceList(), hidden)
        self.lines = 0
        self.complete_bytes = 0
        self._file = file
        self._ids = ids
        self._rows = {custom_id: row for row, custom_id in enumerate(ids or ())}
        self._expected = expected
        self._offsets = array("q", [-1]) * len(self._rows)
        self._lengths = array("q", [0]) * len(self._rows)
        self._arrived = 0
        self._line_feeds = 0
        self._duplicate = _Defects("duplicate")
        self._foreign = _Defects("foreign (not among the requests)")
        self._malformed = _Defects("lines that are not results")

    def feed(self, data: bytes) -> None:
        """Add the next piece of the stream.

        Raises `ResultsIncomplete` once there are more lines than any batch has, or a line as long as a whole batch.
        """
        ends = self._ends(data)
        begun = self._file.size - self.complete_bytes
        self._file.append(data)
        view, start = memoryview(data), 0
        for end in ends:
            if begun:
                self._add_begun(begun + end)
                begun = 0
            else:
                self._add(view[start:end])
            start = end + 1
        if self._file.size - self.complete_bytes > MAX_BODY_BYTES:
            raise ResultsIncomplete(
                f"line {self.lines + 1} is longer than {MAX_BODY_BYTES:,} bytes, the limit of a whole batch, and the "
                "download went on"
            )

    def finish(self) -> None:
        """Add the last line, where the stream ended without a newline."""
        if begun := self._file.size - self.complete_bytes:
            malformed = self._malformed.count
            self._file.append(b"\n")
            self._add_begun(begun)
            if self._malformed.count > malformed:
                self.complete_bytes -= begun + 1

    def defects(self) -> str:
        """Describe what is missing or wrong, with up to ten custom_ids of each kind; empty if nothing is."""
        missing = _Defects("missing")
        if self._ids is not None:
            for row, custom_id in enumerate(self._ids):
                if self._offsets[row] < 0:
                    missing.add(custom_id)
        kinds = [missing, self._duplicate, self._foreign, self._malformed]
        texts = [str(kind) for kind in kinds if kind.count]
        if self._ids is None and self._arrived != self._expected:
            texts.insert(0, f"{self._arrived:,} of {self._expected:,} results arrived")
        return "; ".join(texts)

    @property
    def of_other_requests(self) -> bool:
        """Whether they are all the results of a batch, each once, and not of these requests."""
        whole = not self._duplicate.count and not self._malformed.count and self.lines == self._expected
        return whole and self._ids is not None and not self._arrived == self.lines == len(self._ids)

    def ordered(self) -> Iterator[bytes]:
        """Yield the lines in order, each with its newline, in chunks of about 1 MiB, which a long line may span."""
        spans: list[tuple[int, int]] = []
        size = end = 0
        for offset, length in zip(self._offsets, self._lengths, strict=True):
            if offset < 0:
                continue
            # A long line comes in pieces: never whole beside its copy in a chunk.
            while length >= CHUNK_BYTES:
                yield self._file.gather([*spans, (offset, CHUNK_BYTES)])
                spans, size = [], 0
                offset, length = offset + CHUNK_BYTES, length - CHUNK_BYTES
            size += length + 1
            if spans and offset == end:
                # Lines that have come one after the other are read at once.
                start, before = spans.pop()
                spans.append((start, before + length + 1))
            else:
                spans.append((offset, length + 1))
            end = offset + length + 1
            if size >= CHUNK_BYTES:
                yield self._file.gather(spans)
                spans, size = [], 0
        if spans:
            yield self._file.gather(spans)

    def _ends(self, data: bytes) -> Sequence[int]:
        """Return where lines end; to count the line feeds first would take three times as long."""
        ends = array("q")
        most = 2 * self._expected + MAX_EXTRA_LINES - self._line_feeds
        end = -1
        while (end := data.find(b"\n", end + 1)) >= 0:
            ends.append(end)
            if len(ends) > most:
                lines = self._line_feeds + data.count(b"\n")
                raise ResultsIncomplete(
                    f"{lines:,} lines arrived for {self._expected:,} requests, and the download went on"
                )
        self._line_feeds += len(ends)
        return ends

    def _add_begun(self, length: int) -> None:
        """Add a line that began in an earlier piece: it is read again from the file, and never waits in memory."""
        if length > MAX_RESULT_BYTES:
            self.lines += 1
            self.complete_bytes += length + 1
            self._malformed.add(
                f"line {self.lines}: {length:,} bytes, and no result has more than {MAX_RESULT_BYTES:,}"
            )
            return
        with _one_long_line if length > LONG_LINE else nullcontext():
            self._add(self._file.read(self.complete_bytes, length))

    def _add(self, arrived: Line) -> None:
        line = without_bom(arrived)
        offset = self.complete_bytes + len(arrived) - len(line)
        self.complete_bytes += len(arrived) + 1
        if not line:
            return
        try:
            result = read_result(line)
        except ValueError as error:
            if len(line) > LONG_LINE or bytes(line).strip():
                self.lines += 1
                self._malformed.add(f"line {self.lines}: {error}"[:200])
            return
        self.lines += 1
        self.summary.add(result, self._locate(result.custom_id, offset, len(line)))

    def _locate(self, custom_id: str, offset: int, length: int) -> int:
        """Note where a line is, and return its row in the order of the requests; a foreign line's number instead."""
        row = self._rows.get(custom_id)
        if row is None:
            if self._ids is not None:
                self._foreign.add(custom_id)
                return self.lines
            row = self._rows[custom_id] = len(self._offsets)
            self._offsets.append(-1)
            self._lengths.append(0)
        if self._offsets[row] >= 0:
            self._duplicate.add(custom_id)
            return row
        self._offsets[row] = offset
        self._lengths[row] = length
        self._arrived += 1
        return row


class _Defects:
    """A count of lines with one defect, with the first ten of them as examples."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._examples: list[str] = []
        self.count = 0

    def add(self, example: str) -> None:
        self.count += 1
        if len(self._examples) < MAX_EXAMPLES:
            self._examples.append(example[:200])

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self._examples) else ""
        return f"{self.count:,} {self._description} ({', '.join(self._examples)}{more})"
