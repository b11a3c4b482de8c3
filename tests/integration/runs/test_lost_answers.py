"""Answers of Temporal that are lost, late or doubled: what was carried out is found, and nothing is done twice."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from message_batches.contract import NextAction
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import Phase, Resolution
from message_batches.requests.reader import CheckedRequests, read_requests
from message_batches.runs import control, start
from message_batches.runs import starter as start_calls
from message_batches.runs.control import NoAnswer, Refused, Runs
from message_batches.runs.describe import RunStatus
from message_batches.runs.list import list_runs
from message_batches.runs.start import attach_run, start_run
from message_batches.runs.starter import StartOptions
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.temporal import diagnosis
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, CommandLine, command_line
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION, Stack, progress_when
from tests.harness.temporal_proxy import AnswerFault, TemporalProxy
from tests.harness.waiting import last

START, UPDATE, CANCEL = "StartWorkflowExecution", "UpdateWorkflowExecution", "RequestCancelWorkflowExecution"
FAULTS = pytest.mark.parametrize("fault", AnswerFault)


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Start an emulator whose batches end when a test advances its clock."""
    async with Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as running:
        yield running


@pytest.fixture
def store(live: Stack) -> ObjectStore:
    return open_store(live.store_url)


@pytest.fixture
def given(tmp_path: Path) -> Iterator[CheckedRequests]:
    """Return requests that no other test sends."""
    file = tmp_path / "requests.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in requests(text=str(uuid4()))))
    with read_requests(str(file)) as read:
        yield read


@pytest.fixture
def options(live: Stack) -> StartOptions:
    return StartOptions(poll=QUICK_POLL, submission=QUICK_SUBMISSION, task_queue=live.task_queue)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_calls, "START_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(control, "_CALL_TIMEOUT", timedelta(seconds=1))


@pytest.mark.parametrize("again", [False, True])
@FAULTS
async def test_a_start_whose_answer_is_lost_is_one_run(
    fault: AnswerFault,
    again: bool,
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    store: ObjectStore,
    given: CheckedRequests,
    options: StartOptions,
) -> None:
    drawn: list[str] = []
    proxy.add(fault, START, delay=1.5)

    started = await start_run(through, store, given, "a file", options, again=again, on_again=drawn.append)

    assert proxy.struck
    assert drawn == ([started.workflow_id] if again else [])
    await live.saw("retrieve")
    assert live.operations().count("create") == 1
    described = await live.client.get_workflow_handle(started.workflow_id).describe()
    assert described.status is not None


async def test_a_start_that_is_never_answered_says_its_id_and_a_repetition_finds_the_run(
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    store: ObjectStore,
    given: CheckedRequests,
    options: StartOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start, "MAX_TRIES", 2)
    monkeypatch.setattr(diagnosis, "READ_TIMEOUT", timedelta(seconds=0.5))
    proxy.add(AnswerFault.HANG, START, times=None)
    starting = asyncio.create_task(start_run(through, store, given, "a file", options, again=True))
    await live.saw("create")
    proxy.add(AnswerFault.HANG, "DescribeWorkflowExecution", times=None)

    with pytest.raises(NoAnswer) as caught:
        await starting

    workflow_id = caught.value.workflow_id
    assert caught.value.action is NextAction.REPEAT_AGAIN
    assert workflow_id
    proxy.clear()
    repeated = await start_run(through, store, given, "a file", options, again=True, again_id=workflow_id)
    assert repeated.workflow_id == workflow_id
    await live.saw("retrieve")
    assert live.operations().count("create") == 1


async def test_the_id_of_other_requests_is_refused(
    through: Client, live: Stack, store: ObjectStore, given: CheckedRequests, options: StartOptions
) -> None:
    for wrong in ("batch-0123456789abcdef01234567-01234567", "another", "batch-x-01234567 --again"):
        with pytest.raises(Refused, match="begin with batch-"):
            await start_run(through, store, given, "a file", options, again=True, again_id=wrong)
    assert live.operations() == []


@FAULTS
async def test_a_batch_is_taken_over_once(
    fault: AnswerFault, proxy: TemporalProxy, through: Client, live: Stack, store: ObjectStore, options: StartOptions
) -> None:
    batch_id = await live.post_by_a_stranger(requests())
    proxy.add(fault, START, delay=1.5)

    started = await attach_run(through, store, batch_id, options)

    assert started.workflow_id == f"attach-{batch_id}"
    await live.saw("retrieve")
    listed = [run async for run in live.client.list_workflows(f'WorkflowId = "{started.workflow_id}"')]
    assert len(listed) <= 1


@FAULTS
async def test_a_cancel_whose_answer_is_lost_has_its_outcome(
    fault: AnswerFault,
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    store: ObjectStore,
    given: CheckedRequests,
    options: StartOptions,
) -> None:
    started = await start_run(live.client, store, given, "a file", options)
    await live.saw("retrieve")
    proxy.add(fault, UPDATE, delay=1.5)

    batch = await Runs(through, store).cancel_batch(started.workflow_id)

    assert proxy.struck
    assert batch
    assert batch.processing_status in ("canceling", "ended")
    assert live.operations().count("cancel") == 1


@pytest.mark.parametrize("fault", [AnswerFault.HANG, AnswerFault.CUT])
async def test_a_decision_whose_answer_is_lost_is_made_once(
    fault: AnswerFault,
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    store: ObjectStore,
    given: CheckedRequests,
    options: StartOptions,
) -> None:
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    started = await start_run(live.client, store, given, "a file", options)
    run = live.client.get_workflow_handle(started.workflow_id)
    found = await progress_when(run, lambda progress: bool(progress.candidates))
    proxy.add(fault, UPDATE)

    await Runs(through, store).resolve(started.workflow_id, Resolution(adopt=found.candidates[0].batch_id))

    assert proxy.struck
    await progress_when(run, lambda progress: progress.phase is Phase.POLLING)
    assert live.operations().count("create") == 1


@FAULTS
async def test_a_run_whose_cancellation_has_no_answer_is_cancelled(
    fault: AnswerFault,
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    store: ObjectStore,
    given: CheckedRequests,
    options: StartOptions,
) -> None:
    started = await start_run(live.client, store, given, "a file", options)
    await live.saw("retrieve")
    proxy.add(fault, CANCEL, delay=1.5)

    await Runs(through, store).abandon(started.workflow_id)

    assert proxy.struck
    assert (await last(Runs(live.client, store).follow(started.workflow_id))).status is RunStatus.CANCELED


async def test_an_update_whose_run_has_ended_before_it_is_asked_for_again_has_its_outcome(
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    store: ObjectStore,
    given: CheckedRequests,
    options: StartOptions,
) -> None:
    started = await start_run(live.client, store, given, "a file", options)
    await live.saw("retrieve")
    proxy.add(AnswerFault.HANG, UPDATE)
    cancelling = asyncio.create_task(Runs(through, store).cancel_batch(started.workflow_id))
    await live.saw("cancel")
    live.emulator.clock.advance(timedelta(minutes=10))
    ended = await last(Runs(live.client, store).follow(started.workflow_id))

    batch = await cancelling

    assert ended.status is RunStatus.COMPLETED
    assert batch
    assert batch.id == ended.batch_id


async def test_a_run_that_ended_before_an_update_says_so(
    through: Client, live: Stack, store: ObjectStore, given: CheckedRequests, options: StartOptions
) -> None:
    started = await start_run(live.client, store, given, "a file", options)
    await live.saw("retrieve")
    live.emulator.clock.advance(timedelta(minutes=10))
    await last(Runs(live.client, store).follow(started.workflow_id))

    with pytest.raises(Refused, match="ended before"):
        await Runs(through, store).cancel_batch(started.workflow_id)


@pytest.mark.slow
async def test_updates_that_are_never_answered_say_so(
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    store: ObjectStore,
    given: CheckedRequests,
    options: StartOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "UPDATE_TIMEOUT", timedelta(seconds=3))
    started = await start_run(live.client, store, given, "a file", options)
    await live.saw("retrieve")
    proxy.add(AnswerFault.HANG, UPDATE, times=None)

    with pytest.raises(NoAnswer) as caught:
        await Runs(through, store).cancel_batch(started.workflow_id)

    assert (caught.value.action, caught.value.workflow_id) == (NextAction.CHECK_RUN, started.workflow_id)
    # It was carried out: only the answers are missing.
    assert "worker answered" not in str(caught.value)
    await live.saw("cancel")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["DescribeWorkflowExecution", "DescribeTaskQueue", "ListWorkflowExecutions"])
@pytest.mark.parametrize("fault", [AnswerFault.HANG, AnswerFault.CUT])
async def test_a_call_that_changes_nothing_is_made_again(
    method: str,
    fault: AnswerFault,
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    store: ObjectStore,
    given: CheckedRequests,
    options: StartOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diagnosis, "READ_TIMEOUT", timedelta(seconds=1))
    started = await start_run(live.client, store, given, "a file", options)
    await live.saw("retrieve")
    proxy.add(fault, method)

    view = await Runs(through, store).describe(started.workflow_id)
    listed = await list_runs(through, store, 1000)

    assert proxy.struck
    assert view.worker
    assert started.workflow_id in {run.workflow_id for run in listed}


async def test_a_command_repeats_what_is_safe_and_names_what_it_drew(
    proxy: TemporalProxy, temporal: DevServer, live: Stack, tmp_path: Path
) -> None:
    starter: CommandLine = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    starter.environment = {**starter.environment, "TEMPORAL_ADDRESS": proxy.address}
    file = starter.file(requests(text=str(uuid4())))
    for method in (START, UPDATE, "ListSearchAttributes", "DescribeWorkflowExecution"):
        proxy.add(AnswerFault.CUT, method)

    begun = await starter("start", file, "--again", "--json", *QUICK)
    workflow_id = begun.json["workflowId"]
    await live.saw("retrieve")
    again = await starter("start", file, "--again", "--workflow-id", workflow_id, "--json", *QUICK)
    stopped = await starter("cancel", workflow_id, "--json")
    without = await starter("start", file, "--workflow-id", workflow_id)

    assert f"--workflow-id {workflow_id}" in begun.err
    assert (again.code, again.json["workflowId"]) == (0, workflow_id)
    assert (stopped.code, stopped.json["workflowId"]) == (0, workflow_id)
    assert (without.code, live.operations().count("create")) == (2, 1)
