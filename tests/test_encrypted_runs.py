"""Runs with encryption on: what the server has of them, and what happens when keys change or are missing."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, Worker

from activities.batch import MessageBatchActivities
from activities.submission import SubmissionActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.cli.report import read_reply
from message_batches.codec_server import CodecServer, TokenAuth
from message_batches.contract import landing_queue
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.encryption.codec import EncryptionCodec
from message_batches.encryption.keys import EncryptionKey
from message_batches.storage.object_store import open_store
from message_batches.temporal.connection import connect, data_converter
from message_batches.temporal.dev_server import DevServer, dev_server, temporal_command
from message_batches.temporal.namespaces import NamespaceRecords
from tests.cli.command_line import QUICK, CommandLine, Ended
from tests.cli.conftest import command_line
from tests.encryption import key, written
from tests.processes import TemporalProcess, WorkerProcess
from tests.rig import KEYS, QUICK_POLL, Rig, requests, rig
from tests.waiting import until
from workflows.message_batch import MessageBatchWorkflow

OLD, NEW = key("2026-01"), key("2026-11")
PROCESSING = timedelta(hours=1)
TOKEN = "a-token-of-the-tests-0123456789"


@dataclass
class Processes:
    """A Temporal server on a file, and workers and starters that come and go, each with its keys."""

    folder: Path
    server: TemporalProcess
    client: Client
    emulator: Emulator
    workers: list[WorkerProcess] = field(default_factory=list)

    async def worker(self, *keys: EncryptionKey) -> WorkerProcess:
        """A worker with these keys, in the place of the one before."""
        for worker in self.workers[-1:]:
            assert await worker.terminate() == 0
        settings = {**self._settings(keys), "ANTHROPIC_BASE_URL": self.emulator.url, "ANTHROPIC_API_KEY": "sk-ant-1"}
        log = self.folder / f"worker-{len(self.workers)}.log"
        self.workers.append(await WorkerProcess.begin(settings, log, self.folder))
        return self.workers[-1]

    def starter(self, *keys: EncryptionKey) -> CommandLine:
        """The command line with these keys."""
        return CommandLine(self.folder, self._settings(keys))

    async def start(self, text: str, *keys: EncryptionKey) -> str:
        """Start a run whose prompts have this text, and wait until it has polled."""
        starter = self.starter(*keys)
        run: str = (await starter("start", starter.file(requests(2, text)), "--json", *QUICK)).json["workflowId"]

        async def polled() -> bool:
            progress = (await starter("status", run, "--json")).json["progress"]
            return bool(progress and progress["polls"])

        await until(polled, "a run that polls")
        return run

    async def histories(self, run: str) -> list[WorkflowHistory]:
        """As they are exported."""
        chain = [found async for found in self.client.list_workflows(f"WorkflowId = '{run}'")]
        return [await self.client.get_workflow_handle(run, run_id=found.run_id).fetch_history() for found in chain]

    async def exported(self, run: str) -> bytes:
        return b"".join(event.SerializeToString() for history in await self.histories(run) for event in history.events)

    def database(self) -> bytes:
        """All that the server has written."""
        return b"".join(path.read_bytes() for path in self.folder.glob("temporal.db*"))

    def _settings(self, keys: Sequence[EncryptionKey]) -> dict[str, str]:
        encryption = {"MESSAGE_BATCHES_ENCRYPTION_KEYS": written(keys)} if keys else {}
        store = {"MESSAGE_BATCHES_STORE": (self.folder / "store").as_uri()}
        return {"TEMPORAL_ADDRESS": self.server.address, **store, **encryption}


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    server = TemporalProcess(tmp_path)
    async with Emulator(EmulatorOptions(processing_time=PROCESSING)) as emulator:
        made = Processes(tmp_path, server, await server.start(), emulator)
        try:
            yield made
        finally:
            for worker in made.workers:
                await worker.kill()
            await server.kill()


async def test_nothing_asked_or_answered_is_on_the_server_also_when_the_key_changes_meanwhile(
    processes: Processes,
) -> None:
    await processes.worker()
    before = await processes.start("a readable prompt")
    await processes.worker(OLD)
    without = processes.starter()
    file = without.file(requests(1, "an unguarded prompt"))
    in_clear = [
        await without(*arguments)
        for arguments in (("start", file), ("attach", "msgbatch_1"), ("attach", "msgbatch_1", "--requests", file))
    ]
    secret = await processes.start("a hidden prompt", OLD)
    processes.emulator.faults.add("spend-limit", operation="create", times=1)
    starter = processes.starter(OLD)
    refused = await starter("start", starter.file(requests(1, "a refused prompt")), "--wait", *QUICK)

    # The rotation: the new key encrypts from now on, the old one still opens what is there.
    await processes.worker(NEW, OLD)
    processes.emulator.clock.advance(PROCESSING)
    starter = processes.starter(NEW, OLD)
    for run in (before, secret):
        ended = await starter("watch", run)
        assert ended.code == 0, ended.said
        assert "2 results, 2 succeeded" in ended.out

    for ended in in_clear:
        assert ended.code == 2
        assert "Set MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE" in ended.err
    assert "The API answered" in refused.said
    exported, database = await processes.exported(secret), processes.database()
    assert b"2026-01" in exported
    assert b"2026-11" in exported
    replies = [read_reply(line.encode()).text for line in (await starter("results", secret)).out.splitlines()]
    assert len(replies) == 2
    for text in (
        "hidden prompt",
        "refused prompt",
        "unguarded prompt",
        "The API answered",
        "activities/failures.py",
        *replies,
    ):
        assert text.encode() not in exported
        assert text.encode() not in database
    # Such a look does find what is not encrypted.
    assert b"a readable prompt" in await processes.exported(before)
    assert b"a readable prompt" in database

    replayer = Replayer(workflows=[MessageBatchWorkflow], data_converter=data_converter([NEW, OLD]))
    for history in [*await processes.histories(before), *await processes.histories(secret)]:
        await replayer.replay_workflow(history)


async def test_a_worker_without_the_key_says_which_one_it_wants_and_the_run_goes_on_when_it_comes(
    processes: Processes,
) -> None:
    await processes.worker(OLD)
    run = await processes.start("a hidden prompt", OLD)

    worker = await processes.worker()
    await until(lambda: "encrypted with key '2026-01'" in worker.output, "a worker that asks for its key")
    shown = await processes.starter(NEW, OLD)("status", run)
    await processes.worker(NEW, OLD)
    processes.emulator.clock.advance(PROCESSING)
    ended = await processes.starter(NEW, OLD)("watch", run, within=90)

    assert shown.code == 0
    assert "No worker answers just now; this is the last that the history tells" in shown.out
    assert "msgbatch_" in shown.out
    assert ended.code == 0, ended.said
    assert len(processes.emulator.batches) == 1


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[DevServer]:
    """A server whose client encrypts."""
    async with dev_server(keys=[OLD]) as server:
        yield server


@pytest.fixture
async def live(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Rig]:
    async with (
        Emulator(EmulatorOptions(processing_time=PROCESSING)) as emulator,
        rig(temporal.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running


async def test_once_its_note_is_gone_a_namespace_is_not_taken_to_encrypt(
    temporal: DevServer, live: Rig, tmp_path: Path
) -> None:
    without = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    notes = NamespaceRecords(open_store(live.store_url))
    plain = await connect(address=temporal.address)  # As a worker was from before there were keys.
    await notes.add(plain)
    unknown = await notes.encrypted("default")
    await notes.add(live.client)
    await notes.add(plain)
    note = await notes.encrypted("default")

    refused = await without("attach", "msgbatch_1")
    assert note is not None
    await open_store(live.store_url).remove(note.removeprefix(f"{live.store_url}/"))
    begun = await without("attach", "msgbatch_1", "--json")

    assert unknown is None
    assert (refused.code, begun.code) == (2, 0)
    assert f"switched off for good, remove {note}. Nothing was sent" in refused.err
    await live.client.get_workflow_handle(begun.json["workflowId"]).terminate()


def starter_with(*keys: EncryptionKey, live: Rig, temporal: DevServer, folder: Path) -> CommandLine:
    made = command_line(folder, temporal, live.store_url, live.task_queue)
    made.environment = {**made.environment, "MESSAGE_BATCHES_ENCRYPTION_KEYS": written(keys)}
    return made


async def test_a_starter_without_the_key_says_which_one_it_wants(
    temporal: DevServer, live: Rig, tmp_path: Path
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


async def test_status_shows_why_an_activity_keeps_failing(temporal: DevServer, live: Rig, tmp_path: Path) -> None:
    live.emulator.faults.add("529", operation="retrieve")
    slow = QUICK_POLL.model_copy(
        update={"transient": QUICK_POLL.transient.model_copy(update={"retry_after": PROCESSING})}
    )
    run = await live.start(requests(2, "a hidden prompt"), poll=slow)
    await live.saw("retrieve")
    starter = starter_with(OLD, live=live, temporal=temporal, folder=tmp_path / "user")
    shown: list[str] = []

    async def said() -> bool:
        shown.append((await starter("status", run.id)).out)
        return "pollBatchStatus has failed" in shown[-1]

    await until(said, "a poll that has failed")
    await run.terminate()

    assert "The API answered 529" in shown[-1]
    assert "Encoded failure" not in shown[-1]


async def test_temporals_own_command_line_shows_a_run_through_the_codec_server(
    temporal: DevServer, live: Rig, tmp_path: Path
) -> None:
    starter = starter_with(OLD, live=live, temporal=temporal, folder=tmp_path / "user")
    begun = await starter("start", starter.file(requests(2)), "--poll-interval", "1h", "--json")
    run, summary = begun.json["workflowId"], "2 requests from"

    async def shown(**variables: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(temporal_command() or "temporal", "workflow", "describe", "--workflow-id", run),
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TEMPORAL_ADDRESS": temporal.address, **variables},
            stdout=asyncio.subprocess.PIPE,
        )
        return (await process.communicate())[0].decode()

    async with CodecServer(EncryptionCodec([OLD]), TokenAuth(SecretStr(TOKEN))) as server:
        through = {"TEMPORAL_CODEC_ENDPOINT": server.url, "TEMPORAL_CODEC_AUTH": f"Bearer {TOKEN}"}
        assert summary in await shown(**through)
        # Ours take no notice of these variables.
        starter.environment = {**starter.environment, **through}
        assert (await starter("status", run)).code == 0
    assert run in await shown()
    assert summary not in await shown()
    await live.client.get_workflow_handle(run).terminate()


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
        later: list[Callable[..., Any]] = [
            submission.find_anchor,
            steps.submit_batch,
            steps.poll_batch_status,
            submission.record_outcome,
        ]
        grace = timedelta(seconds=20)

        def worker(client: Client, activities: Sequence[Callable[..., Any]], at: str = queue) -> Worker:
            return Worker(client, task_queue=at, activities=activities, graceful_shutdown_timeout=grace)

        async def refused() -> bool:
            kinds = {event.event_type async for event in run.fetch_history_events()}
            return EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED in kinds

        live = Rig(temporal.client, emulator, "", queue)
        async with Worker(temporal.client, task_queue=queue, workflows=[MessageBatchWorkflow]):
            # The anchor is still looked for when its worker leaves: the POST goes to the next one.
            async with worker(temporal.client, [steps.prepare_requests, submission.find_anchor]):
                run = await live.start(requests(2))
                await live.saw("list")
            async with worker(keyless, later):
                await until(refused, "a POST whose input could not be read")
            async with (
                worker(temporal.client, later),
                worker(temporal.client, [steps.retrieve_results], landing_queue(queue)),
            ):
                output = await run.result()

    assert output.verified
    # Neither looked for nor waited for: nothing was sent the first time. Each POST has an anchor of its own.
    assert live.operations(besides=("retrieve",)) == ["list", "list", "create", "results"]
