"""Parents of other projects, in two languages, with encryption on: they need one setting, and a library or a codec."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError

from message_batches.temporal.dev_server import DevServer, dev_server
from tests.external.examples.parents import TYPESCRIPT, Parent, batch_of, run_command, worker
from tests.harness.encryption import key, written
from tests.harness.processes import bare_environment
from tests.harness.project import EXAMPLES
from tests.harness.stack import Stack
from tests.harness.wheel import with_only

OLD, KEY = key("2026-01"), key("2026-11")


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[DevServer]:
    """Start a server whose client encrypts."""
    async with dev_server(keys=[KEY]) as server:
        yield server


def python_parent(folder: Path, interpreter: Path, settings: Mapping[str, str]) -> Parent:
    """Return the typed parent in Python: its worker has only the wheel and what encrypts."""
    (folder / "site").mkdir()
    installed = with_only(["temporalio", "pydantic", "cryptography", "cffi", "pycparser"], folder / "site")
    serve = [str(interpreter), str(EXAMPLES / "python" / "parent_worker.py")]
    ask = [str(interpreter), str(EXAMPLES / "python" / "ask.py")]
    return Parent("answer-questions", "questions", serve, ask, {**installed, **settings})


def typescript_parent(folder: Path, settings: Mapping[str, str]) -> Parent:
    """Return the parent in TypeScript, which encrypts with the codec of the example."""
    serve, ask = ["node", str(TYPESCRIPT / "lib" / "worker.js")], ["node", str(TYPESCRIPT / "lib" / "ask.js")]
    return Parent("answerQuestions", "questions-typescript", serve, ask, bare_environment(folder, **settings))


@asynccontextmanager
async def serving(request: pytest.FixtureRequest, language: str, address: str) -> AsyncIterator[Parent]:
    """Run the worker of a parent that encrypts."""
    folder: Path = request.getfixturevalue("tmp_path")
    # It holds a key more than our worker, with which it encrypts nothing.
    settings = {"TEMPORAL_ADDRESS": address, "MESSAGE_BATCHES_ENCRYPTION_KEYS": written([KEY, OLD])}
    if language == "python":
        parent = python_parent(folder, request.getfixturevalue("bare_python"), settings)
    else:
        request.getfixturevalue("typescript")
        parent = typescript_parent(folder, settings)
    async with worker(parent.worker, folder / "log", parent.environment):
        yield parent


@pytest.fixture(params=["python", "typescript"])
async def parent(request: pytest.FixtureRequest, temporal: DevServer) -> AsyncIterator[Parent]:
    async with serving(request, request.param, temporal.address) as running:
        yield running


async def readable_anywhere(live: Stack, text: bytes) -> bool:
    """Return whether the history of any run has a text."""
    async for run in live.client.list_workflows():
        history = await live.client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        if any(text in event.SerializeToString() for event in history.events):
            return True
    return False


async def test_a_parent_and_its_batch_are_encrypted_from_the_question_to_the_answer(
    live: Stack, parent: Parent
) -> None:
    answered = await parent.answers("Why is the sky blue? “Ozean” 🌊")

    [answer] = answered["answers"].values()
    assert "Why is the sky blue? “Ozean” 🌊" in answer
    assert not await readable_anywhere(live, b"the sky")


async def test_a_failure_of_the_run_reaches_its_parent_and_is_encrypted_too(live: Stack, parent: Parent) -> None:
    reported = await (await parent.start(live.client, [])).result()

    assert reported["report"].startswith("Nothing was sent. ")
    assert "there are no requests" in reported["report"]
    assert not await readable_anywhere(live, b"there are no requests")


async def test_a_parent_fails_with_a_failure_that_nobody_else_can_read(live: Stack, parent: Parent) -> None:
    first = await parent.start(live.client, ["Why is the sky blue?"])
    await first.result()

    again = await parent.start(live.client, ["Why is the sky blue?"], workflow_id=first.id)

    with pytest.raises(WorkflowFailureError) as caught:
        await again.result()
    assert "already started" in str(caught.value.cause)
    assert await batch_of(live.client, first).result()
    assert not await readable_anywhere(live, b"already started")


@pytest.mark.parametrize("parent", ["typescript"], indirect=True)
@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "encrypted with key '2026-11', which this process does not hold (it holds: none). Add that key to"),
        ({"MESSAGE_BATCHES_ENCRYPTION_KEYS": written([OLD])}, "does not hold (it holds: 2026-01)"),
        ({"MESSAGE_BATCHES_ENCRYPTION_KEYS": "2026-11:c2hvcnQ="}, "the key has 5 bytes, 32 are needed"),
    ],
    ids=["none", "another", "a bad one"],
)
async def test_a_command_in_typescript_without_the_key_names_it(
    live: Stack, parent: Parent, keys: Mapping[str, str], says: str
) -> None:
    environment = {name: value for name, value in parent.environment.items() if "ENCRYPTION" not in name} | dict(keys)

    ended = await run_command((*parent.ask, "--cadence", "0.1", "Why?"), environment)

    assert ended.code != 0
    assert says in ended.err
