"""A directory as a store, where obstore looks away, is slow, or does not see to it that the disk keeps what it took."""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from message_batches.ports import Stored

PAGE = 1000
CHUNK_BYTES = 1024 * 1024


def walk(root: Path, folder: str) -> Iterator[list[Stored]]:
    """Every file under a folder of a directory, a page at a time; the folder may be a link, those in it are passed by.

    obstore follows the others too, and a link that leads back makes it fail. Nothing of a run is behind one.
    """
    page: list[Stored] = []
    for where, _, files in os.walk(root / folder, onerror=_raise):
        for name in files:
            path = Path(where, name)
            try:
                seen = path.stat()
            except OSError:
                if os.path.lexists(path) and not path.is_symlink():
                    raise
                continue  # A link that leads nowhere, or gone by now.
            modified = datetime.fromtimestamp(seen.st_mtime, UTC)
            page.append(Stored(path.relative_to(root).as_posix(), seen.st_size, modified))
            if len(page) == PAGE:
                yield page
                page = []
    yield page


def read(file: Path) -> Iterator[bytes]:
    """A file in chunks of 1 MiB; obstore goes through it in pieces of 8 KiB, at several times the cost."""
    with file.open("rb", buffering=0) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk


def sync(root: Path, name: str) -> None:
    """Have the disk keep a file and the way to it: after a power cut, a lost intent could buy a batch twice."""
    path = root / name
    for step in (path, *path.relative_to(root).parents):
        descriptor = os.open(root / step, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def unlink(root: Path, name: str) -> None:
    """Remove a file, if it is there, and the folder of its run or batch, if that is empty without it.

    An upload that begins meanwhile makes that folder again, but fails if the one above it goes at the same moment.
    """
    path = root / name
    path.unlink(missing_ok=True)
    if name.count("/") > 1:
        with suppress(OSError):
            path.parent.rmdir()


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
