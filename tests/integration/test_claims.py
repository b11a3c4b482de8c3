"""The owner of a batch: sent by one run, perhaps attached to by another; only the owner adopts or deletes it."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from message_batches.contract import RESOLVE_SUBMISSION, NextAction
from message_batches.models import Phase, Resolution, SubmissionSchedule
from message_batches.storage.object_store import open_store
from message_batches.storage.submission_records import SubmissionRecords
from tests.harness.requests import requests
from tests.harness.stack import PATIENT_SUBMISSION, QUICK_POLL, Stack, failure_of, progress_when


def refusal(caught: pytest.ExceptionInfo[WorkflowUpdateFailedError]) -> ApplicationError:
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


@pytest.mark.slow
async def test_attaching_to_an_undecided_runs_batch_takes_no_ownership_and_an_operator_decides(
    pending: Stack,
) -> None:
    pending.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await pending.start(requests(2))
    (candidate,) = (await progress_when(run, lambda now: bool(now.candidates))).candidates
    attached = await pending.start(batch_id=candidate.batch_id)
    await progress_when(attached, lambda now: now.polls > 0)
    pending.emulator.clock.advance(timedelta(hours=2))
    await attached.result()

    await progress_when(run, lambda now: "operator" in (now.submission or ""))
    await run.execute_update(RESOLVE_SUBMISSION, Resolution(adopt=candidate.batch_id))
    output = await run.result()

    assert output.batch_id == candidate.batch_id
    assert output.verified
    assert len(pending.emulator.batches) == 1


async def test_a_batch_that_another_run_has_sent_cannot_be_adopted(live: Stack) -> None:
    theirs = await live.start(requests(2))
    landed = await theirs.result()
    live.emulator.faults.add("refuse-then-5xx", operation="create")
    run = await live.start(requests(2, "other prompts"), submission=PATIENT_SUBMISSION)
    await progress_when(run, lambda now: now.phase is Phase.UNDECIDED)

    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await run.execute_update(RESOLVE_SUBMISSION, Resolution(adopt=landed.batch_id))

    assert refusal(caught).type == "OwnedByAnotherRun"
    assert theirs.id in refusal(caught).message
    assert (await progress_when(run, lambda now: True)).phase is Phase.UNDECIDED
    await run.terminate()


@pytest.mark.slow
async def test_a_late_adoption_is_refused_and_names_the_runs_batch(pending: Stack) -> None:
    pending.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await pending.start(requests(2))
    (candidate,) = (await progress_when(run, lambda now: bool(now.candidates))).candidates
    other = await pending.post_by_a_stranger([item | {"custom_id": f"z-{n}"} for n, item in enumerate(requests(2))])
    pending.emulator.faults.add("slow", operation="retrieve", seconds=4, times=1)

    adopting = asyncio.create_task(run.execute_update(RESOLVE_SUBMISSION, Resolution(adopt=other)))
    await pending.saw("retrieve")
    await run.execute_update(RESOLVE_SUBMISSION, Resolution(adopt=candidate.batch_id))
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await adopting

    assert refusal(caught).type == "NotUndecided"
    assert candidate.batch_id in refusal(caught).message
    await run.terminate()


@pytest.mark.slow
async def test_a_run_that_fails_after_a_second_post_names_the_first_batch(pending: Stack) -> None:
    pending.emulator.faults.add("invisible", operation="create", seconds=4, times=1)
    pending.emulator.faults.add("accept-then-drop", operation="create", times=1)
    once = QUICK_POLL.model_copy(update={"retry_limit": 0})
    pending.emulator.faults.add("slow", operation="retrieve", seconds=4, times=1)
    short = SubmissionSchedule(timeout=timedelta(seconds=5), quiet_period=timedelta(seconds=0.5))

    failure = await failure_of(await pending.start(requests(2), poll=once, submission=short))

    first, second = (batch.id for batch in pending.emulator.batches)
    assert failure.type == "BatchNotEnded"
    assert failure.details[0] == {
        "action": NextAction.ATTACH,
        "batchId": second,
        "candidates": [],
        "possiblyPaidTwice": [first],
        "estimate": None,
        "limit": None,
    }
    assert first in failure.message


@pytest.mark.slow
async def test_a_run_that_does_not_own_a_batch_does_not_delete_it(pending: Stack) -> None:
    rarely = QUICK_POLL.model_copy(update={"retry_after": timedelta(seconds=5)})
    owner = await pending.start(requests(2), poll=rarely)
    batch_id = (await progress_when(owner, lambda now: now.polls > 0)).batch_id
    attached = await pending.start(requests(2), batch_id=batch_id, delete_after_landing=True)
    await progress_when(attached, lambda now: now.polls > 0)
    pending.emulator.clock.advance(timedelta(hours=2))

    output = await attached.result()

    assert not output.deleted
    assert owner.id in (output.not_deleted or "")
    assert (await owner.result()).verified


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_a_run_that_ends_records_its_batch_after_an_outage_of_the_store(pending: Stack, how: str) -> None:
    await open_store(pending.store_url).identity()
    claims = pending.store_folder / "claims"
    claims.write_text("no folder")
    ends_by_itself = QUICK_POLL.model_copy(update={"retry_limit": 0})
    run = await pending.start(requests(2), poll=ends_by_itself if how == "failed" else QUICK_POLL)
    if how == "cancelled":
        await progress_when(run, lambda now: now.batch_id is not None)
        await run.cancel()
    else:
        await progress_when(run, lambda now: now.phase is Phase.FAILED)
    claims.unlink()

    with pytest.raises(WorkflowFailureError):
        await run.result()

    owners = await SubmissionRecords(open_store(pending.store_url)).owners_of(pending.emulator.batches[0].id)
    assert owners == [("default", run.id)]
