"""Merging: the last answer of each request of a job in one file, in the order of the requests, published once.

Each attempt writes a file of its own; the first to finish puts the publication, which names that file. It is named by
what was merged, so that a shard that lands later gives another one.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial

from pydantic import ValidationError

from message_batches.concurrency import run_in_thread
from message_batches.errors import StoreUnavailable
from message_batches.job_models import MergedResults, ShardList, ShardRecord, Unfinished
from message_batches.jobs.answers import Answer, Answers, Wave, read_waves
from message_batches.jobs.records import JobRecords
from message_batches.jsonl import join
from message_batches.prices import PriceList, total_cost
from message_batches.result_models import ResultsFile, Summary
from message_batches.results.reader import has_file
from message_batches.results.summary import SummaryBuilder
from message_batches.storage.interface import Store
from message_batches.storage.job_paths import merged_publication_path, new_merged_path, shard_list_path


class MergedLines:
    """The merged lines of a job, each byte for byte as it has landed; all else is known once they have been read.

    Args:
        store: where the shards' results are.
        waves: of the job, from `read_waves()`: what has landed of them is merged.
        prices: know from which input on a model costs more.
        hidden: the secrets of the call, which the summary does not repeat.

    Attributes:
        bytes, lines: their size, and their number.
    """

    def __init__(
        self, store: Store, waves: Sequence[Wave], *, prices: PriceList | None = None, hidden: Sequence[str] = ()
    ) -> None:
        self._answers = Answers(store, waves)
        self._summary = SummaryBuilder(prices or PriceList(), hidden)
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.lines = 0

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the lines in pieces of about 1 MiB."""
        async with aclosing(self._answers.blocks()) as blocks:
            async for block in blocks:
                yield await run_in_thread(partial(self._add, block))

    @property
    def sha256(self) -> str:
        """The hash of the lines."""
        return self._digest.hexdigest()

    @property
    def summary(self) -> Summary:
        """The summary of the lines."""
        return self._summary.build()

    @property
    def unfinished(self) -> Unfinished | None:
        """The requests without a line; None if there are none."""
        if not self._answers.unfinished:
            return None
        return Unfinished(count=self._answers.unfinished, custom_ids=tuple(self._answers.unfinished_ids))

    def _add(self, block: list[Answer]) -> bytes:
        for position, answer in enumerate(block, self.lines):
            self._summary.add(answer.result, position)
        data = b"".join(join([answer.line for answer in block]))
        self._digest.update(data)
        self.lines += len(block)
        self.bytes += len(data)
        return data


async def merge(
    store: Store, records: JobRecords, waves: int, *, prices: PriceList | None = None, hidden: Sequence[str] = ()
) -> MergedResults:
    """Merge what has landed of a job once; a second attempt returns the results that the first one published.

    Raises `ResultsNotFound` or `ResultsChanged` where the results of a shard are gone from the store, or not whole.

    Args:
        store: where the shards' results are, and the merged ones are put.
        records: of the job.
        waves: how many of its waves are merged.
        prices: know from which input on a model costs more.
        hidden: the secrets of the call, which the summary does not repeat.
    """
    planned = await read_waves(records, waves)
    landed = [wave.landed[number] for wave in planned for number in sorted(wave.landed)]
    listed = b"".join(shard.model_dump_json().encode() + b"\n" for shard in landed)
    publication = merged_publication_path(records.folder, hashlib.sha256(listed).hexdigest())
    earlier = await read_merged(store, publication)
    if earlier and await has_file(store, earlier.results_file):
        return earlier
    lines, path = MergedLines(store, planned, prices=prices, hidden=hidden), new_merged_path(records.folder)
    async with aclosing(lines.chunks()) as chunks:
        await store.write(path, chunks)
    await store.write(shard_list_path(path), _one(listed))
    merged = MergedResults(
        results_file=ResultsFile(uri=store.uri(path), bytes=lines.bytes, lines=lines.lines, sha256=lines.sha256),
        shards=ShardList(count=len(landed), uri=store.uri(shard_list_path(path))),
        summary=lines.summary,
        cost=total_cost(shard.cost for shard in landed),
        verified=lines.unfinished is None,
        unfinished=lines.unfinished,
        possibly_paid_twice=_paid_twice(landed),
    )
    # Read again: another attempt may have replaced it already.
    if earlier and await read_merged(store, publication) == earlier:
        await store.remove(publication)
    if await store.create(publication, merged.model_dump_json().encode()):
        return merged
    first = await read_merged(store, publication)
    if first is None:
        raise StoreUnavailable(f"{store.uri(publication)} was removed while it was read: try again")
    # A create whose answer was lost is made again, and finds its own publication.
    if first != merged:
        await store.remove(path)
        await store.remove(shard_list_path(path))
    return first


def _paid_twice(landed: Sequence[ShardRecord]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(batch_id for shard in landed for batch_id in shard.possibly_paid_twice))


async def read_merged(store: Store, path: str) -> MergedResults | None:
    """Read the publication of merged results at a path; None if there is none."""
    content = await store.read(path)
    try:
        return None if content is None else MergedResults.model_validate_json(content)
    except ValidationError as error:
        raise StoreUnavailable(f"{store.uri(path)} is damaged: remove it to have the results merged again") from error


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
