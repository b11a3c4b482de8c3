"""The schemas of the contract: they are the models', and take the inputs that the workflows take."""

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from message_batches import contract_schemas
from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE
from message_batches.contract_schemas import SCHEMAS, contract_schema, write_schemas
from message_batches.job_models import JobInput, Retries, RetryKind, ShardLimits
from message_batches.models import BatchInput, PollSchedule, Resolution, RetrySchedule, SubmissionSchedule
from tests.harness import contract
from tests.harness.contract import problems
from tests.harness.project import HISTORIES
from tests.harness.requests import requests

RENEW = "the models and the schemas differ: `make schemas` renews the files"
EACH = pytest.mark.parametrize("name", SCHEMAS)


def test_the_files_are_what_the_models_say(tmp_path: Path) -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in write_schemas(tmp_path)}

    assert written == {path.name: path.read_text(encoding="utf-8") for path in contract.SCHEMAS.iterdir()}, RENEW


def test_a_changed_model_changes_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithAnotherField(BatchInput):
        another_field: timedelta | None = None

    before = contract_schema("batch-input")
    monkeypatch.setattr(contract_schemas, "SCHEMAS", {"batch-input": (WithAnotherField, "validation")})

    after = contract_schema("batch-input")

    assert after["properties"].keys() - before["properties"].keys() == {"anotherField"}


@EACH
def test_a_schema_is_valid_and_names_its_dialect(name: str) -> None:
    schema = json.loads(contract.schema_file(name).read_bytes())

    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)


@EACH
def test_a_schema_describes_the_fields_of_its_model_by_their_names_in_json(name: str) -> None:
    schema = json.loads(contract.schema_file(name).read_bytes())
    fields = SCHEMAS[name][0].model_fields

    assert [*schema["properties"]] == [field.alias or own for own, field in fields.items()]
    assert "Attributes:" not in json.dumps(schema)
    assert "\n    " not in json.dumps(schema)


def test_a_field_has_what_the_docstrings_say_of_it_in_the_words_of_json() -> None:
    described = {name: each.get("description") for name, each in contract_schema("progress")["properties"].items()}
    usage = contract_schema("batch-output")["$defs"]["ModelUsage"]["properties"]
    job = contract_schema("job-input")["properties"]

    assert described["nextPoll"] == "The time of the next poll, null if none is scheduled."
    assert str(described["unknownStatus"]).startswith("`processingStatus` is not one that is known here, and")
    assert usage["cacheWrite5m"]["description"].endswith("five minutes; `cacheWrite1h` for an hour.")
    assert job["staticSummary"]["description"] == job["staticDetails"]["description"]
    assert job["apiKey"]["description"] == "The name of a key that the worker holds, never a key."


ALL_OF_A_RUN = BatchInput(
    requests=requests(2),
    poll=PollSchedule(retry_after=timedelta(seconds=0.5), transient=RetrySchedule(retry_limit=0)),
    submission=SubmissionSchedule(timeout=timedelta(minutes=2)),
    anthropic_beta=("a-beta-2026-01-01",),
    store_id="s",
    max_cost=Decimal("0.0000001"),
    deadline=datetime(2026, 11, 28, 6, tzinfo=UTC),
    static_summary="x" * 30_000,
)
ALL_OF_A_JOB = JobInput(
    requests_uri="s3://bucket/requests.jsonl",
    shards=ShardLimits(max_requests=10),
    retries=Retries(waves=1, what=RetryKind.UNUSABLE, max_tokens=64),
    max_cost=Decimal("1E+3"),
)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("batch-input", ALL_OF_A_RUN),
        ("batch-input", BatchInput(batch_id="msgbatch_01")),
        ("job-input", ALL_OF_A_JOB),
        ("job-input", JobInput(base="a-run")),
        ("resolution", Resolution(adopt="msgbatch_01")),
    ],
    ids=repr,
)
def test_the_input_of_a_caller_in_python_matches_its_schema(name: str, given: BaseModel) -> None:
    assert problems(name, json.loads(given.model_dump_json())) == []


MODELS: dict[str, type[BaseModel]] = {"batch-input": BatchInput, "job-input": JobInput, "resolution": Resolution}


@pytest.mark.parametrize(
    ("name", "given", "valid"),
    [
        ("batch-input", {}, True),  # that something is missing, the run says itself
        ("batch-input", {"poll": {"retryAfter": 2}}, True),
        ("batch-input", {"poll": {"retryAfter": 0.25, "retryLimit": 0, "transient": {"retryAfter": 604800}}}, True),
        ("batch-input", {"poll": {"retryAfter": 0}}, False),
        ("batch-input", {"poll": {"retryAfter": 604800.5}}, False),
        ("batch-input", {"poll": {"retryAfter": "soon"}}, False),
        ("batch-input", {"submission": {"quietPeriod": -1}}, False),
        ("batch-input", {"requests": None, "requestsUri": None, "batchId": None, "maxCost": None}, True),
        ("batch-input", {"requests": "text"}, False),
        ("batch-input", {"maxCost": 25}, True),
        ("batch-input", {"maxCost": 0.1}, True),
        ("batch-input", {"maxCost": "2.50"}, True),
        ("batch-input", {"maxCost": "1e3"}, True),
        ("batch-input", {"maxCost": 0}, False),
        ("batch-input", {"maxCost": "much"}, False),
        ("batch-input", {"deadline": "2026-11-28T06:00:00+01:00"}, True),
        ("batch-input", {"deadline": "tomorrow"}, False),
        ("batch-input", {"anthropicBeta": ["a", "b"]}, True),
        ("batch-input", {"anthropicBeta": "a"}, False),
        ("batch-input", {"anthropicVersion": "a\r\nb"}, False),
        ("batch-input", {"batchId": "../x"}, False),
        ("batch-input", {"inlineResults": False, "ofANewerVersion": {"a": 1}}, True),
        ("batch-input", ["not", "an", "object"], False),
        ("job-input", {"base": "a-run", "concurrency": 100, "shards": {"maxRequests": 1, "maxBytes": 1}}, True),
        ("job-input", {"base": ""}, False),
        ("job-input", {"concurrency": 101}, False),
        ("job-input", {"retries": {"waves": 20, "what": "unusable", "maxTokens": 1}}, True),
        ("job-input", {"retries": {"what": "all"}}, False),
        ("resolution", {"submitAgain": True}, True),
        ("resolution", {"adopt": "no batch"}, False),
    ],
    ids=str,
)
def test_a_schema_takes_what_the_workflow_takes_and_nothing_else(name: str, given: Any, valid: bool) -> None:
    try:
        MODELS[name].model_validate_json(json.dumps(given))
        taken = True
    except ValidationError:
        taken = False

    assert (taken, problems(name, given) == []) == (valid, valid), problems(name, given)


def recorded_inputs() -> Iterator[tuple[str, Any]]:
    """Yield the workflow type and the input of each start by a caller in the recorded histories."""
    for path in HISTORIES.glob("*.json.gz"):
        started = json.loads(gzip.decompress(path.read_bytes()))["events"][0]["workflowExecutionStartedEventAttributes"]
        if "continuedExecutionRunId" not in started:
            [payload] = started["input"]["payloads"]
            yield started["workflowType"]["name"], json.loads(base64.b64decode(payload["data"]))


def test_the_recorded_inputs_of_all_versions_match_their_schema() -> None:
    schemas = {WORKFLOW_TYPE: "batch-input", JOB_WORKFLOW_TYPE: "job-input"}
    # The workflow of a notification is started by a run alone.
    found = [(kind, problems(schemas[kind], given)) for kind, given in recorded_inputs() if kind in schemas]

    assert {kind for kind, _ in found} == {*schemas}
    assert [problem for _, each in found for problem in each] == []


def test_the_items_of_requests_are_those_of_a_requests_file() -> None:
    for request in [{"custom_id": "a b", "params": {}}, {"custom_id": "a"}, {"custom_id": "a", "params": {}, "x": 1}]:
        assert problems("batch-request", request)
        assert problems("batch-input", {"requests": [request]})
    assert problems("batch-input", {"requests": requests(3)}) == []
