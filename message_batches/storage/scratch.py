"""A scratch file: on disk, without a name, removed when it is closed or its process dies."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from message_batches.errors import StoreUnavailable, why

CHUNK_BYTES = 1024 * 1024


@contextmanager
def scratch_file(folder: Path | None) -> Iterator["Scratch"]:
    """Create a file in `folder`, by default the system's temporary one; `StoreUnavailable` if that fails."""
    with _failures(folder):
        if folder:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
    with file:
        yield Scratch(file.fileno(), folder)


class Scratch:
    """A file that is appended to, then read anywhere; by `pread`, since mapped pages would count as memory."""

    def __init__(self, descriptor: int, folder: Path | None, *, start: int = 0, size: int = 0) -> None:
        self._descriptor = descriptor
        self._folder = folder
        self._start = start
        self.size = size

    def part(self, start: int, end: int) -> "Scratch":
        """Return a part of the file, to be read alone."""
        return Scratch(self._descriptor, self._folder, start=self._start + start, size=end - start)

    def append(self, data: bytes | memoryview) -> None:
        """Append data; `StoreUnavailable` if the disk is full."""
        left = memoryview(data)
        with _failures(self._folder):
            while left:
                written = os.write(self._descriptor, left)
                left = left[written:]
        self.size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset`, fewer only at the end."""
        length, offset = min(length, self.size - offset), self._start + offset
        with _failures(self._folder):
            data = os.pread(self._descriptor, length, offset)
            while len(data) < length and (more := os.pread(self._descriptor, length - len(data), offset + len(data))):
                data += more
        return data

    def gather(self, spans: Iterable[tuple[int, int]]) -> bytes:
        """Read many spans, each an offset and a length, and join them."""
        with _failures(self._folder):
            return b"".join([self._whole(offset, length) for offset, length in spans])

    def _whole(self, offset: int, length: int) -> bytes:
        data = os.pread(self._descriptor, length, self._start + offset)
        return data if len(data) == length else self.read(offset, length)

    def chunks(self, end: int) -> Iterator[bytes]:
        """Read the first `end` bytes, in chunks of 1 MiB."""
        for start in range(0, end, CHUNK_BYTES):
            yield self.read(start, min(CHUNK_BYTES, end - start))


@contextmanager
def _failures(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise StoreUnavailable(
            f"the scratch folder {where} cannot be used: {why(error)}. Free space there, or set MESSAGE_BATCHES_SCRATCH"
        ) from error
