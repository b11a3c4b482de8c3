"""The current details of a run, as the Web UI requests them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from message_batches.api.models import MessageBatch, RequestCounts
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchInput, Phase, SubmissionSchedule
from message_batches.temporal.dev_server import DevServer
from tests.harness import waiting
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, Stack, details_of, progress_when, running_stack
from workflows.state import RunState
from workflows.status.current_details import describe_status

CREATED = datetime(2026, 11, 22, tzinfo=UTC)


async def test_a_waiting_run_shows_its_batch_its_polls_and_when_the_next_is_due(pending: Stack) -> None:
    rarely = QUICK_POLL.model_copy(update={"retry_after": timedelta(minutes=1)})
    run = await pending.start(requests(), poll=rarely, static_summary="3 requests from a file")
    seen = await progress_when(run, lambda progress: progress.next_poll is not None and progress.polls == 1)
    shown = await details_of(run)
    await run.cancel()

    assert seen.next_poll
    assert seen.expires_at
    assert shown.startswith(f"**Waiting for the batch**: `{seen.batch_id}` in_progress")
    assert "| requests | 3, 422 bytes, key `default` |" in shown
    assert "| submission | sent once, answered |" in shown
    assert f"| polls | 1, the next at {seen.next_poll:%Y-%m-%d %H:%M:%S} UTC |" in shown
    assert f"| expires | {seen.expires_at:%Y-%m-%d %H:%M:%S} UTC |" in shown
    assert "from a file" not in shown


async def test_a_landed_run_shows_its_outcome(live: Stack) -> None:
    wrong = [{"custom_id": "a|b`c"[0:1], "params": {"model": "no|such`model", "max_tokens": 1, "messages": []}}]
    run = await live.start([*requests(2), *wrong])
    output = await run.result()
    shown = await details_of(run)

    assert shown.startswith(f"**Landed**: `{output.batch_id}` ended")
    assert "**2 succeeded, 1 errored**" in shown
    assert all(f"| {group.type} |" in shown for group in output.summary.errors)
    assert "`a`" in shown
    assert all(f"| {used.model} | {used.input} | {used.output} |" in shown for used in output.summary.usage)
    assert output.results_file.sha256 in shown


@pytest.mark.slow
async def test_a_run_that_continues_another_shows_its_input(short_lived: DevServer, tmp_path: Path) -> None:
    never = Emulator(EmulatorOptions(processing_time=timedelta(hours=1)))
    async with never as emulator, running_stack(short_lived.client, emulator, tmp_path.as_uri()) as live:
        # Nine polls take more than a second.
        slowly = QUICK_POLL.model_copy(update={"retry_after": timedelta(seconds=0.3)})
        run = await live.start(requests(), poll=slowly, static_summary="3 requests", static_details="of a *file*")
        began = (await run.describe()).start_time
        later = live.client.get_workflow_handle(run.id)

        async def again() -> bool:
            return (await later.describe()).run_id != run.first_execution_run_id

        await waiting.eventually(again, "a run that continues the first")
        shown = await details_of(run)
        continued = await later.describe()
        await run.cancel()

    assert continued.run_id != run.first_execution_run_id
    assert continued.start_time > began
    assert shown.endswith("3 requests\n\nof a *file*")
    # The clock continues from the start of the first run.
    assert "| elapsed | 0:00," not in shown


async def test_an_undecided_run_shows_its_candidates_and_how_to_decide(pending: Stack) -> None:
    quiet = SubmissionSchedule(timeout=timedelta(seconds=2), quiet_period=timedelta(minutes=5))
    pending.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await pending.start(requests(), submission=quiet)
    seen = await progress_when(run, lambda progress: progress.phase is Phase.UNDECIDED and bool(progress.candidates))
    shown = await details_of(run)
    await run.terminate()

    assert shown.startswith("**Undecided: no usable reply to the POST**")
    assert "| submission | sent once, no reply |" in shown
    assert f"| `{seen.candidates[0].batch_id}` | in_progress |" in shown
    assert 'update `resolveSubmission` with `{"adopt": "MSGBATCH_ID"}` or `{"submitAgain": true}`' in shown


async def test_a_failed_run_shows_why(live: Stack) -> None:
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    run = await live.start(requests())
    with pytest.raises(WorkflowFailureError):
        await run.result()
    shown = await details_of(run)

    assert shown.startswith("**Failed**\n")
    assert "**SpendLimitReached**: The API answered 429" in shown
    assert "Nothing was created" in shown


async def test_a_cancelled_run_shows_that_its_batch_was_stopped(temporal: DevServer, tmp_path: Path) -> None:
    options = EmulatorOptions(processing_time=timedelta(hours=1), cancel_time=timedelta(hours=1))
    async with Emulator(options) as emulator, running_stack(temporal.client, emulator, tmp_path.as_uri()) as live:
        run = await live.start(requests())
        seen = await progress_when(run, lambda progress: progress.polls > 0)
        await run.cancel()
        with pytest.raises(WorkflowFailureError):
            await run.result()
        shown = await details_of(run)

    assert shown.startswith(f"**Cancelled**: `{seen.batch_id}` canceling")


async def test_a_key_given_as_a_key_name_is_shown_nowhere(live: Stack) -> None:
    run = await live.start(requests(), api_key="sk-ant-not-a-name")
    with pytest.raises(WorkflowFailureError):
        await run.result()
    shown = await details_of(run)

    assert shown.startswith("**Failed**")
    assert "sk-ant" not in shown


def a_batch(**changes: Any) -> MessageBatch:
    return MessageBatch(
        id="msgbatch_1",
        processing_status="in_progress",
        request_counts=RequestCounts(processing=3),
        created_at=CREATED,
        expires_at=CREATED + timedelta(hours=24),
    ).model_copy(update=changes)


def test_a_batch_near_its_expiry_shows_a_warning() -> None:
    state = RunState(phase=Phase.POLLING, batch=a_batch())

    assert "It expires" not in describe_status(BatchInput(), state, CREATED + timedelta(hours=21))
    assert "**It expires in 1:30:00**" in describe_status(BatchInput(), state, CREATED + timedelta(hours=22.5))


def test_a_failing_landing_shows_until_when_results_are_available() -> None:
    ended = a_batch(processing_status="ended", request_counts=RequestCounts(succeeded=3))
    fails = RunState(phase=Phase.RETRIEVING, batch=ended, landing_fails_since=CREATED + timedelta(hours=3))
    works = fails.model_copy(update={"landing_fails_since": None})

    assert "Landing has failed" not in describe_status(BatchInput(), works, CREATED + timedelta(days=2))
    shown = describe_status(BatchInput(), fails, CREATED + timedelta(days=2))

    assert "**Landing has failed since 2026-11-22 03:00:00 UTC**" in shown
    assert "until 2026-12-21 00:00:00 UTC" in shown
