"""The pure functions of the starter: durations, ids, the choice of requests to send again."""

import pytest

from message_batches.api.models import ApiProfile
from message_batches.cli.options import read_duration
from message_batches.cli.report import read_reply
from message_batches.results.parser import ResultLine
from message_batches.results.reader import FailedRequests
from message_batches.runs.deduplication import workflow_id_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1m", 60), ("0.2s", 0.2), ("2h", 7200), ("250ms", 0.25), (" 1.5m ", 90)]
)
def test_a_duration_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert read_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "1 m", "-1s", "0s", "8d", "1e3s", "1m30s", "9" * 400 + "h"])
def test_an_invalid_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"30s|7 days"):
        read_duration(text)


def test_the_workflow_id_depends_on_bytes_version_betas_and_key() -> None:
    plain = workflow_id_of("ab", ApiProfile())

    assert plain == workflow_id_of("ab", ApiProfile())
    assert plain.startswith("batch-")
    betas = [workflow_id_of("ab", ApiProfile(anthropic_beta=names)) for names in (("x", "y"), ("y", "x"))]
    others = [workflow_id_of("cd", ApiProfile()), workflow_id_of("ab", ApiProfile(api_key="team-a")), betas[0]]
    assert betas[0] == betas[1]
    assert len({plain, *others}) == 4


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        ("invalid_request_error", False),
        ("not_found_error", False),
        ("request_too_large", False),
        ("api_error", True),
        ("overloaded_error", True),
        ("rate_limit_error", True),
        ("timeout_error", True),
    ],
)
def test_an_errored_request_is_worth_sending_again_unless_it_is_invalid(kind: str, again: bool) -> None:
    selection = FailedRequests()

    selection.add(ResultLine("a", "errored", (kind, "why")))

    assert ("a" in selection.retryable, "a" in selection.invalid) == (again, not again)


def test_expired_and_canceled_requests_are_worth_sending_again_and_succeeded_ones_are_not() -> None:
    selection = FailedRequests()

    for outcome in ("succeeded", "expired", "canceled"):
        selection.add(ResultLine(outcome, outcome))

    assert selection.retryable == {"expired", "canceled"}
    assert not selection.invalid


def test_a_reply_is_shown_as_its_texts_and_tool_calls() -> None:
    line = (
        b'{"custom_id":"a","result":{"type":"succeeded","message":{"content":[{"type":"thinking","thinking":"hm"},'
        b'{"type":"text","text":"Hello \\ud83d"},{"type":"tool_use","name":"look","input":{"at":1}}]}}}'
    )

    reply = read_reply(line)

    assert reply.outcome == "succeeded"
    assert reply.text == 'Hello ?\nlook({"at": 1})'


def test_a_reply_without_a_message_is_shown_by_its_outcome_alone() -> None:
    assert read_reply(b'{"custom_id":"a","result":{"type":"expired"}}').text == ""
