"""A directory as a store, where obstore looks away, is slow, or does not see to it that the disk keeps what it took."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from message_batches.ports import Stored
from message_batches.store_names import FOLDERS

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


def read(root: Path, name: str) -> Iterator[bytes]:
    """A file in chunks of 1 MiB; obstore goes through it in pieces of 8 KiB, at several times the cost.

    `FileNotFoundError` also for what is no file, and for what is behind a link in the directory or in our folders:
    whoever may name a file and make a link would read with our eyes.
    """
    with open(_opened(root, name), "rb", buffering=0) as opened:
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


def _opened(root: Path, name: str) -> int:
    """A descriptor of a regular file; each step is taken from the one before, so that no link can be put in between."""
    folders = name.split("/")
    file = folders.pop()
    if folders and folders[0] in FOLDERS:
        root /= folders.pop(0)
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            above, here = here, os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(above)
        # Without waiting: a pipe would hold the thread until somebody writes into it.
        found = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise FileNotFoundError(errno.ENOENT, "no file, or behind a link", name) from error
        raise
    finally:
        os.close(here)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise FileNotFoundError(errno.ENOENT, "no file", name)
    return found
