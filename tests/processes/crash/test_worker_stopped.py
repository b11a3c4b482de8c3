"""SIGTERM: the worker finishes its activities within its grace, and leaves the rest to the next worker."""

from datetime import timedelta

import pytest

from message_batches.models import SubmissionSchedule
from tests.harness.requests import requests
from tests.harness.waiting import eventually
from tests.processes.crash.scene import UNTIL_ENDED, Scene, more_than_fits_into_sockets
from tests.processes.crash.together import played_together

pytestmark = pytest.mark.slow

QUIET = timedelta(seconds=2)


@played_together(processing_time=UNTIL_ENDED)
async def test_stopped_during_a_wait(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.start(requests(3), every=timedelta(seconds=4))

    await scene.waiting()
    assert await worker.terminate() == 0
    await scene.worker()
    scene.end_batches()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1


@played_together()
async def test_stopped_while_the_body_is_being_sent(scene: Scene) -> None:
    """The POST ends at its deadline, which comes before the end of the grace."""
    scene.emulator.faults.add("slow", operation="create", times=1, bytes_per_second=500_000)
    worker = await scene.worker()
    await scene.start(more_than_fits_into_sockets(), in_store=True)

    await scene.under_way("create")
    assert await worker.terminate() == 0
    await scene.worker()

    await scene.finishes_with_one_batch()
    assert [call.status for call in scene.calls("create")] == [None, 200]


@played_together()
async def test_stopped_while_the_body_is_being_sent_for_longer_than_its_grace(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="create", times=1, bytes_per_second=100_000)
    worker = await scene.worker()
    timeout = timedelta(seconds=35)
    await scene.start(
        more_than_fits_into_sockets(), in_store=True, submission=SubmissionSchedule(timeout=timeout, quiet_period=QUIET)
    )

    await scene.under_way("create")
    assert await worker.terminate() == 0
    await scene.worker()

    await scene.finishes_with_one_batch()
    assert [call.status for call in scene.calls("create")] == [None, 200]


@played_together()
async def test_stopped_between_the_post_and_its_reply(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="create", times=1, seconds=4)
    worker = await scene.worker()
    await scene.start(requests(3))

    await eventually(lambda: bool(scene.emulator.batches), "a batch")
    assert await worker.terminate() == 0
    await scene.worker()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("list")) == 1


@played_together(reply_bytes=4000)
async def test_stopped_while_results_stream(scene: Scene) -> None:
    """A landing that fits into the grace does not cause a second download."""
    scene.emulator.faults.add("slow", operation="results", times=1, bytes_per_second=1_000_000)
    worker = await scene.worker()
    await scene.start(requests(1000))

    await scene.under_way("results")
    assert await worker.terminate() == 0
    await scene.worker()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("results")) == 1


@played_together(reply_bytes=4000)
async def test_stopped_while_results_stream_for_longer_than_its_grace(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="results", times=1, bytes_per_second=10_000)
    worker = await scene.worker()
    await scene.start(requests(1000))

    await scene.under_way("results")
    assert await worker.terminate() == 0
    await scene.worker()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("results")) == 2
