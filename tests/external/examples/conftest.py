"""The parents of `examples/` on a server of their own, since they name their queues, and ours."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.contract import DEFAULT_TASK_QUEUE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import DevServer, dev_server
from tests.external.examples.parents import TYPESCRIPT, Parent, worker
from tests.harness import npm
from tests.harness.processes import bare_environment
from tests.harness.project import EXAMPLES
from tests.harness.stack import KEYS, Stack
from tests.harness.wheel import with_only
from worker import build_worker


@pytest.fixture(scope="package")
async def temporal() -> AsyncIterator[DevServer]:
    async with dev_server() as server:
        yield server


@pytest.fixture
def options() -> EmulatorOptions:
    """Return the options of the emulator; a test may override them."""
    return EmulatorOptions(processing_time=timedelta(seconds=0.3))


@pytest.fixture
async def emulator(options: EmulatorOptions) -> AsyncIterator[Emulator]:
    async with Emulator(options) as running:
        yield running


@pytest.fixture
async def live(temporal: DevServer, emulator: Emulator, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run our worker, on the queue where a caller expects it."""
    store_url = (tmp_path / "store").as_uri()
    async with (
        http_client(emulator.url) as http,
        build_worker(
            temporal.client,
            HttpBatchApi(http, ApiKeys(KEYS)),
            open_store(store_url),
            task_queue=DEFAULT_TASK_QUEUE,
            graceful_shutdown_timeout=timedelta(seconds=1),
        ),
    ):
        yield Stack(temporal.client, emulator, store_url, DEFAULT_TASK_QUEUE)


@pytest.fixture(scope="package")
async def python_parents(
    temporal: DevServer, bare_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Parent]]:
    """Return the parents in Python: their worker has only the wheel, temporalio and pydantic."""
    folder = tmp_path_factory.mktemp("python-parents")
    (folder / "site").mkdir()
    environment = {**with_only(["temporalio", "pydantic"], folder / "site"), "TEMPORAL_ADDRESS": temporal.address}
    serve = [str(bare_python), str(EXAMPLES / "python" / "parent_worker.py"), "--answers", str(folder / "answers")]
    ask = [str(bare_python), str(EXAMPLES / "python" / "ask.py")]
    async with worker(serve, folder / "log", environment):
        yield {
            "python, typed": Parent("answer-questions", "questions", serve, ask, environment),
            "python, by name": Parent("answer-questions-by-name", "questions", serve, [*ask, "--by-name"], environment),
        }


@pytest.fixture(scope="package")
def typescript() -> None:
    """Install the example in TypeScript from its lock, check it and compile it."""
    npm.install(TYPESCRIPT, target="interop")
    built = npm.run("npm", "run", "build", cwd=TYPESCRIPT)
    assert built.returncode == 0, built.stdout


@pytest.fixture(scope="package")
async def typescript_parents(
    temporal: DevServer, typescript: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Parent]]:
    """Return the parent in TypeScript."""
    folder = tmp_path_factory.mktemp("typescript-parents")
    environment = bare_environment(folder, TEMPORAL_ADDRESS=temporal.address)
    serve = ["node", str(TYPESCRIPT / "lib" / "worker.js"), "--answers", str(folder / "answers")]
    ask = ["node", str(TYPESCRIPT / "lib" / "ask.js")]
    async with worker(serve, folder / "log", environment):
        yield {"typescript": Parent("answerQuestions", "questions-typescript", serve, ask, environment)}


@pytest.fixture(params=["python, typed", "python, by name", "typescript"])
def parent(request: pytest.FixtureRequest) -> Parent:
    """Return each of the parents."""
    language = request.param.split(",")[0]
    parents: dict[str, Parent] = request.getfixturevalue(f"{language}_parents")
    return parents[request.param]
