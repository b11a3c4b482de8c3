"""The records of a job in the store: the plan of each wave, and its landed shards; each is put once and never changed.

What an earlier run of the same job has planned or landed is thereby found again, also where Temporal no longer has it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from message_batches.errors import RequestsNotFound, StoreUnavailable
from message_batches.job_models import ShardRecord
from message_batches.models import Manifest
from message_batches.requests.manifest import content_of, content_of_items
from message_batches.storage import job_paths
from message_batches.storage.interface import Store

_READ_AT_ONCE = 50


class JobRecords:
    """The records of one job, in its folder."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self.folder = folder

    async def plan(self, wave: int) -> tuple[Manifest, ...] | None:
        """Return the manifests of a wave's shards, in the order of the requests; None if it is not planned."""
        path = job_paths.plan_path(self.folder, wave)
        content = await self._store.read(path)
        if content is None:
            return None
        try:
            return tuple(Manifest.model_validate_json(line) for line in content.splitlines())
        except ValidationError as error:
            raise self._damaged(path) from error

    async def planned(self, wave: int) -> tuple[Manifest, ...]:
        """Return the manifests of a wave that is planned; `RequestsNotFound` if its plan is gone."""
        shards = await self.plan(wave)
        if shards is None:
            path = self._store.uri(job_paths.plan_path(self.folder, wave))
            raise RequestsNotFound(f"{path} is no longer in the store: restore it from a backup")
        return shards

    async def record_plan(self, wave: int, shards: Sequence[Manifest]) -> tuple[Manifest, ...]:
        """Record the plan of a wave, unless it has one; return the one that it has."""
        lines = "".join(f"{shard.model_dump_json()}\n" for shard in shards)
        if await self._store.create(job_paths.plan_path(self.folder, wave), lines.encode()):
            return tuple(shards)
        earlier = await self.plan(wave)
        if earlier is None:
            raise StoreUnavailable(f"the plan of wave {wave} was removed from {self.folder} while it was read")
        return earlier

    async def record_landed(self, shard: ShardRecord, *, instead_of: ShardRecord | None = None) -> None:
        """Record a landed shard, unless it is recorded; `instead_of` is a record whose results are gone."""
        path = job_paths.shard_path(self.folder, shard.wave, shard.number)
        # Read again: another reader may have replaced it already.
        if instead_of and await self.landed(shard.wave, shard.number) == instead_of:
            await self._store.remove(path)
        await self._store.create(path, shard.model_dump_json().encode())

    async def landed(self, wave: int, number: int) -> ShardRecord | None:
        """Return a landed shard; None if it has not landed."""
        path = job_paths.shard_path(self.folder, wave, number)
        content = await self._store.read(path)
        try:
            return None if content is None else ShardRecord.model_validate_json(content)
        except ValidationError as error:
            raise self._damaged(path) from error

    async def all_landed(self, wave: int, shards: int) -> list[ShardRecord]:
        """Return the landed ones of a wave's shards, in their order."""
        found: list[ShardRecord | None] = []
        for first in range(0, shards, _READ_AT_ONCE):
            numbers = range(first, min(first + _READ_AT_ONCE, shards))
            found += await asyncio.gather(*(self.landed(wave, number) for number in numbers))
        return [shard for shard in found if shard]

    def _damaged(self, path: str) -> StoreUnavailable:
        return StoreUnavailable(f"{self._store.uri(path)} is damaged: restore it from a backup")


async def given_folder(store: Store, job_id: str, requests: list[Any] | None, requests_uri: str | None) -> str | None:
    """Return the folder of a job for the requests of its input; None if it has none."""
    if requests_uri is not None:
        planned = job_paths.folder_of_plan(store.name(requests_uri))
        return planned or job_paths.job_folder(job_id, await content_of(store, requests_uri))
    return None if requests is None else job_paths.job_folder(job_id, content_of_items(requests))
