"""Merging the results of a job's shards and waves into one file, in a process of its own."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from benchmarks import contender
from benchmarks.contender import Meter
from benchmarks.requests import MODEL
from benchmarks.setting import Setting
from benchmarks.table import Row, memory_row
from message_batches.jobs.merge import merge
from message_batches.jobs.records import JobRecords
from message_batches.jobs.shards import Shard, record_of
from message_batches.requests.manifest import write_manifest
from message_batches.results.landing import land
from message_batches.storage.job_paths import job_folder
from message_batches.storage.object_store import ObjectStore, open_store

RESULTS = 1_000_000
SHARDS = 10
RETRIED = 10
"""One of so many requests is in the second wave too."""

LINE_BYTES = 500
WITHIN_SECONDS = 120
MOST_MEMORY = 100_000_000
_JOB = "job-benchmark"
_ACCOUNT = "default-000000000000"


async def measure(setting: Setting) -> list[Row]:
    """Return the rows of the table."""
    folder = setting.folder
    store = open_store((folder / "store").as_uri())
    records = JobRecords(store, job_folder(_JOB, "0" * 64))
    size = setting.sized(RESULTS, least=SHARDS * RETRIED) // SHARDS
    shards = [range(number * size, (number + 1) * size) for number in range(SHARDS)]
    await _wave(store, records, 0, shards, folder)
    await _wave(store, records, 1, [range(0, SHARDS * size, RETRIED)], folder)

    def tidy() -> None:
        for path in (folder / "store" / records.folder).iterdir():
            if path.suffix in (".jsonl", ".shards") or len(path.stem) == 64:
                path.unlink()

    laps = await contender.race(setting, {"merge": partial(contender.run, setting, merged, str(folder))}, tidy)
    what = f"merge {SHARDS * size:,} results, {SHARDS * size * LINE_BYTES / 1e6:,.0f} MB"
    ours = laps["merge"]
    return [
        Row(what=what, ours=f"{ours}", goal=f"at most {WITHIN_SECONDS} s", met=ours.median <= WITHIN_SECONDS),
        memory_row(what, ours, at_most=MOST_MEMORY),
    ]


async def merged(meter: Meter, folder: str) -> None:
    """Merge the job in a folder."""
    store = open_store((Path(folder) / "store").as_uri())
    records = JobRecords(store, job_folder(_JOB, "0" * 64))
    with meter:
        await merge(store, records, 2)


async def _wave(store: ObjectStore, records: JobRecords, wave: int, shards: list[range], scratch: Path) -> None:
    manifests = [await write_manifest(store, _stream(_requests(shard)), scratch=scratch) for shard in shards]
    await records.record_plan(wave, manifests)
    for number, (shard, manifest) in enumerate(zip(shards, manifests, strict=True)):
        landed = await land(
            store,
            _download(shard, wave),
            account=_ACCOUNT,
            batch_id=f"msgbatch_{wave}_{number}",
            manifest=manifest,
            expected_count=manifest.count,
            scratch=scratch,
        )
        where = Shard(_JOB, wave, number, manifest)
        await records.record_landed(record_of(where, where.workflow_id, landed))


@asynccontextmanager
async def _download(shard: range, wave: int) -> AsyncIterator[AsyncIterator[bytes]]:
    yield _stream(_results(shard, wave))


async def _stream(lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


def _requests(shard: range) -> Iterator[bytes]:
    for number in shard:
        yield b'{"custom_id":"request-%07d","params":{"model":"%s","max_tokens":99,"messages":[]}}\n' % (
            number,
            MODEL.encode(),
        )


def _results(shard: range, wave: int) -> Iterator[bytes]:
    for number in shard:
        message = {
            "id": f"msg_{number:024}",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": [{"type": "text", "text": ""}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 12, "output_tokens": wave + 30, "service_tier": "batch"},
        }
        line = {"custom_id": f"request-{number:07}", "result": {"type": "succeeded", "message": message}}
        message["content"] = [{"type": "text", "text": "x" * max(0, LINE_BYTES - 1 - len(json.dumps(line)))}]
        yield json.dumps(line).encode() + b"\n"
