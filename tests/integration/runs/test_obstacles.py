"""Why a run does not move: each obstacle, as `status`, the list of what needs attention and the metrics see it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import VersioningBehavior
from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseWorkflowExecutionRequest,
)
from temporalio.client import Client

from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.contract import WORKFLOW_TYPE, ActivityType
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchInput, Phase
from message_batches.observability.prometheus import StalledRuns
from message_batches.retention.references import RunReferences
from message_batches.runs import attention, obstacles
from message_batches.runs.attention import Decision, list_attention
from message_batches.runs.control import Runs
from message_batches.runs.describe import RunStatus, RunView, describe_execution
from message_batches.runs.list import ListedRun, list_runs
from message_batches.runs.obstacles import BAD_SEARCH_ATTRIBUTES, Cause, Obstacle, find_obstacles
from message_batches.settings import Release
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import PROMPT_TIMERS, DevServer, dev_server
from tests.harness.command_line import command_line
from tests.harness.requests import fresh
from tests.harness.stack import KEYS, QUICK_POLL, Stack, details_of, progress_when, running_stack
from tests.harness.waiting import eventually
from worker import build_worker

PATIENT = QUICK_POLL.model_copy(
    update={"transient": QUICK_POLL.transient.model_copy(update={"retry_after": timedelta(seconds=30)})}
)
"""Polls soon, and makes a call again late enough for a test to look at the run meanwhile."""

PAUSE = ("--dynamic-config-value", "frontend.WorkflowPauseEnabled=true")


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[DevServer]:
    """Start a server of this module's own: search attributes are removed, builds are made current, runs are paused."""
    async with dev_server(extra_args=(*PROMPT_TIMERS, *PAUSE)) as running:
        yield running


@pytest.fixture
async def stack(server: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as emulator,
        running_stack(server.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running


@asynccontextmanager
async def worker_of(build: str | None, stack: Stack, task_queue: str) -> AsyncIterator[None]:
    async with (
        http_client(stack.emulator.url) as http,
        build_worker(
            stack.client,
            HttpBatchApi(http, ApiKeys(KEYS)),
            open_store(stack.store_url),
            task_queue=task_queue,
            graceful_shutdown_timeout=timedelta(seconds=1),
            release=Release(build_id=build),
        ),
    ):
        yield


async def seen(stack: Stack, workflow_id: str, cause: Cause, failed_as: str = "") -> tuple[RunView, Obstacle]:
    """Return a run as soon as it has an obstacle."""
    runs = Runs(stack.client, open_store(stack.store_url))

    async def check() -> tuple[RunView, Obstacle] | None:
        view = await runs.describe(workflow_id, query_timeout=timedelta(seconds=1))
        found = [each for each in view.obstacles if each.cause is cause and failed_as in ("", each.failed_as)]
        return (view, found[0]) if found else None

    return await eventually(check, f"{workflow_id} with {cause}")


async def decision(client: Client, workflow_id: str) -> Decision:
    """Return what an operator is to do, as the list has it."""

    async def check() -> Decision | None:
        items = await list_attention(client)
        return next((item.decision for item in items if item.view.workflow_id == workflow_id), None)

    return await eventually(check, f"{workflow_id} among those that need attention")


async def counted(client: Client, task_queue: str, cause: Cause) -> int:
    stalled = StalledRuns(client, task_queue)
    await stalled.look()
    return stalled.counts.get(cause.value, 0)


async def end(stack: Stack, workflow_id: str) -> None:
    await stack.client.get_workflow_handle(workflow_id).terminate()


@pytest.mark.slow
async def test_a_run_whose_search_attribute_was_removed_says_that_its_task_fails(
    server: DevServer, stack: Stack, tmp_path: Path
) -> None:
    starter = command_line(tmp_path / "user", server, stack.store_url, stack.task_queue)
    run = await stack.start(fresh())
    await stack.saw("retrieve", 2)
    removed = RemoveSearchAttributesRequest(namespace="default", search_attributes=["BatchStatus"])
    await server.client.operator_service.remove_search_attributes(removed)
    stack.emulator.clock.advance(timedelta(minutes=10))

    view, obstacle = await seen(stack, run.id, Cause.WORKFLOW_TASK_FAILING)
    shown = await starter("status", run.id)
    needing = await starter("list", "--needs-attention", "--json")
    found = await decision(server.client, run.id)
    number = await counted(server.client, stack.task_queue, Cause.WORKFLOW_TASK_FAILING)

    assert (view.worker, view.answered) == (True, False)
    assert "BatchStatus" in obstacle.failure
    assert obstacle.failed_as == BAD_SEARCH_ATTRIBUTES
    assert obstacle.attempt >= 2
    assert (found, number) == (Decision.REGISTER, 1)
    assert "BatchStatus" in shown.said
    assert "No worker answers" not in shown.said
    (document,) = [each for each in needing.json if each["workflowId"] == run.id]
    assert document["command"].endswith(" setup")

    assert (await starter("setup")).code == 0
    assert (await run.result()).request_counts.succeeded == 3


async def test_a_run_without_a_worker_needs_one(server: DevServer, stack: Stack) -> None:
    run = await stack.client.start_workflow(
        WORKFLOW_TYPE, BatchInput(requests=fresh()), id=f"unpolled-{uuid4()}", task_queue=f"unpolled-{uuid4()}"
    )

    view, _ = await seen(stack, run.id, Cause.NO_WORKER)
    assert view.worker is False
    assert await decision(server.client, run.id) is Decision.START_WORKER
    await end(stack, run.id)


@pytest.mark.slow
@pytest.mark.parametrize("override", [False, True])
async def test_a_run_of_a_build_without_workers_names_the_build(stack: Stack, override: bool) -> None:
    """The description is changed, since the server reports a build's workers for minutes after their end."""
    run = await stack.start(fresh())
    await stack.saw("retrieve")
    described = await describe_execution(stack.client, run.id)
    versioning = described.workflow_execution_info.versioning_info
    version = versioning.versioning_override.pinned.version if override else versioning.deployment_version
    version.deployment_name, version.build_id = "message-batches", "gone"
    versioning.behavior = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED

    found = await find_obstacles(stack.client, described)

    assert [(each.cause, each.build) for each in found] == [(Cause.OTHER_BUILD, "message-batches:gone")]
    await end(stack, run.id)


async def test_a_run_on_a_queue_whose_workers_take_no_new_runs_says_so(server: DevServer, stack: Stack) -> None:
    queue = f"not-current-{uuid4()}"
    async with worker_of("not-current", stack, queue):
        stack.task_queue = queue
        run = await stack.start(fresh())

        view, obstacle = await seen(stack, run.id, Cause.OTHER_BUILD)

    assert (view.worker, obstacle.build) == (False, "")
    assert await decision(server.client, run.id) is Decision.START_WORKER
    await end(stack, run.id)


@pytest.mark.parametrize(
    "phase",
    ["prepareRequests", "findAnchor", "pollBatchStatus", pytest.param("retrieveResults", marks=pytest.mark.slow)],
)
async def test_a_failing_activity_needs_attention_in_every_phase(server: DevServer, stack: Stack, phase: str) -> None:
    operation = {"findAnchor": "list", "pollBatchStatus": "retrieve", "retrieveResults": "results"}.get(phase)
    if operation:
        stack.emulator.faults.add("503", operation=operation)
    else:
        stack.store_folder.mkdir()
        (stack.store_folder / "manifests").write_text("in the way of the folder")
    run = await stack.start(fresh())
    stack.emulator.clock.advance(timedelta(minutes=10))
    if phase == "retrieveResults":
        await stack.saw("retrieve")
        stack.emulator.clock.advance(timedelta(minutes=10))

    _, obstacle = await seen(stack, run.id, Cause.ACTIVITY_FAILING)

    assert obstacle.activity == phase
    assert obstacle.failure
    assert await decision(server.client, run.id) is Decision.WATCH
    await end(stack, run.id)


def in_the_way(stack: Stack) -> None:
    records = stack.store_folder / "submissions"
    records.rename(stack.store_folder.with_name("moved-away"))
    records.write_text("in the way of the folder")


def another_store(stack: Stack) -> None:
    (stack.store_folder / "store.json").write_text('{"id": "11111111-1111-4111-8111-111111111111"}')


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "kind", "says"),
    [
        (in_the_way, "StoreUnavailable", "submissions"),
        pytest.param(another_store, "WrongStore", "has the id 1111", marks=pytest.mark.slow),
    ],
)
async def test_a_post_that_waits_for_something_to_be_mended_says_for_what_and_needs_attention(
    server: DevServer, stack: Stack, tmp_path: Path, spoil: Callable[[Stack], None], kind: str, says: str
) -> None:
    starter = command_line(tmp_path / "user", server, stack.store_url, stack.task_queue)
    await open_store(stack.store_url).identity()
    # The POST is refused while the store is made unusable; from then on each try fails at the store.
    stack.emulator.faults.add("429", operation="create", retry_after=1, times=1)
    run = await stack.start(fresh(), poll=PATIENT)
    await stack.saw("create")
    spoil(stack)

    progress = await progress_when(run, lambda seen: says in (seen.waiting_for or ""))
    details = await details_of(run)
    _, obstacle = await seen(stack, run.id, Cause.ACTIVITY_FAILING, kind)
    unasked = await Runs(stack.client, open_store(stack.store_url)).describe(run.id, query_timeout=timedelta())
    listed = await starter("list", "--needs-attention", "--json")
    status = await starter("status", run.id)

    assert (progress.phase, progress.posts, progress.submission) == (Phase.SUBMITTING, 0, progress.waiting_for)
    assert says in details
    assert unasked.progress
    assert (unasked.answered, unasked.progress.phase, unasked.progress.posts) == (False, Phase.SUBMITTING, 0)
    assert (obstacle.activity, obstacle.needs_attention) == (ActivityType.SUBMIT_BATCH, True)
    assert obstacle.next_attempt
    assert (await counted(server.client, stack.task_queue, Cause.ACTIVITY_FAILING)) == 1
    (document,) = [each for each in listed.json if each["workflowId"] == run.id]
    assert says in document["why"]
    assert "API" not in document["why"]
    assert document["command"].endswith(f" watch {run.id}")
    assert says in status.said
    assert obstacle.activity not in status.said
    await end(stack, run.id)


async def test_a_post_that_waits_for_the_api_says_so_and_needs_nobody(server: DevServer, stack: Stack) -> None:
    stack.emulator.faults.add("429", operation="create", retry_after=60)
    run = await stack.start(fresh())
    await stack.saw("create")

    progress = await progress_when(run, lambda seen: "429" in (seen.waiting_for or ""))
    _, obstacle = await seen(stack, run.id, Cause.ACTIVITY_FAILING)
    needing = await list_attention(server.client)

    assert progress.phase is Phase.SUBMITTING
    assert (obstacle.failed_as, obstacle.needs_attention) == ("RateLimited", False)
    assert run.id not in {item.view.workflow_id for item in needing}
    await end(stack, run.id)


async def test_a_post_whose_key_the_worker_has_lost_needs_attention(server: DevServer, tmp_path: Path) -> None:
    keys = dict(KEYS)
    async with (
        Emulator() as emulator,
        running_stack(server.client, emulator, (tmp_path / "store").as_uri(), keys) as stack,
    ):
        emulator.faults.add("slow", operation="list", seconds=1.0, times=1)
        run = await stack.start(fresh(), poll=PATIENT, api_key="team-a")
        await stack.saw("list")
        del keys["team-a"]

        _, obstacle = await seen(stack, run.id, Cause.ACTIVITY_FAILING, "UnknownKey")
        progress = await progress_when(run, lambda seen: bool(seen.waiting_for))

        assert obstacle.activity == ActivityType.SUBMIT_BATCH
        assert obstacle.failure in (progress.waiting_for or "")
        assert await decision(server.client, run.id) is Decision.WATCH
        await end(stack, run.id)


async def test_a_post_that_waits_for_another_runs_says_so_and_needs_nobody(server: DevServer, stack: Stack) -> None:
    given = fresh()
    earlier = await stack.start(given, workflow_id=f"same-{uuid4()}")
    await stack.saw("retrieve")

    async def recorded() -> bool:
        events = [event async for event in earlier.fetch_history_events()]
        records = {
            event.event_id
            for event in events
            if event.activity_task_scheduled_event_attributes.activity_type.name == ActivityType.RECORD_OUTCOME
        }
        return any(event.activity_task_completed_event_attributes.scheduled_event_id in records for event in events)

    await eventually(recorded, "the record of the batch, which would be written again")
    await end(stack, earlier.id)
    outcome, intent = sorted(stack.store_folder.glob("submissions/*/*/*.json"), key=lambda path: len(path.name))[::-1]
    outcome.unlink()
    # As if the earlier run's worker were sending it just now.
    intent.write_text(json.dumps(json.loads(intent.read_text()) | {"time": datetime.now(UTC).isoformat()}))

    run = await stack.start(given, workflow_id=earlier.id, poll=PATIENT)
    _, obstacle = await seen(stack, run.id, Cause.ACTIVITY_FAILING, "SentByAnotherRun")
    progress = await progress_when(run, lambda seen: bool(seen.waiting_for))

    assert obstacle.failure in (progress.waiting_for or "")
    assert run.id not in {item.view.workflow_id for item in await list_attention(server.client)}
    assert len(stack.emulator.batches) == 1
    await end(stack, run.id)


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("UnknownKey", True),
        ("WrongStore", True),
        ("StoreUnavailable", True),
        ("CannotDecrypt", True),
        ("NotSent", True),
        ("AnErrorOfNextYear", True),
        ("RateLimited", False),
        ("RefusedForNow", False),
        ("SentByAnotherRun", False),
    ],
)
@pytest.mark.parametrize("attempt", [0, 2])
def test_only_what_an_operator_can_mend_needs_one(kind: str, attempt: int, needs: bool) -> None:
    obstacle = Obstacle(Cause.ACTIVITY_FAILING, "submitBatch", attempt=attempt, failure="why", failed_as=kind)

    assert obstacle.needs_attention is needs
    assert Obstacle(Cause.PAUSED, failed_as=kind).needs_attention


async def test_a_batch_that_is_not_found_for_long_needs_attention_before_the_next_poll(
    server: DevServer, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.emulator.faults.add("404", operation="retrieve")
    run = await stack.start(fresh(), poll=PATIENT.model_copy(update={"retry_after": timedelta(hours=1)}))
    _, obstacle = await seen(stack, run.id, Cause.ACTIVITY_FAILING)
    before = await list_attention(server.client)

    monkeypatch.setattr(attention, "NOT_FOUND_FOR", timedelta(0))

    assert (obstacle.failed_as, obstacle.needs_attention) == ("BatchNotFound", False)
    assert run.id not in {item.view.workflow_id for item in before}
    assert await decision(server.client, run.id) is Decision.WATCH
    await end(stack, run.id)


async def test_a_paused_activity_and_a_paused_run_say_so(server: DevServer, stack: Stack, tmp_path: Path) -> None:
    starter = command_line(tmp_path / "user", server, stack.store_url, stack.task_queue)
    stack.emulator.faults.add("503", operation="retrieve")
    run = await stack.start(fresh())
    await stack.saw("retrieve", 2)
    place = WorkflowExecution(workflow_id=run.id)
    request = PauseActivityRequest(
        namespace="default", execution=place, type=ActivityType.POLL_BATCH_STATUS, identity="op", reason="on purpose"
    )
    await stack.client.workflow_service.pause_activity(request)

    _, obstacle = await seen(stack, run.id, Cause.PAUSED)
    assert (obstacle.activity, obstacle.failure) == (ActivityType.POLL_BATCH_STATUS, "on purpose")
    assert await decision(server.client, run.id) is Decision.UNPAUSE

    paused = PauseWorkflowExecutionRequest(
        namespace="default", workflow_id=run.id, identity="op", reason="at rest", request_id=str(uuid4())
    )
    await stack.client.workflow_service.pause_workflow_execution(paused)

    async def check() -> RunView | None:
        view = await Runs(stack.client, open_store(stack.store_url)).describe(
            run.id, query_timeout=timedelta(seconds=1)
        )
        return view if view.status is RunStatus.PAUSED else None

    view = await eventually(check, "a paused run")
    shown = await starter("status", run.id, "--json")
    listed = await eventually(lambda: in_list(server.client, stack, run.id), "the paused run in the list")
    assert [each.failure for each in view.obstacles if not each.activity] == ["at rest"]
    assert (shown.code, shown.json["status"]) == (0, "paused")
    assert listed.status is RunStatus.PAUSED
    in_use = RunReferences(stack.client)
    await in_use.refresh()
    assert run.id in {workflow_id for workflow_id, _ in in_use.runs}
    assert await decision(server.client, run.id) is Decision.UNPAUSE
    await end(stack, run.id)


async def in_list(client: Client, stack: Stack, workflow_id: str) -> ListedRun | None:
    runs = await list_runs(client, open_store(stack.store_url), 100)
    return next((run for run in runs if run.workflow_id == workflow_id and run.status is RunStatus.PAUSED), None)


@pytest.mark.slow
async def test_a_landing_that_waits_for_another_one_says_so_and_needs_nobody(
    server: DevServer, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstacles, "TURN_AFTER", timedelta(seconds=0.5))
    stack.emulator.faults.add("slow", operation="results", seconds=2.0)
    runs = [await stack.start(fresh()) for _ in range(2)]
    await stack.saw("retrieve", 2)
    stack.emulator.clock.advance(timedelta(minutes=10))
    await stack.saw("results")

    async def waiting() -> RunView | None:
        views = [await Runs(stack.client, open_store(stack.store_url)).describe(run.id) for run in runs]
        return next((view for view in views if view.has(Cause.WAITING_FOR_TURN)), None)

    view = await eventually(waiting, "a landing that waits for its turn")
    needing = await list_attention(server.client)

    assert [each.activity for each in view.obstacles] == [ActivityType.RETRIEVE_RESULTS]
    assert not {run.id for run in runs} & {item.view.workflow_id for item in needing}
    for run in runs:
        await run.result()
