"""Writing bytes from the store into a user's file, completely or not at all, or to standard output; its streams."""

import codecs
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from message_batches.errors import MessageBatchesError, why
from message_batches.formatting import spell_out_controls


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
        raise FileNotWritten(f"{path} cannot be written: {why(error)}") from error


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise `FileNotWritten` for a file that may not be overwritten, a directory, or a device, which would be gone."""
    if path == Path("-"):
        raise FileNotWritten("This is not written to standard output (-): name a file")
    if path.is_dir():
        raise FileNotWritten(f"{path} is a directory: name a file in it")
    if path.exists() and not path.is_file():
        raise FileNotWritten(f"{path} is not a regular file, and would be replaced by one: name another file")
    if path.exists() and not force:
        raise FileNotWritten(f"{path} exists already: name another file, or overwrite it with --force")


async def write_out(pieces: AsyncIterable[bytes]) -> bool:
    """Write to standard output, to a terminal nothing that it would obey; return whether its reader took all."""
    try:
        async for piece in _for_terminal(pieces) if sys.stdout.isatty() else pieces:
            with _refusing_full_device():
                sys.stdout.buffer.write(piece)
        with _refusing_full_device():
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        give_up_broken_streams()
        return False
    return True


async def _for_terminal(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Spell out control characters: JSON lets some of them through as they are, and a reply's text has any."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async for piece in pieces:
        yield spell_out_controls(decoder.decode(piece)).encode()
    yield decoder.decode(b"", final=True).encode()


@contextlib.contextmanager
def _refusing_full_device() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FileNotWritten(f"Standard output cannot be written: {why(error)}") from error


def tolerate_any_text() -> None:
    """Have standard output and error replace what their encoding cannot take, and take all if they are closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="replace")
        elif stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # For as long as we run.


def give_up_broken_streams() -> None:
    """Replace standard output and error where they cannot be written, or Python reports it again when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
