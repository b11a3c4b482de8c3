"""Writing bytes from the store into a user's file, completely or not at all, or to standard output."""

import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import IO

from message_batches.errors import MessageBatchesError


class FileNotWritten(MessageBatchesError):
    """A file that exists already, or cannot be written."""


async def save(path: Path, pieces: AsyncIterable[bytes], *, force: bool = False) -> int:
    """Write a file that appears completely or not at all; return its size in bytes."""
    refuse_existing(path, force=force)
    size = 0
    with _draft(path) as file:
        async for piece in pieces:
            size += file.write(piece)
    return size


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file in the same directory, which becomes the requested one at the end."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            draft = Path(file.name)
            try:
                yield file
            except BaseException:
                draft.unlink()
                raise
        # A temporary file can be read by its owner alone; the requested file is like any other.
        umask = os.umask(0)
        os.umask(umask)
        draft.chmod(0o666 & ~umask)
        draft.replace(path)
    except OSError as error:
        raise FileNotWritten(f"{path} cannot be written: {error.strerror or error}") from error


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise `FileNotWritten` for a file that may not be overwritten, or a directory."""
    if path.is_dir():
        raise FileNotWritten(f"{path} is a directory: name a file in it")
    if path.exists() and not force:
        raise FileNotWritten(f"{path} exists already: name another file, or overwrite it with --force")


async def write_out(pieces: AsyncIterable[bytes]) -> None:
    """Write to standard output."""
    async for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
