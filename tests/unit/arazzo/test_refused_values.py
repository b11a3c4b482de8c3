"""Numbers, inputs, outputs and forms that a user could write and no run could follow."""

from pathlib import Path

from tests.unit.arazzo.editing import POLL, SUBMIT, Edit, Refusals, W, assert_refused, cut, each, edited, put, workflow

AFTER, LIMIT = (f"{POLL}/onFailure/0/{name}" for name in ("retryAfter", "retryLimit"))

VALUES: Refusals = {
    # Numbers.
    **{
        f"retryAfter {value!r}": (
            put("steps", 1, "onFailure", 0, "retryAfter", to=value),
            AFTER,
            words,
        )
        for value, words in (
            ("30", "must be a number, without quotes"),
            ("30s", "must be a number, without quotes"),
            (True, "must be a number"),
            (None, "is empty"),
            (-1, "greater than or equal to 0"),
            (0, "above 0"),
            (1e-9, "greater than 0"),
            (604801, "less than or equal to"),
            (1e300, "at most 604800"),
            (float("nan"), "finite"),
            (float("inf"), "finite"),
        )
    },
    **{
        f"retryLimit {value!r}": (
            put("steps", 1, "onFailure", 0, "retryLimit", to=value),
            LIMIT,
            words,
        )
        for value, words in (
            ("2880", "must be a whole number, without quotes"),
            (2.5, "whole number"),
            (-1, "greater than or equal to 0"),
            (True, "whole number"),
            (10**12, "less than or equal to"),
        )
    },
    # Inputs and outputs.
    "no requests": (cut("inputs", "properties", "requests"), f"{W}/inputs/properties", "lacks the input requests"),
    "no inputs": (cut("inputs"), f"{W}/inputs", "lacks the input apiKey"),
    "input of another type": (
        put("inputs", "properties", "requests", "type", to="string"),
        f"{W}/inputs/properties/requests/type",
        "must be array",
    ),
    "another input": (
        put("inputs", "properties", "model", to={"type": "string"}),
        f"{W}/inputs/properties/model",
        "takes no input model",
    ),
    "version that is a number": (
        put("inputs", "properties", "anthropicVersion", "default", to=2023),
        f"{W}/inputs/properties/anthropicVersion/default",
        "date in quotes",
    ),
    "another output": (
        put("outputs", "firstLine", to="$steps.retrieveResults.outputs.results"),
        f"{W}/outputs/firstLine",
        "no output firstLine",
    ),
    "output from elsewhere": (
        put("outputs", "resultsUrl", to="$steps.submitBatch.outputs.batchId"),
        f"{W}/outputs/resultsUrl",
        "must be $steps.pollBatchStatus.outputs.NAME",
    ),
    "output of a step that it has not": (
        put("outputs", "batchId", to="$steps.submitBatch.outputs.lost"),
        f"{W}/outputs/batchId",
        "must be $steps.submitBatch.outputs.NAME",
    ),
    "output with another source": (
        put("steps", 1, "outputs", "resultsUrl", to="$response.body#/id"),
        f"{POLL}/outputs/resultsUrl",
        "must be $response.body#/results_url",
    ),
    # The form.
    "misspelled field": (
        put("steps", 0, "sucessCriteria", to=[]),
        f"{SUBMIT}/sucessCriteria",
        "did you mean successCriteria?",
    ),
    "unknown action": (
        put("steps", 1, "onFailure", 0, "type", to="wait"),
        f"{POLL}/onFailure/0/type",
        "'end', 'goto' or 'retry'",
    ),
    "action without a name": (cut("steps", 1, "onFailure", 0, "name"), f"{POLL}/onFailure/0", "lacks name"),
    "steps as a mapping": (put("steps", to={"a": 1}), f"{W}/steps", "must be a list"),
    "step as a string": (put("steps", 0, to="submitBatch"), SUBMIT, "must be a mapping"),
    "reference to nothing": (
        put("steps", 1, "onFailure", 1, to={"reference": "$components.failureActions.lost"}),
        f"{POLL}/onFailure/1/reference",
        "names no component",
    ),
    "version of Arazzo as a number": (
        lambda document: document.update(arazzo=1.0),
        "#/arazzo",
        "is not a whole version",
    ),
    "version 2": (lambda document: document.update(arazzo="2.0.0"), "#/arazzo", "knows 1.0 and 1.1"),
    "no workflows": (lambda document: document.pop("workflows"), "#", "lacks workflows"),
    "two workflows with the calls": (
        lambda document: document["workflows"].append({**workflow(document), "workflowId": "again"}),
        "#/workflows",
        "name the one that is meant",
    ),
    "two workflows with one id": (
        lambda document: document["workflows"].append(dict(workflow(document))),
        "#/workflows/1/workflowId",
        "the same as",
    ),
}


@each(VALUES)
def test_a_value_that_no_run_can_follow_is_an_error_at_its_place(
    edit: Edit, pointer: str, words: str, tmp_path: Path
) -> None:
    assert_refused(edited(tmp_path, edit), pointer, words)
