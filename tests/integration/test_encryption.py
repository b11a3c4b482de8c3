"""Runs with encryption on: the data on the server, and changed or missing keys."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import Worker

from activities.batch import MessageBatchActivities
from activities.submission import SubmissionActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.codec_server import CodecServer, TokenAuth
from message_batches.contract import calls_queue, landing_queue
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.encryption.codec import EncryptionCodec
from message_batches.encryption.keys import EncryptionKey
from message_batches.storage.object_store import open_store
from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import DevServer, dev_server, temporal_command
from message_batches.temporal.namespaces import NamespaceRecords
from tests.harness.command_line import QUICK, CommandLine, Ended, command_line
from tests.harness.encryption import key, written
from tests.harness.processes import bare_environment
from tests.harness.requests import requests
from tests.harness.stack import KEYS, QUICK_POLL, Stack, running_stack
from tests.harness.waiting import eventually
from workflows.message_batch import MessageBatchWorkflow

OLD, NEW = key("2026-01"), key("2026-11")
PROCESSING = timedelta(hours=1)
TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[DevServer]:
    """Start a server whose client encrypts."""
    async with dev_server(keys=[OLD]) as server:
        yield server


@pytest.fixture
async def live(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with (
        Emulator(EmulatorOptions(processing_time=PROCESSING)) as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running


@pytest.mark.slow
async def test_without_its_record_a_namespace_does_not_count_as_encrypted(
    temporal: DevServer, live: Stack, tmp_path: Path
) -> None:
    without = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    store = open_store(live.store_url)
    await store.identity()
    records = NamespaceRecords(store)
    plain = await connect(address=temporal.address)  # A worker from before encryption was on.
    await records.add(plain)
    unknown = await records.encrypted("default")
    await records.add(live.client)
    await records.add(plain)
    record = await records.encrypted("default")

    refused = await without("attach", "msgbatch_1")
    assert record is not None
    await store.remove(record.removeprefix(f"{live.store_url}/"))
    begun = await without("attach", "msgbatch_1", "--json")

    assert unknown is None
    assert (refused.code, begun.code) == (2, 0)
    assert str(record) in refused.err
    await live.client.get_workflow_handle(begun.json["workflowId"]).terminate()


def starter_with(*keys: EncryptionKey, live: Stack, temporal: DevServer, folder: Path) -> CommandLine:
    made = command_line(folder, temporal, live.store_url, live.task_queue)
    made.environment = {**made.environment, "MESSAGE_BATCHES_ENCRYPTION_KEYS": written(keys)}
    return made


@pytest.mark.slow
async def test_a_starter_without_the_key_names_the_key_it_needs(
    temporal: DevServer, live: Stack, tmp_path: Path
) -> None:
    right, wrong, without = (
        starter_with(*keys, live=live, temporal=temporal, folder=tmp_path / "user") for keys in ((OLD,), (NEW,), ())
    )
    file = right.file(requests(2, "a hidden prompt"))
    run = (await right("start", file, "--json", *QUICK)).json["workflowId"]

    def refused(ended: Ended) -> bool:
        return ended.code == 2 and "encrypted with key '2026-01'" in ended.err and len(ended.err.splitlines()) == 1

    for arguments in (("status", run), ("cancel", run), ("results", run), ("start", file, "--wait")):
        assert refused(await wrong(*arguments)), arguments
    assert refused(await without("status", run))
    assert (await wrong("status", run, "--json")).json["error"]["type"] == "CannotDecrypt"
    assert run in (await without("list")).out
    following = asyncio.create_task(wrong("watch", run))
    live.emulator.clock.advance(PROCESSING)
    await live.client.get_workflow_handle(run).result()
    assert refused(await following)
    assert refused(await wrong("watch", run))
    assert (await right("watch", run)).code == 0


@pytest.mark.slow
async def test_a_schedule_holds_its_input_encrypted(temporal: DevServer, live: Stack, tmp_path: Path) -> None:
    right, without = (
        starter_with(*keys, live=live, temporal=temporal, folder=tmp_path / "user") for keys in ((OLD,), ())
    )
    times = ("--cron", "0 0 1 1 *")
    file = right.file(requests(2, "a hidden prompt"), "hidden.jsonl")
    await right("schedule", "create", "nightly", file, *times, *QUICK)
    run = (await right("schedule", "trigger", "nightly", "--json")).json["workflowId"]
    await live.saw("retrieve")
    live.emulator.clock.advance(PROCESSING)
    await live.client.get_workflow_handle(run).result()
    described = await temporal.client.get_schedule_handle("nightly").describe()
    refused = await without("schedule", "create", "another", file, *times)
    unread = await without("schedule", "show", "nightly")
    shown = await right("schedule", "show", "nightly", "--json")
    await right("schedule", "delete", "nightly")

    raw = described.raw_description.SerializeToString()
    assert not any(text in raw for text in (b"manifests/", b"hidden", b"retryAfter"))
    assert (refused.code, unread.code) == (2, 2)
    assert "encrypt" in refused.err
    assert "encrypted with key '2026-01'" in unread.err
    assert (shown.json["requests"], shown.json["runs"][0]["status"]) == (2, "completed")


@pytest.mark.slow
async def test_status_shows_why_an_activity_keeps_failing(temporal: DevServer, live: Stack, tmp_path: Path) -> None:
    live.emulator.faults.add("529", operation="retrieve")
    slow = QUICK_POLL.model_copy(
        update={"transient": QUICK_POLL.transient.model_copy(update={"retry_after": PROCESSING})}
    )
    run = await live.start(requests(2, "a hidden prompt"), poll=slow)
    await live.saw("retrieve")
    starter = starter_with(OLD, live=live, temporal=temporal, folder=tmp_path / "user")

    async def failing() -> list[str]:
        retrying = (await starter("status", run.id, "--json")).json["retrying"]
        return [each["failure"] for each in retrying if each["activity"] == "pollBatchStatus"]

    (failure,) = await eventually(failing, "a poll that has failed")
    await run.terminate()

    assert " 529 " in failure


@pytest.mark.slow
async def test_temporals_own_command_line_shows_a_run_through_the_codec_server(
    temporal: DevServer, live: Stack, tmp_path: Path
) -> None:
    starter = starter_with(OLD, live=live, temporal=temporal, folder=tmp_path / "user")
    begun = await starter("start", starter.file(requests(2)), "--poll-interval", "1h", "--json")
    run, summary = begun.json["workflowId"], "2 requests from"

    async def shown(**variables: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(temporal_command() or "temporal", "workflow", "describe", "--workflow-id", run),
            env=bare_environment(tmp_path, TEMPORAL_ADDRESS=temporal.address, **variables),
            stdout=asyncio.subprocess.PIPE,
        )
        return (await process.communicate())[0].decode()

    async with CodecServer(EncryptionCodec([OLD]), TokenAuth(SecretStr(TOKEN))) as server:
        through = {"TEMPORAL_CODEC_ENDPOINT": server.url, "TEMPORAL_CODEC_AUTH": f"Bearer {TOKEN}"}
        assert summary in await shown(**through)
        # Our processes ignore these variables.
        starter.environment = {**starter.environment, **through}
        assert (await starter("status", run)).code == 0
    assert run in await shown()
    assert summary not in await shown()
    await live.client.get_workflow_handle(run).terminate()


@pytest.mark.slow
async def test_a_post_whose_worker_lacks_the_key_was_not_sent_and_one_that_has_it_sends_it(
    temporal: DevServer, tmp_path: Path
) -> None:
    queue, store = f"test-{uuid4()}", open_store((tmp_path / "store").as_uri())
    keyless = await connect(address=temporal.address)
    emulator = Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.3)))
    emulator.faults.add("slow", operation="list", times=1, seconds=2)
    async with emulator, http_client(emulator.url) as http:
        api = HttpBatchApi(http, ApiKeys(KEYS))
        steps, submission = MessageBatchActivities(api, store), SubmissionActivities(api, store)
        calls: list[Callable[..., Any]] = [submission.find_anchor, steps.submit_batch]
        grace = timedelta(seconds=20)

        def worker(client: Client, activities: Sequence[Callable[..., Any]], at: str = queue) -> Worker:
            return Worker(client, task_queue=at, activities=activities, graceful_shutdown_timeout=grace)

        async def refused() -> bool:
            kinds = {event.event_type async for event in run.fetch_history_events()}
            return EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED in kinds

        live = Stack(temporal.client, emulator, "", queue)
        async with Worker(temporal.client, task_queue=queue, workflows=[MessageBatchWorkflow]):
            # The anchor is still being read when its worker stops: the next one gets the POST.
            async with (
                worker(temporal.client, [steps.prepare_requests]),
                worker(temporal.client, [submission.find_anchor], calls_queue(queue)),
            ):
                run = await live.start(requests(2))
                await live.saw("list")
            async with worker(keyless, calls, calls_queue(queue)):
                await eventually(refused, "a POST whose input could not be read")
            async with (
                worker(temporal.client, [steps.poll_batch_status, submission.record_outcome]),
                worker(temporal.client, calls, calls_queue(queue)),
                worker(temporal.client, [steps.retrieve_results], landing_queue(queue)),
            ):
                output = await run.result()

    assert output.verified
    # No search and no quiet period: nothing was sent the first time. Each POST has an anchor of its own.
    assert live.operations(besides=("retrieve",)) == ["list", "list", "create", "results"]
