"""Files in a directory as a store: no link in it is followed, and every file that is put is synced to disk."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from message_batches.storage.interface import StoredObject
from message_batches.storage.paths import FOLDERS

PAGE_SIZE = 1000
CHUNK_BYTES = 1024 * 1024
MAX_TRIES = 20
_WRITE_OUT_BYTES = 8 * CHUNK_BYTES
"""Bytes of a file after which the disk begins to write them, so that the sync at the end waits for the last ones."""


def walk(root: Path, folder: str) -> Iterator[list[StoredObject]]:
    """List every file under a folder, in pages; the folder itself may be a link, links in it are skipped.

    No object is behind a link, and a link to a folder above would never end.
    """
    page: list[StoredObject] = []
    for where, _, files in os.walk(root / folder, onerror=_raise):
        for name in files:
            path = Path(where, name)
            try:
                seen = path.stat()
            except OSError:
                if os.path.lexists(path) and not path.is_symlink():
                    raise
                continue  # A dangling link, or a file that was removed meanwhile.
            modified = datetime.fromtimestamp(seen.st_mtime, UTC)
            page.append(StoredObject(path.relative_to(root).as_posix(), seen.st_size, modified))
            if len(page) == PAGE_SIZE:
                yield page
                page = []
    yield page


def read(root: Path, name: str) -> Iterator[bytes]:
    """Read a file in chunks of 1 MiB.

    `FileNotFoundError` also for anything but a regular file, and for one behind a link in the directory or in the
    store's folders: otherwise a caller who can make a link could read any file of this process.
    """
    with open(_open_file(root, name), "rb", buffering=0) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk


def put(root: Path, name: str, chunks: Iterable[bytes], *, new: bool = False) -> None:
    """Write a file, completely or not at all, and sync it: an intent lost in a power cut could pay for a batch twice.

    Replaces any old file; with `new` raises `FileExistsError` instead. Nothing is written behind a link. Other users
    can read neither the file nor a folder that is made for it.
    """
    for tries_left in reversed(range(MAX_TRIES)):
        with ExitStack() as opened:
            try:
                folders = _open_folders(root, name, opened, create=True)
                draft, descriptor = _new_draft(Path(name).name, folders[-1])
            except FileNotFoundError:
                if tries_left:
                    continue  # A purge has just removed the empty folder.
                raise
            _write_draft(descriptor, draft, Path(name).name, folders[-1], chunks, new=new)
            for folder in reversed(folders):
                os.fsync(folder)
            return


def unlink(root: Path, name: str) -> None:
    """Remove a file, if it exists, and the folder of its run or batch, if that is empty afterwards."""
    with ExitStack() as opened, suppress(FileNotFoundError):
        folders = _open_folders(root, name, opened)
        path = Path(name)
        with suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=folders[-1])
        if len(folders) > 2:
            with suppress(OSError):
                os.rmdir(path.parent.name, dir_fd=folders[-2])


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _open_file(root: Path, name: str) -> int:
    """Open a regular file and return its descriptor."""
    try:
        with ExitStack() as opened:
            folders = _open_folders(root, name, opened)
            # Without blocking: a pipe would hold the thread until another process writes into it.
            found = os.open(Path(name).name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folders[-1])
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise FileNotFoundError(errno.ENOENT, "not a file, or behind a link", name) from error
        raise
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise FileNotFoundError(errno.ENOENT, "not a regular file", name)
    return found


def _open_folders(root: Path, name: str, opened: ExitStack, *, create: bool = False) -> list[int]:
    """Open the folders from the root to a file's own, and return their descriptors.

    Each folder is opened relative to the one before, so that no link can be put in between; the root and the store's
    own folders in it may be links.
    """
    folders: list[int] = []

    def step(folder: str | Path, flags: int) -> None:
        folders.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | flags, dir_fd=folders[-1] if folders else None))
        opened.callback(os.close, folders[-1])

    step(root, 0)
    for folder in name.split("/")[:-1]:
        if create:
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700, dir_fd=folders[-1])
        step(folder, 0 if len(folders) == 1 and folder in FOLDERS else os.O_NOFOLLOW)
    return folders


def _new_draft(file: str, folder: int) -> tuple[str, int]:
    """Create a file next to that one, and return its name, which no object can have, and its descriptor."""
    for number in count(1):
        with suppress(FileExistsError):
            draft = f"{file}#{number}"
            return draft, os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
    raise AssertionError("unreachable")


def _write_draft(descriptor: int, draft: str, file: str, folder: int, chunks: Iterable[bytes], *, new: bool) -> None:
    """Write a draft and give it the file's name; a failure leaves nothing behind."""
    try:
        with open(descriptor, "wb", buffering=CHUNK_BYTES) as opened:
            begun = size = 0
            for chunk in chunks:
                opened.write(chunk)
                size += len(chunk)
                if size - begun >= _WRITE_OUT_BYTES:
                    opened.flush()
                    _begin_write_out(descriptor, begun, size - begun)
                    begun = size
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


def _begin_write_out(descriptor: int, start: int, length: int) -> None:
    """Have the disk begin to write a part of a file, without waiting for it.

    Linux does so before it forgets clean pages, and keeps the pages that are being written.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)
