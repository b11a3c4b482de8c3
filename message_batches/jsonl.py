r"""JSONL bytes split into lines on `\n` only; lines as long as a batch, without further copies of them."""

import codecs
import io
from collections.abc import AsyncIterator, Iterator, Sequence

from message_batches.errors import InvalidRequests, MessageBatchesError, ResultsIncomplete

MAX_BODY_BYTES = 256_000_000
MAX_RESULT_BYTES = 64_000_000
"""Most bytes of a line of results: 300,000 tokens in escapes take some 10 MB, and documents that tools fetched more."""

BOM = b"\xef\xbb\xbf"
"""A mark that some programs put before UTF-8: not part of the first line."""

BLANK = b" \t\r\n"
LONG_LINE = 1024 * 1024
"""Bytes of a line from which on its values are not built: they can take a hundred times as much memory."""

Line = bytes | memoryview

_PIECE_BYTES = 64 * 1024
_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Splitter:
    r"""Splits bytes into lines, at the byte `\n` and nowhere else: U+2028 and U+0085 occur inside JSON strings.

    Args:
        too_long: raised for a line that is longer than a result may be, or than a whole batch of requests.
    """

    def __init__(self, too_long: type[MessageBatchesError] = InvalidRequests) -> None:
        self._too_long = too_long
        self._most = MAX_RESULT_BYTES if too_long is ResultsIncomplete else MAX_BODY_BYTES
        self._held = io.BytesIO()

    def feed(self, data: bytes) -> list[bytes]:
        r"""Return the lines that `data` completes, without their `\n`."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
            lines[0] = self._join(lines[0])
        self._hold(rest)
        return lines

    def end(self) -> list[bytes]:
        r"""Return the last line, if it has no `\n`."""
        rest = self._join(b"")
        return [rest] if rest else []

    def _join(self, end: bytes) -> bytes:
        """Join the end of a line with its earlier pieces."""
        if not self._held.tell():
            return bytes(end)
        self._held.write(end)
        # The buffer itself, not a copy of it.
        line = self._held.getvalue()
        self._held = io.BytesIO()
        return line

    def _hold(self, rest: bytes) -> None:
        self._held.write(rest)
        if self._held.tell() > self._most:
            self._held = io.BytesIO()  # An error keeps its frames, and they would keep the line.
            whose = "a result" if self._too_long is ResultsIncomplete else "a whole batch"
            raise self._too_long(f"A line is longer than {self._most:,} bytes, the limit of {whose}")


def without_bom(line: Line) -> Line:
    """Return a line without BOMs before it, uncopied: it may be too long to have it twice."""
    while line[: len(BOM)] == BOM:
        line = memoryview(line)[len(BOM) :]
    return line


def strip(line: Line) -> Line:
    """Return a line without the blanks around it; a long one uncopied."""
    if len(line) <= LONG_LINE:
        return bytes(line).strip(BLANK)
    view = memoryview(line)
    while view and not (head := bytes(view[:_PIECE_BYTES]).lstrip(BLANK)):
        view = view[_PIECE_BYTES:]
    if view:
        view = view[len(view[:_PIECE_BYTES]) - len(head) :]
    while view and not (tail := bytes(view[-_PIECE_BYTES:]).rstrip(BLANK)):
        view = view[:-_PIECE_BYTES]
    if view:
        view = view[: len(view) - len(view[-_PIECE_BYTES:]) + len(tail)]
    return view if len(view) > LONG_LINE else bytes(view)


def check_utf8(line: Line) -> None:
    """Raise `ValueError` at a byte that is not UTF-8; a JSON decoder does not check what it skips, keys and values.

    In pieces: a character beyond ASCII makes the text of a whole line up to four times as large as the line.
    """
    try:
        if len(line) <= LONG_LINE:
            str(line, "utf-8")
            return
        decoder = _Utf8Decoder()
        for start in range(0, len(line), LONG_LINE):
            decoder.decode(bytes(line[start : start + LONG_LINE]))
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason})") from error


def join(lines: Sequence[Line]) -> Iterator[Line]:
    r"""Yield lines in few pieces, `\n` after each line; a long one is a piece of its own, and not copied."""
    if max(map(len, lines), default=0) <= LONG_LINE:
        yield b"\n".join([*lines, b""])
        return
    short: list[Line] = []
    for line in lines:
        if len(line) <= LONG_LINE:
            short.append(line)
            continue
        yield b"\n".join([*short, b""])
        short = [b""]
        yield line
    yield b"\n".join([*short, b""])


async def first_of(pieces: AsyncIterator[bytes], count: int) -> list[bytes]:
    """Return the first lines of a file, which is read to its end."""
    found: list[bytes] = []
    splitter = Splitter()
    async for piece in pieces:
        if len(found) < count:
            found += splitter.feed(piece)
    return [*found, *(splitter.end() if len(found) < count else ())][:count]
