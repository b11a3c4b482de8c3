"""A plugin for pytest: a Temporal server, an emulated API and a worker, to test code that sends message batches.

A project loads it in its conftest.py, and its tests ask for `message_batches_worker`:

    pytest_plugins = ["message_batches.testing"]
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import pytest

try:
    from message_batches.emulator import Emulator, EmulatorOptions
    from message_batches.testing.services import (
        NO_CONFIG,
        OURS,
        ServicesFailed,
        TemporalServer,
        running_emulator,
        running_server,
    )
except ModuleNotFoundError as missing:
    from message_batches.errors import ExtraMissing

    raise ExtraMissing(
        f"message_batches.testing needs {missing.name}, which this Python does not have: "
        "pip install 'message-batches[testing]'"
    ) from missing

__all__ = ["Emulator", "EmulatorOptions", "RunningWorker", "ServicesFailed", "TemporalServer"]

_KEY = "sk-ant-emulated"


@dataclass(frozen=True)
class RunningWorker:
    """A worker, and all that it works with; each test has its own, on the server of the session.

    Attributes:
        server: the Temporal server.
        namespace: of this test alone.
        emulator: what the worker calls as the API: its `calls`, `batches`, `faults` and `clock`.
        store_url: of this test's store.
        environment: the variables by which the worker, and the test, find all this.
    """

    server: TemporalServer
    namespace: str
    emulator: Emulator
    store_url: str
    environment: Mapping[str, str] = field(repr=False)

    def stop(self) -> None:
        """Stop the worker, as a deployment does: runs wait for the next one."""
        self.server.stop_worker()

    def start(self) -> None:
        """Start the worker again."""
        self.server.start_worker(self.environment)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "message_batches_emulator(**options): options of the emulated API, those of "
        "`message_batches.emulator.EmulatorOptions`, such as ends_after_polls=3 or error_rate=0.1",
    )


@pytest.fixture(scope="session")
def message_batches_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    """A Temporal development server for the session."""
    with _failing_clearly(), running_server(tmp_path_factory.mktemp("message-batches")) as server:
        yield server


@pytest.fixture
def message_batches_emulator_options(request: pytest.FixtureRequest) -> EmulatorOptions:
    """The options of the emulated API: those of the marker; a project may have a fixture of its own in its place.

    Unless they say otherwise a batch has ended at the first poll: no test waits for the interval between two.
    """
    marker = request.node.get_closest_marker("message_batches_emulator")
    return EmulatorOptions(**{"processing_time": timedelta(), **(marker.kwargs if marker else {})})


@pytest.fixture
def message_batches_emulator(
    message_batches_emulator_options: EmulatorOptions, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    """An emulated API; the official client, too, calls it by `ANTHROPIC_BASE_URL`."""
    with running_emulator(message_batches_emulator_options) as emulator:
        _set(monkeypatch, _of_emulator(emulator), "ANTHROPIC_")
        yield emulator


@pytest.fixture
def message_batches_settings() -> dict[str, str]:
    """Variables of the worker and the test besides; for a project to have a fixture of its own in its place."""
    return {}


@pytest.fixture
def message_batches_worker(
    message_batches_server: TemporalServer,
    message_batches_emulator: Emulator,
    message_batches_settings: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RunningWorker]:
    """A worker; the environment is such that `connect()` and `BatchRuns()` find its server and its store."""
    server, namespace = message_batches_server, f"test-{uuid4()}"
    store_url = tmp_path_factory.mktemp("message-batches-store").as_uri()
    environment = {
        "TEMPORAL_ADDRESS": server.address,
        "TEMPORAL_NAMESPACE": namespace,
        "MESSAGE_BATCHES_STORE": store_url,
        "MESSAGE_BATCHES_UI_URL": server.ui_url,
        **NO_CONFIG,
        **_of_emulator(message_batches_emulator),
        **message_batches_settings,
    }
    _set(monkeypatch, environment, *OURS)
    before = len(server.log)
    worker = RunningWorker(server, namespace, message_batches_emulator, store_url, environment)
    with _failing_clearly():
        server.create_namespace(namespace)
        worker.start()
    try:
        yield worker
    finally:
        with _failing_clearly():
            worker.stop()
        # Shown where the test has failed.
        print(server.log[before:], end="")


def _of_emulator(emulator: Emulator) -> dict[str, str]:
    keys = emulator.options.api_keys
    return {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": keys[0].partition("=")[0] if keys else _KEY}


def _set(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], *prefixes: str) -> None:
    """Set variables, and remove all others whose names begin so."""
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@contextmanager
def _failing_clearly() -> Iterator[None]:
    """Fail with the message alone: where the plugin raised it says nothing to a user."""
    try:
        yield
    except ServicesFailed as error:
        pytest.fail(str(error), pytrace=False)
