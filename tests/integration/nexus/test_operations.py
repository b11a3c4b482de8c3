"""Callers in another namespace get their results over Nexus; each operation is a run of its own."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError, NexusOperationError

from message_batches.job_models import JobOutput
from message_batches.temporal.dev_server import DevServer
from tests.harness.namespaces import new_namespace
from tests.harness.nexus import Callers, callers, failure_of_operation, run_of
from tests.harness.requests import fresh
from tests.harness.running_jobs import merged_ids, polled
from tests.harness.stack import Stack, details_of, progress_when, running_stack
from tests.integration.conftest import SHORT_LIFE


async def test_a_caller_in_another_namespace_gets_its_results(live: Stack, there: Callers) -> None:
    given = fresh()

    caller = await there.batch(given)
    output = await caller.result()

    assert output.verified
    assert output.results is not None
    assert [line["custom_id"] for line in output.results] == [each["custom_id"] for each in given]
    assert [batch.id for batch in live.emulator.batches] == [output.batch_id]
    run = await run_of(live.client, caller)
    assert await run.result() == output


async def test_a_job_of_several_batches_is_one_operation(live: Stack, there: Callers) -> None:
    given = fresh(5)

    output = await (await there.job(given, shard=2)).result()

    assert merged_ids(output) == [each["custom_id"] for each in given]
    assert len(live.emulator.batches) == 3


async def test_a_caller_that_knows_names_and_json_alone_gets_json(live: Stack, there: Callers) -> None:
    given = fresh()
    caller = await there.by_name(
        {"requests": given, "poll": {"retryAfter": 0.1}, "staticSummary": "s" * 1000, "polll": 1}
    )

    output = await caller.result()

    assert output["requestCounts"]["succeeded"] == 3
    assert [line["custom_id"] for line in output["results"]] == [each["custom_id"] for each in given]
    run = await run_of(live.client, caller)
    summary = await (await run.describe()).static_summary()
    assert summary is not None
    assert summary.startswith("sss")
    assert "polll" in await details_of(run)


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"requests": []}, "InvalidRequests", ""),
        ({"requests": [{}], "poll": {"retryAfter": -1}}, "InvalidInput", "poll.retryAfter"),
        ("nothing of use", "InvalidInput", ""),
        (None, "InvalidInput", ""),
        ({"requests": fresh(), "state": {"phase": "polling"}}, "InvalidInput", "state"),
        ({"requests": fresh(), "apiKey": "sk-ant-api03-0123456789"}, "UnknownKey", ""),
    ],
    ids=["no requests", "a bad field", "no object", "nothing", "a state", "a key"],
)
async def test_an_input_that_is_not_valid_fails_with_the_type_and_the_sentence_of_the_run(
    given: object, kind: str, says: str, live: Stack, there: Callers
) -> None:
    cause = await failure_of_operation(await there.by_name(given))

    assert isinstance(cause, ApplicationError)
    assert cause.type == kind
    assert says in cause.message
    assert not live.emulator.batches


async def test_a_run_that_fails_names_its_batch_to_the_caller(live: Stack, there: Callers) -> None:
    live.emulator.faults.add("missing-line", operation="results")

    cause = await failure_of_operation(await there.batch(fresh()))

    assert isinstance(cause, ApplicationError)
    assert cause.type == "ResultsIncomplete"
    assert cause.details[0]["batchId"] == live.emulator.batches[0].id


async def test_callers_with_the_same_content_have_a_batch_each_and_one_that_is_cancelled_leaves_the_others(
    pending: Stack, waiting_there: Callers
) -> None:
    given = fresh()
    first, second = await waiting_there.batch(given), await waiting_there.batch(given)
    runs = [await run_of(pending.client, caller) for caller in (first, second)]
    batches = [(await progress_when(run, lambda progress: progress.polls > 0)).batch_id for run in runs]
    assert len({run.id for run in runs}) == len({*batches}) == 2

    await first.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await first.result()

    assert isinstance(caught.value.cause, NexusOperationError | CancelledError)
    canceled = {batch.id: bool(batch.cancel_initiated_at) for batch in pending.emulator.batches}
    assert canceled == {batches[0]: True, batches[1]: False}
    assert (await runs[0].describe()).status is WorkflowExecutionStatus.CANCELED
    pending.emulator.clock.advance(pending.emulator.options.processing_time)
    output = await second.result()
    assert output.batch_id == batches[1]
    assert output.verified
    assert output.possibly_paid_twice == ()


async def test_a_job_that_is_cancelled_by_its_caller_stops_its_batches(pending: Stack, waiting_there: Callers) -> None:
    caller = await waiting_there.job(fresh(4), shard=2)
    await polled(pending, await run_of(pending.client, caller, JobOutput), 0, 1)

    await caller.cancel()

    with pytest.raises(WorkflowFailureError):
        await caller.result()
    assert [bool(batch.cancel_initiated_at) for batch in pending.emulator.batches] == [True, True]


async def test_a_run_that_continues_as_new_is_one_operation(
    short_lived: DevServer, pending: Stack, tmp_path: Path
) -> None:
    client = short_lived.client
    async with (
        running_stack(client, pending.emulator, (tmp_path / "other").as_uri()) as stack,
        callers(await new_namespace(short_lived, {}), client, stack.task_queue) as there,
    ):
        caller = await there.batch(fresh())
        run = await run_of(client, caller)
        await progress_when(run, lambda progress: progress.polls > SHORT_LIFE)
        pending.emulator.clock.advance(pending.emulator.options.processing_time)
        output = await caller.result()

        assert output.verified
        executions = {execution.run_id async for execution in client.list_workflows(f'WorkflowId = "{run.id}"')}
    assert len(executions) > 1
    assert len(pending.emulator.batches) == 1
