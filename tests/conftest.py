"""A real Temporal server for the session; an emulator, a store and a worker for each test."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.temporal.dev_server import DevServer, dev_server
from tests.bare import build_wheel, make_environment
from tests.histories_hold_no_key import histories_with_a_key
from tests.rig import Rig, rig


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="where the pictures for README go: make test-ui ARGS=...")


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[DevServer]:
    async with dev_server() as server:
        yield server
        assert await histories_with_a_key(server.client) == []


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.3))) as running:
        yield running


@pytest.fixture
async def live(temporal: DevServer, emulator: Emulator, tmp_path: Path) -> AsyncIterator[Rig]:
    """A worker on its own task queue over an emulator and a store."""
    async with rig(temporal.client, emulator, (tmp_path / "store").as_uri()) as running:
        yield running


@pytest.fixture
async def slow(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Rig]:
    """As `live`, over an emulator whose batches end when a test makes its clock jump."""
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as emulator,
        rig(temporal.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def bare_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and nothing else."""
    return make_environment(tmp_path_factory.mktemp("environment"), wheel)
