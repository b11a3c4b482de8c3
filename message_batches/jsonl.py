r"""JSONL bytes split into lines on `\n` only."""

from message_batches.errors import InvalidRequests, MessageBatchesError

MAX_BODY_BYTES = 256_000_000
BOM = b"\xef\xbb\xbf"
"""A mark that some programs put before UTF-8: not part of the first line."""


class Splitter:
    r"""Splits bytes into lines, at the byte `\n` and nowhere else: U+2028 and U+0085 occur inside JSON strings.

    Args:
        too_long: raised for a line longer than a whole batch, to limit memory.
    """

    def __init__(self, too_long: type[MessageBatchesError] = InvalidRequests) -> None:
        self._too_long = too_long
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        r"""Return the lines that `data` completes, without their `\n`."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
            lines[0] = self._join(lines[0])
        self._hold(rest)
        return lines

    def views(self, data: bytes) -> list[memoryview]:
        """Return the same lines without copies, except of one that began in an earlier piece: for many long lines."""
        lines: list[memoryview] = []
        view = memoryview(data)
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            lines.append(view[start:end])
            start = end + 1
        if lines:
            lines[0] = memoryview(self._join(lines[0]))
        self._hold(data[start:])
        return lines

    def end(self) -> list[bytes]:
        r"""Return the last line, if it has no `\n`."""
        rest = self._join(b"")
        return [rest] if rest else []

    def _join(self, end: bytes | memoryview) -> bytes:
        """Join the end of a line with its earlier pieces."""
        line = b"".join([*self._held, end])
        self._held.clear()
        self._size = 0
        return line

    def _hold(self, rest: bytes) -> None:
        self._held.append(rest)
        self._size += len(rest)
        if self._size > MAX_BODY_BYTES:
            raise self._too_long(f"A line is longer than {MAX_BODY_BYTES:,} bytes, the limit of a whole batch")
