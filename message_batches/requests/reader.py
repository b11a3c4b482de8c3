"""Reads a user's file of requests or standard input: JSONL, an array or `{"requests": [...]}`, detected by content."""

import hashlib
import json
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

import msgspec

from message_batches.contract import NextAction
from message_batches.errors import InvalidRequests, MessageBatchesError, why
from message_batches.jsonl import BLANK, LONG_LINE, MAX_BODY_BYTES, Line, Splitter, join, without_bom
from message_batches.prices import PriceList
from message_batches.requests.content import ContentHash, exact_float, unique_names
from message_batches.requests.estimate import Estimator
from message_batches.requests.forms import (
    MAP,
    PYTHON,
    SEVERAL_LINES,
    form_of,
    form_of_text,
    format_of,
    has_requests,
    not_json,
)
from message_batches.requests.manifest import CheckedLines
from message_batches.requests.preflight import Preflight, PreflightWarning
from message_batches.requests.validation import (
    BETA_FIELDS,
    MAX_PROBLEMS,
    RequestCheck,
    no_constant,
    unknown_field,
)
from message_batches.result_models import CostEstimate
from message_batches.serialization import MAX_INLINE_DEPTH, nested_deeper_than
from message_batches.storage.scratch import Scratch, scratch_file

CHUNK_BYTES = 1024 * 1024

# An array is read into memory; up to half of it may be white space.
MAX_ARRAY_BYTES = 2 * MAX_BODY_BYTES

_DECODER = json.JSONDecoder()
_REQUESTS_MEMBER = re.compile(rb'\{\s*"requests"\s*:\s*')


class UnreadableFile(MessageBatchesError):
    """A file of requests cannot be read."""


@dataclass
class CheckedRequests(CheckedLines):
    """The checked requests of a file.

    Attributes:
        models: the number of requests by model.
        max_tokens: the sum of `max_tokens`, the most that the replies can use.
        largest: the highest `max_tokens` by model, and its line.
        warnings: requests that will be errored although the batch is accepted.
        estimate: what they may cost; None where no prices were given.
    """

    models: dict[str, int]
    max_tokens: int
    largest: dict[str, tuple[int, str]] = field(default_factory=dict)
    warnings: list[PreflightWarning] = field(default_factory=list)
    estimate: CostEstimate | None = None

    def items(self) -> list[Any]:
        """Decode the requests, to send them in the input; `MsgspecError` if a payload cannot carry one unchanged."""
        lines = [line for line in self.lines.read(0, self.lines.size).split(b"\n") if line]
        items = [msgspec.json.decode(line) for line in lines]
        if nested_deeper_than(items, MAX_INLINE_DEPTH):
            raise msgspec.ValidationError(f"nested more than {MAX_INLINE_DEPTH} deep")
        for line in lines:
            json.loads(line, object_pairs_hook=unique_names, parse_float=exact_float)
        return items


@contextmanager
def read_requests(
    path: str,
    *,
    version: str = "2023-06-01",
    betas: Collection[str] = (),
    scratch: Path | None = None,
    prices: PriceList | None = None,
) -> Iterator[CheckedRequests]:
    """Read and check a file, or standard input for `-`.

    Raises `UnreadableFile` for the file, `InvalidRequests` with a list of problems for its requests, and
    `StoreUnavailable` if the scratch folder is full.

    Args:
        path: a path, or `-`.
        version: the `anthropic-version` that they will be sent under; some warnings depend on it.
        betas: the betas that they will be sent with; some warnings depend on them.
        scratch: a folder for an unnamed file of the same size; by default the system's temporary folder.
        prices: what they may cost is estimated by these, if they are given.
    """
    with scratch_file(scratch) as lines:
        collector = _RequestCollector(version, betas, lines, prices)
        read_file(path, collector)
        yield collector.result()


class Collector:
    """Collects requests as canonical lines, as long as the check finds no problem."""

    def __init__(self, check: RequestCheck, lines: Scratch) -> None:
        self.check = check
        self.lines = lines

    def keep(self, lines: list[Line]) -> None:
        """Keep requests that the check has been given."""
        if not self.check.refused:
            for piece in join(lines):
                self.lines.append(piece)


def name_of(path: str) -> str:
    """Return what a file is called in messages."""
    return "standard input" if path == "-" else path


def read_file(path: str, collector: Collector) -> None:
    """Read a file, or standard input for `-`; `UnreadableFile`, or `InvalidRequests` if no request can be read."""
    name = name_of(path)
    try:
        if path == "-":
            _read(sys.stdin.buffer, name, collector)
            return
        with Path(path).open("rb") as file:
            _read(file, name, collector)
    except FileNotFoundError as error:
        raise UnreadableFile(f"There is no file {path}: check its path") from error
    except IsADirectoryError as error:
        raise UnreadableFile(f"{path} is a directory: name a file of requests in it") from error
    except OSError as error:
        raise UnreadableFile(f"{name} cannot be read: {why(error)}") from error


class _RequestCollector(Collector):
    """Collects the requests of a batch."""

    def __init__(self, version: str, betas: Collection[str], lines: Scratch, prices: PriceList | None) -> None:
        super().__init__(RequestCheck(), lines)
        self.content = ContentHash()
        self.preflight = Preflight(version, betas)
        self.estimator = Estimator(prices) if prices else None

    def result(self) -> CheckedRequests:
        self.check.finish()
        splitter, sha256 = Splitter(), hashlib.sha256()
        for chunk in self.lines.chunks(self.lines.size):
            sha256.update(chunk)
            for line in splitter.feed(chunk):
                request = self.content.add(line)
                custom_id = self.check.ids[self.preflight.count]
                self.preflight.check(request, custom_id, self.check.place_of(custom_id), self.content.repeated_name)
                if self.estimator:
                    self.estimator.add(request, line)
        return CheckedRequests(
            lines=self.lines,
            ids=self.check.ids,
            count=self.check.count,
            body_bytes=self.check.body_bytes,
            sha256=sha256.hexdigest(),
            content_sha256=self.content.hexdigest(),
            models=dict(self.preflight.models.most_common()),
            max_tokens=self.preflight.max_tokens,
            largest=self.preflight.largest,
            warnings=self.preflight.warnings(),
            estimate=self.estimator.result() if self.estimator else None,
        )


def _read(file: IO[bytes], name: str, collector: Collector) -> None:
    head = file.read(CHUNK_BYTES)
    start = bytes(without_bom(head)).lstrip(BLANK)
    _refuse_other_formats(head, name)
    if start[:1] == b"[":
        _read_array(_rest(head, file, name), name, collector)
    elif start[:1] == b"{" and has_requests(start):
        _read_object(_rest(head, file, name), name, collector)
    else:
        _refuse_several_lines(start, name)
        _read_lines(head, file, collector)


def _refuse_several_lines(start: bytes, name: str) -> None:
    """Refuse an object over several lines that is of a known form, which its lines do not show."""
    line, newline, _ = start.partition(b"\n")
    if not newline or form_of_text(line.strip(BLANK).decode(errors="replace")) is not SEVERAL_LINES:
        return
    try:
        item, _ = _DECODER.raw_decode(start.decode(errors="replace"))
    except (ValueError, RecursionError):
        return
    if form := form_of(item):
        raise InvalidRequests(f"{name} cannot be read; nothing was sent\n  line 1: {form}", [f"line 1: {form}"])


def _rest(head: bytes, file: IO[bytes], name: str) -> bytes:
    """Return the whole file, without a BOM."""
    data = head + file.read(MAX_ARRAY_BYTES)
    if len(data) > MAX_ARRAY_BYTES:
        raise UnreadableFile(
            f"{name} is an array of more than {MAX_ARRAY_BYTES:,} bytes: write it as JSONL, a request in each line"
        )
    return bytes(without_bom(data))


def _refuse_other_formats(head: bytes, name: str) -> None:
    if format_ := format_of(head, bytes(without_bom(head)).lstrip(BLANK)):
        raise UnreadableFile(f"{name} is {format_}")
    if not bytes(without_bom(head)).strip(BLANK):
        raise UnreadableFile(f"{name} is empty: expected requests in it")


def _read_lines(head: bytes, file: IO[bytes], collector: Collector) -> None:
    splitter = Splitter()
    chunk = head
    while chunk:
        collector.keep(collector.check.lines(splitter.feed(chunk)))
        chunk = file.read(CHUNK_BYTES)
    collector.keep(collector.check.lines(splitter.end()))


def _read_array(data: bytes | memoryview, name: str, collector: Collector) -> None:
    try:
        items = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, msgspec.ValidationError):
            problem = f"requests: {MAP if bytes(data[:1]) == b'{' else 'not a list'}"
            raise InvalidRequests(f"{name} cannot be read; nothing was sent\n  {problem}", [problem]) from error
        _refuse_json(bytes(data), name, error)
    for position, raw in enumerate(items):
        item = bytes(raw).strip(BLANK)
        if b"\n" in item or b"\r" in item:
            # Over several lines: white space between values is removed, the values are unchanged.
            item = msgspec.json.format(item, indent=-1)
        collector.check.request(item, f"requests[{position}]")
        collector.keep([item])


def _read_object(data: bytes, name: str, collector: Collector) -> None:
    """Read `{"requests": [...]}`; any other member is refused by name, since the API would not see it."""
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse_json(data, name, error)
    requests = memoryview(members["requests"])
    if others := [member for member in members if member != "requests"]:
        problems = [": ".join(unknown_field(member, "beside `requests`")) for member in others[:MAX_PROBLEMS]]
        action = NextAction.GIVE_BETAS if BETA_FIELDS.intersection(others) else None
        more = [f"and {len(others) - MAX_PROBLEMS:,} more"] if len(others) > MAX_PROBLEMS else []
        what = f"{name} has more than `requests`, and only they would be sent; nothing was sent"
        raise InvalidRequests(
            "\n  ".join([what, *problems, *more]),
            problems,
            action,
        )
    data = data.lstrip(BLANK)
    begin = _REQUESTS_MEMBER.match(data)
    if begin is None or data[len(begin[0]) + len(requests) :].strip(BLANK) != b"}":
        problem = "requests: is there twice: remove one"
        raise InvalidRequests(f"{name} cannot be read; nothing was sent\n  {problem}", [problem])
    _read_array(requests, name, collector)


def _refuse_json(data: bytes, name: str, error: Exception) -> NoReturn:
    """Raise `InvalidRequests` with the position of the error in the JSON, or with its wrong form."""
    problem = str(error)
    first = data[:CHUNK_BYTES].lstrip(BLANK).partition(b"\n")[0].decode(errors="replace")
    try:
        if len(data) > LONG_LINE:
            raise ValueError(PYTHON if form_of_text(first.strip()) == PYTHON else problem)
        json.loads(data, parse_int=float, parse_constant=no_constant)
    except json.JSONDecodeError as json_error:
        problem = f"line {json_error.lineno}: {not_json(json_error)}"
        if form_of_text(first.strip()) == PYTHON:
            problem = f"line {json_error.lineno}: {PYTHON}"
    except UnicodeDecodeError as unicode_error:
        line = data.count(b"\n", 0, unicode_error.start) + 1
        problem = f"line {line}: not UTF-8: save the file as UTF-8"
    except RecursionError as too_deep:
        problem = str(too_deep)
    except ValueError as constant:
        # msgspec knows its place.
        place = int(found[1]) if (found := re.search(r"\(byte (\d+)\)", problem)) else 0
        line = data.count(b"\n", 0, place) + 1
        problem = f"line {line}: not JSON: {constant}"
    raise InvalidRequests(f"{name} cannot be read as JSON; nothing was sent\n  {problem}", [problem]) from error
