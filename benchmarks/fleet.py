"""Many live batches: the lateness of their polls, the cost, and the time until a new worker has taken over all."""

import asyncio
import signal
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from uuid import uuid4

import psutil

from benchmarks.landing import REPLY_BYTES, REQUEST_BYTES, RESULTS
from benchmarks.live_runs import CADENCE, INTERVALS, Fleet, Processes, live_runs
from benchmarks.requests import lines
from benchmarks.servers import KEY, emulator
from benchmarks.setting import Setting
from benchmarks.table import Row
from message_batches.contract import DEFAULT_TASK_QUEUE, WORKFLOW_TYPE
from message_batches.models import BatchInput, BatchOutput, PollSchedule

SIZES = (500, 1000, 3000)
JUDGED = 1000
"""The size with a goal, at which three workers with a limit of calls are measured, too."""
MOST_LATE = 2.0
MOST_CALLS = 40
LIMIT, MOST_LATE_LIMITED = 50, 5.0
"""Calls a minute of an account of the lowest tier, and how late a poll may be then."""
SETTLED = 100.0
"""Seconds after which a worker that was killed no longer counts among those that share the limit."""
MOST_SECONDS = 40.0
"""Seconds within which every run of a killed worker has polled again."""
BESIDE_LANDINGS = 200
LANDINGS = ("ONE", "TWO", "THREE")
"""The keys of the batches that land all the time, each with a server of its own: a worker lands one of each at once."""
MOST_LATE_BESIDE = 1.0


async def measure(setting: Setting) -> list[Row]:
    """Measure poll lateness at each size, then the recovery after the worker is killed; and lateness beside landings.

    If tiny, it is only one size, and no worker is killed: Temporal waits ten seconds before it reassigns the work.
    """
    rows = []
    for size in (JUDGED,) if setting.tiny else SIZES:
        async with live_runs(setting, setting.sized(size)) as (fleet, server, api):
            async with fleet.worker() as worker:
                processes = Processes(server, api, psutil.Process(worker.pid))
                setting.say(f"{fleet.size:,} batches: starting them")
                await fleet.start()
                setting.say(f"{fleet.size:,} batches: measuring")
                processes.mark()
                late = await fleet.lateness(processes.note)
                rows += _rows(fleet, late, processes, judged=size == JUDGED)
                worker.send_signal(signal.SIGKILL)
            if size >= JUDGED and not setting.tiny:
                setting.say(f"{fleet.size:,} batches: another worker")
                rows.append(await _replaced(fleet, judged=size == JUDGED))
            if size == JUDGED and not setting.tiny:
                setting.say(f"{fleet.size:,} batches: three workers, {LIMIT} calls a minute")
                rows.append(await _limited(fleet))
    return [*rows, await _beside_landings(setting)]


async def _beside_landings(setting: Setting) -> Row:
    """Measure while the worker lands results all the time, and checks and sends the requests of the next batches."""
    landed = list[str]()
    async with AsyncExitStack() as resources:
        flags = ("--reply-bytes", str(REPLY_BYTES), "--processing-time", "1ms", "--jitter", "0")
        further = dict[str, str]()
        for name in LANDINGS:
            url = await resources.enter_async_context(emulator(*flags))
            further |= {f"ANTHROPIC_BASE_URL_{name}": url, f"ANTHROPIC_API_KEY_{name}": KEY}
        running = live_runs(setting, setting.sized(BESIDE_LANDINGS), further)
        fleet, _, _ = await resources.enter_async_context(running)
        file = fleet.store / "requests.jsonl"
        with file.open("wb") as written:
            written.writelines(lines(setting.sized(RESULTS), REQUEST_BYTES))
        await resources.enter_async_context(fleet.worker())
        setting.say(f"{fleet.size:,} batches: starting them, beside landings")
        await fleet.start()
        landings = [asyncio.create_task(_land(fleet, name.lower(), file, landed)) for name in LANDINGS]
        late = await fleet.lateness()
        for each in landings:
            each.cancel()
        failures = [
            each for each in await asyncio.gather(*landings, return_exceptions=True) if isinstance(each, Exception)
        ]
        if failures:
            raise ExceptionGroup("A batch did not land", failures)
    percent = quantiles(late, n=100)
    return Row(
        what=f"{fleet.size:,} live batches, {len(LANDINGS)} landings of {setting.sized(RESULTS):,} results at a time",
        ours=f"p50 {median(late):.2f} s, p99 {percent[98]:.2f} s late, {len(landed)} landed",
        compared_with="the intended cadence",
        goal=f"p99 under {MOST_LATE_BESIDE:g} s",
        met=percent[98] < MOST_LATE_BESIDE,
    )


async def _land(fleet: Fleet, key: str, file: Path, landed: list[str]) -> None:
    """Send the same requests and land their results, again and again."""
    given = BatchInput(requests_uri=file.as_uri(), api_key=key, poll=PollSchedule(retry_after=timedelta(seconds=1)))
    while True:
        run = await fleet.client.start_workflow(
            WORKFLOW_TYPE, given, id=f"landing-{uuid4()}", task_queue=DEFAULT_TASK_QUEUE, result_type=BatchOutput
        )
        output: BatchOutput = await run.result()
        landed.append(output.batch_id)
        await asyncio.to_thread(Path(output.results_file.uri.removeprefix("file://")).unlink)


async def _limited(fleet: Fleet) -> Row:
    """Measure with three workers that share the calls of an account of the lowest tier."""
    async with AsyncExitStack() as workers:
        begun = datetime.now(UTC)
        for _ in range(3):
            await workers.enter_async_context(fleet.worker("--requests-per-minute", str(LIMIT)))
        await fleet.polled(begun)
        await asyncio.sleep(SETTLED * fleet.cadence / CADENCE)
        late = await fleet.lateness()
    percent = quantiles(late, n=100)
    most = _most_in_a_minute(fleet.calls)
    return Row(
        what=f"{fleet.size:,} live batches, three workers, {LIMIT} calls a minute",
        ours=f"at most {most} calls in a minute; p50 {median(late):.2f} s, p99 {percent[98]:.2f} s late",
        goal=f"at most {LIMIT + 1}, p99 under {MOST_LATE_LIMITED:g} s",
        met=most <= LIMIT + 1 and percent[98] < MOST_LATE_LIMITED,
    )


def _most_in_a_minute(calls: Sequence[float]) -> int:
    """Return the most calls in any 60 seconds."""
    return max((bisect_right(calls, begun + 60) - index for index, begun in enumerate(calls)), default=0)


async def _replaced(fleet: Fleet, *, judged: bool) -> Row:
    begun = datetime.now(UTC)
    async with fleet.worker():
        # Longer than it should take: reading the histories is work for the server.
        await asyncio.sleep(fleet.cadence * 1.5)
        took = (await fleet.polled(begun) - begun).total_seconds()
        live = await fleet.live()
    return Row(
        what=f"worker killed with {fleet.size:,} live runs, and replaced",
        ours=f"every run has polled again after {took:.0f} s; {fleet.size - live} lost",
        compared_with=f"the cadence, {fleet.cadence:g} s",
        goal=f"within {MOST_SECONDS:g} s, none lost" if judged else "none lost",
        met=live == fleet.size and (took <= MOST_SECONDS or not judged),
    )


def _rows(fleet: Fleet, late: Sequence[float], processes: Processes, *, judged: bool) -> list[Row]:
    percent = quantiles(late, n=100)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in processes.shares.items())
    memory = processes.worker.memory_info().rss
    what, minutes = f"{fleet.size:,} live batches", INTERVALS * fleet.cadence / 60
    return [
        Row(
            what=f"{what}: calls of the API",
            ours=f"{len(fleet.calls) / minutes:,.0f} a minute",
            compared_with=f"a call a poll: {60 / fleet.cadence * fleet.size:,.0f} a minute",
            goal=f"at most {MOST_CALLS}" if judged else "-",
            met=len(fleet.calls) / minutes <= MOST_CALLS if judged else None,
        ),
        Row(
            what=f"{what}: lateness of a poll",
            ours=f"p50 {median(late):.2f} s, p99 {percent[98]:.2f} s, of {len(late):,} polls",
            compared_with="the intended cadence",
            goal=f"p99 under {MOST_LATE:g} s" if judged else "-",
            met=percent[98] < MOST_LATE if judged else None,
        ),
        Row(what=f"{what}: of a core, and memory", ours=f"{shares}; worker {memory / 1e6:.0f} MB"),
    ]
