"""`starter.py purge` on stores that a worker has filled, made old, and what may be started afterwards."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, RegisterNamespaceRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from message_batches.api.keys import ApiKeys
from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE, ActivityType
from message_batches.job_models import JobInput
from message_batches.models import BatchInput, BatchOutput
from message_batches.retention.purge import KeepReason
from message_batches.retention.references import RunReferences
from message_batches.runs.control import Refused
from message_batches.storage.groups import GroupKey
from message_batches.storage.object_store import open_store
from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import DevServer, dev_server
from message_batches.temporal.namespaces import NamespaceRecords
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.requests import fresh, requests
from tests.harness.retention import after_retention, make_old, works_only_in
from tests.harness.stack import KEYS, QUICK_POLL, Stack, progress_when, running_stack
from tests.harness.waiting import eventually


@pytest.fixture
async def later(forgetful: DevServer, starter: CommandLine, live: Stack) -> AsyncIterator[CommandLine]:
    """The same store and API, a worker, and a Temporal that has forgotten."""
    async with after_retention(forgetful, starter, live) as command:
        yield command


def counted(documents: list[dict[str, Any]]) -> dict[str, int]:
    """The number of objects of each kind."""
    return {each["kind"]: each["objects"] for each in documents}


def files(folder: Path, under: str = "") -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in (folder / under).rglob("*") if path.is_file())


async def polling(live: Stack, run: WorkflowHandle[Any, BatchOutput]) -> None:
    """Wait until a run polls and its batch is recorded: from then on it writes nothing until the batch has ended."""
    await progress_when(run, lambda progress: progress.polls > 0)

    async def recorded() -> bool:
        pending = (await run.describe()).raw_description.pending_activities
        return all(each.activity_type.name != ActivityType.RECORD_OUTCOME for each in pending)

    await eventually(recorded, "the record of the batch")
    assert files(live.store_folder, "claims")


async def test_a_run_long_over_is_shown_then_removed_and_its_content_is_bought_anew(
    starter: CommandLine, live: Stack, later: CommandLine, forgetful: DevServer
) -> None:
    file = starter.file(fresh())
    first = await starter("start", file, "--wait", "--json", *QUICK)
    await works_only_in(forgetful.client, live.store_folder)
    make_old(live.store_folder)
    (live.store_folder / "results" / "mine.jsonl").write_text("x")
    found = files(live.store_folder)

    shown = await later("purge", "--older-than", "40d", "--json")
    assert shown.code == 0
    assert not shown.json["deleted"]
    assert shown.json["namespaces"] == [{"namespace": "default", "address": forgetful.address, "runs": 0}]
    assert counted(shown.json["goes"]) == {"requests": 4, "records": 3, "results": 2}
    assert counted(shown.json["stays"]) == {"other files": 1}
    assert files(live.store_folder) == found
    again = await later("start", file, "--json", *QUICK)
    assert again.json["output"]["resultsFile"] == first.json["output"]["resultsFile"]

    make_old(live.store_folder)
    removed = await later("purge", "--older-than", "40d", "--delete", "--json")
    assert removed.code == 0, removed.err
    assert removed.json["deleted"]
    assert counted(removed.json["goes"]) == {
        "requests": 4,  # The file as it was given, and what the run made of the requests in its input.
        "records": 3,
        "results": 2,
    }
    left = [name for name in files(live.store_folder) if not name.startswith("namespaces/")]
    account = ApiKeys(KEYS).account("default", live.emulator.url)
    assert left == [f"accounts/{account.part}.json", "results/mine.jsonl", "store.json"]
    nothing = await later("purge", "--older-than", "40d", "--delete", "--json")
    assert (nothing.code, nothing.json["goes"]) == (0, [])

    anew = await later("start", file, "--wait", "--json", *QUICK)
    assert anew.code == 0, anew.err
    assert anew.json["output"]["verified"]
    assert anew.json["batchId"] != first.json["batchId"]
    assert len(live.emulator.batches) == 2


@pytest.mark.slow
async def test_a_job_long_over_is_removed_with_its_shards_and_one_that_temporal_knows_stays(
    starter: CommandLine, live: Stack, later: CommandLine, forgetful: DevServer
) -> None:
    options = ("--shard-requests", "2", "--wait", "--json", *QUICK)
    first = await starter("start", starter.file(fresh(3)), *options)
    make_old(live.store_folder)
    kept = files(live.store_folder)

    known = await starter("purge", "--older-than", "40d", "--delete", "--json")
    assert known.code == 0, known.err
    assert known.json["goes"] == []
    assert files(live.store_folder) == kept
    assert first.json["output"]["verified"]

    await works_only_in(forgetful.client, live.store_folder)
    shown = await later("purge", "--older-than", "40d", "--json")
    assert counted(shown.json["goes"]) == {"requests": 4, "records": 9, "results": 7}
    removed = await later("purge", "--older-than", "40d", "--delete", "--json")
    assert removed.code == 0, removed.err
    left = [name for name in files(live.store_folder) if name.split("/")[0] not in ("namespaces", "accounts")]
    assert left == ["store.json"]


@pytest.mark.slow
async def test_a_job_that_waits_for_its_batches_lands_and_merges_them_after_a_purge(
    patient: CommandLine, pending: Stack
) -> None:
    options = ("--shard-requests", "2", "--concurrency", "1", "--json", *QUICK)
    job = (await patient("start", patient.file(fresh(4)), *options)).json["workflowId"]
    await pending.saw("retrieve")
    make_old(pending.store_folder, 200)

    ended = await patient("purge", "--older-than", "40d", "--delete")
    pending.emulator.clock.advance(timedelta(minutes=11))
    await eventually(lambda: len(pending.emulator.batches) == 2, "the batch of the second shard")
    pending.emulator.clock.advance(timedelta(minutes=11))
    landed = await patient("watch", job, "--json")

    assert ended.code == 0, ended.err
    assert landed.code == 0, landed.err
    assert landed.json["output"]["verified"]


@pytest.mark.slow
async def test_what_a_run_that_temporal_still_knows_has_left_stays(starter: CommandLine, live: Stack) -> None:
    file = starter.file(fresh())
    first = await starter("start", file, "--wait", "--json", *QUICK)
    make_old(live.store_folder)
    found = [name for name in files(live.store_folder) if not name.startswith("manifests/")]

    ended = await starter("purge", "--older-than", "30d", "--delete", "--json")

    assert ended.code == 0, ended.err
    left = files(live.store_folder)
    assert [name for name in left if not name.startswith("manifests/")] == found
    (results_of,) = re.findall(r"results/[^/]+/\w+/([0-9a-f]{64})\.json", " ".join(left))
    assert f"manifests/{results_of}.jsonl" in left
    assert {kept["why"] for kept in ended.json["stays"]} == {KeepReason.IN_USE}
    results = await starter("results", first.json["workflowId"])
    assert len(results.out.splitlines()) == 3


@pytest.mark.slow
async def test_a_run_that_waits_for_its_batch_lands_it_after_a_purge(patient: CommandLine, pending: Stack) -> None:
    file = patient.file(fresh())
    first = await patient("start", file, "--json", *QUICK)
    await pending.saw("retrieve")
    make_old(pending.store_folder, 200)

    ended = await patient("purge", "--older-than", "40d", "--delete")
    pending.emulator.clock.advance(timedelta(minutes=11))
    landed = await patient("watch", first.json["workflowId"], "--json")

    assert ended.code == 0, ended.err
    assert landed.code == 0, landed.err
    assert landed.json["output"]["verified"]


@pytest.mark.slow
@pytest.mark.parametrize("continues", [False, True], ids=["in its first run", "after continue-as-new"])
async def test_a_run_that_took_over_a_batch_keeps_its_requests(
    patient: CommandLine, pending: Stack, continues: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.context.CONTINUE_AFTER", 10)
    given = fresh()
    first = await patient("start", patient.file(given), "--json", *QUICK)
    await pending.saw("retrieve")
    batch_id = pending.emulator.batches[0].id
    taking_over = BatchInput(batch_id=batch_id, requests=given, poll=QUICK_POLL)
    run = await pending.client.start_workflow(
        WORKFLOW_TYPE, taking_over, id=f"mine-{uuid4()}", task_queue=pending.task_queue, result_type=BatchOutput
    )
    await pending.client.get_workflow_handle(first.json["workflowId"]).terminate()
    await polling(pending, run)
    if continues:
        await continued(pending.client, run.id)
    make_old(pending.store_folder, 200)

    ended = await patient("purge", "--older-than", "40d", "--delete")
    pending.emulator.clock.advance(timedelta(minutes=11))

    assert ended.code == 0, ended.err
    assert (await run.result()).verified


@pytest.mark.slow
async def test_results_that_a_run_took_over_stay_while_temporal_knows_it(
    starter: CommandLine, live: Stack, later: CommandLine, forgetful: DevServer
) -> None:
    first = await starter("start", starter.file(fresh()), "--wait", "--json", *QUICK)
    shutil.rmtree(live.store_folder / "results")
    taken_over = await later("attach", first.json["batchId"], "--wait", "--json")
    await works_only_in(forgetful.client, live.store_folder)
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
    await works_only_in(temporal.client, folder)
    make_old(folder)
    found = files(folder)

    ended = await alone("purge", "--older-than", "40d", "--delete", "--json")

    assert files(folder) == found
    assert [(kept["kind"], kept["why"]) for kept in ended.json["stays"]] == [("requests", KeepReason.IN_USE)]
    await temporal.client.get_workflow_handle(begun.json["workflowId"]).terminate()


@pytest.mark.slow
async def test_of_a_workflow_id_that_is_used_again_the_forgotten_run_goes_alone(
    starter: CommandLine, live: Stack
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


@pytest.mark.parametrize("age", ["29d", "1h", "soon"])
async def test_an_age_at_which_objects_could_still_be_needed_is_refused(alone: CommandLine, age: str) -> None:
    ended = await alone("purge", "--older-than", age, "--delete")

    assert (ended.code, "--older-than" in ended.err) == (2, True)


async def test_an_age_must_be_given(alone: CommandLine) -> None:
    ended = await alone("purge")

    assert (ended.code, "--older-than" in ended.err) == (2, True)


async def test_where_there_is_no_store_that_is_said_and_none_is_made(alone: CommandLine, tmp_path: Path) -> None:
    ended = await alone("purge", "--older-than", "40d", "--delete")

    assert ended.code == 2
    assert (tmp_path / "store").as_uri() in ended.err
    assert files(tmp_path / "store") == []


@pytest.mark.slow
async def test_without_temporal_nothing_is_removed(starter: CommandLine, live: Stack, later: CommandLine) -> None:
    await starter("start", starter.file(fresh()), "--wait", *QUICK)
    make_old(live.store_folder)
    found = files(live.store_folder)
    cut_off = CommandLine(starter.folder, {**later.environment, "TEMPORAL_ADDRESS": "127.0.0.1:9"})

    ended = await cut_off("purge", "--older-than", "40d", "--delete")

    assert ended.code == 2
    assert "127.0.0.1:9" in ended.err
    assert files(live.store_folder) == found


@pytest.mark.slow
async def test_results_that_a_run_of_any_name_took_over_stay_after_its_end(
    starter: CommandLine, live: Stack, tmp_path: Path
) -> None:
    given = fresh()
    bought_elsewhere = await live.run(given)
    async with running_stack(live.client, live.emulator, (tmp_path / "another").as_uri()) as other:
        run = await other.start(given, workflow_id=f"mine-{uuid4()}", batch_id=bought_elsewhere.batch_id)
        await run.result()
        make_old(other.store_folder)
        found = files(other.store_folder)
        command = CommandLine(starter.folder, {**starter.environment, "MESSAGE_BATCHES_STORE": other.store_url})

        ended = await command("purge", "--older-than", "40d", "--delete")

        assert ended.code == 0, ended.err
        assert files(other.store_folder) == found
        assert len((await command("results", run.id)).out.splitlines()) == 3


async def test_the_requests_of_a_run_that_ended_before_it_sent_them_stay_for_a_reset(
    starter: CommandLine, live: Stack
) -> None:
    live.emulator.faults.add("529", operation="list")
    run = await live.start(fresh())
    await live.saw("list")
    await run.terminate()
    make_old(live.store_folder)
    found = files(live.store_folder)

    ended = await starter("purge", "--older-than", "40d", "--delete")

    assert ended.code == 0, ended.err
    assert len(files(live.store_folder, "manifests")) == 2
    assert files(live.store_folder) == found


async def test_results_that_are_gone_are_told_from_those_of_another_store(
    starter: CommandLine, live: Stack, tmp_path: Path
) -> None:
    run = await live.start(fresh())
    await run.result()
    elsewhere = {**starter.environment, "MESSAGE_BATCHES_STORE": (tmp_path / "another").as_uri()}

    outside = await CommandLine(starter.folder, elsewhere)("results", run.id)
    for name in files(live.store_folder, "results"):
        (live.store_folder / name).unlink()
    gone = await starter("results", run.id)

    assert (outside.code, gone.code) == (2, 2)
    for ended in (outside, gone):
        assert f"{live.store_url}/results/" in ended.err
    assert "MESSAGE_BATCHES_STORE" in outside.err
    assert "MESSAGE_BATCHES_STORE" not in gone.err


@pytest.fixture(scope="module")
async def second(temporal: DevServer) -> Client:
    """Another namespace on the session's server."""
    name = f"second-{uuid4()}"
    retention = Duration(seconds=3 * 86_400)
    await temporal.client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
    )
    client = await connect(address=temporal.address, namespace=name)
    async with asyncio.timeout(60):
        while True:
            try:
                assert [run async for run in client.list_workflows(limit=1)] == []
                return client
            except RPCError:
                await asyncio.sleep(0.2)


async def test_a_namespace_that_never_worked_with_a_store_is_refused_and_those_that_do_are_named(
    patient: CommandLine, pending: Stack, second: Client
) -> None:
    run = await pending.start(fresh())
    await polling(pending, run)
    make_old(pending.store_folder)
    found = files(pending.store_folder)
    wrong = CommandLine(patient.folder, {**patient.environment, "TEMPORAL_NAMESPACE": second.namespace})

    for ended in [await wrong("purge", "--older-than", "40d", "--delete"), await wrong("purge", "--older-than", "40d")]:
        assert ended.code == 2
        assert second.namespace in ended.err
        assert f"default at {patient.environment['TEMPORAL_ADDRESS']}" in ended.err
    assert files(pending.store_folder) == found
    await run.terminate()


@pytest.mark.slow
async def test_a_purge_looks_at_every_namespace_of_the_server_that_works_with_the_store(
    patient: CommandLine, pending: Stack, second: Client
) -> None:
    over = await pending.start(fresh())
    await pending.saw("list")
    await over.terminate()
    async with running_stack(second, pending.emulator, pending.store_url) as beside:
        run = await beside.start(fresh())
        await polling(beside, run)
        make_old(pending.store_folder)

        ended = await patient("purge", "--older-than", "40d", "--delete", "--json")
        pending.emulator.clock.advance(timedelta(minutes=11))

        assert ended.code == 0, ended.err
        assert {known["namespace"]: known["runs"] > 0 for known in ended.json["namespaces"]} == {
            "default": True,
            second.namespace: True,
        }
        assert (await run.result()).verified


@pytest.mark.slow
async def test_a_namespace_that_cannot_be_looked_at_is_refused_with_its_note(
    starter: CommandLine, live: Stack, forgetful: DevServer
) -> None:
    await live.run(fresh())
    store = open_store(live.store_url)
    await NamespaceRecords(store).add(forgetful.client)
    make_old(live.store_folder)
    found = files(live.store_folder)

    ended = await starter("purge", "--older-than", "40d", "--delete")

    assert ended.code == 2
    assert f"default at {forgetful.address}" in ended.err
    assert f"{live.store_url}/namespaces/" in ended.err
    assert files(live.store_folder) == found


@pytest.mark.slow
async def test_where_no_namespace_is_noted_nothing_is_removed_until_a_run_was_taken_up(
    starter: CommandLine, live: Stack
) -> None:
    await live.run(fresh())
    notes = list((live.store_folder / "namespaces").iterdir())
    assert len(notes) == 1
    notes[0].unlink()
    make_old(live.store_folder)

    refused = await starter("purge", "--older-than", "40d", "--delete", "--json")
    async with running_stack(live.client, live.emulator, live.store_url) as upgraded:
        await upgraded.run(fresh())
    done = await starter("purge", "--older-than", "40d", "--delete")

    assert refused.code == 2
    assert refused.json["error"]["type"] == "Refused"
    assert done.code == 0, done.err


@pytest.mark.slow
async def test_a_run_that_begins_between_two_looks_is_seen_by_the_second(live: Stack) -> None:
    await live.run(fresh())
    in_use = RunReferences(live.client)
    before = set(await in_use.refresh())
    begun = await live.start(fresh())
    key = GroupKey.of_run(begun.id, begun.first_execution_run_id or "")

    async with asyncio.timeout(40):
        while key not in (seen := await in_use.refresh()):  # noqa: ASYNC110 the server lists it in its own time
            await asyncio.sleep(0.1)

    assert key not in before
    assert before < seen
    await begun.result()


async def test_a_job_keeps_its_records_and_the_requests_that_it_names(temporal: DevServer) -> None:
    sha256, job = "0" * 64, f"job/{uuid4()}"
    given = JobInput(requests_uri=f"s3://bucket/store/manifests/{sha256}.jsonl")
    run = await temporal.client.start_workflow(JOB_WORKFLOW_TYPE, given, id=job, task_queue="nobody-polls")
    in_use = RunReferences(temporal.client)

    async def seen() -> bool:
        return {GroupKey.of_job(job), GroupKey.of_manifest(sha256)} <= await in_use.refresh()

    await eventually(seen, "the references of the job")
    await run.terminate()
    assert GroupKey.of_job(job) in await RunReferences(temporal.client).refresh()


@pytest.mark.slow
async def test_a_server_that_goes_away_meanwhile_is_an_answer_too() -> None:
    async with dev_server() as server:
        in_use = RunReferences(server.client)
        assert await in_use.refresh() == set()
    with pytest.raises(Refused):
        await in_use.refresh()


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
