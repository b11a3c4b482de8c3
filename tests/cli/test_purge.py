"""`starter.py purge` on stores that a worker has filled, made old, and what may be started afterwards."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError

from message_batches.devserver import DevServer, dev_server
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import WORKFLOW_TYPE, BatchInput, BatchOutput
from tests.cli.command_line import QUICK, CommandLine
from tests.cli.conftest import command_line
from tests.cli.contents import fresh
from tests.rig import QUICK_POLL, Rig, requests, rig, until


@pytest.fixture(scope="module")
async def forgetful() -> AsyncIterator[DevServer]:
    """A server that no longer knows any run: what the end of the retention leaves of a history."""
    async with dev_server() as server:
        yield server


@pytest.fixture
async def later(forgetful: DevServer, starter: CommandLine, live: Rig) -> AsyncIterator[CommandLine]:
    """The same store and API, a worker, and a Temporal that has forgotten."""
    async with rig(forgetful.client, live.emulator, live.store_url) as running:
        yield command_line(starter.folder, forgetful, running.store_url, running.task_queue)


@pytest.fixture
async def slow(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Rig]:
    """A worker over an emulator whose batches end when a test makes its clock jump."""
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as emulator,
        rig(temporal.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running


@pytest.fixture
def patient(temporal: DevServer, slow: Rig, tmp_path: Path) -> CommandLine:
    return command_line(tmp_path / "user", temporal, slow.store_url, slow.task_queue)


def make_old(folder: Path, days: int = 50) -> None:
    """Set a whole store back, its files and what its intents say."""
    moment = datetime.now(UTC) - timedelta(days=days)
    for path in folder.rglob("*"):
        if path.parts[-4:-3] == ("submissions",) and not path.name.endswith(".outcome.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"time": moment.isoformat()}))
        if path.is_file():
            os.utime(path, (moment.timestamp(), moment.timestamp()))


def files(folder: Path, under: str = "") -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in (folder / under).rglob("*") if path.is_file())


async def test_a_run_long_over_is_shown_then_removed_and_its_content_is_bought_anew(
    starter: CommandLine, live: Rig, later: CommandLine
) -> None:
    file = starter.file(fresh())
    first = await starter("start", file, "--wait", "--json", *QUICK)
    make_old(live.store_folder)
    (live.store_folder / "mine.jsonl").write_text("x")
    found = files(live.store_folder)

    shown = await later("purge", "--older-than", "40d")
    assert shown.code == 0
    assert re.search(r"would go +objects +bytes", shown.out)
    assert re.search(
        r"requests +4 .*\nrecords +3 .*\nresults +2 .*\nstays .*\nother files +1 +1 +not of a run", shown.out
    )
    assert "Nothing was removed; with --delete it is. After that the same content" in shown.out
    assert files(live.store_folder) == found
    again = await later("start", file, "--json", *QUICK)
    assert again.json["output"]["resultsFile"] == first.json["output"]["resultsFile"]

    make_old(live.store_folder)
    removed = await later("purge", "--older-than", "40d", "--delete", "--json")
    assert removed.code == 0, removed.err
    assert removed.json["deleted"]
    assert {counted["kind"]: counted["objects"] for counted in removed.json["goes"]} == {
        "requests": 4,  # The file as it was given, and what the run made of the requests in its input.
        "records": 3,
        "results": 2,
    }
    assert sorted(path.name for path in live.store_folder.rglob("*")) == ["mine.jsonl", "store.json"]
    nothing = await later("purge", "--older-than", "40d", "--delete")
    assert nothing.code == 0
    assert "nothing" in nothing.out

    anew = await later("start", file, "--wait", "--json", *QUICK)
    assert anew.code == 0, anew.err
    assert anew.json["output"]["verified"]
    assert anew.json["batchId"] != first.json["batchId"]
    assert len(live.emulator.batches) == 2


async def test_what_a_run_that_temporal_still_knows_has_left_stays(starter: CommandLine, live: Rig) -> None:
    file = starter.file(fresh())
    first = await starter("start", file, "--wait", "--json", *QUICK)
    make_old(live.store_folder)
    found = [name for name in files(live.store_folder) if not name.startswith("manifests/")]

    ended = await starter("purge", "--older-than", "30d", "--delete", "--json")

    assert ended.code == 0, ended.err
    left = files(live.store_folder)
    assert [name for name in left if not name.startswith("manifests/")] == found
    (results_of,) = re.findall(r"results/\w+/([0-9a-f]{64})\.json", " ".join(left))
    assert f"manifests/{results_of}.jsonl" in left
    assert {kept["why"] for kept in ended.json["stays"]} == {
        "of a run that Temporal knows",
        "belongs to something that stays",
    }
    results = await starter("results", first.json["workflowId"])
    assert len(results.out.splitlines()) == 3


async def test_a_run_that_waits_for_its_batch_lands_it_after_a_purge(patient: CommandLine, slow: Rig) -> None:
    file = patient.file(fresh())
    first = await patient("start", file, "--json", *QUICK)
    await slow.saw("retrieve")
    make_old(slow.store_folder, 200)

    ended = await patient("purge", "--older-than", "40d", "--delete")
    slow.emulator.clock.advance(timedelta(minutes=11))
    landed = await patient("watch", first.json["workflowId"], "--json")

    assert ended.code == 0, ended.err
    assert landed.code == 0, landed.err
    assert landed.json["output"]["verified"]


@pytest.mark.parametrize("continues", [False, True], ids=["in its first run", "after continue-as-new"])
async def test_a_run_that_took_over_a_batch_keeps_its_requests(
    patient: CommandLine, slow: Rig, continues: bool
) -> None:
    given = fresh()
    first = await patient("start", patient.file(given), "--json", *QUICK)
    await slow.saw("retrieve")
    batch_id = slow.emulator.batches[0].id
    taking_over = BatchInput(batch_id=batch_id, requests=given, poll=QUICK_POLL)
    run = await slow.client.start_workflow(
        WORKFLOW_TYPE, taking_over, id=f"mine-{uuid4()}", task_queue=slow.task_queue, result_type=BatchOutput
    )
    await slow.client.get_workflow_handle(first.json["workflowId"]).terminate()
    await until(run, lambda progress: progress.polls > 0)
    if continues:
        await continued(slow.client, run.id)
    make_old(slow.store_folder, 200)

    ended = await patient("purge", "--older-than", "40d", "--delete")
    slow.emulator.clock.advance(timedelta(minutes=11))

    assert ended.code == 0, ended.err
    assert (await run.result()).verified


async def test_results_that_a_run_took_over_stay_while_temporal_knows_it(
    starter: CommandLine, live: Rig, later: CommandLine
) -> None:
    first = await starter("start", starter.file(fresh()), "--wait", "--json", *QUICK)
    taken_over = await later("attach", first.json["batchId"], "--wait", "--json")
    make_old(live.store_folder)
    found = [name for name in files(live.store_folder) if not name.startswith("manifests/")]

    ended = await later("purge", "--older-than", "40d", "--delete")

    assert ended.code == 0, ended.err
    assert [name for name in files(live.store_folder) if not name.startswith("manifests/")] == found
    results = await later("results", taken_over.json["workflowId"])
    assert len(results.out.splitlines()) == 3


async def test_requests_that_a_run_has_yet_to_read_stay(
    alone: CommandLine, temporal: DevServer, tmp_path: Path
) -> None:
    large = requests(1, "x" * 200_000)
    begun = await alone("start", alone.file(large), "--json", *QUICK)
    folder = tmp_path / "store"
    make_old(folder)
    found = files(folder)

    ended = await alone("purge", "--older-than", "40d", "--delete", "--json")

    assert files(folder) == found
    assert [(kept["kind"], kept["why"]) for kept in ended.json["stays"]] == [
        ("requests", "of a run that Temporal knows")
    ]
    await temporal.client.get_workflow_handle(begun.json["workflowId"]).terminate()


async def test_of_a_workflow_id_that_is_used_again_the_forgotten_run_goes_alone(
    starter: CommandLine, live: Rig
) -> None:
    workflow_id = f"nightly-{uuid4()}"
    forgotten = await live.start(fresh(), workflow_id=workflow_id)
    old = await forgotten.result()
    known = await (await live.start(fresh(), workflow_id=workflow_id)).result()
    await forget(live.client, workflow_id, forgotten.first_execution_run_id or "")
    make_old(live.store_folder)

    ended = await starter("purge", "--older-than", "40d", "--delete")

    assert ended.code == 0, ended.err
    assert [known.batch_id in name for name in files(live.store_folder, "claims")] == [True]
    assert not any(old.batch_id in name for name in files(live.store_folder))
    assert len(files(live.store_folder, "submissions")) == 2
    assert len(files(live.store_folder, "manifests")) == 2


@pytest.mark.parametrize(
    ("age", "said"),
    [("29d", "at least 30 days"), ("1h", "for 29 days after it was created"), ("soon", "is not a duration")],
)
async def test_what_could_still_be_needed_is_refused_with_the_reason(alone: CommandLine, age: str, said: str) -> None:
    ended = await alone("purge", "--older-than", age, "--delete")

    assert ended.code == 2
    assert said in ended.said


async def test_an_age_must_be_given(alone: CommandLine) -> None:
    ended = await alone("purge")

    assert (ended.code, "--older-than" in ended.err) == (2, True)


async def test_where_there_is_no_store_that_is_said_and_none_is_made(alone: CommandLine, tmp_path: Path) -> None:
    ended = await alone("purge", "--older-than", "40d", "--delete")

    assert ended.code == 2
    assert "There is no store at" in ended.said
    assert files(tmp_path / "store") == []


async def test_without_temporal_nothing_is_removed(starter: CommandLine, live: Rig, later: CommandLine) -> None:
    await starter("start", starter.file(fresh()), "--wait", *QUICK)
    make_old(live.store_folder)
    found = files(live.store_folder)
    cut_off = CommandLine(starter.folder, {**later.environment, "TEMPORAL_ADDRESS": "127.0.0.1:9"})

    ended = await cut_off("purge", "--older-than", "40d", "--delete")

    assert ended.code == 2
    assert "No Temporal server answers" in ended.said
    assert files(live.store_folder) == found


async def continued(client: Client, workflow_id: str, *, within: float = 60) -> None:
    """Wait until a run has continued as new."""
    async with asyncio.timeout(within):
        while True:
            described = await client.get_workflow_handle(workflow_id).describe()
            if described.raw_description.workflow_execution_info.first_run_id != described.run_id:
                return
            await asyncio.sleep(0.1)


async def forget(client: Client, workflow_id: str, run_id: str, *, within: float = 60) -> None:
    """Have Temporal delete a run, as it does at the end of the retention."""
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    await client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=execution)
    )
    async with asyncio.timeout(within):
        while await known(client, workflow_id, run_id):  # noqa: ASYNC110 the server deletes in its own time
            await asyncio.sleep(0.1)


async def known(client: Client, workflow_id: str, run_id: str) -> bool:
    """Whether Temporal still has a run, in itself or in its list."""
    try:
        await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError:
        return any([run.run_id == run_id async for run in client.list_workflows(f'WorkflowId = "{workflow_id}"')])
    return True
