"""SIGSTOP during the POST, and SIGCONT after the run has given it up: the rest of the body must not be sent.

Two things prevent it: the deadline that the body checks, and the SDK, which cancels an activity without a heartbeat
for so long. With either of them these tests pass; without both there are two batches.
"""

import pytest
from temporalio.api.enums.v1 import EventType

from tests.harness.processes import WorkerProcess
from tests.harness.waiting import eventually
from tests.processes.crash.scene import Scene, more_than_fits_into_sockets
from tests.processes.crash.together import played_together

pytestmark = pytest.mark.slow


async def frozen_inside_the_upload(scene: Scene) -> WorkerProcess:
    """Freeze a worker during the deadline of its POST; another worker continues the run."""
    scene.emulator.faults.add("slow", operation="create", times=1, bytes_per_second=2_000_000)
    worker = await scene.worker()
    await scene.start(more_than_fits_into_sockets(), in_store=True)
    await scene.under_way("create")
    worker.freeze()
    await scene.worker()
    return worker


async def sends_nothing_more(scene: Scene, worker: WorkerProcess) -> None:
    """Wait until the worker has ended; the only batch is still that of the other worker."""
    assert await worker.terminate() == 0
    assert [call.status for call in scene.calls("create")] == [None, 200]
    assert len(scene.emulator.batches) == 1


@played_together()
async def test_thawed_after_its_post_was_given_up(scene: Scene) -> None:
    worker = await frozen_inside_the_upload(scene)

    await scene.recorded(EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
    await scene.recorded(EventType.EVENT_TYPE_TIMER_FIRED)
    worker.thaw()

    await scene.finishes_with_one_batch()
    await sends_nothing_more(scene, worker)


@played_together()
async def test_thawed_after_the_run_has_its_batch(scene: Scene) -> None:
    worker = await frozen_inside_the_upload(scene)

    await eventually(lambda: bool(scene.emulator.batches), "a batch of the second POST")
    worker.thaw()

    await scene.finishes_with_one_batch()
    await sends_nothing_more(scene, worker)
