"""A parent of another project with encryption on, which needs one setting and the library that encrypts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from message_batches.temporal.dev_server import DevServer, dev_server
from tests.external.examples.parents import Parent, worker
from tests.harness.encryption import key, written
from tests.harness.project import EXAMPLES
from tests.harness.stack import Stack
from tests.harness.wheel import with_only

KEY = key("2026-11")


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[DevServer]:
    """Start a server whose client encrypts."""
    async with dev_server(keys=[KEY]) as server:
        yield server


@pytest.fixture
async def parent(temporal: DevServer, bare_python: Path, tmp_path: Path) -> AsyncIterator[Parent]:
    (tmp_path / "site").mkdir()
    installed = with_only(["temporalio", "pydantic", "cryptography", "cffi", "pycparser"], tmp_path / "site")
    settings = {"TEMPORAL_ADDRESS": temporal.address, "MESSAGE_BATCHES_ENCRYPTION_KEYS": written([KEY])}
    environment = {**installed, **settings}
    serve = [str(bare_python), str(EXAMPLES / "python" / "parent_worker.py")]
    ask = [str(bare_python), str(EXAMPLES / "python" / "ask.py")]
    async with worker(serve, tmp_path / "log", environment):
        yield Parent("answer-questions", "questions", serve, ask, environment)


async def test_a_parent_and_its_batch_are_encrypted_from_the_question_to_the_answer(
    live: Stack, parent: Parent
) -> None:
    answered = await parent.answers("Why is the sky blue?")

    [answer] = answered["answers"].values()
    assert "Why is the sky blue?" in answer
    async for run in live.client.list_workflows():
        history = await live.client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        assert not any(b"the sky" in event.SerializeToString() for event in history.events)
