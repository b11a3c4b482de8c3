"""A directory as a store: no link in it is followed, and what is put there the disk has kept."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from message_batches.storage.interface import Stored
from message_batches.storage.names import FOLDERS

PAGE = 1000

CHUNK_BYTES = 1024 * 1024

TRIES = 20


def walk(root: Path, folder: str) -> Iterator[list[Stored]]:
    """Every file under a folder of a directory, a page at a time; the folder may be a link, those in it are passed by.

    Nothing of a run is behind one, and one that leads back would never end.
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
    """A file in chunks of 1 MiB.

    `FileNotFoundError` also for what is no file, and for what is behind a link in the directory or in our folders:
    whoever may name a file and make a link would read with our eyes.
    """
    with open(_opened(root, name), "rb", buffering=0) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk


def put(root: Path, name: str, chunks: Iterable[bytes], *, new: bool = False) -> None:
    """A file, whole or not at all, and kept by the disk: after a power cut, a lost intent could buy a batch twice.

    Over any old one, or only where there is none: `FileExistsError`. Nothing is written behind a link.
    """
    for tries_left in reversed(range(TRIES)):
        with ExitStack() as opened:
            try:
                way = _way_to(root, name, opened, make=True)
                draft, descriptor = _draft(Path(name).name, way[-1])
            except FileNotFoundError:
                if tries_left:
                    continue  # A purge has just removed the folder, which was empty.
                raise
            _fill(descriptor, draft, Path(name).name, way[-1], chunks, new=new)
            for folder in reversed(way):
                os.fsync(folder)
            return


def unlink(root: Path, name: str) -> None:
    """Remove a file, if it is there, and the folder of its run or batch, if that is empty without it."""
    with ExitStack() as opened, suppress(FileNotFoundError):
        way = _way_to(root, name, opened)
        path = Path(name)
        with suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=way[-1])
        if len(way) > 2:
            with suppress(OSError):
                os.rmdir(path.parent.name, dir_fd=way[-2])


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _opened(root: Path, name: str) -> int:
    """A descriptor of a regular file."""
    try:
        with ExitStack() as opened:
            way = _way_to(root, name, opened)
            # Without waiting: a pipe would hold the thread until somebody writes into it.
            found = os.open(Path(name).name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=way[-1])
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise FileNotFoundError(errno.ENOENT, "no file, or behind a link", name) from error
        raise
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise FileNotFoundError(errno.ENOENT, "no file", name)
    return found


def _way_to(root: Path, name: str, opened: ExitStack, *, make: bool = False) -> list[int]:
    """Descriptors of the folders from the root to a file's own.

    Each step is taken from the one before, so that no link can be put in between; the root may be one, and a folder of
    ours in it.
    """
    way: list[int] = []

    def step(folder: str | Path, flags: int) -> None:
        way.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | flags, dir_fd=way[-1] if way else None))
        opened.callback(os.close, way[-1])

    step(root, 0)
    for folder in name.split("/")[:-1]:
        if make:
            with suppress(FileExistsError):
                os.mkdir(folder, dir_fd=way[-1])
        step(folder, 0 if len(way) == 1 and folder in FOLDERS else os.O_NOFOLLOW)
    return way


def _draft(file: str, folder: int) -> tuple[str, int]:
    """A new file beside that one, its name and a descriptor; named as no object can be."""
    for number in count(1):
        with suppress(FileExistsError):
            draft = f"{file}#{number}"
            return draft, os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
    raise AssertionError("unreachable")


def _fill(descriptor: int, draft: str, file: str, folder: int, chunks: Iterable[bytes], *, new: bool) -> None:
    """Write a draft and give it the file's name; whatever goes wrong, nothing of it is left."""
    try:
        with open(descriptor, "wb", buffering=CHUNK_BYTES) as opened:
            for chunk in chunks:
                opened.write(chunk)
            opened.flush()
            os.fsync(descriptor)
        if new:
            os.link(draft, file, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        else:
            os.rename(draft, file, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(draft, dir_fd=folder)
        raise
    if new:
        os.unlink(draft, dir_fd=folder)
