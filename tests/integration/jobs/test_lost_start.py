"""The start of a job whose answer is lost, late or doubled: it is one job, and nothing is sent twice."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from message_batches.contract import NextAction
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.job_models import Retries, ShardLimits
from message_batches.jobs import start
from message_batches.jobs.files import JobRequests, read_files
from message_batches.jobs.start import JobOptions, JobStart, start_job
from message_batches.runs import starter as start_calls
from message_batches.runs.control import NoAnswer, Refused
from message_batches.runs.starter import StartOptions
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.temporal import diagnosis
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION, Stack
from tests.harness.temporal_proxy import AnswerFault, TemporalProxy
from tests.harness.waiting import eventually

START = "StartWorkflowExecution"
JOB = JobOptions(retries=Retries(waves=0))


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Start an emulator whose batches do not end while a test runs."""
    async with Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as running:
        yield running


@pytest.fixture
def store(live: Stack) -> ObjectStore:
    return open_store(live.store_url)


@pytest.fixture
def given(tmp_path: Path) -> Iterator[JobRequests]:
    """Return requests that no other test sends, for two batches."""
    file = tmp_path / "requests.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in requests(text=str(uuid4()))))
    with read_files([str(file)], limits=ShardLimits(max_requests=2)) as read:
        yield read


@pytest.fixture
def options(live: Stack) -> StartOptions:
    return StartOptions(poll=QUICK_POLL, submission=QUICK_SUBMISSION, task_queue=live.task_queue)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_calls, "START_TIMEOUT", timedelta(seconds=1))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("fault", AnswerFault)
async def test_a_start_whose_answer_is_lost_is_one_job(
    fault: AnswerFault,
    again: bool,
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    store: ObjectStore,
    given: JobRequests,
    options: StartOptions,
) -> None:
    drawn: list[str] = []
    proxy.add(fault, START, delay=1.5)

    started = await start_job(through, store, given, "a file", options, JOB, again=again, on_again=drawn.append)

    assert proxy.struck
    assert isinstance(started, JobStart)
    assert (started.note, started.landed) == ("", None)
    assert drawn == ([started.workflow_id] if again else [])
    await live.saw("create", 2)
    assert live.operations().count("create") == 2
    await live.client.get_workflow_handle(started.workflow_id).terminate()


@pytest.mark.slow
async def test_a_start_that_is_never_answered_says_its_id_and_a_repetition_finds_the_job(
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    store: ObjectStore,
    given: JobRequests,
    options: StartOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start, "MAX_TRIES", 2)
    monkeypatch.setattr(diagnosis, "READ_TIMEOUT", timedelta(seconds=0.5))
    proxy.add(AnswerFault.HANG, START, times=None)
    starting = asyncio.create_task(start_job(through, store, given, "a file", options, JOB, again=True))
    await eventually(lambda: proxy.struck, "a start without an answer")
    proxy.add(AnswerFault.HANG, "DescribeWorkflowExecution", times=None)

    with pytest.raises(NoAnswer) as caught:
        await starting

    job_id = caught.value.workflow_id
    assert caught.value.action is NextAction.REPEAT_AGAIN
    assert job_id
    proxy.clear()
    repeated = await start_job(through, store, given, "a file", options, JOB, again=True, again_id=job_id)
    assert repeated.workflow_id == job_id
    assert repeated.joined
    await live.saw("create", 2)
    assert live.operations().count("create") == 2
    await live.client.get_workflow_handle(job_id).terminate()


async def test_the_id_of_other_requests_is_refused(
    through: Client, store: ObjectStore, given: JobRequests, options: StartOptions
) -> None:
    for wrong in ("job-0123456789abcdef01234567-01234567", "another", "batch-x-01234567"):
        with pytest.raises(Refused, match="begin with job-"):
            await start_job(through, store, given, "a file", options, JOB, again=True, again_id=wrong)
