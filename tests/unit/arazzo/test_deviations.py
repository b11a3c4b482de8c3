"""Deviations: parts of a document that a run follows differently, and reports."""

from datetime import timedelta
from pathlib import Path

import pytest

from message_batches.arazzo.loader import load_document
from message_batches.arazzo.plan import normalize, plan_of
from message_batches.models import PollSchedule, RetrySchedule
from tests.harness.project import DOCUMENT
from tests.unit.arazzo.editing import Edit, Parsed, edited, plan_after, retry, step, workflow


def test_without_a_retry_for_errors_the_default_is_used_and_reported(tmp_path: Path) -> None:
    plan = plan_after(tmp_path, lambda document: step(document, 1)["onFailure"].pop())
    assert plan.poll.transient == RetrySchedule()
    [deviation] = plan.deviations
    assert "429, 500, 502, 503, 504, 529" in deviation


def test_steps_are_found_whatever_their_names_and_order(tmp_path: Path) -> None:
    text = DOCUMENT.read_text().replace("submitBatch", "send").replace("pollBatchStatus", "wait")
    renamed = tmp_path / "renamed.yml"
    renamed.write_text(text)

    def shuffle(document: Parsed) -> None:
        steps = workflow(document)["steps"]
        steps[:] = [steps[2], steps[0], steps[1]]

    shuffled = load_document(edited(tmp_path, shuffle, renamed))
    plan = plan_of(shuffled)
    assert (plan.submit_step, plan.poll_step, plan.retrieve_step) == ("send", "wait", "retrieveResults")
    assert plan.poll == PollSchedule()
    [deviation] = plan.deviations
    assert "run as send, wait, retrieveResults" in deviation
    (tmp_path / "normalized.yml").write_text(normalize(shuffled))
    assert not plan_of(load_document(tmp_path / "normalized.yml")).deviations


def test_a_filter_on_the_batch_itself_is_read_as_other_runners_read_it(tmp_path: Path) -> None:
    criterion = {"condition": "$[?(@.processing_status == 'ended')]", "type": "jsonpath", "context": "$response.body"}
    file = edited(tmp_path, lambda document: step(document, 1)["successCriteria"].__setitem__(1, criterion))
    [deviation] = plan_of(load_document(file)).deviations
    assert "about the batch itself" in deviation
    file.write_text(normalize(load_document(file)))
    assert plan_of(load_document(file)).deviations == ()


def test_one_retry_for_all_responses_is_the_cadence_of_both_and_names_what_fails_at_once(tmp_path: Path) -> None:
    def edit(document: Parsed) -> None:
        step(document, 1)["onFailure"] = [{"name": "again", "type": "retry", "retryAfter": 10, "retryLimit": 99}]

    plan = plan_after(tmp_path, edit)
    assert plan.poll.retry_limit == plan.poll.transient.retry_limit == 99
    [deviation] = plan.deviations
    assert "A retry does not help with 400, 401, 402, 403, 413, 422" in deviation


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda document: workflow(document)["outputs"].pop("resultsUrl"), "A run gives resultsUrl all the same"),
        (lambda document: retry(document).pop("retryAfter"), "It has no retryAfter; a run waits 30 s"),
        (lambda document: retry(document).update(stepId="pollBatchStatus"), "read as once"),
        (
            lambda document: retry(document).update(
                criteria=[{"condition": "$response.body#/processing_status == 'in_progress'"}]
            ),
            "canceling is polled again",
        ),
        (
            lambda document: retry(document, 1).update(criteria=[{"condition": "$statusCode == 529"}]),
            "The document does not mention 429, 500, 502, 503, 504;",
        ),
        (
            lambda document: step(document, 2).update(onFailure=[{"name": "again", "type": "retry", "retryAfter": 1}]),
            "downloaded again by the workflow's own rules",
        ),
        (
            lambda document: step(document, 0).update(
                onFailure=[{"name": "slow", "type": "retry", "criteria": [{"condition": "$statusCode == 429"}]}]
            ),
            "refused with 429 is sent again by the workflow's own rules",
        ),
        (
            lambda document: step(document, 0).update(onFailure=[{"name": "stop", "type": "end"}]),
            "fails, rather than ends",
        ),
        (
            lambda document: workflow(document)["inputs"]["properties"]["anthropicVersion"].pop("default"),
            "a run sends 2023-06-01",
        ),
        (lambda document: workflow(document)["inputs"]["required"].remove("apiKey"), "needs apiKey"),
        (
            lambda document: workflow(document)["inputs"]["properties"]["requests"].update(maxItems=10),
            "#/workflows/0/inputs/properties/requests/maxItems: A run checks requests as the API does",
        ),
    ],
)
def test_each_deviation_is_a_sentence(edit: Edit, sentence: str, tmp_path: Path) -> None:
    plan = plan_after(tmp_path, edit)
    assert len(plan.deviations) == 1
    assert sentence in plan.deviations[0]
    assert plan.poll.retry_after == timedelta(seconds=30)


def test_an_unreachable_retry_after_success_is_left_out(tmp_path: Path) -> None:
    never = {"name": "never", "type": "retry", "criteria": [{"condition": "$statusCode == 500"}]}
    file = edited(tmp_path, lambda document: step(document, 1).update(onSuccess=[never]))
    [deviation] = plan_of(load_document(file)).deviations
    assert "no response leads to it" in deviation
    file.write_text(normalize(load_document(file)))
    assert plan_of(load_document(file)) == plan_of(load_document(DOCUMENT))
