"""The files of requests of any number: read and checked together, with warnings and an estimate."""

import glob
import json
import threading
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from message_batches.concurrency import BATCH_BYTES, run_in_thread, run_stoppable
from message_batches.errors import InvalidRequests
from message_batches.formatting import escape_unprintable, plural
from message_batches.job_models import ShardLimits
from message_batches.jobs.check import AROUND
from message_batches.jobs.plan import RequestSplit, Shard, split_requests
from message_batches.jsonl import Line
from message_batches.prices import PriceList
from message_batches.requests.content import ContentHash
from message_batches.requests.estimate import Estimator
from message_batches.requests.preflight import Preflight
from message_batches.requests.reader import CheckedRequests, UnreadableFile, name_of, read_file

_BATCH = ShardLimits()
PROGRAM = "a Python program"
"""What requests are called in messages that are from no file."""


@dataclass
class JobRequests(CheckedRequests):
    """The checked requests of files, in the order of the files.

    Attributes:
        ids: empty where one batch cannot take all of them; the shards have their own.
        shards: the requests of one batch each.
        files: the number of files.
        name: what they are called in messages, all together.
    """

    shards: Sequence[Shard] = ()
    files: int = 1
    name: str = ""


@contextmanager
def read_files(
    paths: Sequence[str],
    *,
    limits: ShardLimits | None = None,
    version: str = "2023-06-01",
    betas: Collection[str] = (),
    scratch: Path | None = None,
    prices: PriceList | None = None,
    stop: threading.Event | None = None,
) -> Iterator[JobRequests]:
    """Read and check files together: no custom_id may be in two of them, and problems name file and line.

    Raises as `read_requests` does.

    Args:
        paths: of the files; `-` is standard input.
        limits: of each shard; by default those of a batch.
        version: the `anthropic-version` that they will be sent under.
        betas: the betas that they will be sent with.
        scratch: a folder for unnamed files of the same size; by default the system's temporary folder.
        prices: what they may cost is estimated by these, if they are given.
        stop: once it is set, reading them in a thread ends with `WorkStopped`.
    """
    with split_requests(limits or ShardLimits(), scratch) as split:
        split.stop = stop or split.stop
        for path in paths:
            if len(paths) > 1:
                split.begin_file(escape_unprintable(name_of(path)))
            read_file(path, split)
        yield _measured(split, version, betas, prices, files=len(paths), name=name_of_files(paths))


@asynccontextmanager
async def read_items(
    items: Iterable[Any] | AsyncIterable[Any],
    *,
    limits: ShardLimits | None = None,
    version: str = "2023-06-01",
    betas: Collection[str] = (),
    scratch: Path | None = None,
    prices: PriceList | None = None,
) -> AsyncIterator[JobRequests]:
    """Check requests that a program gives, as `read_files` does those of files; not all of them are held in memory.

    Problems name the place, such as `requests[3]`.

    Args:
        items: the requests, as dicts.
        limits: of each shard; by default those of a batch.
        version: the `anthropic-version` that they will be sent under.
        betas: the betas that they will be sent with.
        scratch: a folder for unnamed files of the same size; by default the system's temporary folder.
        prices: what they may cost is estimated by these, if they are given.
    """
    with split_requests(limits or ShardLimits(), scratch) as split:
        async for start, lines in _batches(items):
            await run_in_thread(partial(_keep, split, start, lines))
        measured = partial(_measured, split, version, betas, prices, files=0, name=PROGRAM)
        yield await run_stoppable(measured, split.stop)


async def _batches(items: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Yield requests as lines of JSON, many at a time, with the position of the first of them."""
    position = size = 0
    lines: list[bytes] = []
    # They are asked for in the thread of the caller, to which a cursor of a database, for one, may be bound.
    async for item in items if isinstance(items, AsyncIterable) else _one_by_one(items):
        lines.append(_line_of(item, position))
        position, size = position + 1, size + len(lines[-1])
        if size >= BATCH_BYTES:
            yield position - len(lines), lines
            lines, size = [], 0
    yield position - len(lines), lines


async def _one_by_one(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def _line_of(item: Any, position: int) -> bytes:
    write = partial(json.dumps, item, allow_nan=False, separators=(",", ":"))
    try:
        try:
            return write(ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return write().encode()  # Half a surrogate pair can only be written as an escape.
    except (TypeError, ValueError, RecursionError) as error:
        problem = f"requests[{position}]: cannot be written as JSON: {error}"
        raise InvalidRequests(f"the requests cannot be read; nothing was sent\n  {problem}", [problem]) from error


def _keep(split: RequestSplit, start: int, lines: list[bytes]) -> None:
    for position, line in enumerate(lines, start):
        split.check.request(line, f"requests[{position}]")
    split.keep([*lines])


def _measured(
    split: RequestSplit, version: str, betas: Collection[str], prices: PriceList | None, *, files: int, name: str
) -> JobRequests:
    preflight = Preflight(version, betas)
    estimator = Estimator(prices) if prices else None

    def visit(request: Any, line: Line, custom_id: str, place: str, content: ContentHash) -> None:
        preflight.check(request, custom_id, place, content.repeated_name)
        if estimator:
            estimator.add(request, line)

    shards = list(split.measured(visit))
    count = sum(shard.count for shard in shards)
    body_bytes = split.lines.size + AROUND
    return JobRequests(
        lines=split.lines,
        ids=[each for shard in shards for each in shard.checked().ids] if fits_a_batch(count, body_bytes) else [],
        count=count,
        body_bytes=body_bytes,
        sha256=split.sha256,
        content_sha256=split.content_sha256,
        models=dict(preflight.models.most_common()),
        max_tokens=preflight.max_tokens,
        largest=preflight.largest,
        warnings=preflight.warnings(),
        estimate=estimator.result() if estimator else None,
        shards=shards,
        files=files,
        name=name,
    )


def fits_a_batch(count: int, body_bytes: int) -> bool:
    """Return whether one batch can take so many requests of that size."""
    return count <= _BATCH.max_requests and body_bytes <= _BATCH.max_bytes


def find_files(paths: Sequence[str]) -> list[str]:
    """Return the files that are named, and those that a pattern matches which the shell has left, in their order.

    `UnreadableFile` for a pattern without a match, or if standard input is named twice.
    """
    found: list[str] = []
    for path in paths:
        if path == "-" or not glob.has_magic(path) or Path(path).exists():
            found.append(path)
            continue
        matches = sorted(glob.glob(path))
        if not matches:
            raise UnreadableFile(f"No file matches {path}: check the pattern")
        found += matches
    if found.count("-") > 1:
        raise UnreadableFile("Standard input can be read only once: name - once")
    return found


def name_of_files(paths: Sequence[str]) -> str:
    """Return what files are called in messages, all together."""
    more = len(paths) - 1
    return f"{name_of(paths[0])} and {plural(more, 'more file')}" if more else name_of(paths[0])
