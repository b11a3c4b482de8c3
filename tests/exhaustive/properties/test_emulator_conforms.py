"""The emulator compared with the OpenAPI slice that ships with the document, by calls generated from the slice.

Valid calls must be accepted, invalid ones refused, and every response must be one that the slice describes.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import jsonschema
import pytest
import requests
import schemathesis
import yaml
from hypothesis import settings
from schemathesis import CheckFunction, Response
from schemathesis.checks import ignored_auth, positive_data_acceptance

from tests.harness.emulator_process import running_emulator
from tests.harness.project import OPENAPI

KEY = "sk-emulated-0001"
HEADERS = {"x-api-key": KEY}
# Undocumented responses of the API: a status that is about the state, rather than the data.
KNOWN = ("--cancel-after-ended=409", "--delete-while-canceling=409", "--unknown-cursor=200", "--both-cursors=200")

Case = schemathesis.Case[Any]

schema = schemathesis.openapi.from_path(OPENAPI)
_slice = yaml.safe_load(OPENAPI.read_text())
RESULT_LINE = jsonschema.Draft202012Validator(
    {"$ref": "#/components/schemas/ResultLine", "components": _slice["components"]}
)


@schemathesis.deserializer("application/x-jsonl")
def _as_text(_: object, response: Response) -> str:
    return response.content.decode()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_emulator("--processing-time=0s", f"--api-key={KEY}", *KNOWN) as (_, address):
        yield address


@pytest.fixture
def open_url() -> Iterator[str]:
    """Return the URL of an emulator that accepts every key."""
    with running_emulator("--processing-time=0s", *KNOWN) as (_, address):
        yield address


def answers_of(operation_id: str) -> Any:
    """Make a test of an operation; schemathesis would give the tests of several operations one id with pytest 9.2."""

    @schema.include(operation_id=operation_id).parametrize()
    def test(case: Case, url: str) -> None:
        response = case.call(base_url=url, headers=HEADERS)

        _check(case, response)

    return test


test_every_answer_of_create_is_one_that_the_slice_describes = answers_of("createMessageBatch")
test_every_answer_of_list_is_one_that_the_slice_describes = answers_of("listMessageBatches")
test_every_answer_of_retrieve_is_one_that_the_slice_describes = answers_of("retrieveMessageBatch")
test_every_answer_of_results_is_one_that_the_slice_describes = answers_of("retrieveMessageBatchResults")
test_every_answer_of_cancel_is_one_that_the_slice_describes = answers_of("cancelMessageBatch")
test_every_answer_of_delete_is_one_that_the_slice_describes = answers_of("deleteMessageBatch")


def test_every_answer_over_the_life_of_a_batch_is_one_that_the_slice_describes(open_url: str) -> None:
    seen: set[tuple[str, int]] = set()

    class Life(schema.as_state_machine()):  # type: ignore[misc]  # A class that is made at run time.
        def setup(self) -> None:
            # A new key is a new workspace: no example depends on those before it.
            self.key = f"sk-{uuid4()}"

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"base_url": open_url, "headers": {"x-api-key": self.key}}

        def before_call(self, case: Case) -> None:
            # A generated workspace is refused at once, which hides all further checks.
            case.headers.pop("anthropic-workspace-id", None)

        def validate_response(self, response: Response, case: Case, **_: Any) -> None:
            seen.add((case.operation.definition.raw["operationId"], response.status_code))
            _check(case, response, ignored_auth)

    Life.run(settings=settings(stateful_step_count=8))

    operations = {"createMessageBatch", "listMessageBatches", "retrieveMessageBatch", "retrieveMessageBatchResults"}
    assert seen >= {(operation, 200) for operation in (*operations, "deleteMessageBatch")}


def test_custom_ids_that_repeat_are_refused(url: str) -> None:
    twins: Any = {"requests": [{"custom_id": "a", "params": {}}] * 2}
    reply = requests.post(
        f"{url}/v1/messages/batches", json=twins, headers={**HEADERS, "anthropic-version": "2023-06-01"}, timeout=20
    )

    assert reply.status_code == 400
    assert "Duplicate custom_id found: a" in reply.text


def _check(case: Case, response: Response, *excluded: CheckFunction) -> None:
    # A schema cannot forbid repeated ids: generated calls with repeated ids count as valid, and are refused.
    twins = [positive_data_acceptance] if _has_twins(case.body) else []
    case.validate_response(response, excluded_checks=[*twins, *excluded])
    if response.status_code == 200 and case.path.endswith("/results"):
        for line in response.content.split(b"\n")[:-1]:
            RESULT_LINE.validate(json.loads(line))


def _has_twins(body: Any) -> bool:
    try:
        ids = [item["custom_id"] for item in body["requests"]]
    except (TypeError, KeyError):
        return False
    return len(set(map(str, ids))) < len(ids)
