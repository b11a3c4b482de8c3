"""`purge` and the requests of schedules: they stay as long as a schedule needs them."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleSpec

from message_batches.contract import WORKFLOW_TYPE
from message_batches.retention.references import RunReferences
from message_batches.runs.control import Refused
from message_batches.schedules.describe import describe_schedule, list_schedules
from message_batches.storage.groups import GroupKey
from message_batches.temporal.dev_server import DevServer, dev_server
from tests.harness.command_line import QUICK, command_line
from tests.harness.requests import fresh
from tests.harness.retention import make_old, works_only_in
from tests.harness.stack import Stack, running_stack
from tests.integration.schedules.test_firings import NEVER, run_of


@pytest.fixture(scope="module")
async def empty() -> AsyncIterator[DevServer]:
    """A server with no schedules but those of these tests."""
    async with dev_server() as server:
        yield server


def files(live: Stack, under: str) -> list[str]:
    return sorted(path.name for path in (live.store_folder / under).iterdir())


@pytest.mark.parametrize("paused", [False, pytest.param(True, marks=pytest.mark.slow)])
async def test_the_requests_of_a_schedule_stay_until_it_is_deleted(
    empty: DevServer, live: Stack, name: str, paused: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with running_stack(empty.client, live.emulator, live.store_url) as here:
        starter = command_line(tmp_path_factory.mktemp("user"), empty, here.store_url, here.task_queue)
        await starter("schedule", "create", name, starter.file(fresh()), *NEVER, *QUICK)
        if paused:
            await starter("schedule", "pause", name)
        await works_only_in(empty.client, here.store_folder)
        stored = files(here, "manifests")
        make_old(here.store_folder)

        kept = await starter("purge", "--older-than", "40d", "--delete", "--json")
        assert kept.code == 0, kept.err
        assert files(here, "manifests") == stored
        fired = await starter("schedule", "trigger", name, "--json")
        assert (await run_of(here, fired.json["workflowId"]).result()).verified

        await starter("schedule", "delete", name)
        unused = await starter("schedule", "create", name, starter.file(fresh(), "b.jsonl"), *NEVER, *QUICK, "--json")
        await starter("schedule", "delete", name)
        make_old(here.store_folder)
        await starter("purge", "--older-than", "40d", "--delete", "--json")

        sha256 = unused.json["requestsUri"].rpartition("/")[2].removesuffix(".jsonl")
        assert [each for each in files(here, "manifests") if sha256 in each] == []


async def by_another_program(client: Client, name: str, *arguments: object) -> None:
    action = ScheduleActionStartWorkflow(WORKFLOW_TYPE, args=arguments, id=name, task_queue="nobody")
    spec = ScheduleSpec(cron_expressions=[NEVER[1]])
    await client.create_schedule(name, Schedule(action=action, spec=spec))


async def test_the_requests_of_a_schedule_that_another_program_has_created_stay_too(
    temporal: DevServer, name: str
) -> None:
    sha256 = "0" * 64
    uri = f"s3://bucket/store/manifests/{sha256}.jsonl"
    await by_another_program(temporal.client, name, {"requestsUri": uri, "poll": {"retryAfter": 5}})

    assert GroupKey.of_manifest(sha256) in await RunReferences(temporal.client).refresh()
    view = await describe_schedule(temporal.client, name)
    assert (view.given and view.given.requests_uri, view.note.cron) == (uri, ())
    assert name in [each.name for each in await list_schedules(temporal.client)]


async def test_a_schedule_that_cannot_be_read_stops_a_purge(empty: DevServer) -> None:
    await by_another_program(empty.client, "unreadable", {"requestsUri": 5})
    try:
        with pytest.raises(Refused, match="A schedule cannot be read"):
            await RunReferences(empty.client).refresh()
        assert (await describe_schedule(empty.client, "unreadable")).given is None
    finally:
        await empty.client.get_schedule_handle("unreadable").delete()
