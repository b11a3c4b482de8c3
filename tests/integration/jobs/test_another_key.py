"""A job that is started again with another key: nothing is sent again that it has sent with the first one."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError

from message_batches.contract import NextAction
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.job_models import shard_workflow_id
from message_batches.temporal.dev_server import DevServer
from tests.harness.requests import requests
from tests.harness.running_jobs import Job, claimed, job_when, merged_ids, polled, start_job
from tests.harness.stack import KEYS, Stack, failure_of, progress_when, running_stack
from tests.harness.waiting import eventually

SOME_TIME = timedelta(minutes=10)
RENEWED, ANOTHER_ACCOUNT = "renewed", "team-a"
BOTH = pytest.mark.parametrize("key", [RENEWED, ANOTHER_ACCOUNT])


@pytest.fixture
async def keyring(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker that holds the default key under a second name too, and the key of another account."""
    keys: dict[str, SecretStr] = {**KEYS, RENEWED: KEYS["default"]}
    async with (
        Emulator(EmulatorOptions(processing_time=SOME_TIME)) as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri(), keys) as running,
    ):
        yield running


async def forget_shard(live: Stack, job: Job) -> None:
    """Delete what Temporal has of the run of the job's first shard."""
    shard = live.client.get_workflow_handle(shard_workflow_id(job.id, 0, 0))
    run_id = (await shard.describe()).run_id
    execution = WorkflowExecution(workflow_id=shard.id, run_id=run_id)
    await live.client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(namespace=live.client.namespace, workflow_execution=execution)
    )

    async def gone() -> bool:
        query = f"WorkflowId = '{shard.id}'"
        return (await live.client.count_workflows(query)).count == 0

    await eventually(gone, "the end of the history of a shard")


async def job_with_a_left_batch(live: Stack) -> Job:
    """A job of one shard that has ended, as its shard has: Temporal no longer knows that, and the batch goes on."""
    job = await start_job(live, requests(2))
    await polled(live, job, 0)
    await claimed(live, 1)
    await job.terminate()
    await live.client.get_workflow_handle(shard_workflow_id(job.id, 0, 0)).terminate()
    await forget_shard(live, job)
    return job


@BOTH
async def test_a_batch_that_was_left_is_followed_and_not_sent_again(keyring: Stack, key: str) -> None:
    job = await job_with_a_left_batch(keyring)

    again = await start_job(keyring, requests(2), job_id=job.id, api_key=key)

    await polled(keyring, again, 0)
    keyring.emulator.clock.advance(SOME_TIME)

    assert (await again.result()).verified
    assert keyring.operations().count("create") == 1


async def test_a_left_batch_whose_key_no_worker_has_any_more_is_named_with_it(
    temporal: DevServer, tmp_path: Path
) -> None:
    store, queue = (tmp_path / "store").as_uri(), f"queue-{uuid4()}"
    async with Emulator(EmulatorOptions(processing_time=SOME_TIME)) as emulator:
        async with running_stack(temporal.client, emulator, store, task_queue=queue) as before:
            job = await job_with_a_left_batch(before)
        others = {ANOTHER_ACCOUNT: KEYS[ANOTHER_ACCOUNT]}
        async with running_stack(temporal.client, emulator, store, others, task_queue=queue) as after:
            again = await start_job(after, requests(2), job_id=job.id, api_key=ANOTHER_ACCOUNT)
            # The account of that key does not have it.
            await job_when(again, lambda seen: bool(seen.alive))
            shard = after.client.get_workflow_handle(shard_workflow_id(job.id, 0, 0))
            await progress_when(shard, lambda seen: seen.not_found > 0)
            await shard.terminate()
            failure = await failure_of(again)

            assert "It was sent with the key 'default'" in failure.message
            assert after.operations().count("create") == 1


@pytest.mark.parametrize("end", ["land", "cancel"])
async def test_a_key_that_was_replaced_is_not_asked_for_a_left_batch(
    temporal: DevServer, tmp_path: Path, end: str
) -> None:
    store, queue = (tmp_path / "store").as_uri(), f"queue-{uuid4()}"
    async with Emulator(EmulatorOptions(processing_time=SOME_TIME)) as emulator:
        async with running_stack(temporal.client, emulator, store, task_queue=queue) as before:
            job = await job_with_a_left_batch(before)
        # The first one is held still, and no longer valid; or it is not even held.
        keys = {RENEWED: KEYS["default"]} | ({"default": KEYS["revoked"]} if end == "land" else {})
        async with running_stack(temporal.client, emulator, store, keys, task_queue=queue) as after:
            if end == "cancel":
                emulator.faults.add("spend-limit", operation="retrieve", times=1)
            again = await start_job(after, requests(2), job_id=job.id, api_key=RENEWED)
            if end == "land":
                await polled(after, again, 0)
                emulator.clock.advance(SOME_TIME)
                assert (await again.result()).verified
            else:
                await job_when(again, lambda seen: seen.paused is not None)
                await again.cancel()
                with pytest.raises(WorkflowFailureError):
                    await again.result()
                assert [batch.cancel_initiated_at is not None for batch in emulator.batches] == [True]


@BOTH
async def test_a_batch_that_was_left_is_stopped_with_its_job(keyring: Stack, key: str) -> None:
    job = await job_with_a_left_batch(keyring)
    keyring.emulator.faults.add("spend-limit", operation="retrieve", times=1)
    again = await start_job(keyring, requests(2), job_id=job.id, api_key=key)
    await job_when(again, lambda seen: seen.paused is not None)

    await again.cancel()
    with pytest.raises(WorkflowFailureError):
        await again.result()

    assert [batch.cancel_initiated_at is not None for batch in keyring.emulator.batches] == [True]


@BOTH
async def test_what_has_landed_is_not_sent_again(keyring: Stack, key: str) -> None:
    job = await start_job(keyring, requests(2))
    await polled(keyring, job, 0)
    await claimed(keyring, 1)
    await job.terminate()
    keyring.emulator.clock.advance(SOME_TIME)
    await keyring.client.get_workflow_handle(shard_workflow_id(job.id, 0, 0)).result()
    await forget_shard(keyring, job)

    output = await (await start_job(keyring, requests(2), job_id=job.id, api_key=key)).result()

    assert output.verified
    assert merged_ids(output) == ["request-0000", "request-0001"]
    assert keyring.operations().count("create") == 1


@BOTH
async def test_what_may_have_been_sent_is_not_sent_again(keyring: Stack, key: str) -> None:
    keyring.emulator.faults.add("accept-then-drop", operation="create", times=1)
    job = await start_job(keyring, requests(2))
    await keyring.saw_a_lost_reply()
    keyring.emulator.faults.add("500", operation="list")
    await keyring.saw("list", 2)
    await job.terminate()
    await keyring.client.get_workflow_handle(shard_workflow_id(job.id, 0, 0)).terminate()
    await forget_shard(keyring, job)

    failure = await failure_of(await start_job(keyring, requests(2), job_id=job.id, api_key=key))

    assert failure.type == "SubmissionUnknown"
    assert failure.details[0]["action"] == NextAction.CHECK_BATCHES
    assert keyring.operations().count("create") == 1
