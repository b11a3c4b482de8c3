"""SIGKILL of the Temporal server, which is started again on its file; the worker stays."""

from datetime import timedelta

import pytest

from tests.harness.requests import requests
from tests.harness.waiting import eventually
from tests.processes.crash.scene import UNTIL_ENDED, Scene
from tests.processes.crash.together import played_together

pytestmark = pytest.mark.slow


@played_together(processing_time=UNTIL_ENDED)
async def test_server_restarted_during_a_wait(scene: Scene) -> None:
    server = await scene.own_server()
    await scene.worker()
    await scene.start(requests(3), every=timedelta(seconds=4))

    await scene.waiting()
    await server.kill()
    polls = len(scene.calls("retrieve"))
    await server.start()
    await eventually(lambda: len(scene.calls("retrieve")) > polls, "a poll after the restart")
    scene.end_batches()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1


@played_together(processing_time=UNTIL_ENDED)
async def test_server_restarted_during_a_poll(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="retrieve", times=1, seconds=2)
    server = await scene.own_server()
    await scene.worker()
    await scene.start(requests(3))

    await scene.under_way("retrieve")
    await server.kill()
    await eventually(lambda: scene.calls("retrieve")[0].status == 200, "the end of that poll, while there is no server")
    await server.start()
    scene.end_batches()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1
