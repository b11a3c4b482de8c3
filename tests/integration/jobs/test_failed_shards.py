"""Shards that end without results: the job pauses, takes them up again, or goes on without them and names them."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from message_batches.contract import CANCEL_JOB, RESUME_JOB, NextAction
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.job_models import JobOutput, JobPhase, JobProgress, shard_workflow_id
from message_batches.temporal.dev_server import DevServer
from tests.harness.requests import requests
from tests.harness.running_jobs import Job, claimed, job_when, merged_ids, polled, sent, start_job
from tests.harness.stack import Stack, details_of, failure_of, running_stack

SOME_TIME = timedelta(minutes=10)


async def again(live: Stack, job: Job, shard: int = 2) -> JobOutput:
    """Start a job again, with the requests that it had."""
    return await (await start_job(live, requests(6), job_id=job.id, shard=shard)).result()


async def test_a_spend_limit_in_the_middle_pauses_the_job_until_it_is_resumed(live: Stack) -> None:
    given = requests(6)
    job = await start_job(live, given, concurrency=1)
    await job_when(job, lambda seen: bool(seen.waves) and seen.waves[0].landed == 1)
    live.emulator.faults.add("spend-limit", operation="create")
    paused = await job_when(job, lambda seen: seen.phase is JobPhase.PAUSED and not seen.alive)
    shown = await details_of(job)
    calls = len(live.emulator.calls)

    assert paused.paused
    assert paused.paused.startswith("SpendLimitReached: ")
    assert paused.paused_since
    assert paused.failed_shards == ()
    assert "**Paused: nothing new is started**" in shown
    assert "`resumeJob`" in shown
    status = (await job.describe()).typed_search_attributes
    assert "paused" in [pair.value for pair in status]

    live.emulator.faults.clear()
    resumed = await job.execute_update(RESUME_JOB, result_type=JobProgress)
    output = await job.result()

    assert resumed.paused is None
    assert len(live.emulator.calls) > calls
    assert merged_ids(output) == [each["custom_id"] for each in given]
    assert output.verified
    assert output.failed_shard_count == 0
    assert set(sent(live).values()) == {1}


@pytest.mark.slow
async def test_a_pause_lands_what_is_under_way(pending: Stack) -> None:
    job = await start_job(pending, requests(6), concurrency=2, shard=2)
    await polled(pending, job, 0, 1)
    pending.emulator.faults.add("spend-limit", operation="create")
    first = shard_workflow_id(job.id, 0, 0)
    await pending.client.get_workflow_handle(first).execute_update("cancelBatch")
    paused = await job_when(job, lambda seen: seen.phase is JobPhase.PAUSED)
    assert len(paused.alive) == 1
    pending.emulator.clock.advance(SOME_TIME)
    landed = await job_when(job, lambda seen: not seen.alive)
    assert landed.phase is JobPhase.PAUSED
    assert landed.waves[0].landed == 2
    pending.emulator.faults.clear()
    await job.execute_update(RESUME_JOB)
    await claimed(pending, 3)
    pending.emulator.clock.advance(SOME_TIME)

    assert (await job.result()).verified


@pytest.mark.slow
async def test_a_shard_that_fails_for_itself_leaves_the_others_and_completes_later(live: Stack) -> None:
    # The results of one batch are never complete.
    live.emulator.faults.add("missing-line", operation="results", line=1, times=5)
    job = await start_job(live, requests(6), concurrency=1)
    output = await job.result()

    [failed] = output.failed_shards
    assert output.failed_shard_count == 1
    assert (failed.wave, failed.number) == (0, 0)
    assert failed.workflow_id == shard_workflow_id(job.id, 0, 0)
    assert failed.type == "ResultsIncomplete"
    assert failed.action is NextAction.ATTACH
    assert failed.batch_id == live.emulator.batches[0].id
    assert merged_ids(output) == [f"request-000{n}" for n in range(2, 6)]
    assert not output.verified
    assert output.unfinished
    assert output.unfinished.count == 2
    assert output.unfinished.custom_ids == ("request-0000", "request-0001")
    shown = await details_of(job)
    assert f"| `{failed.workflow_id}` | ResultsIncomplete: " in shown
    assert f"takes up `{failed.batch_id}`" in shown
    assert "partly" in [pair.value for pair in (await job.describe()).typed_search_attributes]

    whole = await again(live, job)

    assert whole.verified
    assert merged_ids(whole) == [f"request-000{n}" for n in range(6)]
    assert set(sent(live).values()) == {1}


@pytest.mark.slow
async def test_a_shard_that_an_operator_terminates_is_named_and_taken_up_by_the_next_run(pending: Stack) -> None:
    job = await start_job(pending, requests(6))
    await claimed(pending, 3)
    middle = shard_workflow_id(job.id, 0, 1)
    await pending.client.get_workflow_handle(middle).terminate()
    seen = await job_when(job, lambda seen: seen.failed_shard_count == 1)
    assert seen.failed_shards[0].workflow_id == middle
    assert seen.failed_shards[0].batch_id
    assert len(seen.alive) == 2
    pending.emulator.clock.advance(SOME_TIME)
    output = await job.result()

    assert output.unfinished
    assert output.unfinished.count == 2
    whole = await again(pending, job)
    assert whole.verified
    assert set(sent(pending).values()) == {1}


@pytest.mark.slow
async def test_a_job_without_any_landed_shard_fails_as_its_first_shard(live: Stack) -> None:
    live.emulator.faults.add("missing-line", operation="results", line=1)
    failure = await failure_of(await start_job(live, requests(4)))

    assert failure.type == "ResultsIncomplete"
    assert "No shard has landed" in failure.message
    assert "the first of 2 without results" in failure.message


async def test_a_shard_in_doubt_is_named_with_its_candidates_and_not_sent_again(live: Stack) -> None:
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    job = await start_job(live, requests(2))
    await live.saw_a_lost_reply()
    live.emulator.faults.add("500", operation="list")
    shard = live.client.get_workflow_handle(shard_workflow_id(job.id, 0, 0))
    await live.saw("list", 2)
    await shard.terminate()
    failure = await failure_of(job)
    live.emulator.faults.clear()
    repeated = await failure_of(await start_job(live, requests(2), job_id=job.id))

    assert failure.details[0]["action"] == repeated.details[0]["action"] == NextAction.CHECK_BATCHES
    assert len(live.emulator.batches) == 1


@pytest.mark.slow
async def test_a_job_that_is_terminated_and_started_again_buys_no_batch_twice(pending: Stack) -> None:
    job = await start_job(pending, requests(6), concurrency=2)
    await claimed(pending, 2)
    await job_when(job, lambda seen: len(seen.alive) == 2)
    await job.terminate()
    second = await start_job(pending, requests(6), job_id=job.id, concurrency=2)
    seen = await job_when(second, lambda seen: len(seen.alive) == 2)
    assert len(pending.emulator.batches) == 2
    pending.emulator.clock.advance(SOME_TIME)
    await claimed(pending, 3)
    pending.emulator.clock.advance(SOME_TIME)
    output = await second.result()

    assert seen.waves[0].landed == 0
    assert output.verified
    assert len(pending.emulator.batches) == 3
    assert set(sent(pending).values()) == {1}


@pytest.fixture
async def stoppable(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker over an emulator whose batches end soon after they are cancelled, and not before."""
    options = EmulatorOptions(processing_time=SOME_TIME, cancel_time=timedelta(seconds=0.3))
    async with Emulator(options) as emulator, running_stack(temporal.client, emulator, tmp_path.as_uri()) as running:
        yield running


async def test_cancel_job_lands_and_merges_what_had_finished_and_names_the_rest(stoppable: Stack) -> None:
    job = await start_job(stoppable, requests(6), concurrency=2, waves=2)
    await polled(stoppable, job, 0, 1)
    stopping = await job.execute_update(CANCEL_JOB, result_type=JobProgress)
    output = await job.result()

    assert stopping.stopping
    assert len(stoppable.emulator.batches) == 2
    assert stoppable.operations().count("cancel") == 2
    assert merged_ids(output) == [f"request-000{n}" for n in range(4)]
    assert output.unfinished
    assert output.unfinished.count == 2
    assert output.unfinished.custom_ids == ("request-0004", "request-0005")
    assert output.stopped == "the job was asked to stop"
    assert [wave.sent for wave in output.waves] == [6]
    assert "**2 requests without a result**" in await details_of(job)


async def test_cancelling_the_workflow_cancels_each_shard_and_its_batch(stoppable: Stack) -> None:
    job = await start_job(stoppable, requests(6), concurrency=2)
    await polled(stoppable, job, 0, 1)
    await job.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await job.result()
    await stoppable.saw("cancel", 2)

    assert isinstance(caught.value.cause, CancelledError)
    assert len(stoppable.emulator.batches) == 2


async def test_cancelling_the_workflow_cancels_the_batch_that_no_run_follows(stoppable: Stack) -> None:
    job = await start_job(stoppable, requests(2))
    await polled(stoppable, job, 0)
    stoppable.emulator.faults.add("spend-limit", operation="retrieve", times=1)
    paused = await job_when(job, lambda seen: seen.phase is JobPhase.PAUSED)
    assert paused.alive == ()
    await job.cancel()
    with pytest.raises(WorkflowFailureError):
        await job.result()

    [batch] = stoppable.emulator.batches
    assert [call.batch_id for call in stoppable.emulator.calls if call.operation == "cancel"] == [batch.id]
