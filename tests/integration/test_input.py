"""Invalid input: refused at once, with the error, its place and the next step; nothing is sent."""

from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.client import WorkflowHandle

from message_batches.contract import WORKFLOW_TYPE
from tests.harness.requests import TOO_LARGE, requests
from tests.harness.stack import Stack, failure_of
from tests.harness.waiting import eventually


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({}, "InvalidRequests", "batchId"),
        ({"requests": []}, "InvalidRequests", "no requests"),
        ({"requests": [{"params": {}}]}, "InvalidRequests", "requests[0]"),
        ({"requests": requests(1) + requests(1)}, "InvalidRequests", "request-0000"),
        ({"requests": requests(1), "requestsUri": "file:///x"}, "InvalidRequests", "either"),
        ({"requests": TOO_LARGE}, "InvalidRequests", "requestsUri"),
        ({"requestsUri": "file:///nowhere/requests.jsonl"}, "RequestsNotFound", "file:///nowhere/requests.jsonl"),
        ({"requestsUri": "s3://elsewhere/requests.jsonl"}, "RequestsNotFound", "s3://elsewhere/requests.jsonl"),
        ({"requestsUri": "file://["}, "RequestsNotFound", "file://["),
        ({"batchId": "../x"}, "InvalidInput", "batchId"),
        ({"requests": requests(1), "apiKey": "team-b"}, "UnknownKey", "ANTHROPIC_API_KEY_TEAM_B"),
        ({"requests": "text"}, "InvalidInput", "requests"),
        ({"requests": requests(1), "poll": {"retryAfter": 0}}, "InvalidInput", "retryAfter"),
        ({"requests": requests(1), "anthropicVersion": "a\r\nb"}, "InvalidInput", "anthropicVersion"),
        (["not", "an", "object"], "InvalidInput", "input: "),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_bad_input_is_refused_before_any_call(live: Stack, given: Any, kind: str, says: str) -> None:
    run = await live.client.start_workflow(WORKFLOW_TYPE, given, id=f"bad-{uuid4()}", task_queue=live.task_queue)

    failure = await failure_of(run)

    assert failure.type == kind
    assert says in failure.message
    assert failure.details[0]["action"] == ("storeRequests" if says == "requestsUri" else None)
    assert not live.emulator.calls


async def test_a_raw_key_is_refused_and_is_only_in_the_callers_own_event(live: Stack) -> None:
    raw = "sk-ant-api03-raw-key-of-somebody"
    given = {"requests": requests(1), "apiKey": raw}
    run = await live.client.start_workflow(WORKFLOW_TYPE, given, id=f"raw-{uuid4()}", task_queue=live.task_queue)

    failure = await failure_of(run)

    assert failure.type == "UnknownKey"
    assert raw not in str(failure)
    assert not live.emulator.calls
    events = [event.SerializeToString() async for event in run.fetch_history_events()]
    assert [raw.encode() in event for event in events] == [True] + [False] * (len(events) - 1)


async def test_requests_of_another_store_wait_for_a_worker_that_holds_it(live: Stack) -> None:
    given = {"requestsUri": f"{live.store_url}/manifests/x.jsonl", "storeId": "another"}
    run = await live.client.start_workflow(WORKFLOW_TYPE, given, id=f"store-{uuid4()}", task_queue=live.task_queue)

    failure = await pending_failure(run)

    assert failure.application_failure_info.type == "WrongStore"
    assert live.store_url in failure.message
    assert "another" in failure.message
    assert not live.emulator.calls
    await run.terminate()


async def pending_failure(run: WorkflowHandle[Any, Any]) -> Failure:
    """Return the last failure of the activity that a run waits for."""

    async def check() -> list[Failure]:
        pending = (await run.describe()).raw_description.pending_activities
        return [activity.last_failure for activity in pending if activity.HasField("last_failure")]

    return (await eventually(check, "an activity that has failed"))[0]
