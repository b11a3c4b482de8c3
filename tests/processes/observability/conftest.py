"""A worker process that shows its metrics and logs, after runs of all kinds."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import Phase, SubmissionSchedule
from message_batches.temporal.dev_server import DevServer
from tests.harness.metrics import Page, page_at
from tests.harness.processes import WorkerProcess, bare_environment, lasting_port, settings
from tests.harness.receiver import receiving, variables
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, Stack, progress_when
from tests.harness.waiting import eventually

KEY = "sk-ant-emulated-that-nobody-may-see"
PROMPT = "Nobody may read this prompt"
COUNTS_OFTEN = """
from datetime import timedelta
from message_batches.temporal.connection import leave
from worker import command
leave(command(count_interval=timedelta(seconds=0.5)))
"""
"""`worker.py` with a short interval between two counts of the open runs."""
WRONG = {"custom_id": "nobody-may-read-this-id", "params": {"model": "no-such-model", "max_tokens": 1, "messages": []}}


@dataclass(frozen=True)
class Seen:
    """The observable state of a worker, after runs of all kinds.

    Attributes:
        log: the worker's output, standard output and error.
        runs: workflow ids by their outcome.
    """

    page: Page
    log: str
    live: Stack
    runs: dict[str, str]


@pytest.fixture(scope="package")
async def seen(temporal: DevServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    folder = tmp_path_factory.mktemp("seen")
    async with Emulator(EmulatorOptions(processing_time=timedelta(seconds=1))) as emulator, receiving() as receiver:
        live = Stack(temporal.client, emulator, (folder / "store").as_uri(), f"seen-{uuid4()}")
        configured = settings(
            temporal=temporal.address, api=emulator.url, key=KEY, store=live.store_url, task_queue=live.task_queue
        )
        configured |= variables({"ops": receiver.url})
        address = f"127.0.0.1:{lasting_port()}"
        options = ("--metrics", address, "--log-level", "DEBUG", "--log-format", "json")
        worker = await WorkerProcess.start(
            [sys.executable, "-c", COUNTS_OFTEN, *options],
            folder / "worker.log",
            environment=bare_environment(folder, **configured),
        )
        try:
            await eventually(lambda: "Worker ready" in worker.output, "a worker that is ready")
            runs = await _runs_of_all_kinds(live)
            url = f"http://{address}/metrics"
            await receiver.has("batch.submitted", "batch.landed")

            async def counted() -> bool:
                samples = (await page_at(url)).samples
                return any(
                    s.name == "message_batches_open_runs" and s.labels["status"] == "undecided" and s.value
                    for s in samples
                )

            await eventually(counted, "a count of the open runs with the undecided one")
            page = await page_at(url)
            assert await worker.terminate() == 0
            yield Seen(page, worker.output, live, runs)
        finally:
            await worker.kill()


async def _runs_of_all_kinds(live: Stack) -> dict[str, str]:
    faults = live.emulator.faults
    faults.add("404", operation="retrieve", times=1)
    faults.add("missing-line", operation="results", times=1)
    partly = await live.start([*requests(3, PROMPT), WRONG], notify=["ops"])
    await partly.result()
    faults.add("accept-then-drop", operation="create", times=1)
    found = await live.start(requests(4, f"{PROMPT} of a lost reply"))
    await found.result()
    faults.add("refuse-then-5xx", operation="create", times=1)
    again = await live.start(requests(5, f"{PROMPT} sent again"))
    await again.result()
    faults.add("spend-limit", operation="create", times=1)
    failed = await live.start(requests(6, f"{PROMPT} and fail"))
    with pytest.raises(WorkflowFailureError):
        await failed.result()
    seldom = QUICK_POLL.model_copy(update={"retry_after": timedelta(hours=1)})
    canceled = await live.start(requests(7, f"{PROMPT} and be cancelled"), poll=seldom)
    await progress_when(canceled, lambda now: now.next_poll is not None)
    await canceled.cancel()
    with pytest.raises(WorkflowFailureError):
        await canceled.result()
    # Its workflow tasks fail: the worker does not know that type.
    stalled = await live.client.start_workflow("no-such-type", id=f"stalled-{uuid4()}", task_queue=live.task_queue)
    faults.add("refuse-then-5xx", operation="create", times=1)
    patient = SubmissionSchedule(timeout=timedelta(seconds=5), quiet_period=timedelta(minutes=5))
    undecided = await live.start(requests(8, f"{PROMPT} and wait"), submission=patient)
    await progress_when(undecided, lambda now: now.phase is Phase.UNDECIDED)
    named = {"partly": partly, "found": found, "again": again, "failed": failed, "canceled": canceled}
    return {name: run.id for name, run in {**named, "undecided": undecided, "stalled": stalled}.items()}
