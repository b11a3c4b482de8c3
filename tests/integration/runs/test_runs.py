"""Runs as a program starts, follows, resolves and reads them, without a terminal."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from message_batches.contract import NextAction
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import Resolution
from message_batches.requests.reader import CheckedRequests, read_requests
from message_batches.results import reader
from message_batches.results.reader import ResultsNotFound
from message_batches.runs.attention import Decision, attention_item
from message_batches.runs.control import NoAnswer, Refused, Runs, find_results
from message_batches.runs.describe import RunNotFound, RunView
from message_batches.runs.list import list_runs
from message_batches.runs.start import attach_run, start_run
from message_batches.runs.starter import StartOptions, StartResult
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.temporal.dev_server import DevServer
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION, Stack, progress_when
from tests.harness.waiting import last


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Start an emulator whose batches end when a test advances its clock."""
    async with Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as running:
        yield running


@pytest.fixture
def given(tmp_path: Path) -> Iterator[CheckedRequests]:
    """Return requests that no other test sends."""
    file = tmp_path / "requests.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in requests(text=str(uuid4()))))
    with read_requests(str(file)) as read:
        yield read


@pytest.fixture
def store(live: Stack) -> ObjectStore:
    return open_store(live.store_url)


@pytest.fixture
def runs(live: Stack, store: ObjectStore) -> Runs:
    return Runs(live.client, store)


def options(task_queue: str) -> StartOptions:
    return StartOptions(poll=QUICK_POLL, submission=QUICK_SUBMISSION, task_queue=task_queue)


async def start(live: Stack, store: ObjectStore, given: CheckedRequests, *, again: bool = False) -> StartResult:
    return await start_run(live.client, store, given, "a file", options(live.task_queue), again=again)


async def connected(runs: Runs) -> Runs:
    return runs


async def polling(live: Stack, store: ObjectStore, given: CheckedRequests) -> str:
    """Start a run, and return its workflow id once it waits for its batch."""
    started = await start(live, store, given)
    await live.saw("retrieve")
    return started.workflow_id


async def undecided(live: Stack, store: ObjectStore, given: CheckedRequests) -> str:
    """Start a run whose POST created a batch and got no reply; return its workflow id."""
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    started = await start(live, store, given)
    run = live.client.get_workflow_handle(started.workflow_id)
    await progress_when(run, lambda progress: bool(progress.candidates))
    return started.workflow_id


async def test_a_run_is_started_followed_and_its_results_are_read(
    live: Stack, store: ObjectStore, runs: Runs, given: CheckedRequests
) -> None:
    seen: list[RunView] = []
    workflow_id = await polling(live, store, given)
    live.emulator.clock.advance(timedelta(minutes=11))

    view = await last(runs.follow(workflow_id), seen.append)
    found = await find_results(store, workflow_id, lambda: connected(runs))
    lines = [line async for line in reader.lines(reader.chunks(store, found.landed.results_file.uri))]

    assert view == seen[-1]
    assert view.output
    assert found.landed.results_file == view.output.results_file
    assert len(lines) == given.count


async def test_the_same_requests_are_the_same_run(live: Stack, store: ObjectStore, given: CheckedRequests) -> None:
    first = await polling(live, store, given)

    second = await start(live, store, given)
    another = await start(live, store, given, again=True)

    assert second.workflow_id == first
    assert second.note
    assert another.workflow_id.startswith(f"{first}-")
    for workflow_id in (first, another.workflow_id):
        await live.client.get_workflow_handle(workflow_id).terminate()


async def test_missing_results_name_the_run_to_watch(
    live: Stack, store: ObjectStore, runs: Runs, given: CheckedRequests
) -> None:
    workflow_id = await polling(live, store, given)

    with pytest.raises(ResultsNotFound) as caught:
        await find_results(store, workflow_id, lambda: connected(runs))

    assert (caught.value.action, caught.value.workflow_id) == (NextAction.WATCH, workflow_id)
    await live.client.get_workflow_handle(workflow_id).terminate()


async def test_a_run_is_stopped_and_its_finished_results_are_landed(
    live: Stack, store: ObjectStore, runs: Runs, given: CheckedRequests
) -> None:
    workflow_id = await polling(live, store, given)

    batch = await runs.cancel_batch(workflow_id)
    live.emulator.clock.advance(timedelta(minutes=11))
    view = await last(runs.follow(workflow_id))

    assert batch
    assert batch.processing_status == "canceling"
    assert view.output
    with pytest.raises(Refused):
        await runs.describe_running(workflow_id)


async def test_an_undecided_run_is_resolved(
    live: Stack, store: ObjectStore, runs: Runs, given: CheckedRequests
) -> None:
    workflow_id = await undecided(live, store, given)
    (batch,) = live.emulator.batches
    view = await runs.describe(workflow_id)
    item = attention_item(view, view.started)

    await runs.resolve(workflow_id, Resolution(adopt=batch.id))
    live.emulator.clock.advance(timedelta(minutes=11))
    end = await last(runs.follow(workflow_id))

    assert item
    assert item.decision is Decision.RESOLVE
    assert end.batch_id == batch.id


async def test_an_unknown_outcome_is_refused_with_the_candidates(
    live: Stack, store: ObjectStore, runs: Runs, given: CheckedRequests
) -> None:
    workflow_id = await undecided(live, store, given)
    await live.client.get_workflow_handle(workflow_id).terminate()

    with pytest.raises(Refused) as caught:
        await start(live, store, given)

    assert (caught.value.action, caught.value.workflow_id) == (NextAction.CHECK_BATCHES, workflow_id)


async def test_a_batch_is_taken_over_once_and_found_by_its_id(
    live: Stack, store: ObjectStore, runs: Runs, given: CheckedRequests
) -> None:
    await polling(live, store, given)
    (batch,) = live.emulator.batches
    live.emulator.clock.advance(timedelta(minutes=11))
    await last(runs.follow(await runs.workflow_id(batch.id)))

    attached = await attach_run(live.client, store, batch.id, options(live.task_queue))
    listed = await list_runs(live.client, store, 1000)

    assert attached.finished
    assert attached.finished.landed.batch_id == batch.id
    assert batch.id in {run.batch_id for run in listed}


async def test_the_next_step_for_a_batch_without_a_run_is_attach(runs: Runs) -> None:
    with pytest.raises(RunNotFound) as caught:
        await runs.describe("msgbatch_unknown")

    assert (caught.value.action, caught.value.batch_id) == (NextAction.ATTACH, "msgbatch_unknown")


async def test_the_next_step_for_an_unknown_run_is_the_list(runs: Runs) -> None:
    with pytest.raises(RunNotFound) as caught:
        await runs.describe("no-such-run")

    assert caught.value.action is NextAction.LIST_RUNS


async def test_without_a_worker_nothing_is_decided(temporal: DevServer, given: CheckedRequests, tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    started = await start_run(temporal.client, store, given, "a file", options(f"nobody-polls-{uuid4()}"))

    with pytest.raises(NoAnswer) as caught:
        await Runs(temporal.client, store).describe_running(started.workflow_id)

    assert (caught.value.action, caught.value.workflow_id) == (NextAction.START_WORKER, started.workflow_id)
    await temporal.client.get_workflow_handle(started.workflow_id).terminate()
