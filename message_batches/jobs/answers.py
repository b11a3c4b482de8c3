"""The last answer of each request of a job, in the order of the requests: a join over its shards and waves.

A reply is only replaced by another reply: one that was cut off is worth more than the error of a retry.
The results of a shard are in the order of its requests, and the requests of a later wave in the order of the first one:
each file is read once, from its start to its end, and no more than a piece of one file of each wave is in memory.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from message_batches.concurrency import run_in_thread
from message_batches.errors import ResultsIncomplete
from message_batches.job_models import ShardRecord
from message_batches.jobs.records import JobRecords
from message_batches.jsonl import Splitter
from message_batches.models import Manifest
from message_batches.requests.manifest import read_ids
from message_batches.results.parser import ResultLine, read_result
from message_batches.results.reader import ResultsChanged, decode_request, results_in, unchanged
from message_batches.storage.interface import Store

MAX_IDS = 3
SUCCEEDED = "succeeded"
_BLOCK = 1000


class Answer(NamedTuple):
    """An answer, its line, and the line of its request, which is empty where it was not asked for."""

    result: ResultLine
    line: bytes
    request: bytes = b""


@dataclass(frozen=True)
class Wave:
    """A wave's shards: their requests, and of those that have landed the record, by their numbers.

    Attributes:
        void: those that count as never planned, since the API refuses them as they are.
    """

    manifests: tuple[Manifest, ...]
    landed: Mapping[int, ShardRecord]
    void: Collection[int] = ()


async def read_waves(records: JobRecords, waves: int | None = None) -> list[Wave]:
    """Read the waves of a job from the store: the first so many, or all that are planned."""
    found: list[Wave] = []
    while waves is None or len(found) < waves:
        manifests = await records.plan(len(found)) if waves is None else await records.planned(len(found))
        if manifests is None:
            break
        landed = await records.all_landed(len(found), len(manifests))
        found.append(Wave(manifests, {record.number: record for record in landed}))
    return found


class Answers:
    """Reads the last answer of each request; a shard without results leaves its requests unfinished.

    A reply, such as one that was cut off, is replaced by another reply only, not by the error of a later wave.

    Args:
        store: where the files are.
        waves: of the job, the first of which has all requests.
        with_requests: whether to read the line of each request too, as the wave of the answer has sent it.
        settled: whether to read what the last attempt of each request has come to, whatever that is. Requests are left
            out, as unfinished, also where a later wave has sent them again in a shard that has not landed: another
            answer of theirs may be on its way, or be lost.

    Attributes:
        unfinished: after the last block, how many requests have no answer; `unfinished_ids` the first three.
    """

    def __init__(
        self, store: Store, waves: Sequence[Wave], *, with_requests: bool = False, settled: bool = False
    ) -> None:
        self._store = store
        self._waves = waves
        self._with_requests = with_requests
        self._settled = settled
        self.unfinished = 0
        self.unfinished_ids: list[str] = []

    async def blocks(self) -> AsyncGenerator[list[Answer]]:
        """Yield the answers in order, many at a time; no block is empty.

        Raises `ResultsNotFound` or `ResultsChanged` for a file that is not what has landed.
        """
        async with AsyncExitStack() as opened:
            later = []
            for wave in self._waves[1:]:
                blocks = self._of_wave(wave, landed_only=not self._settled)
                later.append(_Answered(await opened.enter_async_context(aclosing(blocks))))
            first = await opened.enter_async_context(aclosing(self._of_wave(self._waves[0])))
            async for block in first:
                start = 0
                while start < len(block):
                    for answered in later:
                        await answered.fill()
                    newest, start = await run_in_thread(
                        partial(_newest, block, start, later, replies_stay=not self._settled)
                    )
                    if answers := self._without_unfinished(newest):
                        yield answers
            for answered in later:
                await answered.fill()
                if left := answered.next_id:
                    raise ResultsChanged(f"The answer of {left} is in a later wave, and not where its request is")

    def _without_unfinished(self, newest: list[Answer]) -> list[Answer]:
        answers = [answer for answer in newest if answer.line]
        if len(answers) < len(newest):
            self.unfinished += len(newest) - len(answers)
            missing = (answer.result.custom_id for answer in newest if not answer.line)
            self.unfinished_ids += [custom_id for custom_id, _ in zip(missing, range(MAX_IDS), strict=False)]
            del self.unfinished_ids[MAX_IDS:]
        return answers

    async def _of_wave(self, wave: Wave, *, landed_only: bool = False) -> AsyncGenerator[list[Answer]]:
        """Yield the answers of a wave, of shards that have not landed with empty lines, or none of these."""
        for number, manifest in enumerate(wave.manifests):
            if record := wave.landed.get(number):
                async with aclosing(self._of_shard(manifest, record)) as blocks:
                    async for block in blocks:
                        yield block
            elif not landed_only and number not in wave.void:
                ids = await read_ids(self._store, manifest)
                for start in range(0, len(ids), _BLOCK):
                    yield [Answer(ResultLine(custom_id, ""), b"") for custom_id in ids[start : start + _BLOCK]]

    async def _of_shard(self, manifest: Manifest, record: ShardRecord) -> AsyncGenerator[list[Answer]]:
        ids = await read_ids(self._store, manifest)
        uri, done = record.results_file.uri, 0
        results = _Lines(results_in(self._store, record.results_file))
        requests = _Lines(unchanged(self._store, manifest.uri, manifest.sha256)) if self._with_requests else None
        while lines := await results.take():
            asked = await requests.take(len(lines)) if requests else []
            yield await run_in_thread(partial(_read, lines, asked, ids[done : done + len(lines)], uri))
            done += len(lines)
        if done < len(ids) or (requests and await requests.take()):
            raise ResultsChanged(f"{uri} has {done:,} results of {len(ids):,} requests")


def _read(lines: list[bytes], requests: list[bytes], ids: list[str], uri: str) -> list[Answer]:
    """Read results, each of which has to be that of its request."""
    if len(ids) < len(lines) or (requests and len(requests) < len(lines)):
        raise ResultsChanged(f"{uri} has more results than there are requests")
    answers = []
    for line, custom_id in zip(lines, ids, strict=True):
        result = read_result(line, landed=True)
        if result.custom_id != custom_id:
            raise ResultsChanged(f"{uri} has the result of {result.custom_id} where that of {custom_id} is expected")
        answers.append(Answer(result, line))
    if not requests:
        return answers
    for request, custom_id in zip(requests, ids, strict=True):
        if decode_request(request).custom_id != custom_id:
            raise ResultsChanged(f"The request of {custom_id} is not where its result is, {uri}")
    return [Answer(*answer[:2], request) for answer, request in zip(answers, requests, strict=True)]


@dataclass
class _Answered:
    """The answers of a later wave, of which the first that was not taken is compared with each request.

    Attributes:
        next_id: the custom_id of that answer; None if a next block has to be read, or there is none.
    """

    blocks: AsyncGenerator[list[Answer]]
    next_id: str | None = None
    _block: list[Answer] = field(default_factory=list)
    _position: int = 0
    ended: bool = False

    async def fill(self) -> None:
        """Read the next block, if all of the last one were taken."""
        if self.next_id is None and not self.ended:
            self._block, self._position = await anext(self.blocks, []), 0
            self.ended = not self._block
            self.next_id = None if self.ended else self._block[0].result.custom_id

    def take(self) -> Answer:
        """Return the next answer and go on to the one after it."""
        answer = self._block[self._position]
        self._position += 1
        more = self._position < len(self._block)
        self.next_id = self._block[self._position].result.custom_id if more else None
        return answer


def _newest(
    block: list[Answer], start: int, later: Sequence[_Answered], *, replies_stay: bool
) -> tuple[list[Answer], int]:
    """Replace answers by later ones; also return where to go on, once a later wave has been filled again."""
    waiting = [answered for answered in later if not answered.ended]
    if not waiting:
        return block[start:], len(block)
    newest = block[start:]
    for position, answer in enumerate(newest):
        custom_id = answer.result.custom_id
        for answered in waiting:
            if answered.next_id == custom_id:
                taken = answered.take()
                if not replies_stay or taken.result.type == SUCCEEDED or newest[position].result.type != SUCCEEDED:
                    newest[position] = taken
        if any(answered.next_id is None for answered in waiting):
            return newest[: position + 1], start + position + 1
    return newest, len(block)


class _Lines:
    """The lines of a file without blank ones, as many at a time as a piece of it has, or as are asked for."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._splitter = Splitter(ResultsIncomplete)
        self._lines: list[bytes] = []
        self._ended = False

    async def take(self, count: int | None = None) -> list[bytes]:
        """Return the next lines, none only at the end."""
        while not self._ended and len(self._lines) < (count or 1):
            piece = await anext(self._pieces, None)
            self._ended = piece is None
            self._lines += [line for line in self._split(piece) if line.strip()]
        taken = self._lines[:count]
        del self._lines[: len(taken)]
        return taken

    def _split(self, piece: bytes | None) -> list[bytes]:
        return self._splitter.end() if piece is None else self._splitter.feed(piece)
