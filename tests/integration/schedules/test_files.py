"""Schedules of a file that others put into the store: named by the time of the firing, and waited for."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import ActivityEnvironment

from activities.models import FindRequestsInput
from activities.requests import RequestsActivities
from message_batches.contract import CANCEL_JOB, POLL_NOW
from message_batches.emulator import Emulator
from message_batches.job_models import JobOutput, JobPhase
from message_batches.models import Phase
from message_batches.schedules.control import trigger_schedule
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import DevServer
from tests.harness import local_s3
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.requests import fresh
from tests.harness.running_jobs import Job, job_when, merged_ids, start_job
from tests.harness.stack import QUICK_POLL, Stack, details_of, failure_of, progress_when, running_stack
from tests.harness.waiting import eventually
from tests.integration.schedules.test_firings import NEVER, reset

RARELY = ("--poll-interval", "1h")


def uri_in(live: Stack, name: str = "{date}.jsonl") -> str:
    return f"{live.store_url}/incoming/{name}"


def put(uri: str, given: Sequence[dict[str, Any]]) -> None:
    """Put a file of requests into the store, as its page says: written elsewhere, and renamed."""
    path = Path(unquote(urlsplit(uri).path))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text("".join(f"{json.dumps(each)}\n" for each in given))
    draft.replace(path)


async def triggered(live: Stack, name: str) -> tuple[Job, str]:
    """Fire a schedule; return the job, and the date of the firing in Tokyo."""
    workflow_id = (await trigger_schedule(live.client, name)).workflow_id
    assert workflow_id
    job: Job = live.client.get_workflow_handle(workflow_id, result_type=JobOutput)
    time = datetime.fromisoformat(workflow_id.removeprefix(f"{name}-"))
    return job, f"{time + timedelta(hours=9):%Y-%m-%d}"


async def test_a_file_that_comes_late_is_waited_for(starter: CommandLine, live: Stack, name: str) -> None:
    uri = uri_in(live)
    late = ("--requests-uri", uri, "--wait-for-file", "2h", "--time-zone", "Asia/Tokyo")
    made = await starter("schedule", "create", name, *late, *NEVER, *QUICK, "--json")
    assert made.code == 0, made.err

    job, date = await triggered(live, name)
    waiting = await job_when(job, lambda seen: seen.waiting_for is not None)
    assert waiting.phase is JobPhase.PLANNING
    assert f"incoming/{date}.jsonl, until " in str(waiting.waiting_for)
    assert "waiting for" in await details_of(job)
    assert f"{date}.jsonl" in (await starter("status", job.id)).out
    assert live.operations() == []

    given = fresh(3)
    put(uri.replace("{date}", date), given)
    output = await job.result()

    assert merged_ids(output) == [each["custom_id"] for each in given]
    assert live.operations().count("create") == 1
    assert made.json["waitForRequests"] == 7200
    assert made.json["timeZone"] == "Asia/Tokyo"

    await reset(live, job.id)
    again = await live.client.get_workflow_handle(job.id, result_type=JobOutput).result()

    assert again.results_file == output.results_file
    assert live.operations().count("create") == 1


@pytest.mark.slow
async def test_each_firing_reads_the_file_as_it_is_then(starter: CommandLine, live: Stack, name: str) -> None:
    uri = uri_in(live, "daily.jsonl")
    await starter("schedule", "create", name, "--requests-uri", uri, *NEVER, *QUICK, "--overlap", "allow")
    seen = []
    for number in (1, 2):
        put(uri, fresh(number))
        job, _ = await triggered(live, name)
        seen.append((job.id, len(merged_ids(await job.result()))))

    assert [count for _, count in seen] == [1, 2]
    assert len({job for job, _ in seen}) == 2


async def test_each_firing_is_held_to_the_limit_of_its_cost(starter: CommandLine, live: Stack, name: str) -> None:
    uri = uri_in(live, "growing.jsonl")
    await starter("schedule", "create", name, "--requests-uri", uri, *NEVER, *QUICK, "--max-cost", "0.02")
    put(uri, fresh(1))
    cheap = await (await triggered(live, name))[0].result()
    put(uri, fresh(50))
    failure = await failure_of((await triggered(live, name))[0])

    assert merged_ids(cheap)
    assert failure.type == "CostLimitExceeded"
    assert live.operations().count("create") == 1


async def test_a_file_that_does_not_come_fails_the_firing_and_nothing_is_sent(
    starter: CommandLine, live: Stack, name: str
) -> None:
    wait = ("--requests-uri", uri_in(live), "--wait-for-file", "0.3s")
    await starter("schedule", "create", name, *wait, *NEVER, *QUICK)

    job, _ = await triggered(live, name)
    failure = await failure_of(job)

    assert failure.type == "RequestsNotFound"
    assert "was waited for" in failure.message
    assert "nothing was sent" in failure.message
    assert live.operations() == []


async def test_a_job_that_has_failed_without_its_file_is_resumed_for_the_same_date(
    starter: CommandLine, live: Stack, name: str
) -> None:
    uri = uri_in(live)
    wait = ("--requests-uri", uri, "--wait-for-file", "0.3s", "--time-zone", "Asia/Tokyo")
    await starter("schedule", "create", name, *wait, *NEVER, *QUICK)
    job, date = await triggered(live, name)
    await failure_of(job)
    put(uri.replace("{date}", date), fresh(2))

    resumed = await starter("resume", job.id, "--wait", "--json")
    again = [each async for each in live.client.get_workflow_handle(job.id).fetch_history_events()]
    given = again[0].workflow_execution_started_event_attributes.input.payloads[0].data

    assert resumed.code == 0, resumed.said
    assert live.operations().count("create") == 1
    assert json.loads(given)["requestsUri"] == uri.replace("{date}", date)
    assert json.loads(given)["requestsUriZone"] is None


async def test_without_a_wait_the_file_has_to_be_there(starter: CommandLine, live: Stack, name: str) -> None:
    await starter("schedule", "create", name, "--requests-uri", uri_in(live), *NEVER, *QUICK)

    job, _ = await triggered(live, name)

    assert (await failure_of(job)).type == "RequestsNotFound"


async def test_a_signal_looks_for_the_file_at_once(starter: CommandLine, live: Stack, name: str) -> None:
    uri = uri_in(live)
    await starter("schedule", "create", name, "--requests-uri", uri, "--wait-for-file", "2h", *NEVER, *RARELY)
    job, _ = await triggered(live, name)
    await job_when(job, lambda seen: seen.waiting_for is not None)

    put(uri.replace("{date}", f"{datetime.now(UTC):%Y-%m-%d}"), fresh(1))
    await job.signal(POLL_NOW)

    await live.saw("create")


@pytest.mark.parametrize("way", ["stop", "wait", pytest.param("deadline", marks=pytest.mark.slow)])
async def test_a_job_ends_in_time_whose_store_is_away_while_it_looks_for_its_file(live: Stack, way: str) -> None:
    soon = timedelta(seconds=1)
    deadline = datetime.now(UTC) + soon if way == "deadline" else None
    wait = soon if way == "wait" else timedelta(hours=2)
    # A worker on whose machine the store is not mounted tries again and again.
    asked: dict[str, Any] = {"store_id": "of-the-mount", "requests_uri": uri_in(live, "a.jsonl")}
    job = await start_job(live, **asked, wait_for_requests=wait, deadline=deadline)
    if way == "stop":

        async def tried_again() -> bool:
            pending = (await job.describe()).raw_description.pending_activities
            return bool(pending) and pending[0].attempt > 1

        await eventually(tried_again, "a look that failed")
        await job.execute_update(CANCEL_JOB)

    failure = await failure_of(job)

    assert failure.type == {"stop": "NothingLanded", "wait": "RequestsNotFound", "deadline": "DeadlinePassed"}[way]
    assert way != "wait" or "the store has not said" in failure.message
    assert live.operations() == []


@pytest.mark.slow
async def test_a_store_that_is_away_is_asked_until_the_deadline_where_no_file_is_waited_for(live: Stack) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=12)
    asked: dict[str, Any] = {"store_id": "of-the-mount", "requests_uri": uri_in(live), "requests_uri_zone": "UTC"}
    job = await start_job(live, **asked, deadline=deadline)

    failure = await failure_of(job)
    described = await job.describe()

    assert failure.type == "DeadlinePassed"
    assert described.close_time
    assert described.close_time >= deadline


@pytest.mark.parametrize("way", ["cancel", "stop", "deadline"])
async def test_a_job_that_waits_for_its_file_ends_when_it_is_told_to(live: Stack, way: str) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=1) if way == "deadline" else None
    rarely = QUICK_POLL.model_copy(update={"retry_after": timedelta(hours=1)})
    job = await start_job(
        live, requests_uri=uri_in(live), wait_for_requests=timedelta(hours=2), poll=rarely, deadline=deadline
    )
    if way != "deadline":
        await job_when(job, lambda seen: seen.waiting_for is not None)
    match way:
        case "cancel":
            await job.cancel()
        case "stop":
            await job.execute_update(CANCEL_JOB)

    ended = await ending(job)

    assert ended == {"cancel": "cancelled", "stop": "NothingLanded", "deadline": "DeadlinePassed"}[way]
    assert live.operations() == []


async def ending(job: WorkflowHandle[Any, Any]) -> str:
    """How a job has failed, or that it was cancelled."""
    try:
        return str((await failure_of(job)).type)
    except AssertionError as error:
        return "cancelled" if "CancelledError" in repr(error) or "cancelled" in str(error).lower() else repr(error)


async def test_a_run_waits_for_its_file_as_a_job_does(live: Stack) -> None:
    uri = uri_in(live, "{year}/{month}.jsonl")
    run = await live.start(
        requests_uri=uri, requests_uri_zone="UTC", wait_for_requests=timedelta(hours=1), workflow_id="by-hand"
    )
    waiting = await progress_when(run, lambda seen: seen.waiting_for is not None)
    time = datetime.now(UTC)
    path = f"{live.store_url}/incoming/{time:%Y/%m}.jsonl"
    put(path, fresh(2))
    output = await run.result()

    assert waiting.phase is Phase.PREPARING
    assert output.summary.counts.succeeded == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"requests_uri": "{day-off}.jsonl", "requests_uri_zone": "UTC"}, "{day-off}"),
        ({"requests_uri": "{date}.jsonl", "requests_uri_zone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"requests_uri_zone": "UTC"}, "go with requestsUri"),
    ],
)
async def test_an_input_that_cannot_be_filled_in_fails_at_once(live: Stack, given: dict[str, Any], words: str) -> None:
    if "requests_uri" in given:
        given = given | {"requests_uri": uri_in(live, given["requests_uri"])}
    else:
        given = given | {"base": "some-run"}
    job = await start_job(live, **given)

    failure = await failure_of(job)

    assert failure.type == "InvalidRequests"
    assert words in failure.message
    assert live.operations() == []


async def test_a_firing_whose_file_costs_more_than_its_limit_sends_nothing(
    starter: CommandLine, live: Stack, name: str
) -> None:
    uri = uri_in(live, "daily.jsonl")
    put(uri, fresh(3))
    limit = ("--requests-uri", uri, "--max-cost", "0.000001")
    await starter("schedule", "create", name, *limit, *NEVER, *QUICK)

    job, _ = await triggered(live, name)

    assert (await failure_of(job)).type == "CostLimitExceeded"
    assert live.operations() == []


async def test_the_wait_for_a_file_outlives_its_worker(temporal: DevServer, emulator: Emulator, tmp_path: Path) -> None:
    store_url, queue = (tmp_path / "store").as_uri(), f"queue-{tmp_path.name}"
    async with running_stack(temporal.client, emulator, store_url, task_queue=queue) as first:
        uri = uri_in(first, "late.jsonl")
        job = await start_job(first, requests_uri=uri, wait_for_requests=timedelta(hours=1))
        await job_when(job, lambda seen: seen.waiting_for is not None)
    put(uri, fresh(2))
    async with running_stack(temporal.client, emulator, store_url, task_queue=queue) as second:
        output = await job.result()

        assert output.summary.counts.succeeded == 2
        assert second.operations().count("create") == 1


async def test_a_file_in_a_bucket_is_found_once_it_is_there() -> None:
    given = FindRequestsInput(
        requests_uri="s3://bucket/p/incoming/{date}.jsonl", time=datetime(2026, 11, 28, 1, tzinfo=UTC), zone="UTC"
    )

    async def content() -> AsyncIterator[bytes]:
        yield b"{}\n"

    with local_s3.serving() as (_, url), local_s3.client(url) as client:
        client.create_bucket(Bucket="bucket")
        store = open_store("s3://bucket/p", endpoint=url, **local_s3.KEYS)
        looks = [await ActivityEnvironment().run(RequestsActivities(store).find_requests, given)]
        await store.write("incoming/2026-11-28.jsonl", content())
        looks.append(await ActivityEnvironment().run(RequestsActivities(store).find_requests, given))

    assert {look.requests_uri for look in looks} == {"s3://bucket/p/incoming/2026-11-28.jsonl"}
    assert [look.found for look in looks] == [False, True]
