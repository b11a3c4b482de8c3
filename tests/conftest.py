"""A real Temporal server for the session; an emulator, a store and a worker for each test.

Run in parallel (`pytest -n`), each process of pytest has a session, and so a server, of its own.
"""

import gc
import os
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment
from xdist.remote import Producer  # type: ignore[import-untyped]  # It ships no types.
from xdist.scheduler import LoadScopeScheduling, Scheduling  # type: ignore[import-untyped]

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.temporal.connection import DATA_CONVERTER
from message_batches.temporal.dev_server import PROMPT_TIMERS, DevServer, dev_server, started, temporal_command
from tests.harness.histories import histories_with_a_key
from tests.harness.stack import Stack, running_stack
from tests.harness.wheel import build_wheel, make_environment

TESTS = Path(__file__).parent
SLOW = ("external", "exhaustive")
"""Folders that `make test` leaves to `make test-all`."""
TOGETHER = (
    "exhaustive/chaos",
    # The browser as well as the containers: each has no patience with the other.
    "external",
    "integration/test_encryption.py",
    "processes/crash",
    "processes/docs",
    "processes/observability",
    "unit/emulator/test_official_client.py",
    "unit/retention",
    "unit/storage",
)
"""Folders and files whose tests share what takes long to make: one process of pytest runs them all."""

PROMPT_DELETION = (
    *("--dynamic-config-value", "history.transferProcessorEnsureCloseBeforeDelete=false"),
    *("--dynamic-config-value", "history.visibilityProcessorEnsureCloseBeforeDelete=false"),
)
"""Options of a server that deletes a run at once; by default it takes half a minute."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots", type=Path, help="the folder of the pictures of README and docs/: make test-ui ARGS=..."
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the slow folders, and refuse repeated ids: in parallel, only one of their tests would run."""
    repeated = [name for name, times in Counter(item.nodeid for item in items).items() if times > 1]
    if repeated:
        raise pytest.UsageError(f"several tests have the id {repeated[0]}")
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in SLOW:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Leave the thousands of tests out of each search for garbage, which takes a quarter of a second of CPU."""
    gc.collect()
    gc.freeze()


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each test to the next process that is free, and those of a place in `TOGETHER` to one process.

    The groups of pytest-xdist 3.8 have no effect with pytest 9.2, which ignores the name that they add to a test's id.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0].removeprefix("tests/")
        return next((place for place in TOGETHER if f"{path}/".startswith(f"{place}/")), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return _Scheduling(config, log)


# Temporal's servers, one a process: on few cores they take a tenth more where each uses all of them.
os.environ.setdefault("GOMAXPROCS", "1")


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[DevServer]:
    async with dev_server(extra_args=(*PROMPT_TIMERS, *PROMPT_DELETION)) as server:
        yield server
        assert await histories_with_a_key(server.client) == []


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.05))) as running:
        yield running


@pytest.fixture
async def live(temporal: DevServer, emulator: Emulator, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker on its own task queue over an emulator and a store."""
    async with running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as running:
        yield running


@pytest.fixture
async def pending(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker like `live`, over an emulator whose batches end when a test advances its clock."""
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running


@pytest.fixture(scope="session")
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """Start a real server whose workflows skip their own waiting."""
    environment = await started(
        lambda: WorkflowEnvironment.start_time_skipping_v2(
            ts_config=TimeSkippingConfig(enabled=True, max_session_skip_count=1_000_000),
            data_converter=DATA_CONVERTER,
            dev_server_existing_path=temporal_command(),
            dev_server_log_level="error",
            dev_server_extra_args=[
                "--dynamic-config-value",
                "frontend.WorkflowTimeSkippingEnabled=true",
                *PROMPT_TIMERS,
            ],
        )
    )
    async with environment:
        yield environment


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def bare_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment that holds only the wheel."""
    return make_environment(tmp_path_factory.mktemp("environment"), wheel)
