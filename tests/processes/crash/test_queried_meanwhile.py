"""A query that waits for a dead worker, and is answered by one that replays the newer events.

The SDK replays them at the time of the last workflow task, and keeps the run's decisions for the next one: the
worker after that, which replays all events at the right times, must decide the same, or the run is stuck.
"""

import asyncio
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from message_batches.models import Phase
from tests.harness.requests import requests
from tests.harness.waiting import eventually
from tests.processes.crash.scene import UNTIL_ENDED, Scene
from tests.processes.crash.together import played_together

pytestmark = pytest.mark.slow

POLL_INTERVAL = timedelta(seconds=6)


@played_together(processing_time=UNTIL_ENDED)
async def test_queried_between_two_list_reads_while_its_worker_is_dead(scene: Scene) -> None:
    scene.emulator.faults.add("accept-then-drop", operation="create", times=1)
    worker = await scene.worker()
    await scene.start(requests(3), every=POLL_INTERVAL)
    await scene.recorded(EventType.EVENT_TYPE_TIMER_STARTED)
    assert (await scene.progress()).phase is Phase.UNDECIDED
    reads = len(scene.calls("list"))

    await worker.kill()
    asked = asyncio.create_task(scene.progress())
    await scene.recorded(EventType.EVENT_TYPE_TIMER_FIRED)
    second = await scene.worker()
    assert (await asked).phase is Phase.UNDECIDED
    await eventually(lambda: len(scene.calls("list")) > reads, "a read of the list")
    await second.kill()
    await scene.worker()
    scene.end_batches()

    await scene.finishes_with_one_batch()
