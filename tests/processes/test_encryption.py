"""Encryption switched on, rotated and missing, while processes start and end: the stored data of a run."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.encryption.keys import EncryptionKey
from message_batches.results.replies import read_reply
from message_batches.temporal.connection import data_converter
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.encryption import key, written
from tests.harness.processes import TemporalProcess, WorkerProcess, settings
from tests.harness.requests import requests
from tests.harness.waiting import eventually
from workflows.message_batch import MessageBatchWorkflow

OLD, NEW = key("2026-01"), key("2026-11")
PROCESSING = timedelta(hours=1)

pytestmark = pytest.mark.slow


@dataclass
class Processes:
    """A Temporal server on a file, and workers and starters that start and end, each with its keys."""

    folder: Path
    server: TemporalProcess
    client: Client
    emulator: Emulator
    workers: list[WorkerProcess] = field(default_factory=list)

    async def worker(self, *keys: EncryptionKey) -> WorkerProcess:
        """Start a worker with these keys, in place of the one before."""
        for worker in self.workers[-1:]:
            assert await worker.terminate() == 0
        configured = {**self._settings(keys), "ANTHROPIC_BASE_URL": self.emulator.url, "ANTHROPIC_API_KEY": "sk-ant-1"}
        log = self.folder / f"worker-{len(self.workers)}.log"
        self.workers.append(await WorkerProcess.begin(configured, log, self.folder))
        return self.workers[-1]

    def starter(self, *keys: EncryptionKey) -> CommandLine:
        """Return the command line with these keys."""
        return CommandLine(self.folder, self._settings(keys))

    async def start(self, text: str, *keys: EncryptionKey) -> str:
        """Start a run whose prompts have this text, and wait until it has polled."""
        starter = self.starter(*keys)
        run: str = (await starter("start", starter.file(requests(2, text)), "--json", *QUICK)).json["workflowId"]

        async def polled() -> bool:
            progress = (await starter("status", run, "--json")).json["progress"]
            return bool(progress and progress["polls"])

        await eventually(polled, "a run that polls")
        return run

    async def histories(self, run: str) -> list[WorkflowHistory]:
        """Return the histories as they are exported."""
        chain = [found async for found in self.client.list_workflows(f"WorkflowId = '{run}'")]
        return [await self.client.get_workflow_handle(run, run_id=found.run_id).fetch_history() for found in chain]

    async def exported(self, run: str) -> bytes:
        return b"".join(event.SerializeToString() for history in await self.histories(run) for event in history.events)

    def database(self) -> bytes:
        """Return all data that the server has written."""
        return b"".join(path.read_bytes() for path in self.folder.glob("temporal.db*"))

    def _settings(self, keys: Sequence[EncryptionKey]) -> dict[str, str]:
        encryption = {"MESSAGE_BATCHES_ENCRYPTION_KEYS": written(keys)} if keys else {}
        return settings(temporal=self.server.address, store=(self.folder / "store").as_uri(), **encryption)


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


async def test_no_prompt_and_no_reply_is_on_the_server_even_if_the_key_is_rotated(
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
    refused = await starter("start", starter.file(requests(1, "a refused prompt")), "--wait", "--json", *QUICK)

    # The rotation: the new key encrypts from now on, the old one still decrypts older payloads.
    await processes.worker(NEW, OLD)
    processes.emulator.clock.advance(PROCESSING)
    starter = processes.starter(NEW, OLD)
    for run in (before, secret):
        ended = await starter("watch", run, "--json")
        assert ended.code == 0, ended.said
        assert ended.json["output"]["summary"]["counts"]["succeeded"] == 2

    for ended in in_clear:
        assert ended.code == 2
        assert "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE" in ended.err
    assert refused.json["failure"]["type"] == "SpendLimitReached"
    assert " 429 " in refused.json["failure"]["message"]
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
    # The same search finds unencrypted text.
    assert b"a readable prompt" in await processes.exported(before)
    assert b"a readable prompt" in database

    replayer = Replayer(workflows=[MessageBatchWorkflow], data_converter=data_converter([NEW, OLD]))
    for history in [*await processes.histories(before), *await processes.histories(secret)]:
        await replayer.replay_workflow(history)


async def test_a_worker_without_the_key_names_it_and_the_run_continues_once_it_is_there(
    processes: Processes,
) -> None:
    await processes.worker(OLD)
    run = await processes.start("a hidden prompt", OLD)

    worker = await processes.worker()
    await eventually(lambda: "encrypted with key '2026-01'" in worker.output, "a worker that asks for its key")
    shown = await processes.starter(NEW, OLD)("status", run, "--json")

    async def needing() -> dict[str, Any] | None:
        listed = await processes.starter(NEW, OLD)("list", "--needs-attention", "--json")
        return next((item for item in listed.json if item["workflowId"] == run and "encrypted" in item["why"]), None)

    needed = await eventually(needing, "a run that needs its key")
    await processes.worker(NEW, OLD)
    processes.emulator.clock.advance(PROCESSING)
    ended = await processes.starter(NEW, OLD)("watch", run, within=90)

    assert shown.code == 0
    assert shown.json["answeredByWorker"] is False
    assert needed["why"].endswith("give the workers that key")
    assert needed["command"] == "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE=FILE python worker.py"
    assert shown.json["batchId"] == processes.emulator.batches[0].id
    assert ended.code == 0, ended.said
    assert len(processes.emulator.batches) == 1
