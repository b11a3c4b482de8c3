"""`cancel`, `resolve` and `attach`: the decisions of an operator about a run or a batch."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.requests import fresh
from tests.harness.stack import Stack, progress_when


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Batches that end when a test makes the clock jump."""
    options = EmulatorOptions(processing_time=timedelta(minutes=10), cancel_time=timedelta(seconds=0.2))
    async with Emulator(options) as running:
        yield running


async def polling(starter: CommandLine, live: Stack) -> str:
    """The workflow id of a run that waits for its batch."""
    started = await starter("start", starter.file(fresh()), "--json", *QUICK)
    await live.saw("retrieve")
    workflow_id: str = started.json["workflowId"]
    return workflow_id


async def test_cancel_stops_the_batch_and_lands_what_had_finished(starter: CommandLine, live: Stack) -> None:
    workflow_id = await polling(starter, live)

    cancelled = await starter("cancel", workflow_id, "--json")
    watched = await starter("watch", workflow_id, "--json")
    after = await starter("cancel", workflow_id, "--json")

    assert cancelled.code == 0, cancelled.err
    assert cancelled.json["processingStatus"] == "canceling"
    assert watched.code == 0
    assert watched.json["output"]["summary"]["counts"]["canceled"] == 3
    assert after.code == 2
    assert after.json["error"]["type"] == "Refused"


async def test_cancel_abandon_ends_the_run_and_lands_nothing(starter: CommandLine, live: Stack) -> None:
    workflow_id = await polling(starter, live)

    abandoned = await starter("cancel", workflow_id, "--abandon", "--json")
    watched = await starter("watch", workflow_id, "--json")

    assert abandoned.json["abandoned"]
    assert watched.code == 1
    assert watched.json["status"] == "canceled"
    assert live.operations()[-1] == "cancel"


async def test_without_a_worker_nothing_is_stopped(alone: CommandLine) -> None:
    started = await alone("start", alone.file(fresh()), "--json")

    cancelled = await alone("cancel", started.json["workflowId"], "--json")

    assert cancelled.code == 1
    assert cancelled.json["error"]["type"] == "NoAnswer"


async def undecided(starter: CommandLine, live: Stack) -> str:
    """The workflow id of a run whose POST got no reply and made a batch."""
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    quiet = ("--poll-interval", "0.1s", "--quiet-period", "1h", "--submission-timeout", "8s")
    started = await starter("start", starter.file(fresh()), "--json", *quiet)
    run = live.client.get_workflow_handle(started.json["workflowId"])
    await progress_when(run, lambda seen: bool(seen.candidates))
    workflow_id: str = started.json["workflowId"]
    return workflow_id


async def test_an_undecided_run_names_its_candidates_and_takes_the_one_adopted(
    starter: CommandLine, live: Stack
) -> None:
    workflow_id = await undecided(starter, live)
    (batch,) = live.emulator.batches

    status = await starter("status", workflow_id, "--json")
    resolved = await starter("resolve", workflow_id, "--adopt", batch.id)
    live.emulator.clock.advance(timedelta(minutes=11))
    watched = await starter("watch", workflow_id, "--json")

    assert [candidate["batchId"] for candidate in status.json["progress"]["candidates"]] == [batch.id]
    assert resolved.code == 0, resolved.err
    assert watched.json["output"]["batchId"] == batch.id
    assert watched.json["output"]["verified"]


async def test_an_undecided_run_submits_again_when_told_so(starter: CommandLine, live: Stack) -> None:
    workflow_id = await undecided(starter, live)

    resolved = await starter("resolve", workflow_id, "--submit-again", "--json")
    run = live.client.get_workflow_handle(workflow_id)
    seen = await progress_when(run, lambda now: now.batch_id is not None)

    assert resolved.json["submitAgain"]
    assert [batch.id for batch in live.emulator.batches][1:] == [seen.batch_id]
    await run.terminate()


async def test_a_run_that_is_not_undecided_cannot_be_resolved(starter: CommandLine, live: Stack) -> None:
    workflow_id = await polling(starter, live)

    resolved = await starter("resolve", workflow_id, "--submit-again", "--json")

    assert resolved.code == 2
    assert resolved.json["error"]["type"] == "Refused"
    assert live.operations().count("create") == 1
    await live.client.get_workflow_handle(workflow_id).terminate()


async def test_attach_takes_over_a_strangers_batch_and_checks_it_where_its_requests_are_given(
    starter: CommandLine, live: Stack
) -> None:
    given = fresh()
    batch_id = await live.post_by_a_stranger(given)
    live.emulator.clock.advance(timedelta(minutes=11))

    alone = await starter("attach", batch_id, "--wait", "--json", *QUICK[:2])
    failed = await starter("results", batch_id, "--failed", "--json")
    checked = await starter("attach", batch_id, "--requests", starter.file(given), "--wait", "--json", *QUICK[:2])
    again = await starter("attach", batch_id, "--json")

    assert alone.code == 0, alone.err
    assert alone.json["output"]["verified"] is False
    assert failed.code == 2
    assert failed.json["error"]["type"] == "ResultsNotFound"
    assert checked.json["output"]["verified"] is True
    assert again.json["output"]["resultsFile"] == checked.json["output"]["resultsFile"]


@pytest.mark.slow
async def test_requests_given_for_a_batch_that_is_followed_without_are_waited_for_or_refused(
    starter: CommandLine, live: Stack
) -> None:
    given = fresh()
    batch_id = await live.post_by_a_stranger(given)
    followed = await starter("attach", batch_id, "--json", *QUICK[:2])
    file = starter.file(given)

    detached = await starter("attach", batch_id, "--requests", file, "--json")
    live.emulator.clock.advance(timedelta(minutes=11))
    wrong = await starter("attach", batch_id, "--requests", starter.file(fresh(2), "x.jsonl"), "--wait", "--json")
    waited = await starter("attach", batch_id, "--requests", file, "--wait", "--json")

    assert detached.code == 2
    assert detached.json["error"]["type"] == "Refused"
    assert wrong.code == 2
    assert wrong.json["error"]["type"] == "Refused"
    assert waited.code == 0, waited.err
    assert waited.json["workflowId"] == followed.json["workflowId"]
    assert waited.json["output"]["verified"] is True
    assert live.operations().count("results") == 1


async def test_attach_to_a_batch_that_a_run_follows_already_attaches_to_that_run(
    starter: CommandLine, live: Stack
) -> None:
    workflow_id = await polling(starter, live)
    (batch,) = live.emulator.batches

    attached = await starter("attach", batch.id, "--json")

    assert attached.json["workflowId"] == workflow_id
    await live.client.get_workflow_handle(workflow_id).terminate()
