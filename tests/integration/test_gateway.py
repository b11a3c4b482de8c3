"""Answers that are not as the API's reference has them: each is read for what it is, or named."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from message_batches.contract import ActivityType
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchOutput, Phase, PollSchedule
from message_batches.runs.history import read_progress
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import DevServer
from tests.harness.gateway import Answer, Gateway, gateway_to
from tests.harness.requests import requests
from tests.harness.stack import Stack, details_of, failure_of, progress_when, running_stack

POST = "POST /v1/messages/batches"
BOM = b"\xef\xbb\xbf"


@pytest.fixture
async def gateway(emulator: Emulator) -> AsyncIterator[Gateway]:
    async with gateway_to(emulator.url) as running:
        yield running


@pytest.fixture
async def behind(temporal: DevServer, emulator: Emulator, gateway: Gateway, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker that calls the emulator through the gateway."""
    store = (tmp_path / "store").as_uri()
    async with running_stack(temporal.client, emulator, store, through=gateway.url) as running:
        yield running


async def landed_bytes(live: Stack, output: BatchOutput) -> bytes:
    store = open_store(live.store_url)
    return await store.read(store.name(output.results_file.uri)) or b""


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"\xc3", b"\xed\xa0\xbd"], ids=["no UTF-8", "cut short", "surrogate"])
async def test_results_that_are_not_utf8_are_downloaded_again(behind: Stack, gateway: Gateway, damage: bytes) -> None:
    def damaged_once(answer: Answer) -> None:
        if answer.is_results and gateway.calls.count(answer.operation) == 1:
            answer.body = answer.body.replace(b'"text":"', b'"text":"' + damage, 1)

    gateway.change = damaged_once

    output = await behind.run(requests(3))

    assert output.verified
    assert behind.operations().count("results") == 2
    assert (await landed_bytes(behind, output)).decode().count("\n") == 3


async def test_a_bom_before_the_results_is_not_landed(behind: Stack, gateway: Gateway) -> None:
    def with_bom(answer: Answer) -> None:
        if answer.is_results:
            answer.body = BOM + answer.body

    gateway.change = with_bom

    output = await behind.run(requests(3))

    assert output.verified
    assert output.results is not None
    assert behind.operations().count("results") == 1
    assert (await landed_bytes(behind, output)).startswith(b'{"custom_id":"request-0000"')


def error(message: str, kind: str = "invalid_request_error", **details: str) -> bytes:
    said: dict[str, Any] = {"type": kind, "message": message, **({"details": details} if details else {})}
    return json.dumps({"type": "error", "error": said, "request_id": "req_1"}).encode()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (error("Your credit balance is too low to access the Anthropic API. Please go to ..."), "SpendLimitReached"),
        (error("You have reached your specified API usage limits."), "SpendLimitReached"),
        (error("why", error_code="workspace_human_review_disabled"), "RequestRefused"),
        (error("requests.0.params: Field required"), "RequestRefused"),
        (b'{"detail":"no such tenant"}', "RequestRefused"),
    ],
    ids=["low credit", "usage limit", "human review", "the request", "of a gateway"],
)
async def test_a_post_refused_for_good_fails_at_once_by_its_cause(
    behind: Stack, gateway: Gateway, body: bytes, kind: str
) -> None:
    gateway.refuse(POST, 400, body, times=9)

    failure = await failure_of(await behind.start(requests()))

    assert failure.type == kind
    assert gateway.calls.count(POST) == 1
    assert not behind.emulator.batches


@pytest.mark.parametrize(
    "body", [error("Overloaded"), error("Internal server error"), error("why", "api_error")], ids=lambda body: str(body)
)
async def test_a_post_refused_for_now_is_made_again(behind: Stack, gateway: Gateway, body: bytes) -> None:
    gateway.refuse(POST, 400, body)

    output = await behind.run(requests())

    assert gateway.calls.count(POST) == 2
    assert [batch.id for batch in behind.emulator.batches] == [output.batch_id]
    assert output.possibly_paid_twice == ()


async def test_an_archived_batch_fails_at_once_with_the_time(live: Stack) -> None:
    batch_id = await live.post_by_a_stranger(requests())
    live.emulator.clock.advance(timedelta(days=30))

    failure = await failure_of(await live.start(batch_id=batch_id))

    assert failure.type == "ResultsArchived"
    assert failure.details[0]["action"] is None
    archived = live.emulator.batches[0].created_at + timedelta(days=29)
    assert f"{archived:%Y-%m-%d %H:%M:%S} UTC" in failure.message
    assert live.operations() == ["create", "retrieve", "results", "retrieve"]


async def test_a_batch_without_results_after_29_days_counts_as_archived(behind: Stack, gateway: Gateway) -> None:
    batch_id = await behind.post_by_a_stranger(requests())
    behind.emulator.clock.advance(timedelta(days=30))

    def archived_in_silence(answer: Answer) -> None:
        if answer.is_batch:
            answer.set(archived_at=None, results_url=None, created_at="2026-01-01T00:00:00Z")

    gateway.change = archived_in_silence

    failure = await failure_of(await behind.start(batch_id=batch_id))

    assert failure.type == "ResultsArchived"
    assert "2026-01-30" in failure.message


@pytest.mark.parametrize("status", [400, 403, 410])
async def test_an_archived_batch_whose_results_are_refused_otherwise_fails_at_once(
    behind: Stack, gateway: Gateway, status: int
) -> None:
    batch_id = await behind.post_by_a_stranger(requests())
    behind.emulator.clock.advance(timedelta(days=30))

    def refused(answer: Answer) -> None:
        if answer.operation.endswith("/results"):
            answer.status = status

    gateway.change = refused

    failure = await failure_of(await behind.start(batch_id=batch_id))

    assert failure.type == "ResultsArchived"
    assert failure.details[0]["action"] is None


@pytest.mark.parametrize("status", ["failed", None])
async def test_a_batch_that_has_ended_under_an_unknown_status_is_landed(
    behind: Stack, gateway: Gateway, status: str | None
) -> None:
    def renamed(answer: Answer) -> None:
        if answer.is_batch and json.loads(answer.body)["processing_status"] == "ended":
            answer.set(processing_status=status)

    gateway.change = renamed

    assert (await behind.run(requests())).verified


async def test_an_unknown_status_of_a_batch_that_has_not_ended_is_named_and_polled_on(
    behind: Stack, gateway: Gateway
) -> None:
    def paused(answer: Answer) -> None:
        if answer.is_batch:
            answer.set(processing_status="paused", ended_at=None, results_url=None)

    gateway.change = paused
    run = await behind.start(requests())

    progress = await progress_when(run, lambda now: now.unknown_status)
    details = await details_of(run)
    gateway.change = lambda _: None

    assert (progress.phase, progress.processing_status) == (Phase.POLLING, "paused")
    assert "The status `paused` is not known" in details
    assert (await run.result()).verified


async def test_before_the_post_the_history_shows_the_same_phase_as_the_run(live: Stack) -> None:
    live.emulator.faults.add("529", operation="list")
    run = await live.start(requests())
    progress = await progress_when(run, lambda now: now.phase is Phase.SUBMITTING)
    await live.saw("list")

    read = await read_progress(live.client, run.id)
    await run.terminate()

    assert (read.phase, read.posts) == (progress.phase, 0)


@pytest.mark.slow
async def test_a_followed_batch_that_is_gone_was_there_until_then(
    skipping: WorkflowEnvironment, tmp_path: Path
) -> None:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(hours=1))) as emulator,
        running_stack(skipping.client, emulator, (tmp_path / "store").as_uri()) as live,
    ):
        run = await live.start(requests(), poll=PollSchedule())
        seen = await progress_when(run, lambda now: now.polls >= 1)
        emulator.faults.add("404", operation="retrieve")
        missing = await progress_when(run, lambda now: now.not_found >= 2)
        details = await details_of(run)

        failure = await failure_of(run)
        read = await read_progress(live.client, run.id)

    assert seen.not_found_since is None
    assert missing.last_seen
    assert missing.not_found_since
    assert missing.last_seen <= missing.not_found_since
    assert f"it was there until {missing.last_seen:%Y-%m-%d %H:%M:%S} UTC" in details
    assert failure.type == "BatchNotFound"
    assert f"{missing.last_seen:%Y-%m-%d %H:%M:%S} UTC" in failure.message
    assert failure.details[0]["action"] is None
    assert read.not_found == 21
    assert read.not_found_since
    assert read.last_seen


async def reset_to_the_first_poll(live: Stack, run: WorkflowHandle[Any, BatchOutput]) -> WorkflowHandle[Any, Any]:
    """Reset a run to the moment before its first poll; return its new run."""
    task = 0
    async for event in run.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            task = event.event_id
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_type.name == ActivityType.POLL_BATCH_STATUS:
            break
    reply = await live.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=live.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run.id, run_id=run.result_run_id or ""),
            workflow_task_finish_event_id=task,
            request_id=f"reset-{run.id}",
            reason="a test",
        )
    )
    return live.client.get_workflow_handle(run.id, run_id=reply.run_id, result_type=BatchOutput)


@pytest.mark.slow
async def test_a_run_reset_after_its_batch_was_landed_and_deleted_ends_with_its_results(live: Stack) -> None:
    run = await live.start(requests(), delete_after_landing=True)
    first = await run.result()

    again = await (await reset_to_the_first_poll(live, run)).result()

    assert first.deleted
    assert not live.emulator.batches
    assert again.results_file == first.results_file
    assert again.verified
    assert again.request_counts == first.request_counts


@pytest.mark.slow
@pytest.mark.parametrize("with_requests", [True, False])
async def test_a_batch_that_was_landed_and_is_deleted_can_be_attached_to(live: Stack, with_requests: bool) -> None:
    first = await live.run(requests(), delete_after_landing=True)

    again = await live.run(requests() if with_requests else None, batch_id=first.batch_id)

    assert again.results_file == first.results_file


@pytest.mark.slow
@pytest.mark.parametrize("ours", [True, False])
async def test_results_landed_without_requests_are_compared_with_them_once_the_batch_is_gone(
    live: Stack, ours: bool
) -> None:
    alone = await live.run(batch_id=await live.post_by_a_stranger(requests()))
    live.emulator.clock.advance(timedelta(days=30))
    given = requests() if ours else [item | {"custom_id": f"{item['custom_id']}-x"} for item in requests()]

    run = await live.start(given, batch_id=alone.batch_id)

    if ours:
        again = await run.result()
        assert again.verified
        assert again.results_file.uri != alone.results_file.uri
    else:
        assert (await failure_of(run)).type == "ResultsIncomplete"


async def test_results_that_were_landed_before_the_batch_was_archived_are_found(live: Stack) -> None:
    first = await live.run(requests())
    live.emulator.clock.advance(timedelta(days=30))

    again = await live.run(batch_id=first.batch_id)

    assert again.results_file == first.results_file


async def test_landed_results_whose_file_is_gone_are_landed_again(live: Stack) -> None:
    first = await live.run(requests())
    store = open_store(live.store_url)
    await store.remove(store.name(first.results_file.uri))

    again = await live.run(requests(), batch_id=first.batch_id)

    assert again.verified
    assert again.results_file.uri != first.results_file.uri
    assert again.results_file.sha256 == first.results_file.sha256
    assert await landed_bytes(live, again)


@pytest.mark.slow
async def test_a_batch_landed_deleted_and_lost_names_the_file(skipping: WorkflowEnvironment, tmp_path: Path) -> None:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.05))) as emulator,
        running_stack(skipping.client, emulator, (tmp_path / "store").as_uri()) as live,
    ):
        first = await live.run(requests(), delete_after_landing=True)
        store = open_store(live.store_url)
        await store.remove(store.name(first.results_file.uri))

        failure = await failure_of(await live.start(requests(), batch_id=first.batch_id, poll=PollSchedule()))

    assert failure.type == "BatchNotFound"
    assert first.results_file.uri in failure.message
