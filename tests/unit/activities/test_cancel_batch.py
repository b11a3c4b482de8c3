"""cancelBatch: one call where possible; a batch that has ended is left as it is, whatever the API's response."""

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
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile, MessageBatch
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.emulator.options import UndocumentedBehaviour
from message_batches.storage.object_store import open_store
from tests.harness.requests import requests
from tests.harness.stack import KEYS

PROFILE = ApiProfile()
BODY = msgspec.json.encode({"requests": requests(2)})


class Canceller:
    """The activity over an emulator that holds one batch."""

    def __init__(self, emulator: Emulator, api: HttpBatchApi, batch_id: str, folder: Path) -> None:
        self.emulator = emulator
        self._activity = MessageBatchActivities(api, open_store(folder.as_uri())).cancel_batch
        self._batch = BatchRef(profile=PROFILE, batch_id=batch_id)

    async def cancel(self, environment: ActivityEnvironment | None = None) -> MessageBatch:
        return await (environment or ActivityEnvironment()).run(self._activity, self._batch)

    @property
    def calls(self) -> list[str | None]:
        """Return the calls after the creation of the batch."""
        return [call.operation for call in self.emulator.calls[1:]]


@asynccontextmanager
async def canceller(folder: Path, **undocumented: int) -> AsyncIterator[Canceller]:
    async def body() -> AsyncIterator[bytes]:
        yield BODY

    options = EmulatorOptions(processing_time=timedelta(hours=1), undocumented=UndocumentedBehaviour(**undocumented))
    async with Emulator(options) as emulator, http_client(emulator.url) as http:
        api = HttpBatchApi(http, ApiKeys(KEYS))
        batch = await api.create(PROFILE, body(), len(BODY))
        yield Canceller(emulator, api, batch.id, folder)


async def test_it_heartbeats_while_the_api_is_slow_so_that_a_lost_worker_is_noticed(tmp_path: Path) -> None:
    environment, beats = ActivityEnvironment(), list[object]()
    environment.info = dataclasses.replace(environment.info, heartbeat_timeout=timedelta(seconds=0.02))
    environment.on_heartbeat = lambda *_: beats.append(None)
    async with canceller(tmp_path) as running:
        running.emulator.faults.add("slow", operation="cancel", seconds=0.2)

        await running.cancel(environment)

    assert beats


async def test_a_batch_in_progress_is_stopped_by_one_call(tmp_path: Path) -> None:
    async with canceller(tmp_path) as running:
        batch = await running.cancel()

        assert batch.processing_status == "canceling"
        assert running.calls == ["cancel"]


@pytest.mark.parametrize("status", [200, 400, 409])
async def test_a_batch_that_is_already_canceling_stays_canceling(status: int, tmp_path: Path) -> None:
    async with canceller(tmp_path, cancel_twice=status) as running:
        await running.cancel()

        assert (await running.cancel()).processing_status == "canceling"


@pytest.mark.parametrize("status", [200, 400, 409])
async def test_a_batch_that_has_ended_is_left_as_it_is(status: int, tmp_path: Path) -> None:
    async with canceller(tmp_path, cancel_after_ended=status) as running:
        running.emulator.clock.advance(timedelta(hours=2))

        batch = await running.cancel()

        assert batch.ended
        assert batch.request_counts.canceled == 0


@pytest.mark.parametrize("fault", ["500", "529"])
async def test_a_batch_that_could_not_be_cancelled_is_a_failure(fault: str, tmp_path: Path) -> None:
    async with canceller(tmp_path) as running:
        running.emulator.faults.add(fault, operation="cancel", times=1)

        with pytest.raises(ApplicationError) as caught:
            await running.cancel()

        assert caught.value.type == "ApiUnavailable"
        assert not caught.value.non_retryable
