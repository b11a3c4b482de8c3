"""`list --needs-attention`: the runs that an operator should check, why, and the command that settles each."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from message_batches.cli.commands.list import attention_document
from message_batches.contract import WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import Phase, Progress
from message_batches.runs import attention
from message_batches.runs.attention import attention_item, count_unseen, list_attention, open_query
from message_batches.runs.describe import RunStatus, RunView
from message_batches.runs.list import list_executions
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, CommandLine, command_line
from tests.harness.gateway import Answer, gateway_to
from tests.harness.requests import fresh
from tests.harness.stack import Stack, progress_when, running_stack
from tests.harness.waiting import eventually

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Batches that end when a test makes the clock jump."""
    async with Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as running:
        yield running


def seen(progress: Progress) -> RunView:
    return RunView("a-run", "1", "1", RunStatus.RUNNING, "queue", NOW, progress=progress, answered=True, worker=True)


async def needing(starter: CommandLine, workflow_id: str) -> dict[str, Any]:
    """Return the entry of a run in the list of those that need attention, which has it once."""
    documents: list[dict[str, Any]] = (await starter("list", "--needs-attention", "--json")).json
    (document,) = [each for each in documents if each["workflowId"] == workflow_id]
    return document


async def test_an_undecided_run_comes_with_the_command_that_decides_it(starter: CommandLine, live: Stack) -> None:
    requests = fresh()
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    started = await starter("start", starter.file(requests), "--json", *QUICK)
    workflow_id = started.json["workflowId"]
    await live.saw_a_lost_reply()
    await live.post_by_a_stranger(requests)
    run = live.client.get_workflow_handle(workflow_id)
    await progress_when(run, lambda progress: len(progress.candidates) == 2)

    document = await needing(starter, workflow_id)

    assert f" resolve {workflow_id} --adopt " in document["command"]


async def test_an_undecided_run_is_found_behind_more_newer_ones_than_are_looked_at(
    starter: CommandLine, live: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = fresh()
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    undecided = (await starter("start", starter.file(requests), "--json", *QUICK)).json["workflowId"]
    await live.saw_a_lost_reply()
    await live.post_by_a_stranger(requests)
    run = live.client.get_workflow_handle(undecided)
    await progress_when(run, lambda progress: progress.phase is Phase.UNDECIDED and len(progress.candidates) == 2)
    newer = await starter("start", starter.file(fresh()), "--json", *QUICK)
    monkeypatch.setattr(attention, "MAX_LOOKED_AT", 1)

    async def found() -> bool:
        listed = [each async for each in list_executions(live.client, open_query(WORKFLOW_TYPE), 1)]
        items = [each.view.workflow_id for each in await list_attention(live.client)]
        return listed[0].execution.workflow_id == newer.json["workflowId"] and undecided in items

    await eventually(found, "the undecided run, which is not the newest")
    assert await count_unseen(live.client, open_query(WORKFLOW_TYPE), 1) >= 1


@pytest.mark.slow
async def test_a_landing_that_keeps_failing_says_why(starter: CommandLine, live: Stack) -> None:
    live.emulator.faults.add("503", operation="results")
    started = await starter("start", starter.file(fresh()), "--json", *QUICK)
    workflow_id = started.json["workflowId"]
    await live.saw("retrieve")
    live.emulator.clock.advance(timedelta(minutes=10))
    await live.saw("results")

    document = await needing(starter, workflow_id)

    assert "503" in document["why"]
    assert document["command"].endswith(f" watch {workflow_id}")


async def test_a_run_that_only_waits_needs_nothing(starter: CommandLine, live: Stack) -> None:
    started = await starter("start", starter.file(fresh()), "--json", *QUICK)
    await live.saw("retrieve")

    listed = await starter("list", "--needs-attention")

    assert listed.code == 0
    assert started.json["workflowId"] not in listed.out


@pytest.mark.parametrize(("left", "needing"), [(timedelta(hours=1, minutes=30), True), (timedelta(hours=3), False)])
def test_a_batch_near_the_end_of_its_time_can_be_stopped_and_landed(left: timedelta, needing: bool) -> None:
    found = attention_item(seen(Progress(phase=Phase.POLLING, batch_id="msgbatch_1", expires_at=NOW + left)), NOW)

    assert bool(found) is needing
    if found:
        document = attention_document(found, NOW)
        assert "1:30:00" in document.why
        assert document.command.endswith("cancel a-run")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({}, "nothing shows that the batch has ended", marks=pytest.mark.slow),
        ({"ended_at": "2026-11-26T08:00:00Z"}, "it ended at 2026-11-26 08:00:00 UTC, and has no results"),
    ],
)
async def test_a_batch_of_an_unknown_status_is_named_with_it(
    fields: dict[str, str], says: str, temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    def paused(answer: Answer) -> None:
        if answer.is_batch:
            answer.set(processing_status="paused", **({"ended_at": None, "results_url": None} | fields))

    async with (
        gateway_to(emulator.url) as gateway,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri(), through=gateway.url) as live,
    ):
        gateway.change = paused
        starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
        workflow_id = (await starter("start", starter.file(fresh()), "--json", *QUICK)).json["workflowId"]
        await live.saw("retrieve", 2)

        document = await needing(starter, workflow_id)
        status = await starter("status", workflow_id)

    assert "'paused'" in document["why"]
    assert says in document["why"]
    assert document["command"].endswith(f" watch {workflow_id}")
    assert "'paused'" in status.out


@pytest.mark.slow
async def test_a_batch_that_is_not_found_is_shown_with_the_time(starter: CommandLine, live: Stack) -> None:
    started = await starter("start", starter.file(fresh()), "--json", *QUICK)
    workflow_id = started.json["workflowId"]
    await live.saw("retrieve")
    live.emulator.faults.add("404", operation="retrieve")
    run = live.client.get_workflow_handle(workflow_id)
    progress = await progress_when(run, lambda progress: progress.not_found >= 2)

    status = await starter("status", workflow_id)
    document = await starter("status", workflow_id, "--json")

    assert progress.not_found_since
    assert f"{progress.not_found_since:%Y-%m-%d %H:%M:%S} UTC" in status.said
    assert document.json["progress"]["notFound"] >= 2
    assert document.json["progress"]["lastSeen"] < document.json["progress"]["notFoundSince"]
    await run.terminate()


async def test_status_and_attention_are_two_questions(starter: CommandLine) -> None:
    asked = await starter("list", "--status", "failed", "--needs-attention")

    assert asked.code == 2
    assert "--needs-attention" in asked.err
