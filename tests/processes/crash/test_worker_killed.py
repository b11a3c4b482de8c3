"""SIGKILL at every point of a run; another worker continues it."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from activities.timeouts import MAX_LOST_ATTEMPTS
from message_batches.contract import ActivityType
from tests.harness.requests import requests
from tests.harness.waiting import eventually
from tests.processes.crash.scene import UNTIL_ENDED, Scene, more_than_fits_into_sockets
from tests.processes.crash.together import played_together


@pytest.mark.slow
@played_together()
async def test_killed_before_the_post(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="list", times=1, seconds=60)
    worker = await scene.worker()
    await scene.start(requests(3))

    await scene.under_way("list")
    await worker.kill()
    await scene.worker()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1


@pytest.mark.slow
@played_together()
async def test_killed_while_the_body_is_being_sent(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="create", times=1, bytes_per_second=500_000)
    worker = await scene.worker()
    await scene.start(more_than_fits_into_sockets(), in_store=True)

    await scene.under_way("create")
    await worker.kill()
    await scene.worker()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 2
    assert (await scene.progress()).posts == 2


@pytest.mark.slow
@played_together(processing_time=UNTIL_ENDED)
async def test_killed_between_the_post_and_its_reply(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="create", times=1, seconds=60)
    worker = await scene.worker()
    await scene.start(requests(3))

    await eventually(lambda: bool(scene.emulator.batches), "a batch")
    await worker.kill()
    await scene.worker()
    await eventually(lambda: bool(scene.calls("list")[1:]), "a read of the list")
    scene.end_batches()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1


@pytest.mark.slow
@played_together(processing_time=UNTIL_ENDED)
async def test_killed_again_while_it_searches_for_its_batch(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="create", times=1, seconds=60)
    worker = await scene.worker()
    await scene.start(requests(3))

    await eventually(lambda: bool(scene.emulator.batches), "a batch")
    await worker.kill()
    worker = await scene.worker()
    await eventually(lambda: bool(scene.calls("list")[1:]), "a read of the list")
    await worker.kill()
    reads = len(scene.calls("list"))
    await scene.worker()
    await eventually(lambda: len(scene.calls("list")) > reads, "a read by the third worker")
    scene.end_batches()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1


@played_together()
@pytest.mark.slow
async def test_killed_while_the_reply_is_in_transit(scene: Scene) -> None:
    """The worker may or may not have read the reply and reported it."""
    worker = await scene.worker()
    await scene.start(requests(3))

    await eventually(lambda: any(call.status == 200 for call in scene.calls("create")), "a reply to the POST")
    await worker.kill()
    await scene.worker()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1


@played_together(processing_time=UNTIL_ENDED)
@pytest.mark.slow
async def test_killed_after_the_reply(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.start(requests(3))

    await eventually(lambda: bool(scene.calls("retrieve")), "the first poll, which needs the batch's id")
    await worker.kill()
    await scene.worker()
    scene.end_batches()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1
    assert len(scene.calls("list")) == 1


@pytest.mark.slow
@played_together(processing_time=UNTIL_ENDED)
async def test_killed_during_a_wait(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.start(requests(3), every=timedelta(seconds=4))

    await scene.waiting()
    await worker.kill()
    polls = len(scene.calls("retrieve"))
    await scene.worker()
    await eventually(lambda: len(scene.calls("retrieve")) > polls, "a poll by the new worker")
    scene.end_batches()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1
    assert len(scene.calls("list")) == 1


@played_together(processing_time=UNTIL_ENDED)
async def test_killed_during_a_poll(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="retrieve", times=1, seconds=60)
    worker = await scene.worker()
    await scene.start(requests(3))

    await scene.under_way("retrieve")
    await worker.kill()
    await scene.worker()
    scene.end_batches()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1
    assert len(scene.calls("list")) == 1


@pytest.mark.slow
@played_together(reply_bytes=4000)
async def test_killed_while_results_stream(scene: Scene) -> None:
    scene.emulator.faults.add("slow", operation="results", times=1, bytes_per_second=100_000)
    worker = await scene.worker()
    await scene.start(requests(1000))

    await scene.under_way("results")
    await worker.kill()
    await scene.worker()

    await scene.finishes_with_one_batch()
    assert len(scene.calls("create")) == 1
    assert len(scene.calls("results")) == 2


@pytest.mark.slow
@played_together()
async def test_killed_each_time_that_it_checks_the_requests(scene: Scene) -> None:
    await scene.start(requests(1), in_store=True)
    (scene.store / "given.jsonl").write_bytes(b'{"custom_id":"a","params":{"x":[{}' + b",{}" * 60_000_000 + b"]}}")

    for number in range(1, MAX_LOST_ATTEMPTS + 1):
        worker = await scene.worker()
        await scene.attempts(ActivityType.PREPARE_REQUESTS, number)
        await worker.kill()
    await scene.worker()

    with pytest.raises(WorkflowFailureError) as failed:
        await scene.handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "WorkersLost"
    assert scene.calls("create") == []
