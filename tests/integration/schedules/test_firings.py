"""Firings of a schedule: each a run of its own that buys a batch of its own, once."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle

from message_batches.contract import WORKFLOW_TYPE
from message_batches.emulator import Emulator
from message_batches.models import BatchInput, BatchOutput
from message_batches.runs.control import Refused
from message_batches.schedules.control import delete_schedule, pause_schedule, trigger_schedule
from message_batches.schedules.describe import describe_schedule
from message_batches.schedules.models import ScheduleView
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, CommandLine, command_line
from tests.harness.requests import fresh
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION, Stack, failure_of, running_stack
from tests.harness.waiting import eventually

NEVER = ("--cron", "0 0 1 1 *")
"""Times that do not come while a test runs."""


async def fired(live: Stack, name: str, times: int) -> ScheduleView:
    """Wait until a schedule has fired so often, and pause it."""

    async def look() -> bool:
        return (await describe_schedule(live.client, name)).fired >= times

    await eventually(look, f"{times} firings of {name}")
    return await pause_schedule(live.client, name)


def run_of(live: Stack, workflow_id: str) -> WorkflowHandle[Any, BatchOutput]:
    return live.client.get_workflow_handle(workflow_id, result_type=BatchOutput)


def intents(live: Stack) -> list[str]:
    """The intents to POST in the store."""
    paths = (live.store_folder / "submissions").rglob("*.json")
    return sorted(path.name for path in paths if not path.name.endswith(".outcome.json"))


async def reset(live: Stack, workflow_id: str) -> None:
    """Reset a run to its first workflow task."""
    await live.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=live.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            workflow_task_finish_event_id=4,
            request_id=f"reset-{workflow_id}",
            reason="a test",
        )
    )


@pytest.mark.parametrize("overlap", ["skip", pytest.param("allow", marks=pytest.mark.slow)])
async def test_three_firings_are_three_runs_and_three_batches_and_a_reset_one_buys_nothing(
    starter: CommandLine, live: Stack, name: str, overlap: str
) -> None:
    file = starter.file(fresh())

    made = await starter("schedule", "create", name, file, "--every", "1s", "--overlap", overlap, *QUICK)
    assert made.code == 0, made.err
    view = await fired(live, name, 3)
    ids = [run.workflow_id for run in view.runs]
    outputs = [await run_of(live, workflow_id).result() for workflow_id in ids]

    assert len(ids) >= 3
    assert all(workflow_id.startswith(f"{name}-20") for workflow_id in ids)
    assert len({output.batch_id for output in outputs}) == len(ids) == live.operations().count("create")
    assert all(output.verified and output.summary.counts.succeeded == 3 for output in outputs)
    assert len(intents(live)) == len(ids)

    await reset(live, ids[0])
    again = await run_of(live, ids[0]).result()

    assert again.batch_id == outputs[0].batch_id
    assert live.operations().count("create") == len(ids) == len(intents(live))


async def test_the_same_requests_started_by_hand_are_another_run_than_those_of_the_schedule(
    starter: CommandLine, live: Stack, name: str
) -> None:
    file = starter.file(fresh())
    await starter("schedule", "create", name, file, *NEVER, *QUICK)

    by_schedule = await starter("schedule", "trigger", name, "--json")
    await run_of(live, by_schedule.json["workflowId"]).result()
    by_hand = await starter("start", file, "--wait", "--json", *QUICK)
    again = await starter("start", file, "--wait", "--json", *QUICK)

    assert by_hand.json["workflowId"] == again.json["workflowId"] != by_schedule.json["workflowId"]
    assert live.operations().count("create") == 2


async def test_a_firing_whose_worker_is_away_waits_for_it(
    temporal: DevServer, emulator: Emulator, name: str, tmp_path: Path
) -> None:
    store_url, queue = (tmp_path / "store").as_uri(), f"queue-of-{name}"
    starter = command_line(tmp_path / "user", temporal, store_url, queue)

    made = await starter("schedule", "create", name, starter.file(fresh()), *NEVER, *QUICK)
    fired = await starter("schedule", "trigger", name, "--json")
    async with running_stack(temporal.client, emulator, store_url, task_queue=queue) as live:
        output = await run_of(live, fired.json["workflowId"]).result()

    assert "No worker polls" in made.err
    assert output.verified


@pytest.mark.slow
async def test_requests_that_are_sent_again_are_a_job_at_each_firing(
    starter: CommandLine, live: Stack, name: str
) -> None:
    file = starter.file(fresh(3))
    options = ("--retry-waves", "1", "--shard-requests", "2")

    made = await starter("schedule", "create", name, file, *NEVER, *options, *QUICK, "--json")
    outputs = []
    # Both could be in one second.
    await asyncio.sleep(1 - datetime.now(UTC).microsecond / 1e6)
    for number in range(2):
        fired = await starter("schedule", "trigger", name, "--json")
        job = fired.json["workflowId"]
        ended = await starter("watch", job, "--json")
        outputs.append(ended.json)
        assert ended.code == 0, (number, ended.said)

    assert made.json["workflowType"] == "message-batch-job"
    assert live.operations().count("create") == 4


async def test_a_schedule_whose_requests_may_cost_more_than_its_limit_is_not_made(
    starter: CommandLine, live: Stack, name: str
) -> None:
    file = starter.file(fresh())

    refused = await starter("schedule", "create", name, file, *NEVER, *QUICK, "--max-cost", "0.000001")
    assert refused.code == 2
    assert (await starter("schedule", "show", name)).code == 2

    made = await starter("schedule", "create", name, file, *NEVER, *QUICK, "--max-cost", "20", "--json")
    assert Decimal(made.json["maxCost"]) == 20


@pytest.mark.slow
async def test_a_firing_beside_a_run_that_is_under_way_is_skipped_or_waits_for_its_end(
    temporal: DevServer, pending: Stack, tmp_path: Path, name: str
) -> None:
    starter = command_line(tmp_path / "user", temporal, pending.store_url, pending.task_queue)
    file = starter.file(fresh())
    options = ("--poll-interval", "0.1s")

    await starter("schedule", "create", name, file, *NEVER, *options)
    first = (await trigger_schedule(pending.client, name)).workflow_id
    with pytest.raises(Refused, match=rf"{name}\S+ is still under way"):
        await trigger_schedule(pending.client, name)
    patient = f"{name}-2"
    await starter("schedule", "create", patient, file, *NEVER, *options, "--overlap", "buffer-one")
    second = str((await trigger_schedule(pending.client, patient)).workflow_id)
    waits = await trigger_schedule(pending.client, patient)
    await pending.saw("create", 2)
    pending.emulator.clock.advance(timedelta(minutes=11))
    await eventually(lambda: pending.operations().count("create") == 3, "the run that was waited with")

    assert first != second
    assert (waits.workflow_id, waits.after) == (None, second)
    await delete_schedule(pending.client, patient)


async def test_a_schedule_pauses_itself_once_a_run_fails(starter: CommandLine, live: Stack, name: str) -> None:
    live.emulator.faults.add("spend-limit", operation="create")
    await starter("schedule", "create", name, starter.file(fresh()), *NEVER, *QUICK, "--pause-on-failure")

    fired = await starter("schedule", "trigger", name, "--json")
    failure = await failure_of(run_of(live, fired.json["workflowId"]))

    async def paused() -> bool:
        return (await describe_schedule(live.client, name)).paused

    await eventually(paused, "the pause")
    shown = await starter("schedule", "show", name)
    assert failure.type
    assert "paused: " in shown.out
    assert "failed" in shown.out


@pytest.mark.slow
async def test_a_workflow_that_a_cron_expression_starts_again_is_the_same_submission(live: Stack) -> None:
    given = BatchInput(requests=fresh(), poll=QUICK_POLL, submission=QUICK_SUBMISSION)
    run = await live.client.start_workflow(
        WORKFLOW_TYPE, given, id=f"cron-{uuid4()}", task_queue=live.task_queue, cron_schedule="@every 1s"
    )

    async def third() -> bool:
        runs = [each async for each in live.client.list_workflows(f'WorkflowId = "{run.id}"')]
        return len(runs) >= 3

    await eventually(third, "a third run")
    await live.client.get_workflow_handle(run.id).terminate()

    assert live.operations().count("create") == 1
    assert len(intents(live)) == 1
