"""Submissions that the store knows and Temporal does not: they are listed, with the command that takes them up."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

from message_batches.contract import NextAction
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.runs.control import Runs
from message_batches.runs.describe import RunNotFound, run_exists
from message_batches.runs.forgotten import list_forgotten
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import DevServer, dev_server
from message_batches.temporal.namespaces import NamespaceRecord
from tests.harness.command_line import command_line
from tests.harness.requests import fresh
from tests.harness.stack import Stack, progress_when
from tests.harness.waiting import eventually


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as running:
        yield running


async def forget(stack: Stack, workflow_id: str) -> None:
    """Remove a run from Temporal, as a database does that is set back to before its start."""
    client = stack.client
    await client.get_workflow_handle(workflow_id).terminate()
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
    )
    await client.workflow_service.delete_workflow_execution(request)

    async def gone() -> bool:
        return not await run_exists(client, workflow_id)

    await eventually(gone, f"{workflow_id} to be deleted")


async def test_a_forgotten_run_is_listed_and_its_batch_is_taken_up(
    live: Stack, temporal: DevServer, tmp_path: Path
) -> None:
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    started = await starter("start", starter.file(fresh()), "--json", "--poll-interval", "0.1s")
    workflow_id = started.json["workflowId"]
    await live.saw("retrieve")
    (batch,) = live.emulator.batches
    before = await starter("list", "--needs-attention", "--json")
    await forget(live, workflow_id)

    needing = await starter("list", "--needs-attention", "--json")
    status = await starter("status", batch.id, "--json")

    assert [each for each in before.json if each["batchId"] == batch.id] == []
    (document,) = [each for each in needing.json if each["batchId"] == batch.id]
    assert document["workflowId"] == workflow_id
    assert (status.code, f"attach {batch.id}" in status.err) == (2, True)
    with pytest.raises(RunNotFound) as caught:
        await Runs(live.client, open_store(live.store_url)).describe(batch.id)
    assert (caught.value.action, caught.value.batch_id) == (NextAction.ATTACH, batch.id)

    words = document["command"].split(" attach ")[1].split()
    live.emulator.clock.advance(timedelta(minutes=10))
    taken = await starter("attach", *words, "--wait", "--json", "--poll-interval", "0.1s")
    after = await starter("list", "--needs-attention", "--json")
    assert taken.code == 0
    assert taken.json["output"]["verified"] is True
    assert [each for each in after.json if each["batchId"] == batch.id] == []


async def test_a_forgotten_run_whose_reply_was_lost_says_that_its_batch_is_not_known(live: Stack) -> None:
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await live.start(fresh(), workflow_id=f"lost-{uuid4()}")
    await progress_when(run, lambda progress: bool(progress.candidates))
    await forget(live, run.id)

    forgotten = await list_forgotten(live.client, open_store(live.store_url), 10)

    (found,) = forgotten.found
    assert (found.workflow_id, found.batch_id) == (run.id, None)
    assert found.requests_uri


async def test_what_has_landed_was_refused_or_is_old_is_not_missed(live: Stack, tmp_path: Path) -> None:
    store = open_store(live.store_url)
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    refused = await live.start(fresh())
    with pytest.raises(Exception, match="failed"):
        await refused.result()
    landed = await live.start(fresh())
    await live.saw("retrieve")
    live.emulator.clock.advance(timedelta(minutes=10))
    await landed.result()
    await asyncio.gather(*(forget_closed(live, run.id) for run in (refused, landed)))

    assert (await list_forgotten(live.client, store, 10)).found == ()


async def forget_closed(stack: Stack, workflow_id: str) -> None:
    request = DeleteWorkflowExecutionRequest(
        namespace=stack.client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
    )
    await stack.client.workflow_service.delete_workflow_execution(request)

    async def gone() -> bool:
        return not await run_exists(stack.client, workflow_id)

    await eventually(gone, f"{workflow_id} to be deleted")


async def test_a_run_of_a_namespace_that_cannot_be_asked_does_not_count_as_forgotten(live: Stack) -> None:
    store = open_store(live.store_url)
    run = await live.start(fresh())
    await live.saw("retrieve")
    other = NamespaceRecord(name="elsewhere", address="temporal.elsewhere:7233")
    await store.create(f"namespaces/{uuid4()}.json", other.model_dump_json().encode())
    await forget(live, run.id)

    forgotten = await list_forgotten(live.client, store, 10)

    assert (forgotten.found, len(forgotten.unasked)) == ((), 1)


async def test_a_new_database_under_the_old_address_forgets_its_runs(live: Stack) -> None:
    store = open_store(live.store_url)
    run = await live.start(fresh())
    await live.saw("retrieve")
    async with dev_server() as another:
        await replace_namespaces(live, another)
        forgotten = await list_forgotten(another.client, store, 10)

    assert [each.workflow_id for each in forgotten.found] == [run.id]
    assert forgotten.found[0].sent > datetime.now(UTC) - timedelta(minutes=5)
    await live.client.get_workflow_handle(run.id).terminate()


async def replace_namespaces(stack: Stack, server: DevServer) -> None:
    """Let the records of the namespaces name the address of another server, as if it had taken the place of theirs."""
    for record in (stack.store_folder / "namespaces").glob("*.json"):
        known = NamespaceRecord.model_validate_json(record.read_bytes())
        record.write_text(known.model_copy(update={"address": server.address}).model_dump_json())
