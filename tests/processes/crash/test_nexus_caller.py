"""SIGKILL of a worker while a caller in another namespace waits: it gets its results all the same, of one batch."""

import pytest

from message_batches.temporal.dev_server import DevServer
from tests.harness.namespaces import new_namespace
from tests.harness.nexus import callers, run_of
from tests.harness.requests import requests
from tests.processes.crash.scene import UNTIL_ENDED, Scene
from tests.processes.crash.together import played_together


@pytest.mark.slow
@played_together(processing_time=UNTIL_ENDED)
async def test_killed_as_the_operation_starts_and_as_it_waits(scene: Scene) -> None:
    given = requests(3)
    scene.ids = [request["custom_id"] for request in given]
    namespace = await new_namespace(DevServer(scene.client, scene.address, ui_url=""), {})
    worker = await scene.worker()
    async with callers(namespace, scene.client, scene.task_queue) as there:
        caller = await there.batch(given)
        await worker.kill()
        worker = await scene.worker()
        scene.run = await run_of(scene.client, caller)
        await scene.waiting()
        await worker.kill()
        await scene.worker()
        scene.end_batches()

        output = await caller.result()

    assert output.batch_id == (await scene.finishes_with_one_batch()).batch_id
    assert len(scene.calls("create")) == 1
