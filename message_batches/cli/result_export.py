"""Bytes from the store into a user's file, whole or not at all, or to standard output."""

import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from message_batches.errors import MessageBatchesError
from message_batches.results.parser import Result, read_result


class FileNotWritten(MessageBatchesError):
    """A file that is there already, or cannot be made."""


async def save(path: Path, pieces: AsyncIterable[bytes], *, force: bool = False) -> int:
    """Write a file that appears whole or not at all; its size in bytes."""
    refuse_existing(path, force=force)
    size = 0
    with _draft(path) as file:
        async for piece in pieces:
            size += file.write(piece)
    return size


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[IO[bytes]]:
    """A file beside the one that is wanted, which takes its place at the end."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            draft = Path(file.name)
            try:
                yield file
            except BaseException:
                draft.unlink()
                raise
        # A temporary file is for its owner alone; the file that is asked for is like any other.
        umask = os.umask(0)
        os.umask(umask)
        draft.chmod(0o666 & ~umask)
        draft.replace(path)
    except OSError as error:
        raise FileNotWritten(f"{path} cannot be written: {error.strerror or error}") from error


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise `FileNotWritten` for a file that may not be written over, or a directory."""
    if path.is_dir():
        raise FileNotWritten(f"{path} is a directory: name a file in it")
    if path.exists() and not force:
        raise FileNotWritten(f"{path} is there already: name another file, or write over it with --force")


async def write_out(pieces: AsyncIterable[bytes]) -> None:
    """Write to standard output."""
    async for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


TO_BE_CORRECTED = frozenset({"invalid_request_error", "not_found_error", "request_too_large"})
"""Errors that the same request gets again; any other one may pass by itself, as the API's reference says."""


class _Request(msgspec.Struct):
    custom_id: str


_decode = msgspec.json.Decoder(_Request).decode


@dataclass
class Selection:
    """The custom_ids without a reply: expired, canceled or errored.

    Attributes:
        again: worth sending as they are.
        invalid: to be corrected first.
    """

    again: set[str] = field(default_factory=set)
    invalid: set[str] = field(default_factory=set)

    def add(self, result: Result) -> None:
        """Sort a result in."""
        if result.type == "succeeded":
            return
        kind = result.error[0] if result.error else None
        (self.invalid if kind in TO_BE_CORRECTED else self.again).add(result.custom_id)


async def select(results: AsyncIterable[bytes]) -> Selection:
    """Sort the lines of a results file."""
    selection = Selection()
    async for line in results:
        if line.strip():
            selection.add(read_result(line))
    return selection


async def requests_of(manifest: AsyncIterable[bytes], ids: set[str]) -> AsyncIterator[bytes]:
    """The lines of the manifest for these custom_ids, byte for byte."""
    async for line in manifest:
        if line and _decode(line).custom_id in ids:
            yield line + b"\n"
