"""The commands of the pages run, print what is shown and name options that exist; snippets are executed."""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from message_batches.contract import DEFAULT_TASK_QUEUE
from message_batches.temporal.nexus_endpoints import ensure_endpoint
from tests.harness.pages import PAGES, README, ROOT, Command, Page
from tests.harness.requests import requests
from tests.harness.terminal import Terminal
from tests.processes.docs.conftest import World

WITH_COMMANDS = [
    pytest.param(one, id=one.name, marks=[] if one.name == README.name else pytest.mark.slow)
    for one in PAGES
    if one.commands
]
BAD = ['{"custom_id": "bad id", "params": {}}', '{"custom_id": "a"}', "not JSON"]


IN_A_WORKFLOW = "execute_child_workflow|execute_operation"
PARENT = """
@workflow.defn
class Parent:
    @workflow.run
    async def run(self, requests: list[dict[str, Any]]) -> None:
"""


def snippets(wanted: Callable[[str], bool]) -> list[Any]:
    """The snippets of Python on all pages but those whose snippets are one program, or the files of a project."""
    whole = ("docs/library.md", "docs/testing-your-code.md")
    found = [(one.name, text) for one in PAGES if one.name not in whole for text in one.snippets()]
    return [pytest.param(text, id=f"{name}-{number}") for number, (name, text) in enumerate(found) if wanted(text)]


def indented(snippet: str, by: int) -> str:
    """The lines of a snippet, within a function."""
    return textwrap.indent(snippet, " " * by)


@pytest.fixture
async def terminal(world: World, folder: Path) -> AsyncIterator[Terminal]:
    """A terminal in a clone, with the files that the pages name."""
    ports = {"7233": world.server.address.rpartition(":")[2]}
    five = requests(5, "Five")
    five[4]["params"]["model"] = "claude-does-not-exist-9"
    valid = {"requests": requests(3), "five": five, "seven": requests(7, "Seven")}
    for name, lines in (*((name, map(json.dumps, given)) for name, given in valid.items()), ("bad", BAD)):
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    async with Terminal(folder, world.environment, ports) as running:
        yield running


async def with_ids(command: Command, world: World) -> Command:
    """The command with ids of runs and batches that are as it expects them."""
    text = command.text
    if re.search(r"starter\.py resolve ID", text):
        run, batch = await world.undecided()
        text = re.sub(r"msgbatch_\w+", batch, text).replace("ID", run, 1)
    elif re.search(r"starter\.py cancel ID|--name cancelBatch|--name pollNow", text):
        text = re.sub(r"\bID\b", await world.waiting(), text)
    elif re.search(r"starter\.py notify ID", text):
        text = text.replace("ID", await world.notified(), 1)
    elif re.search(r"starter\.py attach", text):
        text = re.sub(r"msgbatch_\w+", await world.foreign(requests(3)), text)
    elif re.search(r"\bID\b", text):
        text = re.sub(r"\bID\b", await world.landed(), text)
    return Command(text, command.shown)


@pytest.mark.parametrize("one", WITH_COMMANDS)
async def test_the_commands_of_a_page_run_one_after_the_other(one: Page, world: World, terminal: Terminal) -> None:
    following = [*(command.text for command in one.commands[1:]), ""]
    async with AsyncExitStack() as running:
        if not any(re.search(r"\bworker\.py", command.text) for command in one.commands):
            await running.enter_async_context(world.worker())
        for command, then in zip(one.commands, following, strict=True):
            await terminal.run(await with_ids(command, world), may_fail=then == "echo $?")


@pytest.mark.parametrize("snippet", snippets(lambda text: not re.search(f"{IN_A_WORKFLOW}|pytest.fixture", text)))
async def test_a_snippet_does_what_it_shows(snippet: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", world.server.address)
    made: dict[str, Any] = {}
    source = f"async def snippet(requests, workflow_id):\n{indented(snippet, 4)}    return locals()\n"
    exec(compile(source, "snippet", "exec"), made)

    async with world.worker():
        workflow_id = await world.waiting() if "get_workflow_handle" in snippet else f"snippet-{uuid4()}"
        after = await made["snippet"](requests(3), workflow_id)

    if "execute_workflow" in snippet:
        assert after["output"].request_counts.succeeded == 3
    elif "execute_update" in snippet:
        assert "cancel" in world.patient.operations()
    else:
        assert after["emulator"].faults


@pytest.mark.slow  # It imports the official client.
@pytest.mark.parametrize("snippet", snippets(lambda text: "pytest.fixture" in text))
def test_a_test_that_a_page_shows_passes(snippet: str, tmp_path: Path) -> None:
    (tmp_path / "test_snippet.py").write_text(snippet)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:schemathesis", "test_snippet.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, re.findall(r"(\d+) passed", done.stdout)) == (0, ["1"]), done.stdout


@pytest.mark.parametrize("snippet", snippets(lambda text: bool(re.search(IN_A_WORKFLOW, text))))
async def test_a_workflow_with_the_snippet_gets_its_results(
    snippet: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    made: dict[str, Any] = {"__name__": __name__, "workflow": workflow, "Any": Any}
    exec(compile(PARENT + indented(snippet, 8), "snippet", "exec"), made)
    queue = f"parents-{uuid4()}"
    client = world.server.client
    alone = UnsandboxedWorkflowRunner()
    await ensure_endpoint(client, "message-batches", DEFAULT_TASK_QUEUE)

    async with world.worker(), Worker(client, task_queue=queue, workflows=[made["Parent"]], workflow_runner=alone):
        await client.execute_workflow("Parent", requests(3), id=queue, task_queue=queue)

    assert re.fullmatch(r"3 file:///\S+\n", capsys.readouterr().out)
