"""Landed results that can be read several times: those of a batch, or those of a job, merged."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Protocol

from pydantic import BaseModel

from message_batches.contract import NextAction
from message_batches.jobs.answers import Answers, Wave
from message_batches.jobs.describe import StoredJob, find_job
from message_batches.jobs.merge import MergedLines
from message_batches.library.connections import Connections
from message_batches.result_models import Cost
from message_batches.results import reader
from message_batches.results.reader import Pair, Publication, ResultsNotFound
from message_batches.runs.control import Refused, find_results
from message_batches.storage.interface import Store


class Source(Protocol):
    """Results that can be read several times.

    Attributes:
        name: the id by which users know them, of the batch or of the job.
        ids: the same for a document: `batch_id`, or `job`.
        document: all that is known of them.
        cost: as it was when they landed.
        count: the number of results; of partial ones once they have been read.
    """

    name: str
    ids: dict[str, str | None]
    document: BaseModel
    cost: Cost | None

    @property
    def count(self) -> int:
        """The number of results."""
        ...

    @property
    def missing(self) -> int:
        """The number of requests that have no result at all, once the results have been read."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """Read the results; an error at the end if they are not what has landed."""
        ...

    def pairs(self) -> AsyncIterator[Pair]:
        """Read each result with its request; `ResultsNotFound` where the requests are not known."""
        ...

    def requests(self) -> AsyncIterator[bytes]:
        """Read the lines of the requests, in the order of the results."""
        ...


async def find_source(connections: Connections, identity: str, *, partial: bool) -> Source:
    """Find the results of a run, a batch or a job; `partial` merges what has landed of a job so far."""
    store = connections.store
    job = await find_job(store, identity, connections.client)
    if job is None and partial:
        raise Refused(f"partial merges what has landed so far of a job, and {identity} is none", option="partial")
    if job is None:
        return BatchSource(store, await find_results(store, identity, connections.runs))
    waves = await job.waves()
    if partial and not any(wave.landed for wave in waves):
        raise ResultsNotFound(f"No shard of {identity} has landed yet", NextAction.WATCH, workflow_id=identity)
    return PartialSource(store, job, waves) if partial else JobSource(store, job, waves)


class BatchSource:
    """The results of a batch."""

    def __init__(self, store: Store, publication: Publication) -> None:
        self._store = store
        self._publication = publication
        landed = publication.landed
        self.name = landed.batch_id
        self.ids: dict[str, str | None] = {"batch_id": landed.batch_id}
        self.document: BaseModel = landed
        self.cost = landed.cost

    @property
    def count(self) -> int:
        """The number of results."""
        return self._publication.landed.results_file.lines

    @property
    def missing(self) -> int:
        """None is missing: a batch has a result for each of its requests."""
        return 0

    def pieces(self) -> AsyncIterator[bytes]:
        """Read the results."""
        return reader.results_in(self._store, self._publication.landed.results_file)

    def pairs(self) -> AsyncIterator[Pair]:
        """Read each result with its request."""
        return reader.pairs(self.pieces(), self._manifest())

    def requests(self) -> AsyncIterator[bytes]:
        """Read the lines of the requests."""
        return reader.lines(self._manifest())

    def _manifest(self) -> AsyncIterator[bytes]:
        manifest, sha256 = self._publication.manifest_name, self._publication.manifest_sha256
        if manifest is None or sha256 is None:
            raise ResultsNotFound(
                f"The requests of {self.name} are not known here: it was taken over without them, or their record is "
                "gone",
                NextAction.ATTACH_WITH_REQUESTS,
                batch_id=self.name,
            )
        return reader.unchanged(self._store, self._store.uri(manifest), sha256)


class JobSource:
    """The merged results of a job, and the requests as the wave of each answer has sent them."""

    def __init__(self, store: Store, job: StoredJob, waves: list[Wave]) -> None:
        self._store = store
        self._waves = waves
        self._merged = job.results()
        self.name = job.job_id
        self.ids: dict[str, str | None] = {"batch_id": None, "job": job.job_id}
        self.document: BaseModel = self._merged
        self.cost = self._merged.cost

    @property
    def count(self) -> int:
        """The number of results."""
        return self._merged.results_file.lines

    @property
    def missing(self) -> int:
        """The number of requests that have no result at all."""
        return self._merged.unfinished.count if self._merged.unfinished else 0

    def pieces(self) -> AsyncIterator[bytes]:
        """Read the results."""
        return reader.results_in(self._store, self._merged.results_file)

    def pairs(self) -> AsyncIterator[Pair]:
        """Read each result with its request."""
        return _pairs(self._store, self._waves)

    async def requests(self) -> AsyncIterator[bytes]:
        """Read the lines of the requests."""
        async for pair in self.pairs():
            yield pair.request


class PartialSource(JobSource):
    """What has landed of a job so far, merged while it is read."""

    def __init__(self, store: Store, job: StoredJob, waves: list[Wave]) -> None:
        self._store = store
        self._waves = waves
        self._lines = MergedLines(store, waves)
        self.name = job.job_id
        self.ids = {"batch_id": None, "job": job.job_id}
        self.cost = None

    @property
    def count(self) -> int:
        """The number of results, once they have been read."""
        return self._lines.lines

    @property
    def missing(self) -> int:
        """The number of requests that have no result yet, once the results have been read."""
        return self._lines.unfinished.count if self._lines.unfinished else 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """Merge the results."""
        self._lines = MergedLines(self._store, self._waves)
        async with aclosing(self._lines.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk


async def _pairs(store: Store, waves: list[Wave]) -> AsyncIterator[Pair]:
    async with aclosing(Answers(store, waves, with_requests=True).blocks()) as blocks:
        async for block in blocks:
            for answer in block:
                yield Pair(*answer)
