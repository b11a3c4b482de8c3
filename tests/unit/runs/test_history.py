"""The decoded input of a run: from any caller, and from workers of any version."""

from typing import Any

import pytest

from message_batches.models import Phase
from message_batches.runs.history import RunStart

BATCH = {"id": "msgbatch_2", "processing_status": "in_progress"}


def test_the_batch_that_is_carried_over_is_the_latest() -> None:
    state = {"phase": "polling", "polls": 7, "submission": {"batch_id": "msgbatch_2", "posted": 1}}

    start = RunStart.of({"batchId": "msgbatch_1", "state": state})

    assert start.batch_ids == ("msgbatch_1", "msgbatch_2")
    assert start.continued
    assert start.state
    assert (start.state.phase, start.state.polls, start.state.submission.posted) == (Phase.POLLING, 7, 1)


def test_the_requests_are_those_of_the_input_and_of_the_manifest() -> None:
    state = {"manifest": {"uri": "file:///store/manifests/b.jsonl"}}

    start = RunStart.of({"requestsUri": "file:///store/manifests/a.jsonl", "state": state})

    assert start.requests_uris == ("file:///store/manifests/a.jsonl", "file:///store/manifests/b.jsonl")


@pytest.mark.parametrize("state", [None, {}, [], "state"])
def test_a_run_without_a_state_is_the_first_of_its_chain(state: Any) -> None:
    start = RunStart.of({"batchId": "msgbatch_1", "state": state})

    assert (start.batch_ids, start.continued, start.state) == (("msgbatch_1",), False, None)


@pytest.mark.parametrize(
    "given",
    [
        {"batchId": 5, "requestsUri": ["x"]},
        {"state": {"submission": "none", "manifest": 3}},
        {"state": {"phase": "of a later version", "submission": {"batch_id": {}}}},
    ],
)
def test_fields_of_an_unexpected_type_count_as_missing(given: dict[str, Any]) -> None:
    start = RunStart.of(given)

    assert (start.batch_ids, start.requests_uris, start.state) == ((), (), None)


def test_an_unreadable_state_still_names_its_batch() -> None:
    start = RunStart.of({"state": {"phase": "of a later version", "submission": {"batch_id": "msgbatch_2"}}})

    assert (start.batch_ids, start.continued, start.state) == (("msgbatch_2",), True, None)


@pytest.mark.parametrize(
    ("given", "name"),
    [("team-a", "team-a"), ("default", "default"), ("sk-ant-api03-Secret_Text", None), ("", None), (5, None)],
)
def test_only_the_name_of_a_key_is_read(given: Any, name: str | None) -> None:
    assert RunStart.of({"apiKey": given}).api_key == name
