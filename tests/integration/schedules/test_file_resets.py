"""A run that is reset goes on with what it has read of its file, which may be another one by then, or gone."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

from message_batches.job_models import JobOutput
from message_batches.models import BatchOutput
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.requests import fresh
from tests.harness.running_jobs import claimed, merged_ids, polled, start_job
from tests.harness.stack import Stack, failure_of
from tests.integration.schedules.test_files import put, triggered, uri_in
from tests.integration.schedules.test_firings import NEVER, reset


def change(uri: str, way: str) -> None:
    """Put another file in the place of one, or remove it."""
    if way == "replaced":
        put(uri, fresh(3))
    else:
        Path(unquote(urlsplit(uri).path)).unlink()


def latest(live: Stack, run: WorkflowHandle[Any, Any], kind: type) -> WorkflowHandle[Any, Any]:
    """Return the handle of a run as it is after its reset."""
    return live.client.get_workflow_handle(run.id, result_type=kind)


@pytest.mark.parametrize("way", ["replaced", pytest.param("removed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_firing_that_is_reset_buys_nothing_of_another_file(
    starter: CommandLine, live: Stack, name: str, way: str, waits: bool
) -> None:
    uri = uri_in(live, "daily.jsonl")
    wait = ("--wait-for-file", "2h") if waits else ()
    await starter("schedule", "create", name, "--requests-uri", uri, *wait, *NEVER, *QUICK)
    given = fresh(2)
    put(uri, given)
    job, _ = await triggered(live, name)
    output = await job.result()
    change(uri, way)

    await reset(live, job.id)
    again = await latest(live, job, JobOutput).result()

    assert merged_ids(again) == [each["custom_id"] for each in given]
    assert again.results_file == output.results_file
    assert live.operations().count("create") == 1


@pytest.mark.parametrize("way", ["replaced", pytest.param("removed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("zone", [None, "UTC"])
async def test_a_run_that_is_reset_lands_the_batch_of_the_file_that_it_has_read(
    live: Stack, way: str, zone: str | None
) -> None:
    uri = uri_in(live, "by-hand.jsonl")
    put(uri, fresh(2))
    run = await live.start(requests_uri=uri, requests_uri_zone=zone)
    output = await run.result()
    change(uri, way)

    await reset(live, run.id)
    again = await latest(live, run, BatchOutput).result()

    assert again.batch_id == output.batch_id
    assert again.results_file == output.results_file
    assert live.operations().count("create") == 1


@pytest.mark.parametrize("way", ["replaced", pytest.param("removed", marks=pytest.mark.slow)])
async def test_a_job_by_hand_that_is_reset_merges_the_file_that_it_has_read(live: Stack, way: str) -> None:
    uri = uri_in(live, "by-hand.jsonl")
    put(uri, fresh(2))
    job = await start_job(live, requests_uri=uri)
    output = await job.result()
    change(uri, way)

    await reset(live, job.id)
    again = await latest(live, job, JobOutput).result()

    assert again.results_file == output.results_file
    assert live.operations().count("create") == 1


@pytest.mark.parametrize("kind", ["job", "run"])
async def test_a_file_of_which_nothing_could_be_sent_is_read_anew_by_a_reset(live: Stack, kind: str) -> None:
    uri = uri_in(live, "by-hand.jsonl")
    put(uri, [*fresh(1), {"custom_id": "without-params"}])
    started = await (start_job(live, requests_uri=uri) if kind == "job" else live.start(requests_uri=uri))
    failure = await failure_of(started)
    put(uri, fresh(3))

    await reset(live, started.id)
    again = await latest(live, started, JobOutput if kind == "job" else BatchOutput).result()

    assert failure.type == "InvalidRequests"
    assert again.summary.counts.succeeded == 3


@pytest.mark.parametrize("way", ["replaced", pytest.param("removed", marks=pytest.mark.slow)])
async def test_a_job_that_is_reset_and_cancelled_cancels_the_batch_of_the_file_that_it_has_read(
    pending: Stack, way: str
) -> None:
    uri = uri_in(pending, "by-hand.jsonl")
    put(uri, fresh(2))
    job = await start_job(pending, requests_uri=uri)
    await claimed(pending, 1)
    await polled(pending, job, 0)
    change(uri, way)

    await reset(pending, job.id)
    again = latest(pending, job, JobOutput)
    await again.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await again.result()

    assert isinstance(caught.value.cause, CancelledError)
    await pending.saw("cancel")
    assert pending.operations().count("create") == 1
