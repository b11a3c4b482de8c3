"""What has arrived of a batch's results: where each line lies in the scratch file, and what is wrong with them."""

from array import array
from collections.abc import Iterator, Sequence

from message_batches.errors import ResultsIncomplete
from message_batches.jsonl import Splitter
from message_batches.results.parser import read_result
from message_batches.results.summary import Tally
from message_batches.storage.scratch import Scratch

MAX_NAMED = 10

MOST_STRAY = 1000
"""Lines besides the expected ones, and as many again, after which the rest need not fill disk and memory."""

CHUNK_BYTES = 1024 * 1024


class Arrivals:
    """Results on their way to a scratch file: a row of two numbers a line, in the order of the requests.

    Args:
        file: takes the stream as it is.
        ids: the custom_ids that must arrive, each once; None if they are not known, which leaves the provider's order.
        expected: how many lines must arrive.

    Attributes:
        lines: how many have arrived.
        whole: the bytes of the scratch file that hold whole lines.
    """

    def __init__(self, file: Scratch, ids: Sequence[str] | None, expected: int) -> None:
        self.tally = Tally()
        self.lines = 0
        self.whole = 0
        self._file = file
        self._ids = ids
        self._rows = {custom_id: row for row, custom_id in enumerate(ids or ())}
        self._expected = expected
        self._offsets = array("q", [-1]) * len(self._rows)
        self._lengths = array("q", [0]) * len(self._rows)
        self._arrived = 0
        self._seen = 0
        self._splitter = Splitter(ResultsIncomplete)
        self._duplicate = _Named("duplicate")
        self._foreign = _Named("foreign (not among the requests)")
        self._broken = _Named("lines that are no results")

    def feed(self, data: bytes) -> None:
        """Take the next piece of the stream; `ResultsIncomplete` once it holds more than any batch does."""
        self._seen += data.count(b"\n")
        if self._seen > 2 * self._expected + MOST_STRAY:
            raise ResultsIncomplete(f"{self._seen:,} lines have come for {self._expected:,} requests, and still come")
        self._file.append(data)
        self._look(self._splitter.views(data))

    def finish(self) -> None:
        """The stream has ended: take the last line, where it has no newline."""
        if last := self._splitter.end():
            broken = self._broken.count
            self._file.append(b"\n")
            self._look(last)
            if self._broken.count > broken:
                self.whole -= len(last[0]) + 1

    def defects(self) -> str:
        """What is missing or wrong, with up to ten custom_ids of each kind; empty if nothing is."""
        missing = _Named("missing")
        if self._ids is not None:
            for row, custom_id in enumerate(self._ids):
                if self._offsets[row] < 0:
                    missing.add(custom_id)
        kinds = [missing, self._duplicate, self._foreign, self._broken]
        texts = [str(kind) for kind in kinds if kind.count]
        if self._ids is None and self._arrived != self._expected:
            texts.insert(0, f"{self._arrived:,} of {self._expected:,} results arrived")
        return "; ".join(texts)

    def ordered(self) -> Iterator[bytes]:
        """The lines in order, each with its newline, in chunks of about 1 MiB."""
        spans: list[tuple[int, int]] = []
        size = 0
        for offset, length in zip(self._offsets, self._lengths, strict=True):
            if offset < 0:
                continue
            spans.append((offset, length + 1))
            size += length + 1
            if size >= CHUNK_BYTES:
                yield self._file.gather(spans)
                spans, size = [], 0
        if spans:
            yield self._file.gather(spans)

    def _look(self, lines: Sequence[bytes | memoryview]) -> None:
        for line in lines:
            offset, self.whole = self.whole, self.whole + len(line) + 1
            if not line:
                continue
            try:
                result = read_result(line)
            except ValueError as error:
                if bytes(line).strip():
                    self.lines += 1
                    self._broken.add(f"line {self.lines}: {error}"[:200])
                continue
            self.lines += 1
            self._place(result.custom_id, offset, len(line))
            self.tally.add(result, self._rows.get(result.custom_id, self.lines))

    def _place(self, custom_id: str, offset: int, length: int) -> None:
        row = self._rows.get(custom_id)
        if row is None:
            if self._ids is not None:
                self._foreign.add(custom_id)
                return
            row = self._rows[custom_id] = len(self._offsets)
            self._offsets.append(-1)
            self._lengths.append(0)
        if self._offsets[row] >= 0:
            self._duplicate.add(custom_id)
            return
        self._offsets[row] = offset
        self._lengths[row] = length
        self._arrived += 1


class _Named:
    """A count, with the first ten names."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._names: list[str] = []
        self.count = 0

    def add(self, name: str) -> None:
        self.count += 1
        if len(self._names) < MAX_NAMED:
            self._names.append(name[:200])

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self._names) else ""
        return f"{self.count:,} {self._what} ({', '.join(self._names)}{more})"
