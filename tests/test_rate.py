"""`worker.py --requests-per-minute`: all workers of a queue stay within the account's limit, and make use of it."""

import asyncio
import math
import os
import sys
from collections.abc import AsyncIterator, Callable
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
from message_batches.temporal.rate_limit import PARTITIONS, RateLimits
from tests.processes import Running
from tests.rig import KEYS, requests, rig, until
from worker import command

MINUTE = timedelta(seconds=60)
RUNS = 40


def most_in_a_minute(calls: list[Call]) -> int:
    """The most calls in any 60 seconds."""
    times = sorted(call.time for call in calls)
    return max(sum(1 for time in times if start <= time <= start + MINUTE) for start in times)


@asynccontextmanager
async def workers(count: int, settings: dict[str, str], folder: Path) -> AsyncIterator[list[Running]]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **settings}
    run = [sys.executable, "worker.py", "--requests-per-minute", "60"]
    running = [await Running.start(run, folder / f"worker-{n}.log", environment=environment) for n in range(count)]
    try:
        yield running
    finally:
        for worker in running:
            await worker.kill()


async def seen(holds: Callable[[], bool], *, within: float) -> None:
    """Wait for what other processes do."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 nothing here tells of it
            await asyncio.sleep(0.1)


async def test_three_workers_stay_within_the_limit_together_and_use_it(temporal: DevServer, tmp_path: Path) -> None:
    """More than ten times as many calls are wanted; some runs land meanwhile, some are cancelled."""
    store = (tmp_path / "store").as_uri()
    never = EmulatorOptions(processing_time=timedelta(days=1), cancel_time=timedelta(seconds=1))
    often = PollSchedule(retry_after=timedelta(seconds=0.5))
    async with Emulator(never) as emulator:
        async with rig(temporal.client, emulator, store) as unlimited:
            runs = [await unlimited.start(requests(2, f"Say {uuid4()}"), poll=often) for _ in range(RUNS)]
            await asyncio.gather(*(until(run, lambda now: now.polls > 0) for run in runs))
        before = len(emulator.calls)
        settings = {
            "TEMPORAL_ADDRESS": temporal.address,
            "ANTHROPIC_BASE_URL": emulator.url,
            "ANTHROPIC_API_KEY": KEYS["default"].get_secret_value(),
            "MESSAGE_BATCHES_STORE": store,
            "MESSAGE_BATCHES_TASK_QUEUE": unlimited.task_queue,
        }

        def calls() -> list[Call]:
            return emulator.calls[before:]

        async with workers(3, settings, tmp_path) as processes:
            await seen(lambda: bool(calls()), within=60)
            stopped = [asyncio.create_task(run.execute_update(CANCEL_BATCH)) for run in runs[:6]]
            for run in runs[6:12]:
                await run.cancel()
            await seen(lambda: calls()[-1].time - calls()[0].time > timedelta(seconds=70), within=120)
            assert [await worker.terminate() for worker in processes] == [0, 0, 0]
        for task in stopped:
            task.cancel()
        for run in runs[12:]:
            await run.terminate()

        kinds = {call.operation for call in calls()}
        assert {"retrieve", "cancel", "results"} <= kinds
        assert 50 <= most_in_a_minute(calls()) <= 61


@pytest.mark.parametrize("limit", [8, 60, 61, 99, 1000, 4000])
def test_no_minute_can_see_more_than_the_limit(limit: int) -> None:
    rates = RateLimits.within(limit)

    # What a partition lets through in the 61 s of a minute and its burst, as measured.
    most = [PARTITIONS * (math.floor(61 * rate / PARTITIONS) + 1) for rate in (rates.runs, rates.landings)]
    assert sum(most) <= limit


@pytest.mark.parametrize("limit", [1, 5, 8, 60, 1000])
def test_the_average_is_within_the_limit_and_not_far_below_it(limit: int) -> None:
    rates = RateLimits.within(limit)

    assert 0.9 * limit < 60 * (rates.runs + rates.landings) <= limit


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_a_limit_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command(["--requests-per-minute", text])

    assert left.value.code == 2
    assert "is not a whole number from 1 on" in capsys.readouterr().err
