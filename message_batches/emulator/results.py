"""Results as a stream of chunks, with the damage that faults cause."""

import zlib
from collections.abc import Iterable, Iterator, Sequence

from message_batches.emulator.batches import Batch, BatchEnd
from message_batches.emulator.faults import Fault
from message_batches.emulator.reply_generation import ReplyWriter

_CHUNK = 128 * 1024
_TEXT = '"text":"'
_IN_TEXT = {
    # Characters that other line splitters take for the end of a line.
    "u2028": "One\u2028line\u0085still. ",
    # Half of an emoji, as a model's output can be cut: valid JSON, but not valid text.
    "lone-surrogate": "Half an emoji: \\ud83d ",
}


def chunks(batch: Batch, end: BatchEnd, reply_bytes: int, damage: Sequence[Fault] = ()) -> Iterator[bytes]:
    """Yield the result lines of a batch that has ended, in pieces of about 128 KiB."""
    write = ReplyWriter(batch, end, reply_bytes).line
    lines: Iterable[str] = map(write, range(len(batch)))
    for fault in damage:
        given = fault.number("line")
        lines = _damaged(lines, fault.name, len(batch) // 2 if given is None else int(given))
    pending: list[str] = []
    size = 0
    for line in lines:
        pending.append(line)
        size += len(line)
        if size >= _CHUNK:
            yield "".join(pending).encode()
            pending.clear()
            size = 0
    if pending:
        yield "".join(pending).encode()


def _damaged(lines: Iterable[str], name: str, at: int) -> Iterator[str]:
    waiting = True
    for number, line in enumerate(lines):
        if not waiting or number < at:
            yield line
        elif name in _IN_TEXT:
            # A line without text cannot be damaged in this way: the next one with text is.
            waiting = _TEXT not in line
            yield line.replace(_TEXT, _TEXT + _IN_TEXT[name], 1)
        else:
            waiting = False
            if name != "missing-line":
                yield line
            if name == "duplicate-line":
                yield line
            if name == "foreign-line":
                yield '{"custom_id":"of-another-batch","result":{"type":"canceled"}}\n'


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Compress with gzip."""
    packer = zlib.compressobj(level=1, wbits=31)
    for piece in pieces:
        packed = packer.compress(piece)
        if packed:
            yield packed
    yield packer.flush()


def cut(pieces: Iterable[bytes], at: int) -> Iterator[bytes]:
    """Keep the first `at` bytes."""
    for piece in pieces:
        if at <= 0:
            return
        yield piece[:at]
        at -= len(piece)


def paced(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Split into pieces of at most `size` bytes."""
    for piece in pieces:
        for start in range(0, len(piece), size):
            yield piece[start : start + size]
