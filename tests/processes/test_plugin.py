"""The plugin for pytest in somebody else's project: what a test is given, and that nothing of it is left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.harness.project import ROOT
from tests.harness.scratch_project import run_pytest
from tests.harness.waiting import eventually

CONFTEST = 'pytest_plugins = ["message_batches.testing"]\n'
PARAMS = '{"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}'
GIVEN = f"""
import asyncio
import os

import pytest
from message_batches import BatchRuns

REQUESTS = [{{"custom_id": "a", "params": {PARAMS}}}]


async def outcomes():
    run = await BatchRuns().start(REQUESTS)
    return [result.outcome async for result in run.results()]


def creates(worker):
    return [call.operation for call in worker.emulator.calls].count("create")


@pytest.mark.parametrize("time", [1, 2])
def test_each_test_sends_its_own(message_batches_worker, time):
    assert asyncio.run(outcomes()) == ["succeeded"]
    assert creates(message_batches_worker) == 1


async def test_a_coroutine(message_batches_worker):
    assert await outcomes() == ["succeeded"]


async def test_a_run_waits_for_a_worker_that_is_started_again(message_batches_worker):
    message_batches_worker.stop()
    run = await BatchRuns().start(REQUESTS)
    assert creates(message_batches_worker) == 0
    message_batches_worker.start()
    assert (await run.result()).summary.counts.succeeded == 1


async def test_a_run_is_listed_by_its_attributes(message_batches_worker):
    from message_batches import connect

    await outcomes()
    client = await connect()
    while (await client.count_workflows("BatchStatus = 'landed'")).count != 1:
        await asyncio.sleep(0.05)


def test_an_emulator_alone(message_batches_emulator):
    assert os.environ["ANTHROPIC_BASE_URL"] == message_batches_emulator.url
    assert "ANTHROPIC_API_KEY_MINE" not in os.environ


def test_nothing_of_the_developer_is_there(message_batches_worker):
    assert not {{"TEMPORAL_API_KEY", "MESSAGE_BATCHES_MAX_COST", "ANTHROPIC_API_KEY_MINE"}} & os.environ.keys()
    assert asyncio.run(outcomes()) == ["succeeded"]


@pytest.fixture(scope="session", autouse=True)
def at_the_end_all_is_as_before():
    before = dict(os.environ)
    yield
    assert {{**os.environ, "PYTEST_CURRENT_TEST": ""}} == {{**before, "PYTEST_CURRENT_TEST": ""}}
"""
MINE = {
    "TEMPORAL_ADDRESS": "127.0.0.1:1",
    "TEMPORAL_API_KEY": "mine",
    "TEMPORAL_NAMESPACE": "mine",
    "MESSAGE_BATCHES_MAX_COST": "0",
    "ANTHROPIC_API_KEY_MINE": "sk-ant-mine",
    "https_proxy": "nonsense",
}

FAILING = f"""
import asyncio

import pytest
from message_batches import BatchRuns


@pytest.mark.message_batches_emulator(faults=["error:operation=create,status=503"])
def test_that_fails(message_batches_worker):
    async def start():
        await BatchRuns().start([{{"custom_id": "a", "params": {PARAMS}}}])
        while not message_batches_worker.server.log:
            await asyncio.sleep(0.05)
        raise AssertionError("This is the failure")

    asyncio.run(start())


class TestSettings:
    @pytest.fixture
    def message_batches_settings(self):
        return {{"MESSAGE_BATCHES_ENCRYPTION_KEYS": "nonsense"}}

    def test_that_has_no_worker(self, message_batches_worker):
        raise AssertionError("This is not reached")


def test_that_comes_after_it(message_batches_worker):
    pass
"""

WAITING = """
import time
from pathlib import Path


def test_that_takes_long(message_batches_worker):
    Path("ready").touch()
    time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of a project that loads the plugin."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of a developer; the file of Temporal's configuration in the home is not to be read."""
    config = tmp_path / ".config" / "temporalio" / "temporal.toml"
    config.parent.mkdir(parents=True)
    config.write_text("this is not TOML")
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **MINE}


@pytest.mark.slow
def test_a_test_is_given_a_worker_of_its_own_and_nothing_of_the_developers(
    project: Path, environment: dict[str, str]
) -> None:
    (project / "test_given.py").write_text(GIVEN)
    options = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function", "--strict-markers"]

    done = run_pytest(sys.executable, project, environment, "-q", "-p", "no:schemathesis", *options)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout


@pytest.mark.slow
def test_a_failure_shows_what_the_worker_has_written_and_a_bad_setting_its_name(
    project: Path, environment: dict[str, str]
) -> None:
    (project / "test_failing.py").write_text(FAILING)

    done = run_pytest(sys.executable, project, environment, "-q", "-p", "no:schemathesis", "-p", "no:asyncio")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed, 1 error" in done.stdout
    assert "AssertionError: This is the failure" in done.stdout
    assert "Captured stdout teardown" in done.stdout
    assert "status=503" in done.stdout
    assert "MESSAGE_BATCHES_ENCRYPTION_KEYS is not valid" in done.stdout
    assert "services.py" not in done.stdout


@asynccontextmanager
async def session(project: Path, environment: dict[str, str], signum: signal.Signals) -> AsyncIterator[psutil.Process]:
    """Run pytest in a project, and end it with a signal; a process that it has started then ends too."""
    (project / "test_waiting.py").write_text(WAITING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:schemathesis", "-p", "no:asyncio"]
    with (project / "output").open("wb") as output:
        # Where the tests run in the background of a shell, it ignores the signal.
        handled = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            running = await asyncio.create_subprocess_exec(
                *command, cwd=project, env=environment, stdout=output, stderr=output
            )
        finally:
            signal.signal(signal.SIGINT, handled)
    below: list[psutil.Process] = []
    try:
        process = psutil.Process(running.pid)
        yield process
        below = process.children(recursive=True)
        assert len(below) == 2, "the process of the fixtures, and the server"
    finally:
        if running.returncode is None:
            running.send_signal(signum)
        await running.wait()
    await eventually(lambda: not any(map(psutil.Process.is_running, below)), "an end of all processes")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL], ids=lambda signum: signum.name)
@pytest.mark.slow
async def test_nothing_is_left_of_a_session_that_is_ended(
    project: Path, environment: dict[str, str], signum: signal.Signals
) -> None:
    async with session(project, environment, signum) as process:
        await eventually(lambda: (project / "ready").exists() or not process.is_running(), "a test that has its worker")
        assert (project / "ready").exists(), (project / "output").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL], ids=lambda signum: signum.name)
async def test_nothing_is_left_of_a_session_that_is_ended_while_it_starts(
    project: Path, environment: dict[str, str], signum: signal.Signals
) -> None:
    async with session(project, environment, signum) as process:
        await eventually(lambda: len(process.children(recursive=True)) == 2, "a server that starts")
