"""The plan read from documents that a run can follow."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from message_batches.arazzo.__main__ import main
from message_batches.arazzo.loader import load_document
from message_batches.arazzo.plan import RunPlan, interface_of, normalize, plan_of
from message_batches.arazzo.yaml_source import DocumentError
from message_batches.models import PollSchedule, RetrySchedule
from tests.harness.project import DOCUMENT, PUBLISHED
from tests.unit.arazzo.editing import Parsed, edited, plan_after, retry, step, workflow

OURS = RunPlan(
    workflow_id="batch-process-and-retrieve-results",
    submit_step="submitBatch",
    poll_step="pollBatchStatus",
    retrieve_step="retrieveResults",
    anthropic_version="2023-06-01",
    poll=PollSchedule(
        retry_after=timedelta(seconds=30),
        retry_limit=2880,
        transient=RetrySchedule(retry_after=timedelta(seconds=30), retry_limit=480),
    ),
)
ENDED = "$response.body#/processing_status == 'ended'"


def test_our_document_is_read_without_a_deviation() -> None:
    assert plan_of(load_document(DOCUMENT)) == OURS


def test_the_published_dialect_gives_the_same_plan_and_reports_its_deviations() -> None:
    plan = plan_of(load_document(PUBLISHED))
    assert plan.model_copy(update={"deviations": ()}) == OURS
    assert [deviation.split(": ")[0] for deviation in plan.deviations] == [
        "#/sourceDescriptions/0/url",
        "#/workflows/0/steps/1/onSuccess/0/criteria/0/condition",
        "#/workflows/0/steps/1/onSuccess/1/criteria/0/condition",
        "#/workflows/0/steps/1/onSuccess/0",
        "#/workflows/0/steps/1",
    ]
    assert "pollBatchStatus again after 30 s, at most 2880 times, while the batch has not ended" in plan.deviations[3]
    assert all(deviation.endswith(".") for deviation in plan.deviations)


@pytest.mark.parametrize("file", [DOCUMENT, PUBLISHED], ids=["ours", "published"])
def test_the_normalized_form_gives_the_same_plan_and_is_its_own_normalized_form(file: Path, tmp_path: Path) -> None:
    document = load_document(file)
    again = tmp_path / "normalized.yml"
    again.write_text(normalize(document))
    plan = plan_of(load_document(again))
    assert plan.poll == plan_of(document).poll
    assert not any("onSuccess" in deviation for deviation in plan.deviations)
    assert normalize(load_document(again)) == again.read_text()


def test_the_normalized_form_of_ours_differs_by_its_comments_only() -> None:
    lines = DOCUMENT.read_text().splitlines()
    assert normalize(load_document(DOCUMENT)).splitlines() == [
        line for line in lines if not line.lstrip().startswith("#")
    ]


def test_the_interface_lists_inputs_steps_and_outputs() -> None:
    found = interface_of(load_document(DOCUMENT))
    assert {name: (each.required, each.default) for name, each in found.inputs.items()} == {
        "apiKey": (True, None),
        "anthropicVersion": (False, "2023-06-01"),
        "requests": (True, None),
    }
    assert found.steps == {
        "submitBatch": ("batchId", "processingStatus"),
        "pollBatchStatus": ("processingStatus", "resultsUrl", "requestCounts"),
        "retrieveResults": ("results",),
    }
    assert found.outputs == ("batchId", "requestCounts", "resultsUrl", "results")


def test_cadence_and_version_are_taken_from_the_file(tmp_path: Path) -> None:
    def edit(document: Parsed) -> None:
        retry(document).update(retryAfter=0.2, retryLimit=7)
        retry(document, 1).update(retryAfter=5, retryLimit=0)
        workflow(document)["inputs"]["properties"]["anthropicVersion"]["default"] = "2026-10-21"

    plan = plan_after(tmp_path, edit)
    assert plan.poll == PollSchedule(
        retry_after=timedelta(seconds=0.2),
        retry_limit=7,
        transient=RetrySchedule(retry_after=timedelta(seconds=5), retry_limit=0),
    )
    assert plan.anthropic_version == "2026-10-21"
    assert not plan.deviations


def test_a_retry_without_a_limit_is_made_once(tmp_path: Path) -> None:
    assert plan_after(tmp_path, lambda document: retry(document).pop("retryLimit")).poll.retry_limit == 1


def test_an_unquoted_date_is_a_string(tmp_path: Path) -> None:
    file = edited(tmp_path, lambda document: None)
    file.write_text(DOCUMENT.read_text().replace("default: '2023-06-01'", "default: 2023-06-01"))
    assert plan_of(load_document(file)) == OURS


def test_steps_out_of_order_that_are_linked_by_goto_are_valid(tmp_path: Path) -> None:
    def edit(document: Parsed) -> None:
        steps = workflow(document)["steps"]
        steps[0]["onSuccess"] = [{"name": "look", "type": "goto", "stepId": "pollBatchStatus"}]
        steps[1]["onSuccess"] = [{"name": "fetch", "type": "goto", "stepId": "retrieveResults"}]
        steps[2]["onSuccess"] = [{"name": "done", "type": "end"}]
        steps[1], steps[2] = steps[2], steps[1]

    assert plan_after(tmp_path, edit) == OURS


def test_operations_may_be_qualified_or_named_by_path(tmp_path: Path) -> None:
    def edit(document: Parsed) -> None:
        paths = "{$sourceDescriptions.claudeApi.url}#/paths/~1v1~1messages~1batches"
        step(document, 0)["operationId"] = "$sourceDescriptions.claudeApi.createMessageBatch"
        for index, end in ((1, "/get"), (2, "~1results/get")):
            del step(document, index)["operationId"]
            step(document, index)["operationPath"] = f"{paths}~1{{message_batch_id}}{end}"

    assert plan_after(tmp_path, edit) == OURS


def test_the_workflow_with_the_three_calls_is_chosen_or_the_one_named(tmp_path: Path) -> None:
    def add(document: Parsed) -> None:
        only_list = {"stepId": "all", "operationId": "listMessageBatches"}
        document["workflows"].insert(0, {"workflowId": "look-around", "steps": [only_list]})

    document = load_document(edited(tmp_path, add))
    assert plan_of(document) == plan_of(document, OURS.workflow_id) == OURS
    with pytest.raises(DocumentError, match="all is none of createMessageBatch"):
        plan_of(document, "look-around")
    with pytest.raises(DocumentError, match="has no workflow lost, only look-around, batch-process"):
        plan_of(document, "lost")


def test_parameters_actions_and_inputs_may_be_components(tmp_path: Path) -> None:
    def edit(document: Parsed) -> None:
        own = workflow(document)
        headers = own["steps"][0]["parameters"][:2]
        document["components"] = {
            "parameters": {"key": headers[0], "version": headers[1]},
            "failureActions": {"outage": retry(document, 1)},
            "inputs": {"batch": own["inputs"]},
        }
        own["inputs"] = {"$ref": "#/components/inputs/batch"}
        own["parameters"] = [
            {"reference": "$components.parameters.key"},
            {"reference": "$components.parameters.version"},
        ]
        for each in own["steps"]:
            del each["parameters"][:2]
        step(document, 1)["onFailure"][1] = {"reference": "$components.failureActions.outage"}

    assert plan_after(tmp_path, edit) == OURS


@pytest.mark.parametrize(
    "criterion",
    [
        {"condition": "'ENDED'==$response.body#/processing_status"},
        {"condition": "!($response.body#/processing_status != 'ended')"},
        {"condition": "$response.body#/ended_at != null && $response.body#/request_counts/processing == 0"},
        {"condition": "^ended$", "type": "regex", "context": "$response.body#/processing_status"},
        {"condition": "$[?@ == 'ended']", "type": "jsonpath", "context": "$response.body"},
        {"condition": '$[?$.processing_status == "ended"]', "type": "jsonpath", "context": "$response.body"},
        {
            "condition": "$[?$['processing_status'] == 'ended']",
            "type": {"type": "jsonpath", "version": "draft-goessner-dispatch-jsonpath-00"},
            "context": "$response.body",
        },
    ],
    ids=lambda criterion: str(criterion["condition"]),
)
def test_the_ended_condition_may_be_written_in_any_equivalent_way(criterion: Parsed, tmp_path: Path) -> None:
    assert plan_after(tmp_path, lambda document: step(document, 1)["successCriteria"].__setitem__(1, criterion)) == OURS


def test_the_command_prints_the_plan_or_the_error_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(PUBLISHED)]) == 0
    readable = capsys.readouterr().out
    assert "pollBatchStatus, again after 30 s, at most 2880 times" in readable
    assert readable.count("\n  - #/workflows/0/steps/1") == 4
    assert main([str(DOCUMENT), "--json"]) == 0
    assert RunPlan.model_validate_json(capsys.readouterr().out) == OURS
    assert main([str(DOCUMENT), "--normalize"]) == 0
    assert capsys.readouterr().out.startswith("arazzo: 1.0.1\ninfo:\n")


def test_the_module_exits_with_2_and_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "message_batches.arazzo"]
    for file in (tmp_path / "lost.yml", tmp_path):
        done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith(str(file))
        assert done.stderr.count("\n") == 1
    done = subprocess.run([*command, str(DOCUMENT), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["poll"]["retryLimit"] == 2880
