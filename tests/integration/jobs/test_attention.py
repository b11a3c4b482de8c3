"""The jobs that need an operator are found among more than are looked at one by one."""

from collections.abc import AsyncIterator
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from temporalio.client import WorkflowExecutionStatus

from message_batches import BatchRuns
from message_batches.cli.commands.list import list_attention
from message_batches.cli.context import CommandContext
from message_batches.contract import JOB_WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.jobs import attention
from message_batches.jobs.attention import JobsNeedingAttention, list_job_attention
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.temporal.dev_server import DevServer
from message_batches.temporal.search_attributes import SEARCH_ATTRIBUTES, indexed_type
from tests.harness.namespaces import new_namespace
from tests.harness.requests import fresh
from tests.harness.running_jobs import Job, job_when, start_job
from tests.harness.stack import Stack, running_stack
from tests.harness.waiting import eventually


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Start an emulator whose batches end when a test advances its clock."""
    async with Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as running:
        yield running


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["with search attributes", "without"])
async def alone(
    request: pytest.FixtureRequest, temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> AsyncIterator[Stack]:
    """Run a worker in a namespace of its own."""
    attributes = {key.name: indexed_type(key) for key in SEARCH_ATTRIBUTES} if request.param else {}
    client = await new_namespace(temporal, attributes)
    async with running_stack(client, emulator, (tmp_path / "store").as_uri()) as running:
        yield running


@pytest.fixture
def store(alone: Stack) -> ObjectStore:
    return open_store(alone.store_url)


def ids(found: JobsNeedingAttention) -> set[str]:
    return {each.view.workflow_id for each in found.found}


async def landed(live: Stack, job: Job) -> None:
    """Let the batches of a job end, as they come, until it has ended."""

    async def ended() -> bool:
        live.emulator.clock.advance(timedelta(minutes=11))
        return (await job.describe()).status is WorkflowExecutionStatus.COMPLETED

    await eventually(ended, "the end of the job")


@pytest.mark.slow
async def test_a_job_that_needs_an_operator_is_found_behind_newer_ones_or_they_are_counted(
    alone: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    alone.emulator.faults.add("spend-limit", operation="create", times=1)
    paused = await start_job(alone, fresh(2))
    await job_when(paused, lambda progress: progress.paused is not None)
    alone.emulator.faults.add("missing-line", operation="results", line=1, times=5)
    partly = await start_job(alone, fresh(4), concurrency=1)
    await landed(alone, partly)
    alone.emulator.faults.clear()
    await landed(alone, await start_job(alone, fresh(2)))
    waiting = await start_job(alone, fresh(2))

    async def all_listed() -> bool:
        query = f'WorkflowType = "{JOB_WORKFLOW_TYPE}" AND ExecutionStatus = '
        counts = [await alone.client.count_workflows(f'{query} "{status}"') for status in ("Running", "Completed")]
        paused_too = ids(await list_job_attention(alone.client, store)) == {paused.id, partly.id}
        return [each.count for each in counts] == [2, 2] and paused_too

    await eventually(all_listed, "the jobs in Temporal's index, which lags behind")
    whole = await list_job_attention(alone.client, store)
    monkeypatch.setattr(attention, "MAX_LOOKED_AT", 1)
    newest = await list_job_attention(alone.client, store)
    said = StringIO()
    context = CommandContext(err=Console(file=said, width=200), runs=BatchRuns(alone.client, store))
    await list_attention(context, 20)

    with_attributes = "without" not in request.node.name
    assert whole.unseen == 0
    assert ids(newest) == ({paused.id, partly.id} if with_attributes else set())
    assert newest.unseen == (1 if with_attributes else 2)
    assert "Not looked at: " + ("1 older job" if with_attributes else "2 older jobs") in said.getvalue()
    for job in (paused, waiting):
        await job.terminate()
