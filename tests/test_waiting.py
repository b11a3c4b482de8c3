"""Waiting: the contract's cadence, its limits, continue-as-new, and a day of polls."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment
from temporalio.worker import Worker

from message_batches.api.models import MessageBatch, RequestCounts
from message_batches.contract import CANCEL_BATCH, POLL_NOW, WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchInput, BatchOutput, Phase, PollSchedule
from message_batches.storage.object_store import open_store
from message_batches.temporal.connection import DATA_CONVERTER
from message_batches.temporal.dev_server import PROMPT_TIMERS, DevServer, temporal_command
from tests.api_by_count import ApiByCount
from tests.rig import QUICK_POLL, QUICK_SUBMISSION, Rig, failure_of, requests, rig, until
from worker import build_worker
from workflows.state import BatchRun, RunState
from workflows.submission.protocol import Submission

RAPID = QUICK_POLL.model_copy(update={"retry_after": timedelta(milliseconds=10)})


async def runs_in_chain(live: Rig, run: WorkflowHandle[object, BatchOutput]) -> list[str]:
    query = f"WorkflowId = '{run.id}'"
    async with asyncio.timeout(30):
        while True:
            found = [execution.run_id async for execution in live.client.list_workflows(query)]
            if len(found) > 1:
                return found
            await asyncio.sleep(0.1)


@workflow.defn(sandboxed=False)
class Before:
    """What comes before a run that continues: a state is believed of no other."""

    @workflow.run
    async def run(self, given: BatchRun, task_queue: str) -> None:
        workflow.continue_as_new(args=[given], workflow=WORKFLOW_TYPE, task_queue=task_queue)


async def continued(live: Rig, state: RunState) -> WorkflowHandle[object, BatchOutput]:
    """A run that goes on from a state."""
    given = BatchRun(batch_id=state.submission.batch_id, poll=QUICK_POLL, state=state)
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
async def late(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Rig]:
    """An API whose batch ends at the 130th look."""
    async with (
        Emulator(EmulatorOptions(ends_after_polls=130)) as emulator,
        rig(temporal.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running


async def test_a_long_wait_continues_as_new_and_counts_on(late: Rig) -> None:
    run = await late.start(requests(), poll=RAPID)

    output = await run.result()

    assert output.verified
    assert late.operations().count("retrieve") == 130
    assert late.operations().count("create") == 1
    chain = await runs_in_chain(late, run)
    assert len(chain) == 2
    assert (await run.query("progress"))["polls"] == 129
    for run_id in chain:
        history = await late.client.get_workflow_handle(run.id, run_id=run_id).fetch_history()
        assert len(history.events) < 1_200
    later = await late.client.get_workflow_handle(run.id).fetch_history()
    assert b"Say hello" not in later.events[0].SerializeToString()


async def test_an_update_in_flight_is_answered_before_the_run_continues_as_new(late: Rig) -> None:
    late.emulator.faults.add("slow", operation="cancel", seconds=8, times=1)
    run = await late.start(requests(), poll=RAPID)
    await until(run, lambda seen: seen.polls >= 85)

    batch = await run.execute_update(CANCEL_BATCH, result_type=MessageBatch)
    output = await run.result()

    assert batch.processing_status == "canceling"
    assert output.batch_id == batch.id
    assert output.verified
    assert len(await runs_in_chain(late, run)) == 2


async def test_poll_now_wakes_the_timer(live: Rig) -> None:
    poll = QUICK_POLL.model_copy(update={"retry_after": timedelta(hours=1)})
    run = await live.start(requests(), poll=poll)
    waiting = await until(run, lambda seen: seen.next_poll is not None)
    assert waiting.next_poll is not None
    assert waiting.next_poll > datetime.now(UTC) + timedelta(minutes=50)
    live.emulator.clock.advance(timedelta(seconds=10))

    await run.signal(POLL_NOW)

    assert (await run.result()).verified


async def test_an_explicit_limit_is_obeyed_to_the_poll(late: Rig) -> None:
    poll = QUICK_POLL.model_copy(update={"retry_limit": 3})

    failure = await failure_of(await late.start(requests(), poll=poll))

    assert failure.type == "BatchNotEnded"
    assert late.operations() == ["create"] + ["retrieve"] * 4
    assert failure.details[0]["batchId"] == late.emulator.batches[0].id


@pytest.mark.parametrize(("hours", "ends"), [(23, False), (25, True)])
async def test_the_contracts_limit_lasts_as_long_as_the_batch_may(late: Rig, hours: int, ends: bool) -> None:
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


@pytest.mark.parametrize(("minutes", "gone"), [(8, False), (11, True)])
async def test_results_are_waited_for_ten_minutes_from_the_first_404_though_the_run_has_continued(
    live: Rig, minutes: int, gone: bool
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


async def test_a_404_is_not_a_missing_batch_before_ten_minutes_of_it(
    skipping: WorkflowEnvironment, tmp_path: Path
) -> None:
    async with Emulator() as emulator, rig(skipping.client, emulator, (tmp_path / "store").as_uri()) as live:
        emulator.faults.add("404", operation="retrieve")

        failure = await failure_of(await live.start(requests(), poll=PollSchedule()))

        assert failure.type == "BatchNotFound"
        assert live.operations() == ["create"] + ["retrieve"] * 21
        assert len(emulator.batches) == 1


@pytest.fixture(scope="module")
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A real server whose workflows skip their own waiting."""
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        ts_config=TimeSkippingConfig(enabled=True, max_session_skip_count=1_000_000),
        data_converter=DATA_CONVERTER,
        dev_server_existing_path=temporal_command(),
        dev_server_log_level="error",
        dev_server_extra_args=[
            "--dynamic-config-value",
            "frontend.WorkflowTimeSkippingEnabled=true",
            *PROMPT_TIMERS,
        ],
    )
    async with environment:
        yield environment


@pytest.mark.timeout(1800)
async def test_a_day_of_polls_at_the_contracts_cadence_ends_with_the_results(
    skipping: WorkflowEnvironment, tmp_path: Path
) -> None:
    # A first look and 2,880 retries: the last that the contract allows.
    api = ApiByCount(ends_at_look=2_881)
    queue = f"day-{uuid4()}"
    async with build_worker(skipping.client, api, open_store((tmp_path / "store").as_uri()), task_queue=queue):
        output = await skipping.client.execute_workflow(
            WORKFLOW_TYPE,
            BatchInput(requests=requests(2), submission=QUICK_SUBMISSION),
            id=f"day-{uuid4()}",
            task_queue=queue,
            result_type=BatchOutput,
        )

    assert output.verified
    assert (api.posts, api.looks) == (1, 2_881)
