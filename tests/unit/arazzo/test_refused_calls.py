"""Calls that a user could write and no run could follow."""

from pathlib import Path

from tests.unit.arazzo.editing import (
    POLL,
    RETRIEVE,
    SUBMIT,
    Edit,
    Refusals,
    W,
    action,
    assert_refused,
    cut,
    each,
    edited,
    put,
    step,
    workflow,
)

CALLS: Refusals = {
    # Calls that would cost money, or send something that the user did not mean.
    "retry of the submission": (
        put("steps", 0, "onFailure", to=action("retry", retryAfter=1)),
        f"{SUBMIT}/onFailure/0",
        "pays for a second batch",
    ),
    "retry of every step": (
        put("failureActions", to=action("retry", retryAfter=1)),
        f"{W}/failureActions/0",
        "pays for a second batch",
    ),
    "retry of the submission after success": (
        put("steps", 0, "onSuccess", to=action("retry", retryAfter=1)),
        f"{SUBMIT}/onSuccess/0",
        "would repeat submitBatch",
    ),
    "back to the submission": (
        put("steps", 1, "onFailure", to=action("goto", stepId="submitBatch")),
        f"{POLL}/onFailure/0",
        "fails at the first poll",
    ),
    "back to the submission after an error": (
        put("steps", 1, "onFailure", 1, to={"name": "anew", "type": "goto", "stepId": "submitBatch"}),
        f"{POLL}/onFailure/1",
        "",
    ),
    "retry by way of the submission": (
        put("steps", 1, "onFailure", 0, "stepId", to="submitBatch"),
        f"{POLL}/onFailure/0",
        "something else before the retry",
    ),
    "raw key": (
        put("steps", 0, "parameters", 0, "value", to="sk-ant-secret"),
        f"{SUBMIT}/parameters/0/value",
        "must be $inputs.apiKey",
    ),
    "raw key as a default": (
        put("inputs", "properties", "apiKey", "default", to="sk-ant-secret"),
        f"{W}/inputs/properties/apiKey/default",
        "not from a file",
    ),
    # Steps and calls.
    "a fourth step": (
        lambda document: workflow(document)["steps"].append({"stepId": "tidy", "operationId": "deleteMessageBatch"}),
        f"{W}/steps/3",
        "tidy is none of",
    ),
    "submission twice": (
        put("steps", 1, "operationId", to="createMessageBatch"),
        POLL,
        "calls createMessageBatch, as submitBatch does",
    ),
    "no results": (cut("steps", 2), f"{W}/steps", "no step that calls retrieveMessageBatchResults"),
    "unknown source": (
        put("steps", 0, "operationId", to="$sourceDescriptions.other.createMessageBatch"),
        f"{SUBMIT}/operationId",
        "the APIs described here are: claudeApi",
    ),
    "id and path at once": (put("steps", 0, "operationPath", to="x"), SUBMIT, "exactly one of"),
    "no operation": (cut("steps", 0, "operationId"), SUBMIT, "exactly one of"),
    "malformed path": (
        lambda document: (step(document, 0).pop("operationId"), step(document, 0).update(operationPath="/v1/x")),
        f"{SUBMIT}/operationPath",
        "must read",
    ),
    "another workflow first": (put("dependsOn", to=["warm-up"]), f"{W}/dependsOn", "a run is one workflow"),
    "same step id": (
        put("steps", 2, "stepId", to="submitBatch"),
        f"{RETRIEVE}/stepId",
        "the same as in #/workflows/0/steps/0",
    ),
    "no steps": (put("steps", to=[]), f"{W}/steps", "at least 1"),
    "missing key header": (cut("steps", 1, "parameters", 0), f"{POLL}/parameters", "lacks the header x-api-key"),
    "missing version header": (
        cut("steps", 2, "parameters", 1),
        f"{RETRIEVE}/parameters",
        "lacks the header anthropic-version",
    ),
    "fixed version": (
        put("steps", 0, "parameters", 1, "value", to="2023-06-01"),
        f"{SUBMIT}/parameters/1/value",
        "must be $inputs.anthropicVersion",
    ),
    "beta header": (
        lambda document: step(document, 0)["parameters"].append(
            {"name": "anthropic-beta", "in": "header", "value": "x"}
        ),
        f"{SUBMIT}/parameters/2",
        "input anthropicBeta",
    ),
    "header twice": (
        lambda document: step(document, 0)["parameters"].append({"name": "X-API-Key", "in": "header", "value": "x"}),
        f"{SUBMIT}/parameters/0",
        "is given twice",
    ),
    "parameter without a place": (cut("steps", 0, "parameters", 0, "in"), f"{SUBMIT}/parameters/0", "lacks `in`"),
    "no batch id": (cut("steps", 2, "parameters", 2), f"{RETRIEVE}/parameters", "path parameter message_batch_id"),
    "batch id from an output that is none": (
        put("steps", 1, "parameters", 2, "value", to="$steps.submitBatch.outputs.processingStatus"),
        f"{POLL}/parameters/2/value",
        "$steps.submitBatch.outputs.NAME",
    ),
    "fixed batch id": (
        put("steps", 1, "parameters", 2, "value", to="msgbatch_1"),
        f"{POLL}/parameters/2/value",
        "$steps.submitBatch.outputs.NAME",
    ),
    "batch id of the poll from the poll": (
        lambda document: (
            step(document, 1)["outputs"].update(batchId="$response.body#/id"),
            step(document, 1)["parameters"][2].update(value="$steps.pollBatchStatus.outputs.batchId"),
        ),
        f"{POLL}/parameters/2/value",
        "$steps.submitBatch.outputs.NAME",
    ),
    "no body": (cut("steps", 0, "requestBody"), SUBMIT, "lacks requestBody"),
    "more in the body": (
        put("steps", 0, "requestBody", "payload", "metadata", to={}),
        f"{SUBMIT}/requestBody/payload",
        "and nothing else",
    ),
    "body as text": (
        put("steps", 0, "requestBody", "payload", to='{"requests": $inputs.requests}'),
        f"{SUBMIT}/requestBody/payload",
        "must be the mapping",
    ),
    "body replacements": (
        put("steps", 0, "requestBody", "replacements", to=[{"target": "/requests/0", "value": 1}]),
        f"{SUBMIT}/requestBody/replacements",
        "sent as they are",
    ),
    "other content type": (
        put("steps", 0, "requestBody", "contentType", to="application/xml"),
        f"{SUBMIT}/requestBody/contentType",
        "application/json",
    ),
    "body of a GET": (put("steps", 1, "requestBody", to={"payload": 1}), f"{POLL}/requestBody", "carries no body"),
}


@each(CALLS)
def test_a_call_that_no_run_can_follow_is_an_error_at_its_place(
    edit: Edit, pointer: str, words: str, tmp_path: Path
) -> None:
    assert_refused(edited(tmp_path, edit), pointer, words)
