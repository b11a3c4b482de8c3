"""Every fault of the API: the run ends with one batch and all results, or fails at once and names the next step."""

from typing import Any

import pytest

from message_batches.contract import NextAction
from message_batches.models import Phase, PollSchedule
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, Stack, failure_of

PASSING = [
    ("429", "create", {"retry_after": 1, "times": 1}),
    ("429", "create", {"times": 2}),
    ("429", "retrieve", {"retry_after": 1, "times": 1}),
    ("429", "retrieve", {"times": 3}),
    ("429", "results", {"times": 2}),
    ("529", "retrieve", {"times": 2}),
    ("529", "results", {"times": 2}),
    ("500", "list", {"times": 1}),
    ("503", "retrieve", {"retry_after": 1, "times": 1}),
    ("404", "retrieve", {"times": 3}),
    ("404", "results", {"times": 2}),
    ("slow", "retrieve", {"seconds": 0.5, "times": 2}),
    ("slow", "create", {"seconds": 1, "times": 1}),
    ("refuse-then-5xx", "retrieve", {"times": 1}),
    ("accept-then-drop", "retrieve", {"times": 2}),
    ("invisible", "create", {"seconds": 0.5, "times": 1}),
    ("cut", "results", {"at": 700, "times": 2}),
    ("cut", "results", {"at": 700, "clean": True, "times": 2}),
    ("missing-line", "results", {"times": 2}),
    ("duplicate-line", "results", {"times": 2}),
    ("foreign-line", "results", {"times": 2}),
    ("u2028", "results", {}),
    ("no-content-type", "results", {}),
    ("gzip", "results", {}),
]


@pytest.mark.parametrize(("fault", "operation", "how"), PASSING, ids=lambda value: str(value))
async def test_a_transient_fault_only_delays_the_run(
    live: Stack, fault: str, operation: str, how: dict[str, Any]
) -> None:
    live.emulator.faults.add(fault, operation=operation, **how)

    output = await live.run(requests(5, fault))

    assert output.request_counts.succeeded == 5
    assert output.verified
    assert output.results is not None
    assert [line["custom_id"] for line in output.results] == [f"request-{n:04}" for n in range(5)]
    assert [batch.id for batch in live.emulator.batches] == [output.batch_id]
    assert output.possibly_paid_twice == ()


@pytest.mark.parametrize(("fault", "kind"), [("spend-limit", "SpendLimitReached"), ("html-413", "RequestRefused")])
async def test_a_permanent_refusal_fails_at_once(live: Stack, fault: str, kind: str) -> None:
    live.emulator.faults.add(fault, operation="create")

    failure = await failure_of(await live.start(requests()))

    assert failure.type == kind
    assert live.operations() == ["create"]
    assert not live.emulator.batches


async def test_a_revoked_key_fails_at_once_with_the_next_step(live: Stack) -> None:
    failure = await failure_of(await live.start(requests(), api_key="revoked"))

    assert failure.type == "AuthenticationFailed"
    assert [call.operation for call in live.emulator.calls] == ["list"]


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["list", "retrieve"])
async def test_an_api_that_accepts_calls_and_does_not_answer_is_reported_as_such(live: Stack, operation: str) -> None:
    live.emulator.faults.add("slow", operation=operation, seconds=100)
    once = QUICK_POLL.transient.model_copy(update={"retry_limit": 0})

    failure = await failure_of(await live.start(requests(), poll=QUICK_POLL.model_copy(update={"transient": once})))

    assert failure.type == "ReplyLost"
    assert " 9 s" in failure.message


async def test_permanent_errors_fail_with_their_type_and_the_batch(live: Stack) -> None:
    live.emulator.faults.add("529", operation="retrieve")
    poll = QUICK_POLL.model_copy(update={"transient": QUICK_POLL.transient.model_copy(update={"retry_limit": 2})})

    failure = await failure_of(await live.start(requests(), poll=poll))

    assert failure.type == "ApiUnavailable"
    assert failure.details[0]["batchId"] == live.emulator.batches[0].id
    assert live.operations() == ["create", "retrieve", "retrieve", "retrieve"]


async def test_results_that_stay_incomplete_name_the_missing_lines_and_keep_the_rest(live: Stack) -> None:
    live.emulator.faults.add("missing-line", operation="results", line=0)

    run = await live.start(requests(4))
    failure = await failure_of(run)

    assert failure.type == "ResultsIncomplete"
    assert "missing" in failure.message
    assert "request-000" in failure.message
    assert "incomplete-" in failure.message
    assert failure.details[0]["batchId"] in failure.message
    assert (await run.query("progress"))["phase"] == Phase.FAILED


async def test_a_line_with_a_lone_surrogate_is_landed_and_left_out_of_the_parsed_results(live: Stack) -> None:
    live.emulator.faults.add("lone-surrogate", operation="results")

    output = await live.run(requests(3))

    assert output.verified
    assert output.results is None
    assert output.results_omitted is not None
    assert output.results_file.lines == 3


async def test_a_hint_to_poll_again_in_ten_seconds_is_not_obeyed(pending: Stack) -> None:
    run = await pending.start(requests())
    await pending.saw("retrieve", 2)
    await run.terminate()

    polls = [call.time for call in pending.emulator.calls if call.operation == "retrieve"]
    assert (polls[1] - polls[0]).total_seconds() < 8


async def test_the_failure_at_the_poll_limit_is_fully_typed(pending: Stack) -> None:
    poll = PollSchedule(retry_after=QUICK_POLL.retry_after, retry_limit=0, transient=QUICK_POLL.transient)

    failure = await failure_of(await pending.start(requests(), poll=poll))

    assert failure.type == "BatchNotEnded"
    assert failure.details[0]["action"] == NextAction.ATTACH
    assert pending.operations() == ["create", "retrieve"]
