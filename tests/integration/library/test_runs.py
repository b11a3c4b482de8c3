"""Starting, following, deciding and reading from a program, against a real server, worker and emulator."""

import asyncio
import itertools
import json
import re
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

import message_batches
from message_batches import (
    JOB_WORKFLOW_TYPE,
    BatchOutput,
    BatchRuns,
    CostLimitExceeded,
    InvalidRequests,
    JobInput,
    JobOutput,
    JobView,
    MessageBatchesError,
    NoAnswer,
    NotComparable,
    Refused,
    ResultsNotFound,
    RunFailed,
    RunNotFound,
    RunView,
    TemporalUnreachable,
    connect,
)
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.runs.describe import run_exists
from message_batches.temporal.dev_server import DevServer
from tests.harness.pages import page
from tests.harness.requests import TOO_LARGE, fresh, mixed, request
from tests.harness.stack import Stack, running_stack
from tests.harness.waiting import eventually
from tests.integration.library.conftest import EVERY, QUICK, UNDECIDED, batch_runs, waits

SOME_TIME = timedelta(minutes=11)


async def test_results_are_typed_and_in_the_order_of_the_requests(runs: BatchRuns) -> None:
    given = mixed()

    run = await runs.start(given, **QUICK)
    results = [result async for result in run.results()]

    assert [result.custom_id for result in results] == [item["custom_id"] for item in given]
    assert [result.outcome for result in results] == ["succeeded", "errored", "errored", "succeeded"]
    first, second, *_ = results
    assert first.message
    assert first.message == json.loads(first.line)["result"]["message"]
    assert first.text == "".join(block["text"] for block in first.message["content"])
    assert first.error is None
    assert second.message is None
    assert second.text == ""
    assert second.error
    assert second.error["type"] == "not_found_error"
    with pytest.raises(Refused, match=r"^partial merges what has landed so far of a job"):
        [result async for result in run.results(partial=True)]


async def test_the_same_content_is_the_same_run_whatever_it_is_given_as(
    live: Stack, runs: BatchRuns, tmp_path: Path
) -> None:
    given = fresh()
    file = tmp_path / "requests.json"
    file.write_text(json.dumps(given, indent=2))
    parts = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    parts[0].write_text(json.dumps(given[0]))
    parts[1].write_text("\n".join(json.dumps(item) for item in given[1:]))

    async def asked() -> AsyncIterator[dict[str, Any]]:
        for item in given:
            await asyncio.sleep(0)
            yield item

    started = await runs.start(iter(given), **QUICK)
    output = await started.result()
    others = [await runs.start(each, **QUICK) for each in (file, str(file), parts, tuple(given), asked())]

    assert isinstance(output, BatchOutput)
    assert output.verified
    assert {run.id for run in others} == {started.id}
    assert [await run.result() for run in others] == [output] * len(others)
    assert started.started
    assert started.started.estimate
    assert all(run.started and run.started.finished for run in others)
    assert live.operations().count("create") == 1


async def test_requests_that_are_too_large_for_an_input_go_to_the_store(live: Stack, runs: BatchRuns) -> None:
    sender = uuid4().hex  # Their run is no other test's.
    run = await runs.start((item | {"custom_id": f"{sender}-{n}"} for n, item in enumerate(TOO_LARGE)), **QUICK)

    counted = [result.outcome async for result in run.results()]

    assert counted == ["errored"] * len(TOO_LARGE)
    assert [path.stat().st_size > 500_000 for path in live.store_folder.glob("manifests/*.jsonl")] == [True]


async def test_more_than_a_batch_takes_becomes_a_job(live: Stack, runs: BatchRuns) -> None:
    given = fresh(5)

    run = await runs.start(given, shard_requests=2, concurrency=2, **QUICK)
    seen = [view async for view in run.follow()]
    output = await run.result()
    results = [result.custom_id async for result in run.results()]

    assert await run.is_job()
    assert isinstance(seen[-1], JobView)
    assert seen[-1].output == output
    assert isinstance(output, JobOutput)
    assert results == [item["custom_id"] for item in given]
    assert live.operations().count("create") == 3


async def test_what_has_failed_is_sent_again_and_merged(live: Stack, runs: BatchRuns) -> None:
    given = fresh(4)
    passing = {"type": "errored", "error": "overloaded_error", "custom_id": given[2]["custom_id"]}
    live.emulator.faults.add("outcome", operation="create", times=1, **passing)
    run = await runs.start(given, **QUICK)
    before = [result.outcome async for result in run.results()]
    with pytest.raises(Refused, match="max_tokens goes with"):
        await run.retry("unusable")

    job = await run.retry(max_cost=5)
    after = [result.outcome async for result in job.results()]

    assert before == ["succeeded", "succeeded", "errored", "succeeded"]
    assert after == ["succeeded"] * 4
    assert await job.is_job()
    assert len(live.emulator.batches) == 2
    with pytest.raises(Refused, match="No request of"):
        await job.retry()
    with pytest.raises(Refused, match="nothing to resume"):
        await job.resume()


@pytest.mark.slow
async def test_a_retry_has_the_limit_of_its_run_and_not_its_deadline(live: Stack, runs: BatchRuns) -> None:
    given, deadline = fresh(2), datetime.now(UTC) + timedelta(seconds=3)
    passing = {"type": "errored", "error": "overloaded_error", "custom_id": given[1]["custom_id"]}
    live.emulator.faults.add("outcome", operation="create", times=1, **passing)
    run = await runs.start(given, **(QUICK | {"by": deadline, "max_cost": 7}))
    before = [result.outcome async for result in run.results()]
    await asyncio.sleep((deadline - datetime.now(UTC)).total_seconds())

    job = await run.retry()
    after = [result.outcome async for result in job.results()]
    began = await anext(aiter(live.client.get_workflow_handle(job.id).fetch_history_events()))

    assert before == ["succeeded", "errored"]
    assert after == ["succeeded"] * 2
    asked = json.loads(began.workflow_execution_started_event_attributes.input.payloads[0].data)
    assert float(asked["maxCost"]) == 7


async def test_what_a_job_had_merged_is_its_result_where_its_last_run_was_abandoned(
    live: Stack, runs: BatchRuns
) -> None:
    given = fresh(2)
    passing = {"type": "errored", "error": "overloaded_error", "custom_id": given[1]["custom_id"]}
    live.emulator.faults.add("outcome", operation="create", times=1, **passing)
    job = await runs.start(given, shard_requests=1, retry_waves=1, concurrency=1, **QUICK)
    before = await job.result()
    assert isinstance(before, JobOutput)
    await live.client.start_workflow(
        JOB_WORKFLOW_TYPE, JobInput(requests=given), id=job.id, task_queue="nobody-polls-it"
    )
    await live.client.get_workflow_handle(job.id).terminate()

    again = runs.get(job.id)
    assert (await again.result()).results_file == before.results_file
    assert len([result async for result in again.results()]) == 2


@pytest.mark.parametrize("ended", [True, False])
async def test_a_job_has_no_results_of_other_requests_under_its_id(live: Stack, runs: BatchRuns, ended: bool) -> None:
    job = await runs.start(fresh(2), shard_requests=1, **QUICK)
    await job.result()
    await live.client.start_workflow(
        JOB_WORKFLOW_TYPE, JobInput(requests=fresh(2)), id=job.id, task_queue="nobody-polls-it"
    )
    again = runs.get(job.id)
    if ended:
        await live.client.get_workflow_handle(job.id).terminate()
        with pytest.raises(RunFailed):
            await again.result()

    with pytest.raises(ResultsNotFound):
        [result async for result in again.results(wait=False)]


async def test_without_temporal_the_results_of_a_run_are_read_from_the_store(
    live: Stack, runs: BatchRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await runs.start(fresh(), **QUICK)
    await run.result()
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")

    elsewhere = BatchRuns(store=live.store_url).get(run.id)
    results = [result.outcome async for result in elsewhere.results(wait=False)]

    assert results == ["succeeded"] * 3


def test_each_error_that_the_page_names_is_exported() -> None:
    named = {name for cell in page("docs/library.md").column("error") for name in re.findall(r"\b[A-Z]\w+", cell)}

    assert "UnreadableFile" in named
    assert named <= set(message_batches.__all__)


@pytest.mark.parametrize("concurrency", [0, 101])
async def test_no_number_of_batches_is_taken_for_another(runs: BatchRuns, concurrency: int) -> None:
    with pytest.raises(Refused, match="a number from 1 to 100"):
        await runs.start(fresh(), concurrency=concurrency)


async def test_a_wait_lasts_over_the_absence_of_a_worker(temporal: DevServer, tmp_path: Path) -> None:
    store, queue = (tmp_path / "store").as_uri(), f"later-{uuid4()}"
    async with Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.05))) as emulator:
        runs = batch_runs(Stack(temporal.client, emulator, store, queue))
        run = await runs.start(fresh(), **QUICK)
        waiting = asyncio.create_task(run.result())
        async with aclosing(run.follow()) as views:
            view = await anext(views)
        with pytest.raises(NoAnswer):
            await run.cancel()
        assert not waiting.done()
        async with running_stack(temporal.client, emulator, store, task_queue=queue):
            output = await waiting

    assert view.worker is False
    assert view.running
    assert output.verified


async def test_a_batch_is_stopped_and_what_has_finished_is_landed(runs: BatchRuns, pending: Stack) -> None:
    runs = batch_runs(pending)
    run = await runs.start(fresh(), **QUICK)
    await waits(run)

    stopped = await run.cancel()
    pending.emulator.clock.advance(SOME_TIME)
    results = [result async for result in run.results()]

    assert stopped.batch
    assert (stopped.workflow_id, stopped.batch_id, stopped.job) == (run.id, stopped.batch.id, False)
    assert {result.outcome for result in results} == {"canceled"}
    with pytest.raises(Refused, match="is over"):
        await run.cancel()
    by_batch = runs.get(stopped.batch.id)
    assert [result async for result in by_batch.results()] == results
    assert (await by_batch.progress()).workflow_id == run.id


async def test_a_run_that_is_abandoned_fails_with_its_status(pending: Stack) -> None:
    run = await batch_runs(pending).start(fresh(), **QUICK)
    await waits(run)

    await run.cancel(abandon=True)

    with pytest.raises(RunFailed) as caught:
        await run.result()
    assert caught.value.workflow_id == run.id
    assert isinstance(caught.value, MessageBatchesError)
    assert caught.value.kind == "canceled" or "ancel" in caught.value.kind


async def test_a_failed_run_names_its_failure_and_its_results_are_none(runs: BatchRuns) -> None:
    run = await runs.start(fresh(), key="revoked", poll_interval=EVERY)

    with pytest.raises(RunFailed, match="failed") as caught:
        [result async for result in run.results()]

    assert caught.value.kind == "AuthenticationFailed"
    with pytest.raises(ResultsNotFound):
        [result async for result in run.results(wait=False)]


async def test_a_lost_reply_is_resolved(pending: Stack) -> None:
    runs = batch_runs(pending)
    pending.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await runs.start(fresh(), **UNDECIDED)

    async def candidates() -> list[str]:
        seen = await run.progress()
        assert isinstance(seen, RunView)
        return [each.batch_id for each in seen.progress.candidates] if seen.progress else []

    (batch_id,) = await eventually(candidates, "a candidate")
    with pytest.raises(Refused, match="one of the two"):
        await run.resolve()
    resolved = await run.resolve(adopt=batch_id)
    pending.emulator.clock.advance(SOME_TIME)

    assert (resolved.workflow_id, resolved.job_id) == (run.id, None)
    output = await run.result()
    assert isinstance(output, BatchOutput)
    assert output.batch_id == batch_id


@pytest.mark.slow
async def test_a_batch_of_others_is_taken_over(pending: Stack) -> None:
    runs, given = batch_runs(pending), fresh()
    batch_id = await pending.post_by_a_stranger(given)

    run = await runs.attach(batch_id, poll_interval=EVERY)
    with pytest.raises(NotComparable) as caught:
        await runs.attach(batch_id, given)
    pending.emulator.clock.advance(SOME_TIME)
    unverified = await runs.get(caught.value.workflow_id or "").result()
    checked = await (await runs.attach(batch_id, given)).result()

    assert caught.value.workflow_id == run.id
    assert unverified.verified is False
    assert checked.verified is True
    with pytest.raises(InvalidRequests, match="more than a batch holds"):
        await runs.attach(batch_id, (request(f"r{n}") for n in range(100_001)))


async def test_results_outlive_what_temporal_knows(live: Stack, runs: BatchRuns) -> None:
    run = await runs.start(fresh(), **QUICK)
    output, results = await run.result(), [result async for result in run.results()]
    execution = WorkflowExecution(workflow_id=run.id)
    request = DeleteWorkflowExecutionRequest(namespace=live.client.namespace, workflow_execution=execution)
    await live.client.workflow_service.delete_workflow_execution(request)

    async def gone() -> bool:
        return not await run_exists(live.client, run.id)

    await eventually(gone, f"{run.id} to be deleted")
    later = runs.get(run.id)

    with pytest.raises(RunNotFound):
        await later.progress()
    landed = await later.result()
    assert landed.results_file == output.results_file
    assert landed == await later.stored()
    assert [result async for result in later.results()] == results
    with pytest.raises(RunNotFound):
        await runs.get("batch-0000").result()


@pytest.mark.parametrize(
    ("items", "place"),
    [
        ([request("a"), {"custom_id": "b"}], r"requests\[1\]"),
        ([request("a"), request("a")], r"requests\[1\]"),
        (["not a request"], r"no file|requests\[0\]|There is no file"),
        ([request("a"), "not a request"], r"requests\[1\]"),
        ([request("a", "half of one: \ud83d")], r"requests\[0\]: half of a surrogate pair"),
        ([request("a", temperature=float("nan"))], r"requests\[0\]: cannot be written as JSON"),
        ([request("a", metadata={"user_id": object()})], r"requests\[0\]: cannot be written as JSON"),
        ([], "there are no requests"),
        (iter(()), "there are no requests"),
    ],
)
async def test_requests_that_cannot_be_sent_are_refused_with_their_place(
    runs: BatchRuns, live: Stack, items: Any, place: str
) -> None:
    with pytest.raises(MessageBatchesError, match=place):
        await runs.start(items)
    assert live.emulator.calls == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"key": "sk-ant-not-a-name"}, "^key takes the name"),
        ({"beta": ["one,two"]}, "^beta cannot be used"),
        ({"anthropic_version": "2023 06"}, "^anthropic_version cannot be used"),
        ({"by": "soon"}, "^by 'soon' is neither"),
        ({"by": datetime(2020, 1, 1, tzinfo=UTC)}, "^by '2020-.* is over"),
        ({"poll_interval": timedelta(0)}, "^poll_interval cannot be used"),
        ({"poll_limit": -1}, "^poll_limit cannot be used"),
        ({"quiet_period": timedelta(days=99)}, "^quiet_period cannot be used"),
        ({"max_cost": 0}, "^max_cost cannot be used"),
        ({"max_cost": "much"}, "^max_cost cannot be used"),
        ({"retry_waves": 21}, "^retry_waves cannot be used"),
        ({"shard_requests": 100_001}, "^shard_requests cannot be used"),
        ({"concurrency": 101}, "^concurrency is a number"),
        ({"what": "errors"}, "^what goes with retry_waves"),
        ({"what": "some", "retry_waves": 1}, "^what cannot be used"),
        ({"what": "unusable", "retry_waves": 1}, "^max_tokens goes with"),
        ({"workflow_id": "batch-1"}, "^workflow_id goes with again"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
async def test_an_option_that_cannot_be_used_is_refused_by_its_name(
    runs: BatchRuns, live: Stack, options: Any, says: str
) -> None:
    with pytest.raises(Refused, match=says) as caught:
        await runs.start(fresh(), **options)

    assert caught.value.option == str(caught.value).split()[0]
    assert live.emulator.calls == []


async def test_an_option_that_there_is_not_is_an_error_and_not_left_out(runs: BatchRuns) -> None:
    with pytest.raises(TypeError, match="There is no option 'max_costs'"):
        await runs.start(fresh(), max_costs=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="There is no option 'max_cost'"):
        await runs.attach("msgbatch_1", max_cost=1)  # type: ignore[call-arg]


async def test_above_the_limit_of_cost_nothing_is_sent(runs: BatchRuns, live: Stack) -> None:
    with pytest.raises(CostLimitExceeded) as caught:
        await runs.start(fresh(), max_cost="0.000001")

    assert caught.value.estimate
    assert live.emulator.calls == []


async def test_results_are_read_piece_by_piece(temporal: DevServer, tmp_path: Path) -> None:
    """Thirty megabytes of results, of which a few are in memory at any time."""
    options = EmulatorOptions(processing_time=timedelta(seconds=0.05), reply_bytes=100_000)
    async with (
        Emulator(options) as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as stack,
    ):
        run = await batch_runs(stack).start([request(f"{uuid4()}", max_tokens=60_000) for _ in range(300)], **QUICK)
        output = await run.result()
        seen = 0
        tracemalloc.start()
        async for result in run.results(wait=False):
            seen += len(result.line) > 90_000
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert seen == 300
    assert most < output.results_file.bytes / 2, most


async def test_a_program_that_is_cancelled_while_its_requests_are_read_does_not_wait_for_the_rest(
    runs: BatchRuns,
) -> None:
    asked = itertools.count()
    begun = asyncio.Event()

    async def items() -> AsyncIterator[dict[str, Any]]:
        while True:  # Without an end.
            await asyncio.sleep(0)
            begun.set()
            yield request(f"r{next(asked)}", "x" * 4000)

    starting = asyncio.create_task(runs.start(items()))
    await begun.wait()
    starting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await starting


async def test_requests_are_not_held_in_memory(live: Stack, runs: BatchRuns) -> None:
    """Fifty megabytes of requests, made one by one, of which a few are in memory at any time."""
    made = (request(f"r{n}", "x" * 50_000) for n in range(1000))
    tracemalloc.start()
    with pytest.raises(CostLimitExceeded):
        await runs.start(made, max_cost="0.0001")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 24_000_000, most


async def test_errors_of_temporal_are_of_the_family(live: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", live.client.service_client.config.target_host)
    elsewhere = BatchRuns(await connect(namespace="nowhere"), live.store_url)

    with pytest.raises(TemporalUnreachable, match="There is no namespace 'nowhere'"):
        await elsewhere.start(fresh())
    with pytest.raises(TemporalUnreachable, match="There is no namespace 'nowhere'"):
        await elsewhere.get("batch-0").progress()
    with pytest.raises(TemporalUnreachable, match="There is no namespace 'nowhere'"):
        [result async for result in elsewhere.get("batch-0").results()]


async def test_without_a_server_a_program_is_told_where_it_was_looked_for(
    live: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    runs = BatchRuns(store=live.store_url)

    with pytest.raises(TemporalUnreachable, match=r"127\.0\.0\.1:1"):
        await runs.start(fresh())
    assert await runs.get("batch-0").stored() is None
