"""`worker.py --requests-per-minute`: all workers of a queue stay within the account's limit, and use it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from message_batches.contract import CANCEL_BATCH
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.emulator.call_log import Call
from message_batches.models import PollSchedule
from message_batches.temporal.dev_server import DevServer
from tests.harness import waiting
from tests.harness.processes import Running, bare_environment, settings
from tests.harness.requests import requests
from tests.harness.stack import KEYS, progress_when, running_stack
from worker import command

RUNS = 20


def most_within(window: timedelta, calls: list[Call]) -> int:
    """Return the most calls in any such period."""
    times = sorted(call.time for call in calls)
    return max(sum(1 for time in times if start <= time <= start + window) for start in times)


@asynccontextmanager
async def workers(count: int, limit: int, configured: dict[str, str], folder: Path) -> AsyncIterator[list[Running]]:
    environment = bare_environment(folder, **configured)
    run = [sys.executable, "worker.py", "--requests-per-minute", str(limit)]
    running = [await Running.start(run, folder / f"worker-{n}.log", environment=environment) for n in range(count)]
    try:
        yield running
    finally:
        for worker in running:
            await worker.kill()


@pytest.mark.parametrize(
    ("limit", "seconds", "least"),
    [
        pytest.param(480, 6, 25, id="a few seconds"),
        pytest.param(60, 60, 40, id="a minute"),
    ],
)
@pytest.mark.slow
async def test_three_workers_stay_within_the_limit_together_and_use_it(
    temporal: DevServer, tmp_path: Path, limit: int, seconds: int, least: int
) -> None:
    """Many times as many calls are wanted: runs are submitted and poll; meanwhile some land, some are cancelled."""
    window = timedelta(seconds=seconds)
    store = (tmp_path / "store").as_uri()
    never = EmulatorOptions(processing_time=timedelta(days=1), cancel_time=timedelta(seconds=1))
    often = PollSchedule(retry_after=timedelta(seconds=0.5))
    async with Emulator(never) as emulator:
        async with running_stack(temporal.client, emulator, store) as unlimited:
            runs = [await unlimited.start(requests(2, f"Say {uuid4()}"), poll=often) for _ in range(RUNS)]
            await asyncio.gather(*(progress_when(run, lambda now: now.polls > 0) for run in runs))
        before = len(emulator.calls)
        configured = settings(
            temporal=temporal.address,
            api=emulator.url,
            key=KEYS["default"].get_secret_value(),
            store=store,
            task_queue=unlimited.task_queue,
        )

        def calls() -> list[Call]:
            return emulator.calls[before:]

        async with workers(3, limit, configured, tmp_path) as processes:
            await waiting.eventually(calls, "a call")
            more = [await unlimited.start(requests(2, f"Say {uuid4()}"), poll=often) for _ in range(limit)]
            stopped = [asyncio.create_task(run.execute_update(CANCEL_BATCH)) for run in runs[:4]]
            for run in runs[4:8]:
                await run.cancel()
            await waiting.eventually(
                lambda: calls()[-1].time - calls()[0].time > 7 / 6 * window, "a window", within=120
            )
            kinds = {"create", "list", "cancel", "results"}
            await waiting.eventually(lambda: kinds <= {call.operation for call in calls()}, "calls of all kinds")
            assert [await worker.terminate() for worker in processes] == [0, 0, 0]
        for task in stopped:
            task.cancel()
        for run in [*runs[8:], *more]:
            await run.terminate()

        # Each worker makes them evenly, one at the beginning of the window included.
        most = limit + 1 if seconds == 60 else limit * seconds // 60 + len(processes)
        assert least <= most_within(window, calls()) <= most


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_an_invalid_limit_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command(["--requests-per-minute", text])

    assert left.value.code == 2
    assert repr(text) in capsys.readouterr().err
