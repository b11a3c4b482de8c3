"""pollBatchStatus: a batch that is as its run knows it is not repeated; when a poll is made again after an error."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.batch import MessageBatchActivities
from activities.models import BatchRef
from activities.timeouts import reply_deadline
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile, MessageBatch
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import PollSchedule, RetrySchedule
from message_batches.storage.object_store import open_store
from tests.harness.requests import requests
from tests.harness.stack import KEYS
from workflows import activity_options

BODY = msgspec.json.encode({"requests": requests(2)})
INTERVAL = timedelta(seconds=20)
SCHEDULE = PollSchedule(transient=RetrySchedule(retry_after=INTERVAL))
BY_VERSION = {"this": activity_options.poll(SCHEDULE), "0.2.0": activity_options.find_anchor(SCHEDULE)}
"""The options that a workflow of each version gives a poll: the older one's are today's of another call."""


class Poller:
    """The activity over an emulator that holds one batch."""

    def __init__(self, emulator: Emulator, api: HttpBatchApi, batch: MessageBatch, folder: Path) -> None:
        self.emulator = emulator
        self.batch = batch
        self._activity = MessageBatchActivities(api, open_store(folder.as_uri())).poll_batch_status

    async def poll(self, *, known: MessageBatch | None = None, by: str = "this") -> MessageBatch | None:
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, retry_policy=BY_VERSION[by]["retry_policy"])
        seen = known.fingerprint if known else None
        return await environment.run(self._activity, BatchRef(profile=ApiProfile(), batch_id=self.batch.id, seen=seen))


@asynccontextmanager
async def poller(folder: Path) -> AsyncIterator[Poller]:
    async def body() -> AsyncIterator[bytes]:
        yield BODY

    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(hours=1))) as emulator,
        http_client(emulator.url) as http,
    ):
        api = HttpBatchApi(http, ApiKeys(KEYS))
        yield Poller(emulator, api, await api.create(ApiProfile(), body(), len(BODY)), folder)


async def test_a_batch_that_is_as_the_run_knows_it_is_not_repeated(tmp_path: Path) -> None:
    async with poller(tmp_path) as running:
        seen = await running.poll()

        assert seen == running.batch
        assert await running.poll(known=MessageBatch.model_validate_json(seen.model_dump_json())) is None


async def test_a_batch_that_has_changed_is_described_whole(tmp_path: Path) -> None:
    async with poller(tmp_path) as running:
        before = running.batch.model_copy(update={"cancel_initiated_at": running.batch.created_at})

        assert await running.poll(known=before) == running.batch


async def test_a_batch_that_has_ended_is_described_whole_whatever_the_run_knows(tmp_path: Path) -> None:
    async with poller(tmp_path) as running:
        running.emulator.clock.advance(timedelta(hours=2))
        ended = await running.poll()

        assert ended
        assert ended.ended
        assert await running.poll(known=ended) == ended


@pytest.mark.parametrize("version", BY_VERSION)
@pytest.mark.parametrize(("retry_after", "delay"), [(None, INTERVAL), (3, timedelta(seconds=3))])
async def test_an_error_is_retried_after_the_documents_interval_or_that_of_the_api(
    version: str, retry_after: int | None, delay: timedelta, tmp_path: Path
) -> None:
    async with poller(tmp_path) as running:
        running.emulator.faults.add(
            "529", operation="retrieve", **({"retry_after": retry_after} if retry_after else {})
        )

        with pytest.raises(ApplicationError) as caught:
            await running.poll(by=version)

    assert caught.value.type == "ApiUnavailable"
    assert caught.value.next_retry_delay == delay
    assert not caught.value.non_retryable


async def test_a_batch_that_is_not_there_is_the_runs_to_decide(tmp_path: Path) -> None:
    async with poller(tmp_path) as running:
        running.emulator.faults.add("404", operation="retrieve")

        with pytest.raises(ApplicationError) as caught:
            await running.poll()

    assert caught.value.type == "BatchNotFound"
    assert caught.value.non_retryable


@pytest.mark.parametrize(("seconds", "beats"), [(0.0, False), (0.3, True)])
async def test_only_a_call_that_takes_long_heartbeats(seconds: float, beats: bool) -> None:
    environment, seen = ActivityEnvironment(), list[object]()
    environment.info = dataclasses.replace(environment.info, heartbeat_timeout=timedelta(seconds=0.2))
    environment.on_heartbeat = lambda *_: seen.append(None)

    async def call() -> None:
        async with reply_deadline():
            await asyncio.sleep(seconds)
        count = len(seen)
        await asyncio.sleep(0.1)
        assert len(seen) == count

    await environment.run(call)

    assert bool(seen) is beats
    assert len(seen) < 8
