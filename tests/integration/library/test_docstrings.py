"""The examples in the docstrings of the library run as they are."""

import inspect
import json
import re
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from message_batches import BatchResult, BatchRun, BatchRuns, JobView, connect
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.temporal.dev_server import DevServer
from tests.harness.requests import fresh
from tests.harness.stack import Stack, running_stack
from tests.harness.waiting import eventually
from tests.integration.library.conftest import QUICK, UNDECIDED, batch_runs, waits

PENDING = {"BatchRun.progress", "BatchRun.cancel"}
"""The examples with a run that waits for its batch."""


def examples() -> Iterator[tuple[str, str]]:
    """Return the example of each public class and method; an assertion names one without."""
    for owner in (BatchRuns, BatchRun, BatchResult):
        members = {name: getattr(owner, name) for name in vars(owner) if not name.startswith("_")}
        documented = {owner.__name__: owner} | {f"{owner.__name__}.{name}": each for name, each in members.items()}
        for name, each in documented.items():
            if not (inspect.isclass(each) or inspect.isroutine(each) or isinstance(each, property)):
                continue
            text = inspect.getdoc(each) or ""
            _, found, example = text.partition("Example:\n")
            assert found, f"{name} has no example"
            yield name, textwrap.dedent(re.split(r"\n(?=\S)", example)[0])


async def undecided(runs: BatchRuns, stack: Stack) -> BatchRun:
    """Return a run whose POST got no reply and made a batch."""
    stack.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await runs.start(fresh(), **UNDECIDED)

    async def seen() -> bool:
        progress: Any = (await run.progress()).progress
        return bool(progress and progress.candidates)

    await eventually(seen, "a candidate")
    return run


async def paused(runs: BatchRuns, stack: Stack) -> BatchRun:
    """Return a job that has come to a spend limit, which is raised meanwhile."""
    stack.emulator.faults.add("spend-limit", operation="create")
    job = await runs.start(fresh(), retry_waves=1, **QUICK)

    async def is_paused() -> bool:
        seen = await job.progress()
        return isinstance(seen, JobView) and seen.progress is not None and seen.progress.paused is not None

    await eventually(is_paused, "the job to pause")
    stack.emulator.faults.clear()
    return job


async def landed(runs: BatchRuns, stack: Stack) -> BatchRun:
    """Return a run that has landed, one of its requests with an error that may pass."""
    given = fresh()
    passing = {"type": "errored", "error": "overloaded_error", "custom_id": given[1]["custom_id"]}
    stack.emulator.faults.add("outcome", operation="create", times=1, **passing)
    run = await runs.start(given, **QUICK)
    await run.result()
    return run


@asynccontextmanager
async def prepared(name: str, temporal: DevServer, store: str) -> AsyncIterator[tuple[BatchRuns, BatchRun, Stack]]:
    """Run what an example needs."""
    # Of a batch that has ended its results would tell whose it is, and nobody would have to.
    takes = timedelta(minutes=10) if name in {*PENDING, "BatchRun.resolve"} else timedelta(0)
    options = EmulatorOptions(processing_time=takes, cancel_time=timedelta(0))
    async with Emulator(options) as emulator, running_stack(temporal.client, emulator, store) as stack:
        runs = batch_runs(stack)
        if name in PENDING:
            run = await runs.start(fresh(), **QUICK)
            await waits(run)
        else:
            run = await {"BatchRun.resolve": undecided, "BatchRun.resume": paused}.get(name, landed)(runs, stack)
        yield runs, run, stack


@pytest.mark.parametrize(("name", "example"), [pytest.param(*each, id=each[0]) for each in examples()])
@pytest.mark.slow
async def test_an_example_runs(
    name: str,
    example: str,
    temporal: DevServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.address)
    monkeypatch.chdir(tmp_path)
    store, requests = (tmp_path / "store").as_uri(), fresh()
    (tmp_path / "requests.jsonl").write_text("".join(json.dumps(item) + "\n" for item in fresh()))
    made: dict[str, Any] = {"connect": connect, "BatchRuns": BatchRuns}
    async with prepared(name, temporal, store) as (runs, run, stack):
        monkeypatch.setenv("MESSAGE_BATCHES_STORE", store)
        monkeypatch.setenv("MESSAGE_BATCHES_TASK_QUEUE", stack.task_queue)
        batch_id = await stack.post_by_a_stranger(requests) if "batch_id" in example else ""
        source = f"async def example(runs, run, requests, batch_id, workflow_id):\n{textwrap.indent(example, '    ')}"
        exec(compile(source, name, "exec"), made)
        await made["example"](runs, run, requests, batch_id, run.id)

    assert capsys.readouterr().out or "print" not in example
