"""Stopping: cancelling a run at every stage, and cancelling a batch but landing its finished results."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, CancelledError

from message_batches.api.models import MessageBatch
from message_batches.contract import CANCEL_BATCH
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchOutput, Phase, SubmissionSchedule
from message_batches.temporal.dev_server import DevServer
from tests.harness.requests import requests
from tests.harness.stack import Stack, progress_when, running_stack


@pytest.fixture
async def emulator():  # type: ignore[no-untyped-def]
    """Start an emulator whose batches do not end before they are cancelled."""
    options = EmulatorOptions(processing_time=timedelta(minutes=10), cancel_time=timedelta(seconds=0.3))
    async with Emulator(options) as running:
        yield running


async def cancelled(run: WorkflowHandle[object, BatchOutput]) -> None:
    await run.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    assert isinstance(caught.value.cause, CancelledError)


async def test_a_run_cancelled_while_polling_cancels_the_batch_at_the_provider_first(pending: Stack) -> None:
    run = await pending.start(requests())
    await progress_when(run, lambda seen: seen.polls > 0)

    await cancelled(run)

    assert pending.operations()[-1] == "cancel"
    assert "results" not in pending.operations()


async def test_a_run_cancelled_before_the_post_sends_nothing(live: Stack) -> None:
    live.emulator.faults.add("429", operation="create", retry_after=60)
    run = await live.start(requests())
    await progress_when(run, lambda seen: seen.submission is not None)

    await cancelled(run)

    assert not live.emulator.batches
    assert live.operations() == ["create"]


async def test_a_run_cancelled_during_the_post_stops_the_batch_once_its_id_is_known(live: Stack) -> None:
    live.emulator.faults.add("slow", operation="create", seconds=1.5, times=1)
    run = await live.start(requests())
    await live.saw("create")

    await cancelled(run)

    assert live.operations() == ["create", "cancel"]


@pytest.mark.slow
async def test_a_run_cancelled_while_undecided_finds_its_batch_and_stops_it(
    temporal: DevServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(seconds=2))) as emulator,
        running_stack(temporal.client, emulator, tmp_path_factory.mktemp("store").as_uri()) as live,
    ):
        emulator.faults.add("accept-then-drop", operation="create", times=1)
        run = await live.start(requests())
        await progress_when(run, lambda seen: bool(seen.candidates))
        await run.cancel()
        seen = await progress_when(run, lambda now: now.cancel_requested)
        assert seen.phase is Phase.UNDECIDED
        with pytest.raises(WorkflowFailureError) as caught:
            await run.result()
        assert isinstance(caught.value.cause, CancelledError)
        # It was not cancelled while only a candidate; when its results proved it ours, it had ended.
        seen_by_the_api = live.operations()
        assert seen_by_the_api.index("results") < seen_by_the_api.index("cancel")
        assert emulator.batches[0].cancel_initiated_at is None


async def test_a_run_cancelled_while_nothing_is_found_does_not_post_again(live: Stack) -> None:
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    quiet = SubmissionSchedule(timeout=timedelta(seconds=5), quiet_period=timedelta(seconds=1))
    run = await live.start(requests(), submission=quiet)
    await progress_when(run, lambda seen: seen.phase is Phase.UNDECIDED)

    await cancelled(run)

    assert live.operations() == ["create"]


@pytest.mark.slow
async def test_cancelling_the_batch_is_retried_while_the_provider_fails(pending: Stack) -> None:
    run = await pending.start(requests())
    await progress_when(run, lambda seen: seen.polls > 0)
    pending.emulator.faults.add("529", operation="cancel", times=2)

    await cancelled(run)

    assert pending.operations().count("cancel") == 3


async def test_cancel_batch_cancels_the_batch_and_lands_its_finished_results(pending: Stack) -> None:
    run = await pending.start(requests(4))
    await progress_when(run, lambda seen: seen.polls > 0)

    batch = await run.execute_update(CANCEL_BATCH, result_type=MessageBatch)
    output = await run.result()

    assert batch.processing_status == "canceling"
    assert output.verified
    assert output.summary.counts.canceled + output.summary.counts.succeeded == 4
    assert output.results_file.lines == 4


async def test_cancel_batch_without_a_batch_is_refused_with_a_reason(live: Stack) -> None:
    live.emulator.faults.add("429", operation="create", retry_after=60)
    run = await live.start(requests())
    await progress_when(run, lambda seen: seen.submission is not None)

    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await run.execute_update(CANCEL_BATCH)

    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "NotSubmitted"
    await cancelled(run)


@pytest.mark.slow
async def test_a_run_cancelled_while_results_stream_keeps_the_batch_and_ends(pending: Stack) -> None:
    pending.emulator.faults.add("slow", operation="results", bytes_per_second=100)
    run = await pending.start(requests(4))
    await progress_when(run, lambda seen: seen.polls > 0)
    await run.execute_update(CANCEL_BATCH)
    await pending.saw("results")

    async with asyncio.timeout(60):
        await cancelled(run)

    assert pending.operations().count("cancel") == 1
