"""The official client against the emulator: everything that it can do."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
from datetime import timedelta
from operator import attrgetter
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from message_batches.claude_models import CLAUDE_MODELS, by_name
from message_batches.emulator import Emulator
from tests.harness.emulated_api import official, request
from tests.unit.emulator.conftest import Start

pytestmark = pytest.mark.slow  # Its import takes 3 s of CPU.


NAMESPACES = pytest.mark.parametrize("namespace", ["messages", "beta.messages"])
BETA = {"extra_query": {"beta": "true"}, "extra_headers": {"anthropic-beta": "message-batches-2024-09-24"}}
"""The way in which older clients call the beta namespace."""


def test_the_judge_is_recent(anthropic: Any) -> None:
    assert tuple(map(int, anthropic.__version__.split(".")[:2])) >= (2, 14)


@NAMESPACES
@pytest.mark.parametrize("how", [{}, BETA], ids=["as it is", "?beta=true"])
async def test_six_operations_asynchronously(anthropic: Any, start: Start, namespace: str, how: dict[str, Any]) -> None:
    emulator = await start(processing_time=timedelta(hours=1))
    async with official(emulator) as sdk:
        batches = attrgetter(namespace)(sdk).batches
        made = await batches.create(requests=[request("a"), request("b", max_tokens=0)], **how)
        assert (made.processing_status, made.request_counts.processing) == ("in_progress", 2)
        assert made.expires_at - made.created_at == timedelta(hours=24)
        assert made._request_id == emulator.calls[0].request_id

        emulator.clock.advance(timedelta(hours=1))
        ended = await batches.retrieve(made.id, **how)
        assert ended.processing_status == "ended"
        assert (ended.request_counts.succeeded, ended.request_counts.errored) == (1, 1)
        got = {line.custom_id: line.result async for line in await batches.results(made.id, **how)}
        assert got["a"].type == "succeeded"
        assert got["a"].message.content[0].type == "text"
        assert got["a"].message.usage.service_tier == "batch"
        assert got["b"].type == "errored"
        assert got["b"].error.error.type == "invalid_request_error"

        other = await batches.create(requests=[request("c")], **how)
        assert (await batches.cancel(other.id, **how)).processing_status == "canceling"
        assert [batch.id async for batch in batches.list(**how)] == [other.id, made.id]
        assert (await batches.delete(made.id, **how)).type == "message_batch_deleted"
        with pytest.raises(anthropic.NotFoundError, match=f"Message Batch {made.id} not found."):
            await batches.retrieve(made.id, **how)
    seen = [call.operation for call in emulator.calls]
    expected = "create retrieve retrieve results create cancel list delete retrieve"
    assert seen == expected.split()
    # The client itself looks for the results of a batch without what it was given.
    assert {call.query for call in emulator.calls if call.operation != "retrieve"} == {"beta=true" if how else ""}


@NAMESPACES
async def test_tokens_are_counted(anthropic: Any, start: Start, namespace: str) -> None:
    emulator = await start()
    asked = {"model": "claude-sonnet-5", "messages": [{"role": "user", "content": "x" * 400}]}
    async with official(emulator) as sdk:
        counter = attrgetter(namespace)(sdk)
        tool = {"name": "book", "input_schema": {"type": "object"}}

        assert (await counter.count_tokens(**asked)).input_tokens == 104
        assert (await counter.count_tokens(**asked, system="y" * 40, tools=[tool])).input_tokens > 118
        with pytest.raises(anthropic.NotFoundError, match="claude-does-not-exist-9"):
            await counter.count_tokens(**{**asked, "model": "claude-does-not-exist-9"})
        with pytest.raises(anthropic.BadRequestError, match="max_tokens: Extra inputs are not permitted"):
            await counter.count_tokens(**asked, extra_body={"max_tokens": 5})
        with pytest.raises(anthropic.BadRequestError, match="messages"):
            await counter.count_tokens(**{**asked, "messages": []})
    assert {call.operation for call in emulator.calls} == {"count_tokens"}


@NAMESPACES
async def test_six_operations_synchronously(anthropic: Any, emulator: Emulator, namespace: str) -> None:
    def all_of_them() -> list[Any]:
        with anthropic.Anthropic(api_key="sk-one", base_url=emulator.url, max_retries=0) as sdk:
            batches = attrgetter(namespace)(sdk).batches
            made = batches.create(requests=[request(f"r{number}") for number in range(3)])
            assert batches.retrieve(made.id).processing_status == "ended"
            got = [line.custom_id for line in batches.results(made.id)]
            assert [batch.id for batch in batches.list()] == [made.id]
            with pytest.raises(anthropic.BadRequestError):
                batches.cancel(made.id)
            batches.delete(made.id)
            return got

    assert sorted(await asyncio.to_thread(all_of_them)) == ["r0", "r1", "r2"]


async def test_betas_of_the_beta_namespace(sdk: Any, emulator: Emulator) -> None:
    made = await sdk.beta.messages.batches.create(
        requests=[
            request("a", model="claude-opus-5", max_tokens=200_000),
            request("b", model="claude-opus-5", max_tokens=300_001),
        ],
        betas=["output-300k-2026-03-24"],
    )
    got = {line.custom_id: line.result async for line in await sdk.beta.messages.batches.results(made.id)}
    assert got["a"].type == "succeeded"
    assert got["b"].type == "errored"
    expected_error = "max_tokens: 300001 > 300000, which is the maximum allowed number of output tokens for "
    assert got["b"].error.error.message == expected_error + "claude-opus-5"


async def test_models_are_the_ones_that_the_client_names(anthropic: Any, sdk: Any) -> None:
    literals, _ = get_args(importlib.import_module("anthropic.types.model_param").ModelParam)
    named = set(get_args(literals))

    listed = [model async for model in sdk.models.list(limit=7)]

    assert named <= by_name().keys()
    assert [model.id for model in listed] == [model.id for model in CLAUDE_MODELS]
    assert all(model.capabilities.batch.supported and model.max_tokens for model in listed)
    # Its warnings have the days of retirement as well.
    data = importlib.import_module("anthropic._data")
    for name, day in data.DEPRECATED_MODELS.items():
        model = await sdk.models.retrieve(name)
        assert (model.lifecycle, f"{model.retires_at:%B}, {model.retires_at.day}, {model.retires_at.year}") == (
            "deprecated",
            re.sub(r" (\d+)\w+, ", r", \1, ", day),
        )
    with pytest.raises(anthropic.NotFoundError, match="model: claude-haiku-5"):
        await sdk.models.retrieve("claude-haiku-5")


async def test_models_are_listed_by_lifecycle(start: Start) -> None:
    emulator = await start(models=("claude-old-1:lifecycle=retired",))
    async with official(emulator) as sdk:
        assert [model.id async for model in sdk.models.list(lifecycle=["retired"])] == ["claude-old-1"]
        assert {model.lifecycle async for model in sdk.models.list(lifecycle=["active", "deprecated"])} == {
            "active",
            "deprecated",
        }


async def test_structured_replies_are_of_the_type_asked_for(sdk: Any) -> None:
    schema = TypeAdapter(list[tuple[int, str]]).json_schema()
    tool = {
        "name": "record",
        "input_schema": {"type": "object", "properties": {"pairs": schema}, "required": ["pairs"]},
    }
    made = await sdk.messages.batches.create(
        requests=[
            request("tool", tools=[tool], tool_choice={"type": "tool", "name": "record"}),
            request("format", output_config={"format": {"type": "json_schema", "schema": tool["input_schema"]}}),
        ]
    )
    got = {line.custom_id: line.result.message async for line in await sdk.messages.batches.results(made.id)}
    [used], [text] = got["tool"].content, got["format"].content
    for pairs in (used.input["pairs"], json.loads(text.text)["pairs"]):
        assert TypeAdapter(list[tuple[int, str]]).validate_python(pairs)
    assert [got["tool"].stop_reason, got["format"].stop_reason] == ["tool_use", "end_turn"]


async def test_a_workspace_is_named_by_the_client(anthropic: Any, start: Start) -> None:
    emulator = await start(processing_time=timedelta(), api_keys=("sk-one=wrkspc_a", "sk-one=wrkspc_b"))
    async with official(emulator) as sdk:
        batches = sdk.messages.batches
        await batches.create(requests=[request()], workspace_id="wrkspc_b")
        assert [batch.id async for batch in batches.list()] == []
        reply = await batches.with_raw_response.list(workspace_id="wrkspc_b")
        assert (len((await reply.parse()).data), reply.headers["anthropic-workspace-id"]) == (1, "wrkspc_b")
        assert reply.headers["anthropic-organization-id"]
        with pytest.raises(anthropic.PermissionDeniedError):
            await batches.create(requests=[request()], workspace_id="wrkspc_c")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_follow_each_other_in_both_directions(sdk: Any, limit: int) -> None:
    ids = [(await sdk.messages.batches.create(requests=[request()])).id for _ in range(7)]
    assert [batch.id async for batch in sdk.messages.batches.list(limit=limit)] == ids[::-1]
    older = [batch.id async for batch in sdk.messages.batches.list(limit=limit, after_id=ids[4])]
    assert older == ids[3::-1]
    pages = sdk.messages.batches.list(limit=limit, before_id=ids[2])
    newer = [batch.id async for batch in pages]
    assert sorted(newer, key=ids.index) == ids[3:]
    # The page right before, which has the oldest of the newer ones, comes first.
    assert newer[min(limit, 4) - 1] == ids[3]


@pytest.mark.parametrize(
    ("fault", "kind", "type_"),
    [
        ({"fault": "429"}, "RateLimitError", "rate_limit_error"),
        ({"fault": "spend-limit"}, "RateLimitError", "rate_limit_error"),
        ({"fault": "500"}, "InternalServerError", "api_error"),
        ({"fault": "refuse-then-5xx", "status": 502}, "InternalServerError", "api_error"),
        ({"fault": "503"}, "InternalServerError", "api_error"),
        ({"fault": "refuse-then-5xx", "status": 504}, "InternalServerError", "timeout_error"),
        ({"fault": "529"}, "InternalServerError", "overloaded_error"),
        ({"fault": "error", "status": 402, "message": "No credit"}, "PaymentRequiredError", "billing_error"),
        ({"fault": "html-413"}, "APIStatusError", None),
    ],
)
async def test_errors_become_its_classes(
    anthropic: Any, sdk: Any, emulator: Emulator, fault: dict[str, Any], kind: str, type_: str | None
) -> None:
    emulator.faults.add(**fault)
    with pytest.raises(getattr(anthropic, kind)) as caught:
        await sdk.messages.batches.create(requests=[request()])
    error = caught.value
    assert isinstance(error, anthropic.APIStatusError)
    assert error.type == type_
    if type_ is None:
        assert (error.status_code, error.request_id) == (413, None)
        assert "<html>" in error.message
    else:
        assert error.request_id == emulator.calls[0].request_id
        assert isinstance(error.body, dict)
        assert error.body["request_id"] == error.request_id
    assert emulator.batches == []


async def test_a_workspace_without_human_review_has_its_class(anthropic: Any, sdk: Any, emulator: Emulator) -> None:
    emulator.faults.add("error", operation="create", status=400, error_code="workspace_human_review_disabled")
    expected = importlib.import_module("anthropic.types.shared").WorkspaceHumanReviewDisabledError
    with pytest.raises(anthropic.BadRequestError) as caught:
        await sdk.messages.batches.create(requests=[request()])
    assert isinstance(caught.value, expected)
    assert caught.value.error_code == "workspace_human_review_disabled"


async def test_refused_calls_become_its_classes(anthropic: Any, emulator: Emulator) -> None:
    async with official(emulator, api_key="sk-invalid-1") as sdk:
        with pytest.raises(anthropic.AuthenticationError, match=r"API key is invalid\."):
            await sdk.messages.batches.list()
    async with official(emulator) as sdk:
        with pytest.raises(anthropic.NotFoundError) as caught:
            await sdk.messages.batches.results("msgbatch_none")
        assert caught.value.type == "not_found_error"
        with pytest.raises(anthropic.BadRequestError) as refused:
            await sdk.messages.batches.create(requests=[])
        assert refused.value.type == "invalid_request_error"


async def test_its_own_retries_create_a_second_batch(emulator: Emulator) -> None:
    emulator.faults.add("accept-then-drop", operation="create", times=1)
    async with official(emulator, max_retries=1) as sdk:
        made = await sdk.messages.batches.create(requests=[request()])
    assert [call.status for call in emulator.calls] == [None, 200]
    assert len(emulator.batches) == 2
    assert emulator.batches[1].id == made.id


async def test_results_without_a_content_type(sdk: Any, emulator: Emulator) -> None:
    made = await sdk.messages.batches.create(requests=[request()])
    emulator.faults.add("no-content-type", operation="results", times=1)

    assert [line.custom_id async for line in await sdk.messages.batches.results(made.id)] == ["a"]
