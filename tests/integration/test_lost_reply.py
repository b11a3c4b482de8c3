"""A lost reply to the POST: one batch, found, verified and landed, or an operator's decision."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from message_batches.contract import RESOLVE_SUBMISSION
from message_batches.models import Phase, Progress, Resolution, SubmissionSchedule
from tests.harness.requests import requests
from tests.harness.stack import Stack, failure_of, progress_when


@pytest.mark.parametrize("fault", ["accept-then-drop", "accept-then-5xx"])
async def test_an_accepted_batch_whose_reply_is_lost_is_adopted_and_proved(live: Stack, fault: str) -> None:
    live.emulator.faults.add(fault, operation="create", times=1)

    output = await live.run(requests(4, fault))

    assert [batch.id for batch in live.emulator.batches] == [output.batch_id]
    assert output.verified
    assert output.possibly_paid_twice == ()
    assert live.operations().count("create") == 1


async def test_a_malformed_200_is_a_lost_reply(live: Stack) -> None:
    live.emulator.faults.add("cut", operation="create", at=20, clean=True, times=1)

    output = await live.run(requests(2, "malformed"))

    assert [batch.id for batch in live.emulator.batches] == [output.batch_id]


async def test_a_post_that_created_nothing_is_made_again_after_the_quiet_period(live: Stack) -> None:
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)

    output = await live.run(requests(2))

    assert [batch.id for batch in live.emulator.batches] == [output.batch_id]
    creates = [call.time for call in live.emulator.calls if call.operation == "create"]
    assert len(creates) == 2
    assert creates[1] - creates[0] >= timedelta(seconds=2)
    assert output.possibly_paid_twice == ()


async def test_a_run_waits_for_a_batch_that_is_invisible_for_a_while(live: Stack) -> None:
    live.emulator.faults.add("invisible", operation="create", seconds=1, times=1)
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)

    output = await live.run(requests(2, "invisible"))

    assert [batch.id for batch in live.emulator.batches] == [output.batch_id]


async def test_a_foreign_batch_of_the_same_count_is_distinguished(live: Stack) -> None:
    live.emulator.faults.add("invisible", operation="create", seconds=1.5, times=1)
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await live.start(requests(3))
    await live.saw_a_lost_reply()
    foreign = [item | {"custom_id": f"other-{number}"} for number, item in enumerate(requests(3))]
    strangers = [await live.post_by_a_stranger(foreign) for _ in range(2)]

    output = await run.result()

    assert output.batch_id not in strangers
    assert output.verified
    assert len(live.emulator.batches) == 3
    examined = [call.batch_id for call in live.emulator.calls if call.operation == "results"]
    assert set(strangers) <= set(examined)


@pytest.mark.slow
async def test_a_batch_seen_only_after_the_second_post_is_reported_as_possibly_paid_twice(live: Stack) -> None:
    live.emulator.faults.add("invisible", operation="create", seconds=4, times=1)
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    # The poll gets a response only when the first batch is visible too.
    live.emulator.faults.add("slow", operation="retrieve", seconds=4, times=1)
    short = SubmissionSchedule(timeout=timedelta(seconds=5), quiet_period=timedelta(seconds=0.5))

    output = await live.run(requests(2), submission=short)

    first, second = (batch.id for batch in live.emulator.batches)
    assert output.batch_id == second
    assert output.possibly_paid_twice == (first,)


@pytest.mark.slow
async def test_three_lost_posts_without_a_batch_are_an_unknown_submission(live: Stack) -> None:
    live.emulator.faults.add("refuse-then-5xx", operation="create")
    short = SubmissionSchedule(timeout=timedelta(seconds=5), quiet_period=timedelta(seconds=0.5))

    failure = await failure_of(await live.start(requests(), submission=short))

    assert failure.type == "SubmissionUnknown"
    assert live.operations() == ["create"] * 3
    assert failure.details[0]["action"] == "checkBatches"


@pytest.mark.slow
async def test_two_lost_runs_with_the_same_ids_are_left_to_an_operator(live: Stack) -> None:
    live.emulator.faults.add("invisible", operation="create", seconds=0.5, times=2)
    live.emulator.faults.add("accept-then-drop", operation="create", times=2)
    runs = [await live.start(requests(3, text)) for text in ("first", "second")]
    for run in runs:
        seen = await progress_when(run, lambda now: len(now.candidates) == 2 and all(c.ended for c in now.candidates))
        assert seen.phase is Phase.UNDECIDED
    texts = {batch.id: batch for batch in live.emulator.batches}
    first_batch, second_batch = sorted(texts, key=lambda batch_id: texts[batch_id].created_at)

    progress = await runs[0].execute_update(RESOLVE_SUBMISSION, Resolution(adopt=first_batch), result_type=Progress)
    outputs = [await run.result() for run in runs]

    assert progress.batch_id == first_batch
    # The first run's claim decides the second one.
    assert [output.batch_id for output in outputs] == [first_batch, second_batch]
    assert len(live.emulator.batches) == 2


@pytest.mark.slow
async def test_two_lost_runs_with_different_ids_and_equal_counts_each_find_their_own_batch(live: Stack) -> None:
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    one = requests(3, "one")
    other = [item | {"custom_id": f"other-{number}"} for number, item in enumerate(requests(3, "two"))]

    outputs = await asyncio.gather(live.run(one), live.run(other))

    assert {output.batch_id for output in outputs} == {batch.id for batch in live.emulator.batches}
    assert all(output.verified for output in outputs)
    assert len(live.emulator.batches) == 2


async def test_submit_again_makes_a_second_post(live: Stack) -> None:
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    live.emulator.faults.add("404", operation="results", times=400)
    run = await live.start(requests(2))
    await progress_when(run, lambda seen: bool(seen.candidates))

    await run.execute_update(RESOLVE_SUBMISSION, Resolution(submit_again=True))
    live.emulator.faults.clear()
    output = await run.result()

    first, second = (batch.id for batch in live.emulator.batches)
    assert output.batch_id == second
    assert output.possibly_paid_twice == (first,)


async def test_an_adopted_batch_that_is_not_ours_fails_the_run(live: Stack) -> None:
    live.emulator.faults.add("refuse-then-5xx", operation="create")
    foreign = [item | {"custom_id": f"other-{number}"} for number, item in enumerate(requests(2))]
    run = await live.start(requests(2), submission=SubmissionSchedule(timeout=timedelta(seconds=5)))
    await progress_when(run, lambda seen: seen.phase is Phase.UNDECIDED)
    live.emulator.faults.clear()
    stranger = await live.post_by_a_stranger(foreign)

    await run.execute_update(RESOLVE_SUBMISSION, Resolution(adopt=stranger))
    failure = await failure_of(run)

    assert failure.type == "ResultsIncomplete"
    assert "foreign" in failure.message


@pytest.mark.parametrize(
    "resolution", [Resolution(), Resolution(adopt="msgbatch_1", submit_again=True), Resolution(adopt="msgbatch_1")]
)
async def test_an_invalid_resolution_or_one_of_a_decided_run_is_refused_with_a_reason(
    live: Stack, resolution: Resolution
) -> None:
    run = await live.start(requests())

    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await run.execute_update(RESOLVE_SUBMISSION, resolution)

    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type in ("InvalidResolution", "NotUndecided")
    await run.result()


@pytest.mark.parametrize("landed", [True, False])
async def test_the_batch_of_an_earlier_run_with_the_same_workflow_id_is_named_unless_it_landed(
    live: Stack, landed: bool
) -> None:
    if not landed:
        live.emulator.faults.add("field", operation="retrieve", field="processing_status", value="in_progress")
    earlier = await live.start(requests(), workflow_id=f"same-{uuid4()}")
    if landed:
        await earlier.result()
    else:
        await live.saw("retrieve")
        await earlier.terminate()
    live.emulator.faults.clear()
    (record,) = [path for path in live.store_folder.glob("submissions/*/*/*.json") if "outcome" not in path.name]
    before = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    record.write_text(json.dumps(json.loads(record.read_text()) | {"time": before}))

    output = await (await live.start(requests(), workflow_id=earlier.id)).result()

    first, second = (batch.id for batch in live.emulator.batches)
    assert output.batch_id == second
    assert output.possibly_paid_twice == (() if landed else (first,))
