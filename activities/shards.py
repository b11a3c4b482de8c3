"""The activities of a job's shards: what has become of them, stopping them, and merging what they have landed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from temporalio import activity
from temporalio.client import Client

from activities.failures import check_store, errors_as_failures
from activities.job_models import (
    CancelShardsInput,
    LeftBatch,
    MergeInput,
    ReadShardsInput,
    ShardState,
    ShardStatus,
    StopShardsInput,
)
from activities.timeouts import heartbeats
from message_batches.api.interface import BatchApi
from message_batches.api.models import ApiProfile, KeyOwner
from message_batches.contract import ActivityType
from message_batches.errors import ApiError, UnknownKey
from message_batches.job_models import MergedResults
from message_batches.jobs.answers import read_waves
from message_batches.jobs.describe import find_stored_job
from message_batches.jobs.merge import merge
from message_batches.jobs.records import JobRecords, given_folder
from message_batches.jobs.shards import Shard, ShardReader, cancel_shard, stop_shard
from message_batches.prices import PriceList
from message_batches.requests.first_read import FirstRead
from message_batches.storage import job_paths
from message_batches.storage.interface import Store

MAX_CALLS = 20
"""Shards that are asked about, or stopped, at a time."""

Each = TypeVar("Each")
Found = TypeVar("Found")


class ShardActivities:
    """The activities of a job's shards, over an API and a store."""

    def __init__(self, api: BatchApi, store: Store, *, prices: PriceList | None = None) -> None:
        self._api = api
        self._store = store
        self._prices = prices or PriceList()
        self._shards = ShardReader(store)

    @activity.defn(name=ActivityType.READ_SHARDS)
    async def read_shards(self, given: ReadShardsInput) -> list[ShardState]:
        """Return the state of each of these shards of a wave, in their order; what has landed is recorded."""
        with errors_as_failures():
            async with heartbeats():
                await check_store(self._store, given.store_id)
                client, records = activity.client(), JobRecords(self._store, given.folder)
                manifests = await records.planned(given.wave)

                async def read(number: int) -> ShardState:
                    shard = Shard(given.job_id, given.wave, number, manifests[number])
                    return await self._read(client, records, shard, given.profile)

                return await _each(given.numbers, read)

    @activity.defn(name=ActivityType.STOP_SHARDS)
    async def stop_shards(self, given: StopShardsInput) -> list[str]:
        """Have the batches of these runs canceled, so that what has finished is landed.

        Returns the workflow ids of those that gave no answer, and are to be asked again.
        """
        with errors_as_failures():
            async with heartbeats():
                asked = await _each(given.workflow_ids, lambda each: stop_shard(activity.client(), self._store, each))
                return [each for each, done in zip(given.workflow_ids, asked, strict=True) if not done]

    @activity.defn(name=ActivityType.CANCEL_SHARDS)
    async def cancel_shards(self, given: CancelShardsInput) -> list[LeftBatch]:
        """Cancel the runs of a job's shards, of all waves, whichever run of the job has started them.

        Each cancels its batch at the provider. Returns the batches that no run follows.
        """
        with errors_as_failures():
            async with heartbeats():
                if given.store_id:
                    await check_store(self._store, given.store_id)
                client, folder = activity.client(), given.folder or await self._folder_of(given)
                records = JobRecords(self._store, folder)
                shards = [
                    Shard(given.job_id, wave, number, manifest)
                    for wave, planned in enumerate(await read_waves(records))
                    for number, manifest in enumerate(planned.manifests)
                    if number not in planned.landed
                ]

                async def cancel(shard: Shard) -> LeftBatch | None:
                    found = await self._read(client, records, shard, given.profile)
                    if found.status is ShardStatus.RUNNING:
                        await cancel_shard(client, self._store, found.workflow_id)
                    if found.status is not ShardStatus.BATCH_LEFT or found.batch_id is None:
                        return None
                    return LeftBatch(batch_id=found.batch_id, api_key=found.api_key)

                return [batch for batch in await _each(shards, cancel) if batch]

    async def _read(self, client: Client, records: JobRecords, shard: Shard, profile: ApiProfile) -> ShardState:
        """Return the state of a shard; a left batch has the key that sent it only if the job's is of another account.

        The first may have been replaced by the second, and be no longer valid.
        """
        found = await self._shards.read(client, records, shard, profile.api_key)
        if found.api_key is None:
            return found
        sent = next(
            each
            for each in await self._shards.submitted(shard)
            if each.outcome and each.outcome.batch_id == found.batch_id
        )
        try:
            self._api.check(profile.model_copy(update={"api_key": found.api_key}))
            owner = self._api.owner(profile) or (await self._api.list(profile, limit=1)).owner
        except (UnknownKey, ApiError):
            owner = KeyOwner()
        another = owner.conflict(sent.intent.anchor.owner) is not None
        return found if another else found.model_copy(update={"api_key": None})

    async def _folder_of(self, given: CancelShardsInput) -> str:
        """Return the folder of a job that is planned just now; where it has none yet, nothing is in it."""
        if (uri := given.requests_uri) is not None:
            uri = await FirstRead(self._store, given.job_id, given.first_run_id).address(uri)
        if folder := await given_folder(self._store, given.job_id, given.requests, uri):
            return folder
        found = await find_stored_job(self._store, given.job_id)
        return found.records.folder if found else job_paths.job_folder(given.job_id, "")

    @activity.defn(name=ActivityType.MERGE_RESULTS)
    async def merge_results(self, given: MergeInput) -> MergedResults:
        """Merge what has landed into one file, published once."""
        with errors_as_failures():
            async with heartbeats():
                await check_store(self._store, given.store_id)
                merged = await merge(
                    self._store,
                    JobRecords(self._store, given.folder),
                    given.waves,
                    prices=self._prices,
                    hidden=self._api.hidden(given.profile),
                )
            activity.logger.info("Merged %d lines", merged.results_file.lines)
        return merged


async def _each(items: Iterable[Each], work: Callable[[Each], Awaitable[Found]]) -> list[Found]:
    """Return the results of `work` for each item, a few at a time."""
    turns = asyncio.Semaphore(MAX_CALLS)

    async def one(item: Each) -> Found:
        async with turns:
            return await work(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
