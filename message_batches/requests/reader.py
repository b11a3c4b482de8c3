"""A user's file of requests, or standard input: JSONL, an array, or `{"requests": [...]}`, told apart by content."""

import hashlib
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NoReturn

import msgspec

from message_batches.errors import InvalidRequests, MessageBatchesError
from message_batches.jsonl import MAX_BODY_BYTES, Splitter
from message_batches.requests.preflight import Foresight, Forewarning
from message_batches.requests.validation import RequestCheck
from message_batches.serialization import MAX_INLINE_DEPTH, nested_deeper
from message_batches.storage.scratch import Scratch, scratch_file

CHUNK_BYTES = 1024 * 1024

# An array is read whole; somewhat more than a batch takes may be blanks.
MAX_ARRAY_BYTES = 2 * MAX_BODY_BYTES

_BLANK = b" \t\r\n"

_BOM = b"\xef\xbb\xbf"

_OTHER_FORMATS = {
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"%PDF": "a PDF",
}

_REQUESTS_OBJECT = re.compile(rb'\{\s*"requests"\s*:')


class UnreadableFile(MessageBatchesError):
    """A file of requests that cannot be read at all."""


@dataclass
class Requests:
    """The checked requests of a file.

    Attributes:
        lines: canonical JSONL, the bytes of the manifest.
        count: number of requests.
        body_bytes: length of the request body that carries them.
        sha256: of the lines, and so of the manifest.
        models: requests by model.
        max_tokens: the sum of `max_tokens`, the most that can come back.
        warnings: what will come back errored although the batch is accepted.
    """

    lines: Scratch
    count: int
    body_bytes: int
    sha256: str
    models: dict[str, int]
    max_tokens: int
    warnings: list[Forewarning] = field(default_factory=list)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The lines from the start, in chunks of 1 MiB, as `write_manifest` takes them."""
        for chunk in self.lines.chunks(self.lines.size):
            yield chunk

    def items(self) -> list[Any]:
        """The requests as values, for those that travel inline; `MsgspecError` where a payload cannot carry one."""
        lines = [line for line in self.lines.read(0, self.lines.size).split(b"\n") if line]
        items = [msgspec.json.decode(line) for line in lines]
        if nested_deeper(items, MAX_INLINE_DEPTH):
            raise msgspec.ValidationError(f"nested more than {MAX_INLINE_DEPTH} deep")
        for line in lines:
            json.loads(line, object_pairs_hook=_once, parse_float=_exact)
        return items


@contextmanager
def read_requests(path: str, *, version: str = "2023-06-01", scratch: Path | None = None) -> Iterator[Requests]:
    """Read and check a file, or standard input for `-`.

    `UnreadableFile` says what is wrong with the file, `InvalidRequests` lists what is wrong with its requests, and
    `StoreUnavailable` says that the scratch folder is full.

    Args:
        path: a path, or `-`.
        version: the `anthropic-version` they will be sent under; some warnings depend on it.
        scratch: where an unnamed file of the same size may lie; by default the system's temporary folder.
    """
    with scratch_file(scratch) as lines:
        yield _read_file(path, _Reading(version, lines))


def _read_file(path: str, reading: "_Reading") -> Requests:
    name = "standard input" if path == "-" else path
    try:
        if path == "-":
            return _read(sys.stdin.buffer, name, reading)
        with Path(path).open("rb") as file:
            return _read(file, name, reading)
    except FileNotFoundError as error:
        raise UnreadableFile(f"There is no file {path}") from error
    except IsADirectoryError as error:
        raise UnreadableFile(f"{path} is a directory: name a file of requests in it") from error
    except OSError as error:
        raise UnreadableFile(f"{name} cannot be read: {error.strerror or error}") from error


class _RequestsObject(msgspec.Struct):
    requests: list[msgspec.Raw]


class _Reading:
    """Requests on their way from a file to canonical lines."""

    def __init__(self, version: str, lines: Scratch) -> None:
        self.check = RequestCheck()
        self.lines = lines
        self.sha256 = hashlib.sha256()
        self.foresight = Foresight(version)

    def keep(self, data: bytes) -> None:
        if self.check.too_large:
            return
        self.sha256.update(data)
        self.lines.append(data)

    def result(self) -> Requests:
        self.check.finish()
        splitter = Splitter()
        for chunk in self.lines.chunks(self.lines.size):
            for line in splitter.feed(chunk):
                self.foresight.look(line)
        return Requests(
            lines=self.lines,
            count=self.check.count,
            body_bytes=self.check.body_bytes,
            sha256=self.sha256.hexdigest(),
            models=dict(self.foresight.models.most_common()),
            max_tokens=self.foresight.max_tokens,
            warnings=self.foresight.warnings(),
        )


def _read(file: IO[bytes], name: str, reading: _Reading) -> Requests:
    head = file.read(CHUNK_BYTES)
    start = head.removeprefix(_BOM).lstrip(_BLANK)
    _refuse_other_formats(head, name)
    if start[:1] == b"[":
        _read_array(head + file.read(MAX_ARRAY_BYTES), name, list[msgspec.Raw], reading)
    elif _REQUESTS_OBJECT.match(start):
        _read_array(head + file.read(MAX_ARRAY_BYTES), name, _RequestsObject, reading)
    else:
        _read_lines(head, file, reading)
    return reading.result()


def _refuse_other_formats(head: bytes, name: str) -> None:
    for magic, what in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise UnreadableFile(f"{name} is {what}")
    if b"\0" in head:
        raise UnreadableFile(f"{name} is no text: requests are JSONL, a JSON array, or an object with `requests`")
    if not head.removeprefix(_BOM).strip(_BLANK):
        raise UnreadableFile(f"{name} is empty: there are no requests in it")


def _read_lines(head: bytes, file: IO[bytes], reading: _Reading) -> None:
    splitter = Splitter()
    chunk = head
    while chunk:
        reading.keep(reading.check.lines(splitter.feed(chunk)))
        chunk = file.read(CHUNK_BYTES)
    reading.keep(reading.check.lines(splitter.end()))


def _read_array(data: bytes, name: str, form: Any, reading: _Reading) -> None:
    if len(data) > MAX_ARRAY_BYTES:
        raise UnreadableFile(
            f"{name} is an array of more than {MAX_ARRAY_BYTES:,} bytes: write it as JSONL, and split it"
        )
    data = data.removeprefix(_BOM)
    try:
        decoded = msgspec.json.decode(data, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse_array(data, name, error)
    for position, raw in enumerate(decoded.requests if isinstance(decoded, _RequestsObject) else decoded):
        item = bytes(raw).strip(_BLANK)
        if b"\n" in item or b"\r" in item:
            # Over several lines: what stands between the values is taken out, the values stay as they are.
            item = msgspec.json.format(item, indent=-1)
        reading.check.request(item, f"requests[{position}]")
        reading.keep(item + b"\n")


def _refuse_array(data: bytes, name: str, error: Exception) -> NoReturn:
    """Say where the JSON breaks; a form that is neither array nor object with an array is said too."""
    problem = str(error)
    try:
        json.loads(data)
    except json.JSONDecodeError as json_error:
        problem = f"line {json_error.lineno}: not JSON: {json_error.msg} (column {json_error.colno})"
    except UnicodeDecodeError as unicode_error:
        line = data.count(b"\n", 0, unicode_error.start) + 1
        problem = f"line {line}: not UTF-8"
    except (ValueError, RecursionError) as other:
        problem = str(other)
    raise InvalidRequests(f"{name} cannot be read as JSON; nothing was sent\n  {problem}", [problem]) from error


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names stand there once: a payload carries one of two values, the next reader takes the other."""
    found = dict(members)
    if len(found) < len(members):
        raise msgspec.ValidationError("a name stands in an object twice")
    return found


def _exact(digits: str) -> float:
    """A number that a payload carries as it is."""
    number = float(digits)
    if Decimal(repr(number)) != Decimal(digits):
        raise msgspec.ValidationError("a number of more digits than a payload carries")
    return number
