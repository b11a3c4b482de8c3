"""A scratch file: on disk, without a name, gone when it is closed or its process dies."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from message_batches.errors import StoreUnavailable

CHUNK_BYTES = 1024 * 1024


@contextmanager
def scratch_file(folder: Path | None) -> Iterator["Scratch"]:
    """A file in `folder`, by default the system's temporary one; `StoreUnavailable` if it cannot be made."""
    with _failures(folder):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
    with file:
        yield Scratch(file.fileno(), folder)


class Scratch:
    """Appended to, then read anywhere; by `pread`, as mapped pages would count as memory."""

    def __init__(self, descriptor: int, folder: Path | None) -> None:
        self._descriptor = descriptor
        self._folder = folder
        self.size = 0

    def append(self, data: bytes) -> None:
        """Write all of it at the end; `StoreUnavailable` where the disk is full."""
        left = memoryview(data)
        with _failures(self._folder):
            while left:
                written = os.write(self._descriptor, left)
                left = left[written:]
        self.size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, fewer only at the end."""
        with _failures(self._folder):
            data = os.pread(self._descriptor, length, offset)
            while len(data) < length and (more := os.pread(self._descriptor, length - len(data), offset + len(data))):
                data += more
        return data

    def gather(self, places: Iterable[tuple[int, int]]) -> bytes:
        """The bytes at many places, each an offset and a length, one after the other."""
        with _failures(self._folder):
            return b"".join([os.pread(self._descriptor, length, offset) for offset, length in places])

    def chunks(self, end: int) -> Iterator[bytes]:
        """The first `end` bytes, in chunks of 1 MiB."""
        for start in range(0, end, CHUNK_BYTES):
            yield self.read(start, min(CHUNK_BYTES, end - start))


@contextmanager
def _failures(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = folder or tempfile.gettempdir()
        raise StoreUnavailable(
            f"the scratch folder {place} fails: {error.strerror}; free space there, or set MESSAGE_BATCHES_SCRATCH"
        ) from error
