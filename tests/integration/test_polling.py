"""Polling: the contract's cadence, its limits, and continue-as-new."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from message_batches.api import pace
from message_batches.api.models import MessageBatch, RequestCounts
from message_batches.contract import CANCEL_BATCH, POLL_NOW, WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchOutput, Phase, PollSchedule, RetrySchedule
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import DevServer
from tests.harness import waiting
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, Stack, failure_of, progress_when, running_stack
from workflows.state import BatchRun, RunState
from workflows.submission.protocol import Submission

RAPID = QUICK_POLL.model_copy(update={"retry_after": timedelta(milliseconds=10)})
CONTINUE_AFTER = 10
"""Polls after which a run continues as new here; the benchmark of a poll's history has the real number."""
POLLS = CONTINUE_AFTER + 10
"""Polls after which a batch ends, in the second run of a chain."""


async def test_a_poll_without_a_turn_is_made_again_however_few_retries_are_allowed(
    temporal: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "MAX_WAIT", 0.1)
    none = RetrySchedule(retry_after=timedelta(seconds=0.1), retry_limit=0)
    limit, store_url = pace.CallPace(6000), (tmp_path / "store").as_uri()
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(hours=1))) as emulator,
        running_stack(temporal.client, emulator, store_url, pace=limit) as live,
    ):
        run = await live.start(requests(2), poll=PollSchedule(retry_after=timedelta(seconds=0.1), transient=none))
        await progress_when(run, lambda seen: seen.polls >= 1)
        limit.hold(1)

        await progress_when(run, lambda seen: seen.polls >= 4)
        await run.cancel()


async def runs_in_chain(live: Stack, run: WorkflowHandle[object, BatchOutput]) -> list[str]:
    async def check() -> list[str]:
        found = [execution.run_id async for execution in live.client.list_workflows(f"WorkflowId = '{run.id}'")]
        return found if len(found) > 1 else []

    return await waiting.eventually(check, "a run that has continued as new")


@workflow.defn(sandboxed=False)
class Before:
    """The run that comes before one that continues: only a continued run's state is trusted."""

    @workflow.run
    async def run(self, given: BatchRun, task_queue: str) -> None:
        workflow.continue_as_new(args=[given], workflow=WORKFLOW_TYPE, task_queue=task_queue)


async def continued(live: Stack, state: RunState) -> WorkflowHandle[object, BatchOutput]:
    """Start a run that continues from a state."""
    given = BatchRun(batch_id=state.submission.batch_id, poll=RAPID, state=state)
    async with Worker(live.client, task_queue=f"{live.task_queue}-before", workflows=[Before]) as before:
        run: WorkflowHandle[object, BatchOutput] = await live.client.start_workflow(
            "Before",
            args=[given, live.task_queue],
            id=f"late-{uuid4()}",
            task_queue=before.task_queue,
            result_type=BatchOutput,
        )
        await runs_in_chain(live, run)
        return run


@pytest.fixture
async def late(temporal: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """Return an API whose batch ends after a number of polls."""
    monkeypatch.setattr("workflows.context.CONTINUE_AFTER", CONTINUE_AFTER)
    async with (
        Emulator(EmulatorOptions(ends_after_polls=POLLS)) as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running


async def test_a_long_wait_continues_as_new_and_keeps_its_count(late: Stack) -> None:
    run = await late.start(requests(), poll=RAPID)

    output = await run.result()

    assert output.verified
    assert late.operations().count("retrieve") == POLLS
    assert late.operations().count("create") == 1
    chain = await runs_in_chain(late, run)
    assert len(chain) == 2
    assert (await run.query("progress"))["polls"] == POLLS - 1
    for run_id in chain:
        history = await late.client.get_workflow_handle(run.id, run_id=run_id).fetch_history()
        assert len(history.events) < 1_200
    later = await late.client.get_workflow_handle(run.id).fetch_history()
    assert b"Say hello" not in later.events[0].SerializeToString()


@pytest.mark.slow
async def test_a_running_update_is_answered_before_the_run_continues_as_new(
    short_lived: DevServer, tmp_path: Path
) -> None:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(hours=1), cancel_time=timedelta(seconds=4))) as emulator,
        running_stack(short_lived.client, emulator, (tmp_path / "store").as_uri()) as live,
    ):
        live.emulator.faults.add("slow", operation="cancel", seconds=2.5, times=1)
        steady = QUICK_POLL.model_copy(update={"retry_after": timedelta(seconds=0.3)})
        run = await live.start(requests(), poll=steady)
        # It continues at about the sixth poll, during the update.
        await progress_when(run, lambda seen: seen.polls >= 4)

        batch = await run.execute_update(CANCEL_BATCH, result_type=MessageBatch)
        output = await run.result()

        assert batch.processing_status == "canceling"
        assert output.batch_id == batch.id
        assert output.verified
        assert len(await runs_in_chain(live, run)) == 2


async def test_poll_now_wakes_the_timer(pending: Stack) -> None:
    poll = QUICK_POLL.model_copy(update={"retry_after": timedelta(hours=1)})
    run = await pending.start(requests(), poll=poll)
    waiting = await progress_when(run, lambda seen: seen.next_poll is not None)
    assert waiting.next_poll is not None
    assert waiting.next_poll > datetime.now(UTC) + timedelta(minutes=50)
    pending.emulator.clock.advance(timedelta(hours=1))

    await run.signal(POLL_NOW)

    assert (await run.result()).verified


async def test_polls_that_find_nothing_new_leave_little_in_the_history(pending: Stack) -> None:
    run = await pending.start(requests())
    await progress_when(run, lambda seen: seen.polls > 2)
    canceling = await run.execute_update(CANCEL_BATCH, result_type=MessageBatch)
    seen = await progress_when(run, lambda seen: seen.polls > 5)
    pending.emulator.clock.advance(timedelta(hours=2))
    output = await run.result()
    history = await run.fetch_history()

    assert seen.processing_status == canceling.processing_status == "canceling"
    assert output.verified
    names = {
        event.event_id: event.activity_task_scheduled_event_attributes.activity_type.name for event in history.events
    }
    results = [
        event.activity_task_completed_event_attributes.result.payloads[0]
        for event in history.events
        if names.get(event.activity_task_completed_event_attributes.scheduled_event_id) == "pollBatchStatus"
    ]
    # Of one that was under way when the batch was canceled, the answer is news.
    assert sum(bool(payload.data) for payload in results[:-1]) <= 1
    assert b'"ended"' in results[-1].data


async def test_an_explicit_limit_is_obeyed_to_the_poll(late: Stack) -> None:
    poll = QUICK_POLL.model_copy(update={"retry_limit": 3})

    failure = await failure_of(await late.start(requests(), poll=poll))

    assert failure.type == "BatchNotEnded"
    assert late.operations() == ["create"] + ["retrieve"] * 4
    assert failure.details[0]["batchId"] == late.emulator.batches[0].id
    assert failure.details[0]["action"] == "attach"


@pytest.mark.slow
@pytest.mark.parametrize(("hours", "ends"), [(23, False), (25, True)])
async def test_the_contracts_limit_is_the_batchs_lifetime(late: Stack, hours: int, ends: bool) -> None:
    await late.start(requests(), poll=QUICK_POLL)
    await late.saw("retrieve")
    batch_id = late.emulator.batches[0].id
    now = datetime.now(UTC)
    seen = MessageBatch(
        id=batch_id,
        processing_status="in_progress",
        request_counts=RequestCounts(processing=3),
        created_at=now,
        expires_at=now + timedelta(hours=24),
    )
    state = RunState(
        phase=Phase.POLLING,
        store_id=await open_store(late.store_url).identity(),
        submission=Submission(batch_id=batch_id),
        batch=seen,
        first_seen=now - timedelta(hours=hours),
        polls=2881,
    )
    run = await continued(late, state)

    if ends:
        assert (await failure_of(run)).type == "BatchNotEnded"
    else:
        assert (await run.result()).results_file.lines == 3


@pytest.mark.slow
@pytest.mark.parametrize(("minutes", "gone"), [(8, False), (11, True)])
async def test_results_are_awaited_for_ten_minutes_from_the_first_404_across_continue_as_new(
    live: Stack, minutes: int, gone: bool
) -> None:
    batch_id = (await live.run(requests())).batch_id
    live.emulator.faults.add("404", operation="results", times=3)
    state = RunState(
        phase=Phase.POLLING,
        store_id=await open_store(live.store_url).identity(),
        submission=Submission(batch_id=batch_id),
        results_missing_since=datetime.now(UTC) - timedelta(minutes=minutes),
    )

    run = await continued(live, state)

    if gone:
        assert (await failure_of(run)).type == "BatchNotFound"
    else:
        assert (await run.result()).results_file.lines == 3


@pytest.mark.slow
async def test_a_batch_counts_as_missing_only_after_ten_minutes_of_404(
    skipping: WorkflowEnvironment, tmp_path: Path
) -> None:
    async with Emulator() as emulator, running_stack(skipping.client, emulator, (tmp_path / "store").as_uri()) as live:
        emulator.faults.add("404", operation="retrieve")

        failure = await failure_of(await live.start(requests(), poll=PollSchedule()))

        assert failure.type == "BatchNotFound"
        assert live.operations() == ["create"] + ["retrieve"] * 21
        assert len(emulator.batches) == 1
