"""The plan of a job's first wave: requests of any number, checked, and split into shards of one batch each."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from message_batches.concurrency import WorkStopped, process_in_thread, run_in_thread
from message_batches.errors import InvalidRequests
from message_batches.job_models import MAX_SHARDS, ShardLimits
from message_batches.jobs.check import AROUND, JobCheck, id_records
from message_batches.jobs.records import JobRecords
from message_batches.jsonl import Line, Splitter
from message_batches.models import Manifest
from message_batches.requests.content import ContentHash
from message_batches.requests.manifest import CheckedLines, check_items, large_in_turn, store_manifest
from message_batches.requests.reader import Collector
from message_batches.storage.interface import Store
from message_batches.storage.job_paths import job_folder
from message_batches.storage.scratch import Scratch, scratch_file

Visitor = Callable[[Any, Line, str, str, ContentHash], None]
"""Is given each request once all are checked: its value, its line, its custom_id, its place, and the content so far."""


class JobPlan(NamedTuple):
    """The first wave of a job, as the store has it.

    Attributes:
        shards: their manifests, in the order of the requests.
        before: whether it was planned before: then it may have been split by other limits, and sent.
    """

    folder: str
    shards: tuple[Manifest, ...]
    before: bool


@dataclass(frozen=True)
class Shard:
    """The checked requests of one batch, in scratch files.

    Attributes:
        lines: canonical JSONL, the bytes of the manifest.
        ids: of each request its custom_id and its place, in the same order.
        count, body_bytes, sha256, content_sha256: as in `CheckedLines`.
    """

    lines: Scratch
    ids: Scratch
    count: int
    body_bytes: int
    sha256: str
    content_sha256: str

    def checked(self) -> CheckedLines:
        """Return the requests with their custom_ids in memory."""
        ids = [custom_id for custom_id, _ in id_records(self.ids)]
        return CheckedLines(self.lines, ids, self.count, self.body_bytes, self.sha256, self.content_sha256)


@contextmanager
def split_requests(limits: ShardLimits, scratch: Path | None = None) -> Iterator["RequestSplit"]:
    """Check and split requests; their scratch files exist as long as the context.

    Args:
        limits: of each shard.
        scratch: a folder for unnamed files, of the size of the requests in all; by default the system's.
    """
    with scratch_file(scratch) as lines, scratch_file(scratch) as ids:
        yield RequestSplit(limits, lines, ids)


class RequestSplit(Collector):
    """Requests on their way to shards: first all are read and checked, then the shards are measured.

    Attributes:
        shards: those that are measured so far.
        stop: once it is set, work on them in a thread raises `WorkStopped`.
    """

    def __init__(self, limits: ShardLimits, lines: Scratch, ids: Scratch) -> None:
        self.stop = threading.Event()
        self._job_check = JobCheck(limits, ids)
        super().__init__(self._job_check, lines)
        self.shards: list[Shard] = []
        self._ids = ids
        self._content = ContentHash(parts=True)
        self._sha256 = hashlib.sha256()

    def keep(self, lines: list[Line]) -> None:
        """Keep requests that the check has been given."""
        self._check_stopped()
        super().keep(lines)

    @property
    def content_sha256(self) -> str:
        """The sha256 of the content of all requests of the measured shards, whatever their limits."""
        return self._content.hexdigest()

    @property
    def sha256(self) -> str:
        """The sha256 of all lines of the measured shards."""
        return self._sha256.hexdigest()

    async def read(self, source: AsyncIterable[bytes], turns: asyncio.Semaphore | None = None) -> None:
        """Read and check JSONL, then measure its shards.

        Args:
            source: JSONL in chunks of any size.
            turns: the turns that requests of more than 1 MiB take.
        """
        splitter = Splitter()

        def feed(data: bytes) -> None:
            try:
                lines = splitter.feed(data)
            except InvalidRequests as error:
                number = self._job_check.line + data.count(b"\n") + 1
                raise InvalidRequests(f"line {number}: {error}; nothing was sent") from error
            self.keep(self.check.lines(lines))

        async with large_in_turn(source, turns) as chunks:
            await process_in_thread(chunks, feed)
            await run_in_thread(lambda: self.keep(self.check.lines(splitter.end())))

    async def items(self, items: list[Any]) -> None:
        """Check the requests of an input."""
        await run_in_thread(lambda: check_items(items, self.check, self.keep))

    async def measure(self, visit: Visitor | None = None) -> None:
        """Measure the shards, each in a thread; `InvalidRequests` names every problem of the requests."""
        measuring = self.measured(visit)
        while await run_in_thread(lambda: next(measuring, None)):
            pass

    def begin_file(self, name: str) -> None:
        """Name a file in the places of the requests that follow."""
        self._job_check.begin_file(name)

    def measured(self, visit: Visitor | None = None) -> Iterator[Shard]:
        """Measure shard by shard; `InvalidRequests` at the first, if there is any problem."""
        self.check.finish()
        cuts = self._job_check.cuts()
        if len(cuts) > MAX_SHARDS:
            raise InvalidRequests(
                f"{len(cuts):,} shards are too many, and a job has at most {MAX_SHARDS:,}: let each have more "
                "requests, or more bytes; nothing was sent"
            )
        lines_start = ids_start = 0
        for cut in cuts:
            lines = self.lines.part(lines_start, cut.lines_end)
            ids = self._ids.part(ids_start, cut.ids_end)
            sha256 = self._walk(lines, id_records(ids), visit)
            shard = Shard(lines, ids, cut.requests, lines.size + AROUND, sha256, self._content.end_part())
            self.shards.append(shard)
            yield shard
            lines_start, ids_start = cut.lines_end, cut.ids_end

    def _walk(self, lines: Scratch, records: Iterator[tuple[str, str]], visit: Visitor | None) -> str:
        sha256, splitter = hashlib.sha256(), Splitter()
        for chunk in lines.chunks(lines.size):
            self._check_stopped()
            sha256.update(chunk)
            self._sha256.update(chunk)
            for line in splitter.feed(chunk):
                request = self._content.add(line)
                if visit:
                    visit(request, line, *next(records), self._content)
        return sha256.hexdigest()

    def _check_stopped(self) -> None:
        if self.stop.is_set():
            raise WorkStopped


async def record_first_wave(store: Store, job_id: str, content_sha256: str, shards: Sequence[Shard]) -> JobPlan:
    """Put shards into the store and record them as the plan of the job's first wave, unless it has one.

    Args:
        store: where they are put.
        job_id: the workflow id of the job.
        content_sha256: of all requests.
        shards: the measured ones.
    """
    records = JobRecords(store, job_folder(job_id, content_sha256))
    if earlier := await records.plan(0):
        return JobPlan(records.folder, earlier, before=True)
    stored = [await store_manifest(store, await run_in_thread(shard.checked)) for shard in shards]
    recorded = await records.record_plan(0, stored)
    return JobPlan(records.folder, recorded, before=list(recorded) != stored)
