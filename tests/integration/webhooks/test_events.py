"""The events of runs and jobs, as a receiver gets them, and the signal to a workflow."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from message_batches.contract import POLL_NOW, RESUME_JOB
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchOutput, SubmissionSchedule
from message_batches.temporal.dev_server import DevServer
from tests.harness import waiting
from tests.harness.contract import problems
from tests.harness.receiver import Receiver, webhooks
from tests.harness.requests import fresh, requests
from tests.harness.running_jobs import job_when, start_job
from tests.harness.stack import QUICK_SUBMISSION, Stack, details_of, failure_of, progress_when, running_stack
from tests.harness.waiting import eventually

LONG = EmulatorOptions(processing_time=timedelta(minutes=10), cancel_time=timedelta(seconds=0.1))


@pytest.fixture
async def slow(temporal: DevServer, receiver: Receiver, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker with the webhook over an emulator whose batches end when they are cancelled, or its clock is."""
    made = webhooks({"ops": receiver.url})
    async with (
        Emulator(LONG) as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri(), webhooks=made) as live,
    ):
        yield live


async def test_a_run_tells_that_it_is_submitted_and_landed(telling: Stack, receiver: Receiver) -> None:
    run = await telling.start(requests(3), notify=["ops"])
    output = await run.result()
    await receiver.has("batch.submitted", "batch.landed")

    assert sorted(receiver.events) == ["batch.landed", "batch.submitted"]
    submitted, landed = receiver.event("batch.submitted"), receiver.event("batch.landed")
    whose = {"namespace": "default", "workflowId": run.id, "runId": run.first_execution_run_id}
    assert submitted == {**whose, "batchId": output.batch_id, "requests": 3}
    assert output.cost
    assert landed == {
        **whose,
        "batchId": output.batch_id,
        "requests": 3,
        "outcome": "succeeded",
        "counts": {"succeeded": 3, "errored": 0, "canceled": 0, "expired": 0},
        "usable": 3,
        "cost": {"currency": "USD", "amount": str(output.cost.amount), "partial": False},
        "resultsFile": output.results_file.model_dump(mode="json"),
        "verified": True,
    }


async def test_a_run_without_notify_tells_nobody(telling: Stack, receiver: Receiver) -> None:
    run = await telling.start(requests())
    await run.result()

    events = [event async for event in run.fetch_history_events()]
    assert not [event for event in events if "child" in (event.WhichOneof("attributes") or "")]
    assert not receiver.got


async def test_a_failed_run_tells_the_type_and_the_next_step_and_nothing_that_others_have_written(
    telling: Stack, receiver: Receiver
) -> None:
    telling.emulator.faults.add("spend-limit", operation="create", times=1)
    run = await telling.start(requests(), notify=["ops"])
    failed = await failure_of(run)
    await receiver.has("batch.failed")

    data = receiver.event("batch.failed")
    assert (data["outcome"], data["workflowId"]) == ("SpendLimitReached", run.id)
    assert "limit" in failed.message
    assert set(data) == {"namespace", "workflowId", "runId", "requests", "outcome"}


async def test_a_canceled_run_tells_so(slow: Stack, receiver: Receiver) -> None:
    run = await slow.start(requests(), notify=["ops"])
    seen = await progress_when(run, lambda progress: progress.polls > 0)
    await run.cancel()
    with pytest.raises(WorkflowFailureError):
        await run.result()
    await receiver.has("batch.canceled")

    assert receiver.event("batch.canceled")["batchId"] == seen.batch_id
    assert receiver.events.count("batch.submitted") == 1


async def test_a_lost_reply_is_told_and_then_the_batch_that_was_found(slow: Stack, receiver: Receiver) -> None:
    quiet = SubmissionSchedule(timeout=timedelta(seconds=2), quiet_period=timedelta(minutes=5))
    slow.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await slow.start(requests(), submission=quiet, notify=["ops"])
    await receiver.has("batch.undecided")
    await progress_when(run, lambda progress: bool(progress.candidates))
    slow.emulator.clock.advance(timedelta(minutes=10))
    output = await run.result()
    await receiver.has("batch.submitted", "batch.landed")

    assert receiver.events.count("batch.undecided") == 1
    assert receiver.event("batch.submitted")["batchId"] == output.batch_id


async def test_a_batch_that_is_taken_over_is_not_told_to_be_submitted(telling: Stack, receiver: Receiver) -> None:
    batch_id = await telling.post_by_a_stranger(requests())
    await telling.run(batch_id=batch_id, notify=["ops"])
    await receiver.has("batch.landed")

    assert receiver.events == ["batch.landed"]


@pytest.mark.parametrize("start", [Stack.start, start_job], ids=["a run", "a job"])
async def test_a_webhook_that_the_worker_does_not_have_fails_the_run_before_anything_is_sent(
    telling: Stack, start: Any
) -> None:
    failed = await failure_of(await start(telling, requests(), notify=["ops", "nobody"]))

    assert failed.type == "UnknownWebhook"
    assert "no webhook named 'nobody' (it has: ops)" in failed.message
    assert not telling.emulator.calls


async def test_an_address_in_the_place_of_a_name_is_repeated_nowhere(telling: Stack) -> None:
    run = await telling.client.start_workflow(
        "batch-process-and-retrieve-results",
        {"requests": requests(), "notify": ["https://hooks.example.com/secret-part"]},
        id=f"run-{uuid4()}",
        task_queue=telling.task_queue,
        result_type=BatchOutput,
    )
    failed = await failure_of(run)
    shown = await details_of(run)

    assert failed.type == "InvalidInput"
    assert "the name of a webhook" in failed.message
    assert "secret-part" not in failed.message + shown
    assert not telling.emulator.calls


async def test_a_job_tells_of_itself_and_its_shards_do_not(telling: Stack, receiver: Receiver) -> None:
    job = await start_job(telling, requests(5), notify=["ops"])
    output = await job.result()
    await receiver.has("job.submitted", "job.landed")

    assert sorted(receiver.events) == ["job.landed", "job.submitted"]
    landed = receiver.event("job.landed")
    assert (landed["workflowId"], landed["requests"], landed["shards"]) == (job.id, 5, 3)
    assert landed["counts"]["succeeded"] == 5
    assert landed["resultsFile"] == output.results_file.model_dump(mode="json")


@pytest.mark.slow
async def test_a_job_that_pauses_tells_so_each_time(telling: Stack, receiver: Receiver) -> None:
    telling.emulator.faults.add("spend-limit", operation="create", times=2)
    job = await start_job(telling, requests(2), shard=2, notify=["ops"])
    for _ in range(2):
        await job_when(job, lambda seen: seen.paused_since is not None)
        await job.execute_update(RESUME_JOB)
    await job.result()
    await receiver.has("job.landed", "job.needs_attention")

    told = [each.event["data"] for each in receiver.accepted if each.event["type"] == "job.needs_attention"]
    assert [each["reason"] for each in told] == ["paused", "paused"]


@pytest.mark.slow
async def test_a_job_tells_once_that_shards_of_it_need_an_operator(slow: Stack, receiver: Receiver) -> None:
    refused = slow.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    submission = QUICK_SUBMISSION.model_copy(update={"timeout": timedelta(seconds=5)})
    job = await start_job(slow, requests(2), notify=["ops"], submission=submission)
    await eventually(lambda: refused.applied, "a POST that is refused")
    # As long as this one has not ended, it may be the shard's.
    await slow.post_by_a_stranger(fresh(2))
    await receiver.has("job.needs_attention")
    before = await job_when(job, lambda seen: bool(seen.alive))
    await job.signal(POLL_NOW)
    await asyncio.sleep(0.5)

    told = [each.event["data"] for each in receiver.accepted if each.event["type"] == "job.needs_attention"]
    assert [each["reason"] for each in told] == ["undecided"]
    await job.terminate()
    await slow.client.get_workflow_handle(before.alive[0]).terminate()


async def reset(client: Client, workflow_id: str, finished_task: int) -> None:
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            workflow_task_finish_event_id=finished_task,
            request_id=str(uuid4()),
            reason="a test",
        )
    )


async def test_a_reset_run_sends_nothing_twice(telling: Stack, receiver: Receiver) -> None:
    run = await telling.start(requests(), notify=["ops"])
    await run.result()
    await receiver.has("batch.submitted", "batch.landed")
    await reset(telling.client, run.id, 4)
    again = telling.client.get_workflow_handle(run.id, result_type=BatchOutput)
    output = await again.result()

    # It has taken each step again, and asked for the same two notifications.
    started = [each async for each in again.fetch_history_events()]
    refused = [e for e in started if e.HasField("start_child_workflow_execution_failed_event_attributes")]
    assert len(refused) == 2
    assert output.verified
    assert sorted(receiver.events) == ["batch.landed", "batch.submitted"]


@pytest.mark.slow
async def test_a_run_that_continues_as_new_tells_each_event_once_and_shows_what_did_not_arrive(
    short_lived: DevServer, receiver: Receiver, tmp_path: Path
) -> None:
    made = webhooks({"ops": receiver.url, "down": "http://127.0.0.1:9/hooks"})
    async with (
        Emulator(LONG) as emulator,
        running_stack(short_lived.client, emulator, tmp_path.as_uri(), webhooks=made) as live,
    ):
        run = await live.start(requests(), notify=["ops", "down"])
        later = live.client.get_workflow_handle(run.id, result_type=BatchOutput)

        async def continued() -> bool:
            return (await later.describe()).run_id != run.first_execution_run_id

        async def shown() -> bool:
            return "**batch.submitted to down** not delivered yet: No answer from 127.0.0.1:9" in await details_of(
                later
            )

        await waiting.eventually(continued, "a run that continues the first")
        await waiting.eventually(shown, "the details of what does not arrive")
        emulator.clock.advance(timedelta(minutes=10))
        await later.result()
        await receiver.has("batch.submitted", "batch.landed")

    assert sorted(receiver.events) == ["batch.landed", "batch.submitted"]
    assert {each.event["data"]["runId"] for each in receiver.accepted} == {run.first_execution_run_id}


@workflow.defn
class Waiting:
    """A workflow that waits for the signal of a run."""

    def __init__(self) -> None:
        self._event: dict[str, Any] | None = None

    @workflow.run
    async def run(self) -> dict[str, Any]:
        await workflow.wait_condition(lambda: self._event is not None)
        assert self._event is not None
        return self._event

    @workflow.signal(name="batchEnded")
    def ended(self, event: dict[str, Any]) -> None:
        self._event = event


@pytest.mark.slow
@pytest.mark.parametrize("start", [Stack.start, start_job], ids=["a run", "a job"])
async def test_a_workflow_is_signaled_when_a_run_has_ended(live: Stack, start: Any) -> None:
    queue = f"waiting-{uuid4()}"
    runner = UnsandboxedWorkflowRunner()
    async with Worker(live.client, task_queue=queue, workflows=[Waiting], workflow_runner=runner):
        target = await live.client.start_workflow(Waiting.run, id=queue, task_queue=queue)
        run = await start(live, requests(3), notify_signal={"workflowId": queue, "signal": "batchEnded"})
        await run.result()
        event = await target.result()

    assert event["type"] in ("batch.landed", "job.landed")
    assert problems("event", event) == []
    assert event["data"]["workflowId"] == run.id
    assert event["data"]["counts"]["succeeded"] == 3


async def test_a_target_that_is_not_there_does_not_matter(live: Stack) -> None:
    target = {"workflowId": f"nobody-{uuid4()}", "signal": "batchEnded"}

    output = await live.run(requests(), notify_signal=target)

    assert output.verified


@pytest.mark.slow
async def test_a_cancellation_in_the_last_moment_does_not_undo_what_has_landed(
    telling: Stack, receiver: Receiver
) -> None:
    ends = {}
    for number in range(5):
        run = await telling.start(requests(), notify=["ops"])
        await telling.saw("results", number + 1)
        await asyncio.sleep(0.02 * number)
        await run.cancel()
        try:
            await run.result()
            ends[run.id] = "batch.landed"
        except WorkflowFailureError:
            ends[run.id] = "batch.canceled"
    await waiting.eventually(lambda: len(receiver.accepted) == 10, "five ends, each after its beginning")

    told = [(each.event["data"]["workflowId"], each.event["type"]) for each in receiver.accepted]
    assert dict(each for each in told if each[1] != "batch.submitted") == ends
