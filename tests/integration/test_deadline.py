"""Deadlines: what has not ended by then is cancelled, what has finished is landed, and the rest is named."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from message_batches.contract import CANCEL_BATCH, WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import Phase, SubmissionSchedule
from message_batches.runs.history import read_progress
from message_batches.temporal.dev_server import DevServer
from tests.harness.histories import histories
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, Stack, details_of, failure_of, progress_when, running_stack

RARELY = QUICK_POLL.model_copy(update={"retry_after": timedelta(hours=1)})
FAR = datetime(9999, 12, 31, tzinfo=UTC)


@pytest.fixture
async def held(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker over an emulator whose batches end when they are cancelled."""
    options = EmulatorOptions(processing_time=timedelta(minutes=10), cancel_time=timedelta(seconds=0.3))
    async with (
        Emulator(options) as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        yield running


def soon(seconds: float = 2) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_at_its_deadline_a_batch_is_cancelled_landed_and_the_rest_is_named(held: Stack) -> None:
    run = await held.start(requests(8), deadline=soon(3))
    await progress_when(run, lambda seen: seen.polls > 0)
    held.emulator.clock.advance(timedelta(minutes=5))
    output = await run.result()

    assert held.operations().count("cancel") == 1
    counts = output.summary.counts
    assert counts.succeeded > 0
    assert counts.succeeded + counts.canceled == output.results_file.lines == 8
    assert output.verified
    assert output.unfinished
    assert output.unfinished.count == counts.canceled > 3
    canceled = [line["custom_id"] for line in output.results or () if line["result"]["type"] == "canceled"]
    assert list(output.unfinished.custom_ids) == canceled[:3]
    assert f"The deadline came before {counts.canceled} requests had finished" in await details_of(run)


@pytest.mark.slow
async def test_the_timer_of_a_poll_ends_at_the_deadline_and_the_run_shows_it(held: Stack) -> None:
    deadline = soon(3)
    run = await held.start(requests(), poll=RARELY, deadline=deadline)
    waiting = await progress_when(run, lambda seen: seen.next_poll is not None)
    shown = await details_of(run)
    stopped = await progress_when(run, lambda seen: seen.canceled_at_deadline)
    after = await details_of(run)
    held.emulator.clock.advance(timedelta(minutes=1))
    await progress_when(run, lambda seen: seen.next_poll is not None)
    await run.signal("pollNow")
    output = await run.result()

    assert waiting.deadline == stopped.deadline == deadline
    assert waiting.next_poll
    assert waiting.next_poll > deadline + timedelta(minutes=50)
    assert f"| deadline | {deadline:%Y-%m-%d %H:%M:%S} UTC |" in shown
    assert f"| deadline | {deadline:%Y-%m-%d %H:%M:%S} UTC, which has passed: the batch was canceled |" in after
    assert output.unfinished
    assert (await read_progress(held.client, run.id)).deadline == deadline


@pytest.mark.slow
async def test_a_poll_that_the_api_does_not_answer_does_not_delay_the_deadline(held: Stack) -> None:
    run = await held.start(requests(), deadline=soon(2.5))
    await progress_when(run, lambda seen: seen.polls > 0)
    held.emulator.faults.add("529", operation="retrieve", retry_after=600, times=1)

    output = await run.result()

    assert output.unfinished
    assert output.unfinished.count == 3


async def test_a_cancel_that_fails_is_tried_again(held: Stack) -> None:
    held.emulator.faults.add("error", operation="cancel", status=403, times=2)
    run = await held.start(requests(), deadline=soon(1), poll=RARELY)
    failing = await progress_when(run, lambda seen: bool(seen.waiting_for and seen.next_poll))
    await run.signal("pollNow")
    await progress_when(run, lambda seen: seen.polls > failing.polls and seen.next_poll is not None)
    await run.signal("pollNow")
    stopped = await progress_when(run, lambda seen: seen.canceled_at_deadline)
    held.emulator.clock.advance(timedelta(minutes=1))
    await progress_when(run, lambda seen: seen.next_poll is not None)
    await run.signal("pollNow")
    output = await run.result()

    assert "could not be canceled" in str(failing.waiting_for)
    assert stopped.waiting_for is None
    assert held.operations().count("cancel") == 3
    assert output.unfinished
    assert output.unfinished.count == 3


async def test_a_batch_that_has_ended_before_its_deadline_is_left_as_it_is(live: Stack) -> None:
    run = await live.start(requests(), deadline=FAR)
    output = await run.result()

    assert output.unfinished is None
    assert "cancel" not in live.operations()
    assert (await progress_when(run, lambda seen: True)).phase is Phase.LANDED


async def test_a_batch_that_was_cancelled_by_hand_is_not_unfinished(held: Stack) -> None:
    run = await held.start(requests(), deadline=FAR)
    await progress_when(run, lambda seen: seen.polls > 0)
    await run.execute_update(CANCEL_BATCH)

    output = await run.result()

    assert output.summary.unfinished
    assert output.unfinished is None


@pytest.mark.parametrize("passed", [timedelta(seconds=1), timedelta(days=700_000)])
async def test_nothing_is_sent_after_the_deadline(live: Stack, passed: timedelta) -> None:
    failure = await failure_of(await live.start(requests(), deadline=datetime.now(UTC) - passed))

    assert failure.type == "DeadlinePassed"
    assert "This run has sent nothing" in failure.message
    assert failure.details[0]["action"] is None
    assert not live.emulator.calls


@pytest.mark.slow
async def test_a_deadline_that_comes_while_the_post_is_refused_ends_the_run(live: Stack) -> None:
    live.emulator.faults.add("429", operation="create", retry_after=600)

    failure = await failure_of(await live.start(requests(), deadline=soon()))

    assert failure.type == "DeadlinePassed"
    assert live.operations() == ["create"]
    assert not live.emulator.batches


@pytest.mark.slow
async def test_a_deadline_that_comes_while_the_account_cannot_be_read_ends_the_run(live: Stack) -> None:
    live.emulator.faults.add("529", operation="list", retry_after=600)

    failure = await failure_of(await live.start(requests(), deadline=soon()))

    assert failure.type == "DeadlinePassed"
    assert "create" not in live.operations()


async def test_requests_that_cannot_be_checked_before_the_deadline_are_not_sent(live: Stack) -> None:
    elsewhere = await live.start(requests_uri=f"{live.store_url}/x.jsonl", store_id="another", deadline=soon())

    assert (await failure_of(elsewhere)).type == "DeadlinePassed"


@pytest.mark.slow
async def test_a_post_under_way_at_the_deadline_is_awaited_and_its_batch_cancelled(held: Stack) -> None:
    held.emulator.faults.add("slow", operation="create", seconds=3, times=1)

    output = await held.run(requests(), deadline=soon(1.5))

    assert held.operations()[:2] == ["create", "cancel"]
    assert output.unfinished


@pytest.mark.slow
async def test_a_batch_that_is_not_known_to_be_ours_is_not_cancelled_at_the_deadline(
    temporal: DevServer, tmp_path: Path
) -> None:
    """The reply is lost; the deadline comes while the batch is a candidate, and it has ended when it is proved ours."""
    options = EmulatorOptions(processing_time=timedelta(minutes=10))
    async with Emulator(options) as emulator, running_stack(temporal.client, emulator, tmp_path.as_uri()) as live:
        emulator.faults.add("accept-then-drop", operation="create", times=1)
        deadline = soon()
        run = await live.start(requests(), deadline=deadline)
        seen = await progress_when(run, lambda now: bool(now.candidates) and datetime.now(UTC) > deadline)
        assert seen.phase is Phase.UNDECIDED
        assert "cancel" not in live.operations()
        emulator.clock.advance(timedelta(hours=1))
        output = await run.result()

    assert emulator.batches[0].cancel_initiated_at is None
    assert output.summary.counts.succeeded == 3
    assert output.unfinished is None


@pytest.mark.slow
async def test_a_batch_that_is_named_ours_after_the_deadline_is_cancelled_then(held: Stack) -> None:
    held.emulator.faults.add("accept-then-drop", operation="create", times=1)
    deadline = soon()
    run = await held.start(requests(), deadline=deadline)
    seen = await progress_when(run, lambda now: bool(now.candidates) and datetime.now(UTC) > deadline)
    assert "cancel" not in held.operations()
    await run.execute_update("resolveSubmission", {"adopt": seen.candidates[0].batch_id})

    output = await run.result()

    assert held.operations().count("cancel") == 1
    assert output.unfinished
    assert output.unfinished.count == 3


@pytest.mark.slow
async def test_a_lost_reply_without_a_batch_is_not_followed_by_another_post_after_the_deadline(live: Stack) -> None:
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    quiet = SubmissionSchedule(timeout=timedelta(seconds=5), quiet_period=timedelta(seconds=2))

    failure = await failure_of(await live.start(requests(), submission=quiet, deadline=soon(1.5)))

    assert failure.type == "DeadlinePassed"
    assert failure.details[0]["action"] == "checkBatches"
    assert "An earlier POST" in failure.message
    assert live.operations().count("create") == 1


async def test_a_batch_that_is_taken_over_after_the_deadline_is_cancelled_at_once(held: Stack) -> None:
    batch_id = await held.post_by_a_stranger(requests())

    run = await held.start(requests(), batch_id=batch_id, poll=RARELY, deadline=soon(-60))
    await progress_when(run, lambda seen: seen.canceled_at_deadline)
    held.emulator.clock.advance(timedelta(minutes=1))
    await run.signal("pollNow")
    output = await run.result()

    assert output.unfinished
    assert output.unfinished.count == 3


async def test_a_run_with_a_deadline_can_be_cancelled(held: Stack) -> None:
    run = await held.start(requests(), deadline=FAR)
    await progress_when(run, lambda seen: seen.polls > 0)
    await run.cancel()

    assert (await progress_when(run, lambda seen: seen.phase is Phase.CANCELED)).deadline == FAR
    assert held.operations()[-1] == "cancel"


@pytest.mark.slow
async def test_the_deadline_goes_on_where_a_run_continues_as_new(short_lived: DevServer, tmp_path: Path) -> None:
    options = EmulatorOptions(processing_time=timedelta(minutes=10), cancel_time=timedelta(seconds=0.3))
    async with (
        Emulator(options) as emulator,
        running_stack(short_lived.client, emulator, tmp_path.as_uri()) as live,
    ):
        run = await live.start(requests(), deadline=soon(6))
        output = await run.result()
        chain = await histories(live.client, run)

    assert len(chain) > 1
    assert output.unfinished


@pytest.mark.parametrize(
    "deadline", ["tomorrow", "2026-11-28T06:00:00", "06:00", "9999-12-31T23:59:59-23:00", {"at": 1}]
)
async def test_a_deadline_that_is_no_time_with_a_zone_is_refused(live: Stack, deadline: Any) -> None:
    given = {"requests": requests(1), "deadline": deadline}
    run = await live.client.start_workflow(WORKFLOW_TYPE, given, id=f"bad-{uuid4()}", task_queue=live.task_queue)

    failure = await failure_of(run)

    assert failure.type == "InvalidInput"
    assert "deadline: " in failure.message
    assert not live.emulator.calls
    assert (await read_progress(live.client, run.id)).deadline is None or "2026" in deadline
