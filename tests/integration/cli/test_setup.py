"""`setup`, and the list that it makes possible: `list --status`."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import IndexedValueType

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import DevServer
from message_batches.temporal.nexus_endpoints import ensure_endpoint
from tests.harness.command_line import QUICK, CommandLine, command_line
from tests.harness.namespaces import new_namespace
from tests.harness.nexus import endpoints
from tests.harness.requests import fresh
from tests.harness.stack import Stack, running_stack
from tests.harness.temporal_proxy import AnswerFault, grpc_refusing, temporal_proxy

UNIMPLEMENTED = 12
NAMES = ["BatchId", "BatchStatus", "BatchRequests", "BatchOutcome"]


async def in_namespace(temporal: DevServer, folder: Path, there: dict[str, Any]) -> CommandLine:
    """A command line in a new namespace that has these attributes."""
    client = await new_namespace(temporal, there)
    made = command_line(folder / "user", temporal, (folder / "store").as_uri(), "nobody-polls")
    return CommandLine(made.folder, {**made.environment, "TEMPORAL_NAMESPACE": client.namespace})


async def listed(starter: CommandLine, status: str, *, ours: str) -> list[dict[str, Any]]:
    """Return the entries of a run in the list of a status, once Temporal's index has caught up."""
    async with asyncio.timeout(30):
        while True:
            ended = await starter("list", "--status", status, "--json", "--limit", "1000")
            assert ended.code == 0, ended.err
            if found := [run for run in ended.json if run["workflowId"] == ours]:
                return found


async def test_setup_registers_what_is_missing_and_a_second_time_nothing(temporal: DevServer, tmp_path: Path) -> None:
    starter = await in_namespace(
        temporal, tmp_path, {"BatchRequests": IndexedValueType.INDEXED_VALUE_TYPE_INT, "Other": 2}
    )

    first = await starter("setup", "--json")
    again = await starter("setup", "--json")

    assert first.code == 0, first.err
    assert {found["name"]: found["registered"] for found in first.json["searchAttributes"]} == {
        name: name != "BatchRequests" for name in NAMES
    }
    assert again.code == 0
    assert [found["name"] for found in again.json["searchAttributes"]] == NAMES
    assert not any(found["registered"] for found in again.json["searchAttributes"])


async def test_setup_says_which_attribute_is_of_another_type_and_leaves_it(temporal: DevServer, tmp_path: Path) -> None:
    starter = await in_namespace(temporal, tmp_path, {"BatchStatus": IndexedValueType.INDEXED_VALUE_TYPE_TEXT})

    ended = await starter("setup", "--json")

    assert ended.code == 1
    found = {each["name"]: (each["type"], each["registered"]) for each in ended.json["searchAttributes"]}
    assert found["BatchStatus"] == ("Text", False)
    assert found["BatchId"] == ("Keyword", True)


async def test_setup_that_is_refused_says_why_and_what_is_to_be_registered(alone: CommandLine) -> None:
    async with grpc_refusing(UNIMPLEMENTED, "not for you", connects=True) as address:
        starter = CommandLine(alone.folder, {**alone.environment, "TEMPORAL_ADDRESS": address})
        ended = await starter("setup", "--json")

    assert ended.code == 2
    assert ended.json["error"]["type"] == "Refused"
    assert all(name in ended.json["error"]["message"] for name in (*NAMES, "not for you"))


async def test_setup_creates_an_endpoint_for_the_task_queue_and_a_second_time_nothing(
    temporal: DevServer, tmp_path: Path
) -> None:
    name = f"batches-{uuid4()}"
    starter = await in_namespace(temporal, tmp_path, {})
    leads_to = {"namespace": starter.environment["TEMPORAL_NAMESPACE"], "taskQueue": "nobody-polls"}

    first = await starter("setup", "--nexus-endpoint", name, "--json")
    again = await starter("setup", "--nexus-endpoint", name, "--json")

    assert (first.code, again.code) == (0, 0), first.err
    assert first.json["nexusEndpoint"] == {"name": name, "created": True, **leads_to}
    assert again.json["nexusEndpoint"] == {"name": name, "created": False, **leads_to}
    assert await endpoints(temporal.client, name) == [(leads_to["namespace"], "nobody-polls")]


async def test_an_endpoint_that_leads_elsewhere_is_left_as_it_is(temporal: DevServer, tmp_path: Path) -> None:
    name = f"batches-{uuid4()}"
    await ensure_endpoint(temporal.client, name, "of-another")
    starter = await in_namespace(temporal, tmp_path, {})

    ended = await starter("setup", "--nexus-endpoint", name, "--json")

    assert ended.code == 2
    assert ended.json["error"]["type"] == "EndpointTaken"
    assert "'of-another' of namespace 'default'" in ended.json["error"]["message"]
    assert await endpoints(temporal.client, name) == [("default", "of-another")]


async def test_a_name_that_is_none_of_an_endpoint_is_refused(temporal: DevServer, tmp_path: Path) -> None:
    starter = await in_namespace(temporal, tmp_path, {})

    ended = await starter("setup", "--nexus-endpoint", "not a name", "--json")

    assert ended.code == 2
    assert ended.json["error"]["type"] == "Refused"
    assert "'not a name'" in ended.json["error"]["message"]


async def test_an_endpoint_whose_creation_got_no_answer_is_found(temporal: DevServer, tmp_path: Path) -> None:
    name = f"batches-{uuid4()}"
    async with temporal_proxy(temporal.address) as proxy:
        proxy.add(AnswerFault.CUT, "CreateNexusEndpoint", times=None)
        client = await connect(address=proxy.address)
        endpoint = await ensure_endpoint(client, name, "a-queue")

    assert proxy.struck
    assert endpoint.created
    assert await endpoints(temporal.client, name) == [("default", "a-queue")]


@pytest.mark.slow
async def test_runs_are_listed_by_where_they_stand(temporal: DevServer, tmp_path: Path) -> None:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as live,
    ):
        starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
        polling = (await starter("start", starter.file(fresh()), "--json", *QUICK)).json["workflowId"]
        await live.saw("retrieve")
        emulator.faults.add("accept-then-drop", operation="create", times=1)
        undecided = (await starter("start", starter.file(fresh()), "--json", *QUICK)).json["workflowId"]

        (first,) = await listed(starter, "polling", ours=polling)
        (second,) = await listed(starter, "undecided", ours=undecided)
        both = await starter("list", "--status", "polling", "--status", "undecided", "--limit", "1000")
        for run in (polling, undecided):
            await temporal.client.get_workflow_handle(run).terminate()
        (ended,) = await listed(starter, "terminated", ours=polling)
        over = await starter("list", "--status", "polling", "--json", "--limit", "1000")

    assert (first["status"], first["batchStatus"], first["batchRequests"]) == ("running", "polling", 3)
    assert first["batchId"] in {batch.id for batch in emulator.batches}
    assert (second["batchStatus"], second["batchId"]) == ("undecided", None)
    lines = both.out.splitlines()
    assert [line.split()[0] for line in lines if polling in line] == ["polling"]
    assert [line.split()[0] for line in lines if undecided in line] == ["undecided"]
    assert ended["status"] == "terminated"
    assert polling not in {run["workflowId"] for run in over.json}


@pytest.mark.slow
async def test_a_run_that_has_ended_is_listed_with_how(starter: CommandLine, live: Stack) -> None:
    landed = (await starter("start", starter.file(fresh()), "--wait", "--json", *QUICK)).json["workflowId"]
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    failed = (await starter("start", starter.file(fresh()), "--wait", "--json", *QUICK)).json["workflowId"]

    (first,) = await listed(starter, "landed", ours=landed)
    (second,) = await listed(starter, "failed", ours=failed)
    shown = await starter("list", "--limit", "1000")

    assert (first["status"], first["batchStatus"], first["batchOutcome"]) == ("completed", "landed", "succeeded")
    assert (second["status"], second["batchOutcome"]) == ("failed", "SpendLimitReached")
    lines = {line.split()[-2 if "msgbatch_" in line else -1]: line for line in shown.out.splitlines()}
    assert lines[landed].startswith("landed (succeeded) ")
    assert lines[failed].startswith("failed (SpendLimitReached) ")


async def test_a_status_that_is_none_is_refused_with_those_that_are(alone: CommandLine) -> None:
    ended = await alone("list", "--status", "stuck")

    assert ended.code == 2
    assert "undecided" in ended.err
    assert "landing-failing" in ended.err


async def test_without_the_attributes_the_list_says_what_registers_them(temporal: DevServer, tmp_path: Path) -> None:
    starter = await in_namespace(temporal, tmp_path, {})

    ours = await starter("list", "--status", "undecided", "--json")
    temporals = await starter("list", "--status", "failed", "--json")

    assert ours.code == 2
    assert ours.json["error"]["type"] == "Refused"
    assert "BatchStatus" in ours.json["error"]["message"]
    assert (temporals.code, temporals.json) == (0, [])
