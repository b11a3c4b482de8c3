"""Merging of jobs: whatever has landed of whichever waves, each request once, in order, by its last answer."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_batches.job_models import MergedResults, Retries, ShardLimits
from message_batches.jobs.merge import merge
from message_batches.jobs.waves import plan_next_wave
from message_batches.requests.manifest import read_ids
from message_batches.results.failed import FailedRequests
from message_batches.results.parser import read_result
from message_batches.storage.object_store import ObjectStore
from tests.exhaustive.properties.lines import IDS, results
from tests.harness.jobs import StoredJob


class CutStore(ObjectStore):
    """A store whose files are read in pieces of a few bytes, so that lines and blocks end anywhere."""

    piece = 1000

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """Read a file in pieces."""
        async for chunk in super().stream(name):
            for start in range(0, len(chunk), self.piece):
                yield chunk[start : start + self.piece]


@dataclass
class Shard:
    """The lines of a shard by custom_id, and whether it has landed."""

    lines: dict[str, bytes]
    landed: bool


Waves = list[list[Shard]]


@st.composite
def shards(draw: st.DrawFn, ids: Sequence[str]) -> list[Shard]:
    """Split requests into shards of one or more."""
    cuts = sorted(draw(st.sets(st.integers(1, len(ids) - 1), max_size=3))) if len(ids) > 1 else []
    parts = [ids[start:end] for start, end in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
    return [
        Shard({custom_id: draw(results(custom_id)) for custom_id in part}, draw(st.integers(0, 3)) > 0)
        for part in parts
    ]


@st.composite
def jobs(draw: st.DrawFn) -> Waves:
    """Generate the waves of a job, each later one with some of the requests of the first."""
    ids = draw(st.lists(IDS, min_size=1, max_size=10, unique=True))
    waves = [draw(shards(ids))]
    for _ in range(draw(st.integers(0, 2))):
        again = [custom_id for custom_id in ids if draw(st.booleans())]
        if not again:
            break
        waves.append(draw(shards(again)))
    return waves


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CutStore:
    folder = tmp_path_factory.mktemp("jobs") / "store"
    return CutStore(None, folder.as_uri(), folder)


async def stored(store: ObjectStore, waves: Waves) -> StoredJob:
    job = StoredJob(store, hashlib.sha256(uuid4().bytes).hexdigest(), f"job-{uuid4()}")
    for number, wave in enumerate(waves):
        await job.plan(number, *([{"custom_id": each, "params": {}} for each in shard.lines] for shard in wave))
        for place, shard in enumerate(wave):
            if shard.landed:
                await job.land(number, place, *shard.lines.values())
    return job


def is_reply(line: bytes) -> bool:
    return read_result(line).type == "succeeded"


@given(waves=jobs(), piece=st.sampled_from([40, 300, 100_000]))
def test_the_merged_file_has_the_last_answer_of_each_request_in_order(
    waves: Waves, piece: int, store: CutStore
) -> None:
    store.piece = piece

    async def merged() -> tuple[MergedResults, bytes | None, list[str]]:
        job = await stored(store, waves)
        done = await merge(job.store, job.records, len(waves))
        plan = await plan_next_wave(
            job.store, job.records, len(waves), limits=ShardLimits(max_requests=2), retries=Retries()
        )
        again = [custom_id for manifest in plan.shards for custom_id in await read_ids(job.store, manifest)]
        return done, await job.store.read(job.store.name(done.results_file.uri)), again

    done, content, again = asyncio.run(merged())

    ids = [custom_id for shard in waves[0] for custom_id in shard.lines]
    last: dict[str, bytes] = {}
    attempts: dict[str, bytes] = {}
    pending: set[str] = set()
    for wave in waves:
        for shard in wave:
            if shard.landed:
                attempts |= shard.lines
                for custom_id, line in shard.lines.items():
                    if not (custom_id in last and is_reply(last[custom_id]) and not is_reply(line)):
                        last[custom_id] = line
                pending.difference_update(shard.lines)
            else:
                pending.update(shard.lines)
    expected = [custom_id for custom_id in ids if custom_id in last]
    assert content == b"".join(last[custom_id] + b"\n" for custom_id in expected)
    assert done.results_file.sha256 == hashlib.sha256(content).hexdigest()
    assert (done.results_file.lines, done.results_file.bytes) == (len(expected), len(content))
    assert sum(dict(done.summary.counts).values()) == len(expected)
    missing = [custom_id for custom_id in ids if custom_id not in last]
    assert done.verified == (not missing)
    assert (done.unfinished.count if done.unfinished else 0) == len(missing)
    assert list(done.unfinished.custom_ids if done.unfinished else ()) == missing[:3]
    failed = FailedRequests()
    for custom_id in expected:
        if custom_id not in pending:
            failed.add(read_result(attempts[custom_id]))
    assert again == [custom_id for custom_id in ids if custom_id in failed.retryable]
