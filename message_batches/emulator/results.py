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
    inserted = [fault for fault in damage if fault.number("at") is not None]
    for fault in damage:
        given = fault.number("line")
        if fault not in inserted:
            within = _IN_TEXT.get(fault.name) or _escaped(fault)
            lines = _damaged(lines, fault.name, within, len(batch) // 2 if given is None else int(given))
    pieces = _pieces(lines)
    for fault in inserted:
        pieces = _with(pieces, bytes.fromhex(fault.text("hex") or ""), int(fault.number("at") or 0))
    yield from pieces


def _pieces(lines: Iterable[str]) -> Iterator[bytes]:
    pending: list[str] = []
    size = 0
    for line in lines:
        pending.append(line)
        size += len(line)
        if size >= _CHUNK:
            yield "".join(pending).encode("utf-8", "surrogateescape")
            pending.clear()
            size = 0
    if pending:
        yield "".join(pending).encode("utf-8", "surrogateescape")


def _escaped(fault: Fault) -> str | None:
    """Return the bytes of an insert as a text that is these bytes once it is encoded."""
    given = fault.text("hex")
    return None if given is None else bytes.fromhex(given).decode("utf-8", "surrogateescape")


def _with(pieces: Iterable[bytes], inserted: bytes, at: int) -> Iterator[bytes]:
    """Insert bytes at a position; at the end, if the results are shorter."""
    for piece in pieces:
        if 0 <= at <= len(piece):
            yield piece[:at] + inserted + piece[at:]
            at = -1
        else:
            yield piece
            at -= len(piece) if at >= 0 else 0
    if at >= 0:
        yield inserted


def _damaged(lines: Iterable[str], name: str, within: str | None, at: int) -> Iterator[str]:
    waiting = True
    for number, line in enumerate(lines):
        if not waiting or number < at:
            yield line
        elif within is not None:
            # A line without text cannot be damaged in this way: the next one with text is.
            waiting = _TEXT not in line
            yield line.replace(_TEXT, _TEXT + within, 1)
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
