"""The search attributes of a run in Temporal's list; a run works without them if its namespace lacks them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType, IndexedValueType
from temporalio.client import WorkflowFailureError, WorkflowHandle

from message_batches.api.models import MessageBatch, RequestCounts
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchOutput, Phase
from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import DevServer
from message_batches.temporal.search_attributes import (
    BATCH_STATUS,
    OPEN_STATUSES,
    SEARCH_ATTRIBUTES,
    BatchStatus,
    UsableAttributes,
)
from tests.harness import waiting
from tests.harness.namespaces import new_namespace
from tests.harness.requests import requests
from tests.harness.stack import Stack, progress_when, running_stack
from tests.integration.conftest import SHORT_LIFE
from workflows.state import RunState
from workflows.status.search_attributes import status_of

NEVER = {"model": "no-such-model", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}


async def shown(run: WorkflowHandle[Any, BatchOutput]) -> dict[str, Any]:
    """Return the attributes of a run by their names."""
    pairs = (await run.describe()).typed_search_attributes.search_attributes
    return {pair.key.name: pair.value for pair in pairs if pair.key in SEARCH_ATTRIBUTES}


async def statuses(run: WorkflowHandle[Any, BatchOutput]) -> list[str]:
    """Return the values of `BatchStatus` that were set, in order."""
    changes = [
        event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        async for event in run.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
    ]
    return [fields[BATCH_STATUS.name].data.decode().strip('"') for fields in changes if BATCH_STATUS.name in fields]


async def until_status(run: WorkflowHandle[Any, BatchOutput], status: BatchStatus) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        found = await shown(run)
        return found if found.get(BATCH_STATUS.name) == status else None

    return await waiting.eventually(check, f"the status {status}")


async def test_a_landed_run_is_found_by_its_batch_its_size_and_its_outcome(live: Stack) -> None:
    run = await live.start(requests(3))
    output = await run.result()

    assert await shown(run) == {
        "BatchId": output.batch_id,
        "BatchStatus": "landed",
        "BatchRequests": 3,
        "BatchOutcome": "succeeded",
    }
    assert await statuses(run) == ["submitting", "polling", "retrieving", "landed"]
    query = f'BatchId = "{output.batch_id}" AND BatchRequests > 2 AND BatchOutcome = "succeeded"'

    async def listed() -> bool:
        return [found.id async for found in live.client.list_workflows(query)] == [run.id]

    await waiting.eventually(listed, "the run in the list")


@pytest.mark.parametrize(("good", "outcome"), [(2, "partly"), (0, "unsuccessful")])
async def test_the_outcome_says_whether_some_or_no_requests_succeeded(live: Stack, good: int, outcome: str) -> None:
    run = await live.start([*requests(good), {"custom_id": "wrong", "params": NEVER}])
    await run.result()

    assert (await shown(run))["BatchOutcome"] == outcome


async def test_a_failed_run_shows_its_failure_type_and_a_cancelled_one_shows_cancelled(pending: Stack) -> None:
    pending.emulator.faults.add("spend-limit", operation="create", times=1)
    failed = await pending.start(requests(2, "failed"))
    with pytest.raises(WorkflowFailureError):
        await failed.result()
    canceled = await pending.start(requests(2, "cancelled"))
    await progress_when(canceled, lambda seen: seen.polls > 0)
    await canceled.cancel()
    with pytest.raises(WorkflowFailureError):
        await canceled.result()

    assert await shown(failed) == {
        "BatchStatus": "failed",
        "BatchRequests": 2,
        "BatchOutcome": "SpendLimitReached",
    }
    assert {name: (await shown(canceled))[name] for name in ("BatchStatus", "BatchOutcome")} == {
        "BatchStatus": "canceled",
        "BatchOutcome": "canceled",
    }


@pytest.mark.slow
async def test_a_lost_reply_is_undecided_in_the_list_until_the_batch_is_found(live: Stack) -> None:
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await live.start(requests())

    undecided = await until_status(run, BatchStatus.UNDECIDED)
    await run.result()

    assert "BatchId" not in undecided
    assert await statuses(run) == ["submitting", "undecided", "polling", "retrieving", "landed"]


async def test_a_batch_id_that_the_api_does_not_confirm_is_not_shown(
    live: Stack,
) -> None:
    run = await live.start(batch_id="a-key-of-another-form")

    shown_of_it = await until_status(run, BatchStatus.POLLING)
    await live.saw("retrieve", 2)
    await run.terminate()

    assert shown_of_it == {"BatchStatus": "polling"} == await shown(run)


async def test_a_failing_landing_sets_its_status_once_until_it_lands(live: Stack) -> None:
    live.emulator.faults.add("missing-line", operation="results", times=3)
    run = await live.start(requests())
    await run.result()

    assert await statuses(run) == ["submitting", "polling", "retrieving", "landing-failing", "landed"]


@pytest.mark.slow
async def test_polls_do_not_change_the_attributes_and_a_continued_run_keeps_them(
    short_lived: DevServer, tmp_path: Path
) -> None:
    async with (
        Emulator(EmulatorOptions(ends_after_polls=SHORT_LIFE)) as emulator,
        running_stack(short_lived.client, emulator, (tmp_path / "store").as_uri()) as live,
    ):
        run = await live.start(requests())
        output = await run.result()

    first = short_lived.client.get_workflow_handle(run.id, run_id=run.first_execution_run_id)
    latest = short_lived.client.get_workflow_handle(run.id)
    assert (await latest.describe()).run_id != run.first_execution_run_id
    assert await statuses(first) == ["submitting", "polling"]
    assert await statuses(latest) == ["retrieving", "landed"]
    assert (await shown(latest))["BatchId"] == output.batch_id


@pytest.mark.parametrize(
    "there",
    [
        {},
        {"BatchStatus": IndexedValueType.INDEXED_VALUE_TYPE_INT},
        {"BatchId": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD},
    ],
    ids=["none", "another type", "one of them"],
)
async def test_a_run_works_without_attributes_that_its_namespace_lacks(
    temporal: DevServer, emulator: Emulator, tmp_path: Path, there: dict[str, Any]
) -> None:
    client = await new_namespace(temporal, there)
    async with running_stack(client, emulator, tmp_path.as_uri()) as live:
        run = await live.start(requests())
        output = await run.result()

    usable = {"BatchId": output.batch_id} if "BatchId" in there else {}
    assert await shown(run) == usable
    history = await run.fetch_history()
    assert not [event for event in history.events if event.HasField("workflow_task_failed_event_attributes")]


async def test_without_a_response_of_temporal_no_attributes_are_set(temporal: DevServer) -> None:
    nowhere = await connect(address=temporal.address, namespace=f"nowhere-{uuid4()}")

    assert await UsableAttributes().names(nowhere) == ()
    assert await UsableAttributes().names(temporal.client) == tuple(key.name for key in SEARCH_ATTRIBUTES)


@pytest.mark.parametrize(
    ("hours_left", "status"), [(3, BatchStatus.POLLING), (1, BatchStatus.EXPIRING), (-1, BatchStatus.EXPIRING)]
)
def test_the_status_near_a_batchs_expiry_is_expiring(hours_left: int, status: BatchStatus) -> None:
    now = datetime.now(UTC)
    batch = MessageBatch(
        id="msgbatch_1",
        processing_status="in_progress",
        request_counts=RequestCounts(processing=3),
        created_at=now,
        expires_at=now + timedelta(hours=hours_left),
    )

    assert status_of(RunState(phase=Phase.POLLING, batch=batch), now) is status


def test_every_phase_has_a_status_once_something_is_sent() -> None:
    now = datetime.now(UTC)
    found = {phase: status_of(RunState(phase=phase), now) for phase in Phase}

    assert found.pop(Phase.PREPARING) is None
    assert {phase: status and status.value for phase, status in found.items()} == {
        phase: phase.value for phase in found
    }
    assert set(OPEN_STATUSES) == set(BatchStatus) - {BatchStatus.LANDED, BatchStatus.FAILED, BatchStatus.CANCELED}
