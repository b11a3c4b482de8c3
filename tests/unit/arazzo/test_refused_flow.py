"""Criteria and actions that a user could write and no run could follow."""

from pathlib import Path

from tests.unit.arazzo.editing import (
    POLL,
    RETRIEVE,
    SUBMIT,
    Edit,
    Refusals,
    action,
    assert_refused,
    condition,
    cut,
    each,
    edited,
    put,
    retry,
    step,
)

JSONPATH = {"type": "jsonpath", "context": "$response.body"}

FLOW: Refusals = {
    "no criteria": (cut("steps", 0, "successCriteria"), SUBMIT, "counts a 400 as success"),
    "errors count as success": (
        put("steps", 2, "successCriteria", to=condition("$statusCode < 500")),
        f"{RETRIEVE}/successCriteria",
        "counts a 400 as success",
    ),
    "wrong status": (
        put("steps", 0, "successCriteria", to=condition("$statusCode == 201")),
        f"{SUBMIT}/successCriteria",
        "does not count a 200",
    ),
    "status as a string": (
        put("steps", 0, "successCriteria", to=condition("$statusCode == '200'")),
        f"{SUBMIT}/successCriteria",
        "does not count a 200",
    ),
    "no ended condition": (
        cut("steps", 1, "successCriteria", 1),
        f"{POLL}/successCriteria",
        "continues while the batch is in_progress",
    ),
    "canceling counts as ended": (
        put("steps", 1, "successCriteria", 1, to={"condition": "$response.body#/processing_status != 'in_progress'"}),
        f"{POLL}/successCriteria",
        "continues while the batch is canceling",
    ),
    "ended in American": (
        put("steps", 1, "successCriteria", 1, "condition", to="$response.body#/processing_status == 'completed'"),
        f"{POLL}/successCriteria",
        "does not count an ended batch",
    ),
    "no retry": (cut("steps", 1, "onFailure"), POLL, "fails at the first poll"),
    "retry of another status": (cut("steps", 1, "onFailure", 0), f"{POLL}/onFailure", "add an onFailure action"),
    "two stages": (
        lambda document: step(document, 1)["onFailure"].insert(
            1, {**retry(document), "name": "slower", "retryAfter": 60}
        ),
        f"{POLL}/onFailure/1",
        "a run has one cadence",
    ),
    "one retry a state": (
        lambda document: step(document, 1).update(
            onFailure=[
                {
                    "name": state,
                    "type": "retry",
                    "retryAfter": 1,
                    "criteria": condition(f"$response.body#/processing_status == '{state}'"),
                }
                for state in ("in_progress", "canceling")
            ]
        ),
        f"{POLL}/onFailure/1",
        "a run has one cadence",
    ),
    "two retries for errors": (
        lambda document: step(document, 1).update(
            onFailure=[
                retry(document),
                {**retry(document, 1), "criteria": condition("$statusCode == 429")},
                {**retry(document, 1), "name": "x", "retryAfter": 1, "criteria": condition("$statusCode >= 500")},
            ]
        ),
        f"{POLL}/onFailure/2",
        "share one retry",
    ),
    "end after submitting": (
        put("steps", 0, "onSuccess", to=action("end")),
        f"{SUBMIT}/onSuccess/0",
        "ends before pollBatchStatus",
    ),
    "skip the poll": (
        put("steps", 0, "onSuccess", to=action("goto", stepId="retrieveResults")),
        f"{SUBMIT}/onSuccess/0",
        "only pollBatchStatus can follow",
    ),
    "on to another workflow": (
        put("steps", 2, "onSuccess", to=action("goto", workflowId="next")),
        f"{RETRIEVE}/onSuccess/0",
        "nothing can follow retrieveResults",
    ),
    "xpath": (
        put("steps", 1, "successCriteria", 1, to={"condition": "//a", "type": "xpath", "context": "$response.body"}),
        f"{POLL}/successCriteria/1/type",
        "answers in JSON",
    ),
    "JSONPath without the body": (
        put("steps", 1, "successCriteria", 1, to={"condition": "$.a == 1", "type": "jsonpath"}),
        f"{POLL}/successCriteria/1",
        "context $response.body",
    ),
    "JSONPath that only asks for a member": (
        put("steps", 1, "successCriteria", 1, to={"condition": "$.results_url", **JSONPATH}),
        f"{POLL}/successCriteria",
        "continues while the batch is in_progress",
    ),
    "dialect without its type": (
        put("steps", 1, "successCriteria", 1, "condition", to="$.processing_status == 'ended'"),
        f"{POLL}/successCriteria/1/condition",
        "$response.body#/name",
    ),
    "double quotes": (
        put("steps", 1, "successCriteria", 1, "condition", to='$response.body#/processing_status == "ended"'),
        f"{POLL}/successCriteria/1/condition",
        "single quotes",
    ),
    "condition on an input": (
        put("steps", 1, "successCriteria", 1, "condition", to="$inputs.requests == 1"),
        f"{POLL}/successCriteria/1/condition",
        "reads `$inputs.requests`",
    ),
    "one equals sign": (
        put("steps", 0, "successCriteria", 0, "condition", to="$statusCode = 200"),
        f"{SUBMIT}/successCriteria/0/condition",
        "cannot be read from `= 200`",
    ),
    "half a condition": (
        put("steps", 0, "successCriteria", 0, "condition", to="$statusCode =="),
        f"{SUBMIT}/successCriteria/0/condition",
        "ends early",
    ),
    "open parenthesis": (
        put("steps", 0, "successCriteria", 0, "condition", to="($statusCode == 200"),
        f"{SUBMIT}/successCriteria/0/condition",
        "closing parenthesis",
    ),
    "parentheses without end": (
        put("steps", 0, "successCriteria", 0, "condition", to="(" * 499),
        f"{SUBMIT}/successCriteria/0/condition",
        "",
    ),
    "broken regex": (
        put("steps", 0, "successCriteria", 0, to={"condition": "(", "type": "regex", "context": "$statusCode"}),
        f"{SUBMIT}/successCriteria/0/condition",
        "not a regular expression",
    ),
}


@each(FLOW)
def test_a_flow_that_no_run_can_follow_is_an_error_at_its_place(
    edit: Edit, pointer: str, words: str, tmp_path: Path
) -> None:
    assert_refused(edited(tmp_path, edit), pointer, words)
