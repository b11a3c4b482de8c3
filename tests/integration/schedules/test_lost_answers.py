"""Answers of Temporal about schedules that are lost, late or doubled: nothing is created or bought twice."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from temporalio.client import Client

from message_batches.jobs.files import JobRequests, read_files
from message_batches.runs.control import NoAnswer, Refused
from message_batches.runs.starter import StartOptions
from message_batches.schedules import control, create
from message_batches.schedules.control import delete_schedule, pause_schedule, resume_schedule, trigger_schedule
from message_batches.schedules.create import schedule_requests
from message_batches.schedules.describe import ScheduleNotFound, describe_schedule
from message_batches.schedules.models import Overlap, ScheduleOptions, ScheduleView
from message_batches.storage.object_store import open_store
from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import CommandLine
from tests.harness.requests import fresh
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION, Stack
from tests.harness.temporal_proxy import AnswerFault, TemporalProxy, temporal_proxy
from tests.harness.waiting import eventually

CREATE, PATCH, DELETE = "CreateSchedule", "PatchSchedule", "DeleteSchedule"
FAULTS = pytest.mark.parametrize("fault", AnswerFault)
WHEN = ScheduleOptions(cron=("0 0 1 1 *",), overlap=Overlap.ALLOW)


@pytest.fixture
async def proxy(temporal: DevServer) -> AsyncIterator[TemporalProxy]:
    async with temporal_proxy(temporal.address) as running:
        yield running


@pytest.fixture
async def through(proxy: TemporalProxy) -> Client:
    """Connect through the proxy."""
    return await connect(address=proxy.address)


@pytest.fixture
def given(starter: CommandLine) -> Iterator[JobRequests]:
    with read_files([str(starter.file(fresh()))]) as read:
        yield read


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(create, "START_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(control, "START_TIMEOUT", timedelta(seconds=1))


async def created(client: Client, live: Stack, name: str, given: JobRequests) -> ScheduleView:
    options = StartOptions(poll=QUICK_POLL, submission=QUICK_SUBMISSION, task_queue=live.task_queue)
    return await schedule_requests(client, open_store(live.store_url), name, given, options, WHEN)


@FAULTS
async def test_a_schedule_whose_creation_has_no_answer_is_there_once(
    fault: AnswerFault, proxy: TemporalProxy, through: Client, live: Stack, name: str, given: JobRequests
) -> None:
    proxy.add(fault, CREATE, delay=1.5)

    made = await created(through, live, name, given)

    assert proxy.struck
    assert made.name == name
    with pytest.raises(Refused, match="already"):
        await created(through, live, name, given)


@FAULTS
async def test_a_firing_that_has_no_answer_buys_once(
    fault: AnswerFault, proxy: TemporalProxy, through: Client, live: Stack, name: str, given: JobRequests
) -> None:
    await created(live.client, live, name, given)
    proxy.add(fault, PATCH, delay=1.5)

    fired = await trigger_schedule(through, name)

    assert proxy.struck
    assert fired.workflow_id
    await live.client.get_workflow_handle(fired.workflow_id).result()
    assert (await describe_schedule(live.client, name)).fired == 1
    assert live.operations().count("create") == 1


async def test_a_firing_that_is_not_seen_is_not_said_to_be_one(
    proxy: TemporalProxy, through: Client, live: Stack, name: str, given: JobRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    await created(live.client, live, name, given)
    monkeypatch.setattr(control, "_FIRED_WITHIN", 0.0)
    proxy.add(AnswerFault.HANG, PATCH, times=None)

    with pytest.raises(NoAnswer, match="look at the schedule"):
        await trigger_schedule(through, name)

    await eventually(lambda: live.operations().count("create") == 1, "the run that was started all the same")


@pytest.mark.slow
@FAULTS
async def test_pausing_resuming_and_deleting_can_be_repeated(
    fault: AnswerFault,
    proxy: TemporalProxy,
    through: Client,
    live: Stack,
    name: str,
    given: JobRequests,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("message_batches.temporal.diagnosis.READ_TIMEOUT", timedelta(seconds=1))
    await created(live.client, live, name, given)

    proxy.add(fault, PATCH, delay=1.5)
    assert (await pause_schedule(through, name, "the prices have changed")).reason == "the prices have changed"
    proxy.add(fault, PATCH, delay=1.5)
    assert not (await resume_schedule(through, name)).paused
    proxy.add(fault, DELETE, delay=1.5)
    await delete_schedule(through, name)

    assert len(proxy.struck) == 3
    with pytest.raises(ScheduleNotFound):
        await describe_schedule(live.client, name)
