"""Safety while the outcome of a submission is unknown, and after it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, CancelledError

from message_batches.cli.tables import attention
from message_batches.contract import RESOLVE_SUBMISSION
from message_batches.emulator import Emulator
from message_batches.models import Phase, Progress, Resolution, RetrySchedule, SubmissionSchedule
from message_batches.runs.describe import describe_run
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import DevServer
from tests.harness.requests import requests
from tests.harness.stack import (
    KEYS,
    PATIENT_SUBMISSION,
    QUICK_POLL,
    QUICK_SUBMISSION,
    Stack,
    details_of,
    failure_of,
    progress_when,
    running_stack,
)
from tests.harness.waiting import eventually

SHORT = SubmissionSchedule(timeout=timedelta(seconds=6), quiet_period=timedelta(seconds=0.5))


@pytest.mark.slow
async def test_an_operators_decision_is_not_overtaken_by_a_running_search(live: Stack) -> None:
    older = await live.post_by_a_stranger(requests(2))
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    run = await live.start(requests(2), submission=SHORT)
    await live.saw("create", 2)
    live.emulator.faults.add("slow", operation="list", seconds=5)
    await progress_when(run, lambda seen: seen.phase is Phase.UNDECIDED)
    reads = live.operations(besides=()).count("list")
    await live.saw("list", reads + 1)

    await run.execute_update(RESOLVE_SUBMISSION, Resolution(adopt=older))
    output = await run.result()

    assert output.batch_id == older
    assert live.operations().count("create") == 2


@pytest.mark.slow
async def test_a_dismissed_batch_is_not_adopted_by_another_run(live: Stack) -> None:
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    waiting = await live.start(requests(2, "waiting"), submission=PATIENT_SUBMISSION)
    await progress_when(waiting, lambda seen: seen.phase is Phase.UNDECIDED)
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    live.emulator.faults.add("404", operation="results")
    first = await live.start(requests(2, "first"))
    await progress_when(first, lambda seen: bool(seen.candidates))
    await first.execute_update(RESOLVE_SUBMISSION, Resolution(submit_again=True))
    live.emulator.faults.clear()
    landed = await first.result()
    left_behind = next(batch.id for batch in live.emulator.batches if batch.id != landed.batch_id)

    def alone(seen: Progress) -> bool:
        return [(each.batch_id, each.ended) for each in seen.candidates] == [(left_behind, True)]

    await progress_when(waiting, lambda seen: alone(seen) and "operator" in (seen.submission or ""))
    assert live.operations().count("create") == 3
    await waiting.terminate()


@pytest.mark.slow
async def test_a_second_run_under_an_id_does_not_adopt_the_first_ones_batch(live: Stack) -> None:
    live.emulator.faults.add("invisible", operation="create", seconds=1.5, times=1)
    first = await live.start(requests(2, "old"), workflow_id="the-same-id")
    await progress_when(first, lambda seen: seen.phase is Phase.POLLING)
    await first.terminate()
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)

    second = await live.start(requests(2, "new"), workflow_id="the-same-id")
    output = await second.result()

    old, new = (batch.id for batch in live.emulator.batches)
    assert output.batch_id == new
    assert old not in output.possibly_paid_twice


@pytest.mark.slow
async def test_adopting_a_batch_that_does_not_exist_or_has_another_count_is_refused(live: Stack) -> None:
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    quiet = SubmissionSchedule(timeout=timedelta(seconds=6), quiet_period=timedelta(minutes=5))
    run = await live.start(requests(2), submission=quiet)
    await progress_when(run, lambda seen: seen.phase is Phase.UNDECIDED)
    other = await live.post_by_a_stranger(requests(3))

    kinds = []
    for batch_id in ("msgbatch_typo", other):
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await run.execute_update(RESOLVE_SUBMISSION, Resolution(adopt=batch_id))
        assert isinstance(caught.value.cause, ApplicationError)
        kinds.append(caught.value.cause.type)

    assert kinds == ["BatchNotFound", "OwnedByAnotherRun"]
    assert (await progress_when(run, lambda seen: True)).phase is Phase.UNDECIDED
    await run.terminate()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("spend-limit", id="refused"),
        pytest.param("500", id="tried until it is given up", marks=pytest.mark.slow),
    ],
)
async def test_results_are_landed_even_if_the_search_for_duplicates_fails(live: Stack, fault: str) -> None:
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    run = await live.start(requests(2), submission=SHORT)
    await live.saw("create", 2)
    live.emulator.faults.add(fault, operation="list")

    output = await run.result()

    assert output.verified
    assert output.paid_twice_unchecked is not None


@pytest.mark.slow
async def test_an_undecided_cancelled_run_searches_less_often_and_ends_as_cancelled_once_decided(
    pending: Stack,
) -> None:
    pending.emulator.faults.add("accept-then-drop", operation="create", times=1)
    rapid = QUICK_POLL.model_copy(update={"retry_after": timedelta(milliseconds=10)})
    run = await pending.start(requests(2), poll=rapid)
    (candidate,) = (await progress_when(run, lambda seen: bool(seen.candidates))).candidates
    await run.cancel()

    far = timedelta(minutes=2)
    await progress_when(run, lambda seen: seen.next_poll is not None and seen.next_poll > datetime.now(UTC) + far)
    await run.execute_update(RESOLVE_SUBMISSION, Resolution(adopt=candidate.batch_id))

    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert pending.operations()[-1] == "cancel"
    assert len(pending.emulator.batches) == 1


async def test_a_lost_batch_is_searched_for_every_few_minutes_if_polls_are_rarer(pending: Stack) -> None:
    pending.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await pending.start(requests(2), poll=QUICK_POLL.model_copy(update={"retry_after": timedelta(hours=6)}))

    waits = await progress_when(run, lambda seen: bool(seen.candidates) and seen.next_poll is not None)

    assert waits.next_poll is not None
    assert waits.next_poll < datetime.now(UTC) + timedelta(minutes=6)
    await run.terminate()


async def test_a_cancel_before_anything_was_sent_does_not_wait_for_the_api(live: Stack) -> None:
    live.emulator.faults.add("500", operation="list")
    poll = QUICK_POLL.model_copy(
        update={"transient": QUICK_POLL.transient.model_copy(update={"retry_after": timedelta(minutes=5)})}
    )
    run = await live.start(requests(2), poll=poll)
    await live.saw("list")

    await run.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(WorkflowFailureError):
            await run.result()

    assert live.operations() == []


@pytest.mark.slow
async def test_a_long_landing_does_not_delay_the_polls_of_other_runs(live: Stack) -> None:
    live.emulator.faults.add("slow", operation="results", bytes_per_second=200)
    first, second = await live.start(requests(3, "first")), await live.start(requests(3, "second"))
    await live.saw("results")
    third = await live.start(requests(3, "third"))
    await progress_when(third, lambda seen: seen.phase is Phase.RETRIEVING)
    assert live.operations().count("results") == 1

    for run in (first, second, third):
        await run.terminate()


@pytest.mark.slow
async def test_an_upload_that_the_api_interrupts_is_not_a_lost_reply(live: Stack) -> None:
    live.emulator.faults.add("slow", operation="create", bytes_per_second=2_000, times=1)
    quick = QUICK_SUBMISSION.model_copy(update={"timeout": timedelta(seconds=2)})

    output = await live.run(requests(200), submission=quick)

    assert [batch.id for batch in live.emulator.batches] == [output.batch_id]
    creates = [call.time for call in live.emulator.calls if call.operation == "create"]
    assert len(creates) == 2
    # Well before the end of a quiet period, which an unknown outcome would have required.
    assert output.possibly_paid_twice == ()
    assert output.paid_twice_unchecked is None


async def test_a_stream_that_is_always_cut_fails_as_incomplete_and_keeps_the_partial_results(live: Stack) -> None:
    live.emulator.faults.add("cut", operation="results", at=1500)
    poll = QUICK_POLL.model_copy(update={"transient": QUICK_POLL.transient.model_copy(update={"retry_limit": 2})})

    failure = await failure_of(await live.start(requests(5), poll=poll))

    assert failure.type == "ResultsIncomplete"
    assert "incomplete-" in failure.message


@pytest.mark.slow
async def test_a_run_waits_for_results_that_are_not_available_yet(live: Stack) -> None:
    live.emulator.faults.add("404", operation="results", times=12)

    output = await live.run(requests(2))

    assert output.verified


@pytest.mark.slow
async def test_a_batch_created_while_our_posts_were_refused_is_not_adopted(live: Stack) -> None:
    live.emulator.faults.add("429", operation="create", retry_after=3, times=1)
    run = await live.start(requests(3, "ours"))
    await progress_when(run, lambda seen: "429" in (seen.submission or ""))
    theirs = await live.post_by_a_stranger(requests(3, "theirs"))
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)

    output = await run.result()

    assert output.batch_id != theirs
    assert live.operations().count("create") == 4


@pytest.mark.slow
async def test_a_refusal_after_a_lost_reply_reports_that_a_batch_may_exist(live: Stack) -> None:
    live.emulator.faults.add("invisible", operation="create", seconds=60, times=1)
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await live.start(requests(2))
    await progress_when(run, lambda seen: seen.phase is Phase.UNDECIDED)
    live.emulator.faults.add("spend-limit", operation="create")

    failure = await failure_of(run)

    assert failure.type == "SpendLimitReached"
    assert failure.details[0]["action"] == "checkBatches"
    assert len(live.emulator.batches) == 1


async def test_a_post_waits_for_an_unavailable_store(live: Stack) -> None:
    await open_store(live.store_url).identity()
    away = live.store_folder / "submissions"
    away.write_text("no folder")
    twice = RetrySchedule(retry_after=timedelta(seconds=0.1), retry_limit=1)
    run = await live.start(requests(2), poll=QUICK_POLL.model_copy(update={"transient": twice}))
    await live.saw("list", 5)
    away.unlink()

    output = await run.result()

    assert [batch.id for batch in live.emulator.batches] == [output.batch_id]


@dataclass
class Keyed:
    """A worker whose first POST creates a batch that nobody sees, with no reply; and its keys."""

    live: Stack
    keys: dict[str, SecretStr]

    def replace_key(self) -> None:
        """Give the worker a key of another workspace under the same name."""
        self.keys["default"] = SecretStr("sk-ant-emulated-of-another-workspace")


@pytest.fixture
async def keyed(temporal: DevServer, emulator: Emulator, tmp_path: Path) -> AsyncIterator[Keyed]:
    keys = dict(KEYS)
    async with running_stack(temporal.client, emulator, (tmp_path / "store").as_uri(), keys) as live:
        emulator.faults.add("invisible", operation="create", seconds=3600, times=1)
        emulator.faults.add("accept-then-drop", operation="create", times=1)
        yield Keyed(live, keys)


async def test_a_key_of_another_workspace_under_the_same_name_ends_a_run_in_doubt(keyed: Keyed) -> None:
    run = await keyed.live.start(requests(2))
    await progress_when(run, lambda seen: seen.phase is Phase.UNDECIDED)
    keyed.replace_key()

    failed = await failure_of(run)

    assert failed.type == "SubmissionUnknown"
    assert "workspace" in failed.message
    assert keyed.live.operations().count("create") == 1


@pytest.mark.slow
async def test_a_worker_with_a_key_of_another_workspace_does_not_send_what_was_searched_for_with_the_first(
    keyed: Keyed,
) -> None:
    live = keyed.live
    # Longer than the quiet period: it has no third one.
    live.emulator.faults.add("slow", operation="list", seconds=1)
    run = await live.start(requests(2), submission=SHORT)
    # For the anchor, and at the begin and the end of the quiet period: the first key has then found nothing.
    await live.saw("list", 3)
    keyed.replace_key()

    failed = await failure_of(run)

    assert failed.type == "OtherWorkspace"
    assert failed.details[0]["action"] == "checkBatches"
    assert live.operations() == ["create"]


@pytest.mark.slow
async def test_a_batch_of_which_few_answers_contradict_is_read_once_and_shown_with_the_reason(live: Stack) -> None:
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    run = await live.start(requests(4))
    await eventually(lambda: any("refuse-then-5xx" in call.faults for call in live.emulator.calls), "the refused POST")
    one, *rest = requests(4)
    other = one | {"params": one["params"] | {"model": "claude-opus-5"}}
    theirs = await live.post_by_a_stranger([other, *rest])

    seen = await progress_when(run, lambda now: any(each.doubt for each in now.candidates))
    lists = live.operations(besides=()).count("list")
    await live.saw("list", lists + 3)

    (candidate,) = seen.candidates
    assert candidate.batch_id == theirs
    assert "1 of 4" in (candidate.doubt or "")
    assert "claude-opus-5" in (candidate.doubt or "")
    await progress_when(run, lambda now: "operator must decide" in (now.submission or ""))
    assert (candidate.doubt or "") in await details_of(run)
    shown = attention(await describe_run(live.client, run.id), datetime.now(UTC))
    assert [theirs in line for line in shown if candidate.doubt and candidate.doubt in line] == [True]
    assert live.operations().count("results") == 1
    await run.execute_update(RESOLVE_SUBMISSION, Resolution(submit_again=True))
    assert (await run.result()).batch_id != theirs


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"model": "claude-opus-5", "max_tokens": 16}, id="another model"),
        pytest.param({"max_tokens": 8}, id="a smaller limit", marks=pytest.mark.slow),
    ],
)
async def test_a_batch_of_others_with_our_ids_is_not_taken_for_ours(live: Stack, changed: dict[str, Any]) -> None:
    live.emulator.faults.add("refuse-then-5xx", operation="create", times=1)
    run = await live.start(requests(4))
    await eventually(lambda: any("refuse-then-5xx" in call.faults for call in live.emulator.calls), "the refused POST")
    theirs = await live.post_by_a_stranger([item | {"params": item["params"] | changed} for item in requests(4)])

    output = await run.result()

    assert output.batch_id != theirs
    assert output.verified
    assert output.possibly_paid_twice == ()
    assert theirs in [call.batch_id for call in live.emulator.calls if call.operation == "results"]
