r"""JSONL bytes split into lines on `\n` only."""

from message_batches.errors import InvalidRequests, MessageBatchesError

MAX_BODY_BYTES = 256_000_000


class Splitter:
    r"""Bytes into lines, at the byte `\n` and nowhere else: U+2028 and U+0085 occur inside JSON strings.

    Args:
        too_long: raised for a line longer than a batch, so that memory stays bounded.
    """

    def __init__(self, too_long: type[MessageBatchesError] = InvalidRequests) -> None:
        self._too_long = too_long
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        r"""The lines that `data` completes, without their `\n`."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
            lines[0] = self._whole(lines[0])
        self._hold(rest)
        return lines

    def views(self, data: bytes) -> list[memoryview]:
        """The same lines, not copied but for one that began in an earlier piece: for long lines, in great number."""
        lines: list[memoryview] = []
        view = memoryview(data)
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            lines.append(view[start:end])
            start = end + 1
        if lines:
            lines[0] = memoryview(self._whole(lines[0]))
        self._hold(data[start:])
        return lines

    def end(self) -> list[bytes]:
        r"""The last line, where it has no `\n`."""
        rest = self._whole(b"")
        return [rest] if rest else []

    def _whole(self, end: bytes | memoryview) -> bytes:
        """The line that ends so, with what was held of it."""
        line = b"".join([*self._held, end])
        self._held.clear()
        self._size = 0
        return line

    def _hold(self, rest: bytes) -> None:
        self._held.append(rest)
        self._size += len(rest)
        if self._size > MAX_BODY_BYTES:
            raise self._too_long(f"A line is longer than {MAX_BODY_BYTES:,} bytes, which no request or result is")
