"""A search for secrets: the text of a key is nowhere, nor, with encryption on, that of a prompt or a reply.

Processes make runs of every kind; then all of their data is searched: the server's database, the logs and metrics of
the worker, the store, the output of the starter, and the traces of both.
"""

import asyncio
import base64
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.client import Client

from tests.exhaustive.chaos.leaks import spellings
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.otlp import Receiver
from tests.harness.processes import EmulatorProcess, TemporalProcess, WorkerProcess, lasting_port, settings
from tests.harness.receiver import SECRET, receiving, variables
from tests.harness.requests import requests
from tests.harness.waiting import eventually

pytestmark = pytest.mark.slow

KEY = "sk-ant-api03-leak+test/key=0001&%~"
REFUSED_KEY = "sk-invalid-leak+test/key=0002&%~"
HOOK_PATH = "hook-path-leak-0006"
PROMPT = "heliotrope saxifrage"
TOKEN = "codec-token-leak-0003-0004-0005"


def places_with(texts: Iterable[str], places: Mapping[str, bytes]) -> list[str]:
    """Return the places of these texts, in any encoding."""
    wanted = {form for text in texts for form in spellings(text).values()}
    return [name for name, content in places.items() if any(form in content for form in wanted)]


def in_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Return every file below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def in_database(path: Path) -> Iterator[tuple[str, bytes]]:
    """Return every table of a SQLite file as text: in the file itself a long value is split."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            values = (value for row in database.execute(f'SELECT * FROM "{table}"') for value in row)
            yield f"table {table}", b"\0".join(v if isinstance(v, bytes) else str(v).encode() for v in values)


async def in_histories(client: Client) -> dict[str, bytes]:
    """Return every run's events as the server has them, whatever codec this client has."""
    found = {}
    async for run in client.list_workflows():
        request = GetWorkflowExecutionHistoryRequest(
            namespace=client.namespace, execution=WorkflowExecution(workflow_id=run.id, run_id=run.run_id)
        )
        answer = await client.workflow_service.get_workflow_execution_history(request)
        assert not answer.next_page_token
        found[f"history of {run.id}"] = answer.history.SerializeToString()
    return found


@dataclass
class World:
    """Processes on a Temporal server with a file, and all of their output.

    Attributes:
        every_kind: also runs with errors and retries, which take a while; else one that lands, one whose key is
            refused, and two that are refused at once.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    every_kind: bool = False
    said: dict[str, bytes] = field(default_factory=dict)

    async def play(self) -> dict[str, bytes]:
        """Make runs of every kind; return all of their data, by place."""
        metrics, health = (f"127.0.0.1:{lasting_port()}" for _ in range(2))
        async with AsyncExitStack() as stack:
            server = TemporalProcess(self.folder)
            client = await server.start()
            stack.push_async_callback(server.kill)
            emulator = await EmulatorProcess.begin(
                ["--processing-time", "300ms"], self.folder / "emulator.log", self.folder
            )
            stack.push_async_callback(emulator.kill)
            traces = await stack.enter_async_context(Receiver())
            receiver = await stack.enter_async_context(receiving())
            environment = settings(temporal=server.address, store=(self.folder / "store").as_uri(), **self.settings)
            environment |= traces.environment
            keys = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_API_KEY_REFUSED": REFUSED_KEY}
            hooks = variables({"ops": f"{receiver.url}/{HOOK_PATH}", "chat": f"{receiver.url}/chat"}, slack=["chat"])
            worker = await WorkerProcess.begin(
                {**environment, **keys, **hooks, "ANTHROPIC_BASE_URL": emulator.url},
                self.folder / "worker.log",
                self.folder,
                *("--log-level", "DEBUG", "--metrics", metrics, "--health", health, "--otel"),
            )
            stack.push_async_callback(worker.kill)
            await self._runs(CommandLine(self.folder, {**environment, **keys}), emulator.url)
            async with httpx.AsyncClient() as http:
                for name, address in (("metrics", f"{metrics}/metrics"), ("health", f"{health}/healthz")):
                    self.said[name] = (await http.get(f"http://{address}")).content
            await eventually(lambda: len(receiver.accepted) >= 4, "the events of the runs that name webhooks")
            for number, got in enumerate(receiver.got):
                self.said[f"webhook {number}"] = repr(got.headers).encode() + got.body
            histories = await in_histories(client)
            await worker.terminate()
            self.said["worker"] = worker.output.encode()
            self.said["spans"] = b"\0".join(traces.bodies)
        left = dict(in_files(self.folder)) | dict(in_database(self.folder / "temporal.db"))
        return self.said | histories | left

    async def _runs(self, starter: CommandLine, api: str) -> None:
        async with httpx.AsyncClient(base_url=api) as http:

            async def fault(**described: Any) -> None:
                (await http.post("/_emulator/faults", json=described)).raise_for_status()

            async def says(*commands: tuple[str | Path, ...]) -> None:
                """Run these commands at the same time, and keep their output."""
                for command, ended in zip(
                    commands, await asyncio.gather(*(starter(*c) for c in commands)), strict=True
                ):
                    self.said[f"{len(self.said)}: starter {command[0]}"] = f"{ended.out}{ended.err}".encode()

            small = starter.file(requests(3, PROMPT), "small.jsonl")
            large = starter.file(requests(300, PROMPT * 50), "large.jsonl")
            start = ("start", small, *QUICK, "--notify", "ops", "--notify", "chat", "--wait")
            await says(
                ("start", large, *QUICK, "--notify", "ops", "--notify", "chat", "--wait"),
                *((*start, "--key", name) for name in ("refused", "nobody", KEY)),
                ("check", small),
            )
            if self.every_kind:
                await says(start)
                await fault(fault="accept-then-drop", operation="create", times=1)
                await says((*start, "--again"))
                await fault(fault="missing-line", operation="results", times=5)
                await says((*start, "--again"))
                await says(("list", "--needs-attention"))
            runs = [run["workflowId"] for run in (await starter("list", "--json")).json]
            await says(("list",), *((command, run) for run in runs for command in ("status", "results")))


@pytest.mark.parametrize("form", spellings(KEY))
def test_a_key_is_found_in_each_form(form: str) -> None:
    assert places_with([KEY], {"log": b"before " + spellings(KEY)[form] + b" after"}) == ["log"]


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_key_is_found_in_base64_at_any_offset(before: str) -> None:
    encoded = base64.b64encode(f"{before}{KEY} and more".encode())

    assert places_with([KEY], {"log": encoded}) == ["log"]


def some_replies(places: Mapping[str, bytes]) -> set[str]:
    """Return the beginnings of all replies in the store."""
    replies = [
        block["text"][:40]
        for name, content in places.items()
        if name.startswith("store/results") and name.endswith(".jsonl")
        for line in content.split(b"\n")
        if line
        for block in json.loads(line)["result"]["message"]["content"]
    ]
    assert len(replies) >= 300
    return set(replies)


KINDS = pytest.mark.parametrize(
    "every_kind", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["a few runs", "runs of every kind"]
)


@KINDS
async def test_no_key_is_found_anywhere(tmp_path: Path, every_kind: bool) -> None:
    places = await World(tmp_path, every_kind=every_kind).play()

    found = places_with([PROMPT], places)
    assert b"message_batches_" in places["metrics"]
    assert b"start batch-process-and-retrieve-results" in places["spans"]
    assert b"GET /v1/messages/batches/{id}/results" in places["spans"]
    assert {name.partition(" ")[0].partition("/")[0] for name in found} >= {"history", "table", "store"}, found
    assert places_with([KEY, REFUSED_KEY, HOOK_PATH, SECRET], places) == []
    replies = some_replies(places)
    told = {name: content for name, content in places.items() if name.startswith(("webhook ", "spans"))}
    assert b"batch.landed" in b"".join(told.values())
    assert places_with([PROMPT, "request-0000", *replies], told) == []


@KINDS
async def test_with_encryption_on_no_prompt_and_no_reply_is_on_the_server(tmp_path: Path, every_kind: bool) -> None:
    encryption_key = base64.b64encode(bytes(range(32))).decode()
    settings = {"MESSAGE_BATCHES_ENCRYPTION_KEYS": f"one:{encryption_key}", "MESSAGE_BATCHES_CODEC_TOKEN": TOKEN}

    places = await World(tmp_path, settings, every_kind=every_kind).play()

    assert places_with([KEY, REFUSED_KEY, encryption_key, TOKEN], places) == []
    server = {
        name: content
        for name, content in places.items()
        if name.startswith(("history", "table", "temporal.db", "spans"))
    }
    assert len(server) > 10
    assert places_with([PROMPT, HOOK_PATH, *some_replies(places)], server) == []
