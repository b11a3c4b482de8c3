"""The state of a job's shards, as read from the store and Temporal."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import ActivityEnvironment

from activities.job_models import ReadShardsInput, ShardState, ShardStatus, StopShardsInput
from activities.shards import ShardActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile
from message_batches.contract import NextAction
from message_batches.job_models import shard_workflow_id
from message_batches.jobs.records import JobRecords
from message_batches.jobs.shards import OTHER_REQUESTS
from message_batches.models import BatchOutput, Manifest, Phase
from message_batches.requests.manifest import write_inline_manifest
from message_batches.runs.deduplication import attach_id_of
from message_batches.storage.job_paths import job_folder
from message_batches.storage.object_store import ObjectStore, open_store
from tests.harness.requests import fresh, request
from tests.harness.stack import KEYS, QUICK_SUBMISSION, Stack, failure_of, progress_when
from tests.harness.waiting import eventually


@dataclass
class Job:
    """A job's plan in the store of a stack, and its activities."""

    live: Stack
    store: ObjectStore
    job_id: str
    folder: str
    manifests: list[Manifest]

    @classmethod
    async def planned(cls, live: Stack, *shards: list[dict[str, Any]], job_id: str | None = None) -> "Job":
        store = open_store(live.store_url)
        manifests = [await write_inline_manifest(store, shard) for shard in shards]
        job_id = job_id or f"job-{manifests[0].sha256[:12]}"
        folder = job_folder(job_id, manifests[0].content)
        await JobRecords(store, folder).record_plan(0, manifests)
        return cls(live, store, job_id, folder, manifests)

    async def start(self, number: int, **options: Any) -> WorkflowHandle[Any, BatchOutput]:
        return await self.live.start(
            requests_uri=self.manifests[number].uri, workflow_id=shard_workflow_id(self.job_id, 0, number), **options
        )

    async def read(self, *numbers: int) -> list[ShardState]:
        given = ReadShardsInput(
            job_id=self.job_id,
            profile=ApiProfile(),
            store_id=self.manifests[0].store_id,
            folder=self.folder,
            wave=0,
            numbers=numbers or tuple(range(len(self.manifests))),
        )
        async with self._activities() as activities:
            found: list[ShardState] = await self._environment().run(activities.read_shards, given)
        return found

    async def state(self, number: int = 0) -> ShardState:
        return (await self.read(number))[0]

    async def stop(self, *numbers: int) -> list[str]:
        ids = tuple(shard_workflow_id(self.job_id, 0, number) for number in numbers)
        async with self._activities() as activities:
            asked: list[str] = await self._environment().run(activities.stop_shards, StopShardsInput(workflow_ids=ids))
        return asked

    @asynccontextmanager
    async def _activities(self) -> AsyncIterator[ShardActivities]:
        async with http_client(self.live.emulator.url) as http:
            yield ShardActivities(HttpBatchApi(http, ApiKeys(KEYS)), self.store)

    def _environment(self) -> ActivityEnvironment:
        return ActivityEnvironment(client=self.live.client)


async def test_a_shard_is_new_then_running_then_landed_and_recorded(pending: Stack) -> None:
    job = await Job.planned(pending, fresh(2), fresh(3))
    assert [each.status for each in await job.read()] == [ShardStatus.NEW, ShardStatus.NEW]

    run = await job.start(1)
    await progress_when(run, lambda seen: seen.polls > 0)
    assert [each.status for each in await job.read()] == [ShardStatus.NEW, ShardStatus.RUNNING]

    pending.emulator.clock.advance(timedelta(hours=1))
    output = await run.result()
    new, landed = await job.read()

    assert new.requests_uri == job.manifests[0].uri
    assert (landed.status, landed.number, landed.workflow_id) == (ShardStatus.LANDED, 1, run.id)
    assert (landed.requests, landed.usable, landed.batch_id) == (3, 3, output.batch_id)
    assert output.cost
    assert landed.cost == output.cost.amount
    record = await JobRecords(job.store, job.folder).landed(0, 1)
    assert record
    assert (record.results_file, record.summary) == (output.results_file, output.summary)
    assert b"Say hello" not in record.model_dump_json().encode()


async def test_a_landed_shard_stays_landed_where_temporal_has_no_run(live: Stack) -> None:
    job = await Job.planned(live, fresh())
    await (await job.start(0)).result()
    landed = await job.state()

    elsewhere = Job(live, job.store, "of-a-base", job.folder, job.manifests)
    taken_over = await elsewhere.state()

    assert landed.status is ShardStatus.LANDED
    assert landed.cost
    assert taken_over == landed.model_copy(update={"cost": 0})


async def test_a_shard_whose_results_are_gone_has_its_batch_left_and_is_recorded_anew(live: Stack) -> None:
    job = await Job.planned(live, fresh())
    output = await (await job.start(0)).result()
    await job.state()
    await job.store.remove(job.store.name(output.results_file.uri))

    left = await job.state()
    assert (left.status, left.batch_id) == (ShardStatus.BATCH_LEFT, output.batch_id)

    again = await (await job.start(0, batch_id=output.batch_id)).result()
    landed = await job.state()
    record = await JobRecords(job.store, job.folder).landed(0, 0)

    assert landed.status is ShardStatus.LANDED
    assert record
    assert record.results_file == again.results_file != output.results_file
    assert live.operations().count("create") == 1


async def test_a_terminated_shard_has_its_batch_left_until_a_run_attaches(pending: Stack) -> None:
    job = await Job.planned(pending, fresh())
    run = await job.start(0)
    seen = await progress_when(run, lambda now: now.polls > 0)
    await run.terminate(reason="by an operator")

    left = await job.state()

    assert (left.status, left.batch_id) == (ShardStatus.BATCH_LEFT, seen.batch_id)
    assert (left.type, left.action) == ("Terminated", NextAction.ATTACH)
    assert "by an operator" in (left.message or "")

    await pending.start(
        None,
        requests_uri=job.manifests[0].uri,
        batch_id=seen.batch_id,
        workflow_id=attach_id_of(seen.batch_id or "", "default"),
    )
    followed = await job.state()
    assert (followed.status, followed.workflow_id) == (ShardStatus.RUNNING, f"attach-{seen.batch_id}")
    pending.emulator.clock.advance(timedelta(hours=1))

    async def landed() -> bool:
        return (await job.state()).status is ShardStatus.LANDED

    await eventually(landed, "the results of the attached run")
    assert (await job.state()).batch_id == seen.batch_id


async def test_a_shard_that_was_refused_has_failed_and_one_without_a_reply_is_unknown(live: Stack) -> None:
    job = await Job.planned(live, fresh(2), fresh(2))
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    refused = await failure_of(await job.start(0))
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await job.start(1, submission=QUICK_SUBMISSION.model_copy(update={"quiet_period": timedelta(seconds=60)}))
    await progress_when(run, lambda now: now.phase is Phase.UNDECIDED)
    await run.terminate()

    failed, unknown = await job.read()

    assert (failed.status, failed.type, failed.batch_id) == (ShardStatus.FAILED, refused.type, None)
    assert failed.message == refused.message
    assert unknown.status is ShardStatus.UNKNOWN
    assert (unknown.type, unknown.batch_id, unknown.action) == ("Terminated", None, NextAction.CHECK_BATCHES)


async def test_a_run_of_other_requests_under_the_shards_id_is_not_the_shards(pending: Stack) -> None:
    job = await Job.planned(pending, [request("a", "one")], job_id="nightly")
    other = await Job.planned(pending, [request("a", "two")], job_id="nightly")
    run = await other.start(0)
    await progress_when(run, lambda now: now.polls > 0)

    taken = await job.state()
    assert (taken.status, taken.type) == (ShardStatus.FAILED, OTHER_REQUESTS)
    assert (await other.state()).status is ShardStatus.RUNNING

    pending.emulator.clock.advance(timedelta(hours=1))
    await run.result()

    assert (await job.state()).status is ShardStatus.NEW
    assert (await other.state()).status is ShardStatus.LANDED


@pytest.mark.slow
async def test_a_shard_that_lands_its_results_is_not_stopped(live: Stack) -> None:
    job = await Job.planned(live, fresh())
    live.emulator.faults.add("slow", operation="results", seconds=2, times=1)
    run = await job.start(0)
    await progress_when(run, lambda now: now.phase is Phase.RETRIEVING)

    assert await job.stop(0) == []
    assert (await run.result()).summary.usable == 3
    assert "cancel" not in live.operations()


@pytest.mark.slow
async def test_a_shard_whose_post_is_under_way_is_asked_again_and_lands_what_finishes(pending: Stack) -> None:
    job = await Job.planned(pending, fresh())
    pending.emulator.faults.add("slow", operation="create", seconds=2, times=1)
    run = await job.start(0)
    await pending.saw("create")

    assert await job.stop(0) == [run.id]
    await progress_when(run, lambda now: now.polls > 0)
    assert await job.stop(0) == []
    pending.emulator.clock.advance(timedelta(hours=1))

    assert (await run.result()).summary.counts.canceled == 3
    assert (await job.state()).status is ShardStatus.LANDED


async def test_stopping_lands_what_has_finished_and_cancels_what_was_not_submitted(pending: Stack) -> None:
    job = await Job.planned(pending, fresh(2), fresh(2))
    polled = await job.start(0)
    await progress_when(polled, lambda now: now.polls > 0)
    pending.emulator.faults.add("429", operation="create", retry_after=60)
    waiting = await job.start(1)
    await progress_when(waiting, lambda now: now.submission is not None)

    assert await job.stop(0, 1) == []
    pending.emulator.clock.advance(timedelta(hours=1))
    output = await polled.result()

    assert output.summary.counts.canceled + output.summary.counts.succeeded == 2
    landed, stopped = await job.read()
    assert landed.status is ShardStatus.LANDED
    assert (stopped.status, stopped.type, stopped.action) == (ShardStatus.FAILED, "Canceled", None)
    assert await job.stop(0, 1) == []
