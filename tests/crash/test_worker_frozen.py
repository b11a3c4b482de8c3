"""SIGSTOP inside the POST, and SIGCONT after the run has given that POST up."""

from temporalio.api.enums.v1 import EventType

from tests.crash.scene import Scene
from tests.crash.test_worker_killed import LONG, MORE_THAN_FITS_INTO_SOCKETS
from tests.crash.together import played_together
from tests.rig import requests


@played_together()
async def test_frozen_inside_the_upload_until_after_its_deadline(scene: Scene) -> None:
    """Woken up, it sends nothing of the rest: the run is about to POST again, or has done so."""
    scene.emulator.faults.add("slow", operation="create", times=1, bytes_per_second=2_000_000)
    frozen = await scene.worker()
    await scene.start(requests(MORE_THAN_FITS_INTO_SOCKETS, LONG), in_store=True)

    await scene.under_way("create")
    frozen.freeze()
    await scene.worker()
    await scene.recorded(EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
    await scene.recorded(EventType.EVENT_TYPE_TIMER_FIRED)
    frozen.thaw()

    await scene.finishes_with_one_batch()
    assert await frozen.terminate() == 0
    assert len(scene.emulator.batches) == 1
    assert [call.status for call in scene.calls("create")] == [None, 200]
