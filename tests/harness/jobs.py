"""Jobs in a store as their workflows would have left them, without a run."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from message_batches.api.keys import Account
from message_batches.job_models import ShardRecord
from message_batches.jobs.records import JobRecords
from message_batches.jobs.shards import Shard, record_of
from message_batches.models import Manifest
from message_batches.requests.manifest import write_inline_manifest
from message_batches.results.landing import land
from message_batches.storage.accounts import AccountRecords
from message_batches.storage.job_paths import job_folder
from message_batches.storage.object_store import ObjectStore, open_store
from tests.harness.stack import ACCOUNT

JOB = "job-1"


class StoredJob:
    """A job in a store: its waves are planned, and their shards landed, one by one."""

    def __init__(self, store: ObjectStore, content: str = "0" * 64, job_id: str = JOB) -> None:
        self.store = store
        self.job_id = job_id
        self.records = JobRecords(store, job_folder(job_id, content))

    @classmethod
    def new(cls, folder: Path) -> "StoredJob":
        """Begin a job in a new store."""
        return cls(open_store((folder / "store").as_uri()))

    async def plan(self, wave: int, *shards: Sequence[dict[str, Any]]) -> None:
        """Plan a wave: the requests of each of its shards."""
        manifests = [await write_inline_manifest(self.store, list(shard)) for shard in shards]
        assert await self.records.record_plan(wave, manifests) == tuple(manifests)

    async def manifest(self, wave: int, number: int) -> Manifest:
        """Return the manifest of a planned shard."""
        return (await self.records.planned(wave))[number]

    async def land(self, wave: int, number: int, *lines: bytes, account: Account = ACCOUNT) -> ShardRecord:
        """Land the results of a shard, in any order."""
        manifest = await self.manifest(wave, number)
        batch_id = f"msgbatch_{hashlib.sha256(f'{self.job_id} {wave} {number}'.encode()).hexdigest()[:24]}"
        landed = await land(
            self.store,
            _download(lines),
            account=await AccountRecords(self.store).record(account),
            batch_id=batch_id,
            manifest=manifest,
            expected_count=manifest.count,
        )
        shard = Shard(self.job_id, wave, number, manifest)
        record = record_of(shard, shard.workflow_id, landed)
        await self.records.record_landed(record)
        return record

    async def overwrite(self, uri: str, data: bytes) -> None:
        """Change a file of the store."""
        await self.store.write(self.store.name(uri), _pieces([data]))


@asynccontextmanager
async def _download(lines: Sequence[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    yield _pieces([line + b"\n" for line in lines])


async def _pieces(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
