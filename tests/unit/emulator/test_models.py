"""The models: which ones there are, what they may write, and the two calls that list them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from message_batches.claude_models import CLAUDE_MODELS
from message_batches.emulator import UndocumentedBehaviour
from tests.harness.emulated_api import by_id, create, http, request
from tests.unit.emulator.conftest import Start

MODELS = "/v1/models"
LONG_OUTPUT = {"anthropic-beta": "output-300k-2026-03-24"}


async def answered(client: httpx.AsyncClient, asked: dict[str, Any], **headers: str) -> dict[str, Any]:
    """Return the result of one request."""
    made = await create(client, request("a", **asked), **headers)
    return (await by_id(client, made["id"]))["a"]


@pytest.mark.parametrize(
    ("sent", "returned"),
    [
        ("claude-sonnet-5", "claude-sonnet-5"),
        ("claude-haiku-5-5", "claude-haiku-5-5"),
        ("claude-opus-4-6", "claude-opus-4-6"),
        ("claude-mythos-5-2", "claude-mythos-5-2"),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("claude-opus-4-5", "claude-opus-4-5-20251101"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929"),
        ("claude-opus-4-1", "claude-opus-4-1-20250805"),
    ],
)
async def test_a_reply_names_its_model_as_the_api_does(client: httpx.AsyncClient, sent: str, returned: str) -> None:
    assert (await answered(client, {"model": sent}))["message"]["model"] == returned


@pytest.mark.parametrize(
    "name",
    [
        "claude-haiku-5",
        "claude-does-not-exist-9",
        "claude-sonnet-5-20260801",
        "claude-opus-4-6-20260205",
        "claude-sonnet-latest",
        "Claude-Sonnet-5",
        "anthropic.claude-sonnet-5",
        "gpt-4",
        "",
    ],
)
async def test_a_model_that_does_not_exist_is_named_in_the_error(client: httpx.AsyncClient, name: str) -> None:
    error = (await answered(client, {"model": name}))["error"]["error"]
    assert (error["type"], error["message"]) == ("not_found_error", f"model: {name}")


@pytest.mark.parametrize(
    ("model", "limit", "with_beta"),
    [
        ("claude-opus-5", 128_000, 300_000),
        ("claude-sonnet-4-6", 128_000, 300_000),
        ("claude-haiku-5-5", 128_000, 300_000),
        ("claude-fable-5-2", 128_000, 300_000),
        ("claude-haiku-4-5", 64_000, 64_000),
        ("claude-opus-4-5-20251101", 64_000, 64_000),
        ("claude-opus-4-1", 32_000, 32_000),
    ],
)
async def test_output_is_limited_by_the_model(
    client: httpx.AsyncClient, model: str, limit: int, with_beta: int
) -> None:
    for most, headers in ((limit, {}), (with_beta, LONG_OUTPUT)):
        assert (await answered(client, {"model": model, "max_tokens": most}, **headers))["type"] == "succeeded"
        error = (await answered(client, {"model": model, "max_tokens": most + 1}, **headers))["error"]["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"].startswith(f"max_tokens: {most + 1} > {most}, which is the maximum allowed number of ")


async def test_a_model_is_added_or_replaced(start: Start) -> None:
    emulator = await start(
        processing_time=timedelta(),
        models=(
            "my-model:max_tokens=10",
            "claude-haiku-4-5:retires_at=2026-12-24",
            "claude-next-6:batches=false",
            "claude-opus-5:lifecycle=retired,retires_at=2026-11-01",
        ),
    )
    async with http(emulator) as client:
        mine = await answered(client, {"model": "my-model", "max_tokens": 10})
        assert mine["message"]["model"] == "my-model"
        assert (await answered(client, {"model": "my-model", "max_tokens": 11}))["type"] == "errored"
        assert (await answered(client, {"model": "claude-opus-5"}))["error"]["error"]["type"] == "not_found_error"
        refused = await answered(client, {"model": "claude-next-6"})
        assert refused["error"]["error"]["type"] == "invalid_request_error"
        shown = (await client.get(MODELS)).json()["data"]
        haiku, opus = [(await client.get(f"{MODELS}/{name}")).json() for name in ("claude-haiku-4-5", "claude-opus-5")]
    ids = [model["id"] for model in shown]
    assert ids[:3] == ["my-model", "claude-haiku-4-5", "claude-next-6"]
    assert len(set(ids)) == len(ids)
    assert "claude-opus-5" not in ids
    assert [model["capabilities"]["batch"]["supported"] for model in shown[:3]] == [True, True, False]
    assert (haiku["lifecycle"], haiku["retires_at"]) == ("deprecated", "2026-12-24T00:00:00Z")
    assert (opus["lifecycle"], opus["retires_at"]) == ("retired", "2026-11-01T00:00:00Z")


async def test_models_are_listed_in_pages(client: httpx.AsyncClient) -> None:
    first = (await client.get(MODELS, params={"limit": 3})).json()
    rest = (await client.get(MODELS, params={"limit": 1000, "after_id": first["last_id"]})).json()
    before = (await client.get(MODELS, params={"limit": 2, "before_id": rest["first_id"]})).json()

    ids = [model["id"] for model in first["data"] + rest["data"]]
    assert ids == [model.id for model in CLAUDE_MODELS]
    assert (first["has_more"], rest["has_more"], before["has_more"]) == (True, False, True)
    assert [model["id"] for model in before["data"]] == ids[1:3]
    unknown = await client.get(MODELS, params={"after_id": "claude-haiku-5"})
    assert unknown.status_code == UndocumentedBehaviour().unknown_cursor


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"active", "deprecated"}),
        ("?lifecycle=retired", {"retired"}),
        ("?lifecycle[]=deprecated&lifecycle[]=retired", {"deprecated", "retired"}),
        ("?lifecycle=active,retired", {"active", "retired"}),
    ],
)
async def test_models_are_listed_by_their_lifecycle(start: Start, query: str, expected: set[str]) -> None:
    emulator = await start(models=("claude-old-1:lifecycle=retired",))
    async with http(emulator) as client:
        shown = (await client.get(f"{MODELS}{query}")).json()["data"]

    assert {model["lifecycle"] for model in shown} == expected


async def test_one_model_is_found_by_its_id_and_its_alias(client: httpx.AsyncClient) -> None:
    for name in ("claude-haiku-4-5", "claude-haiku-4-5-20251001"):
        model = (await client.get(f"{MODELS}/{name}")).json()
        assert (model["type"], model["id"], model["line"]) == ("model", "claude-haiku-4-5-20251001", "haiku")
        assert (model["display_name"], model["max_tokens"]) == ("Claude Haiku 4.5", 64_000)
    unknown = await client.get(f"{MODELS}/claude-haiku-5")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")
    assert unknown.json()["error"]["message"] == "model: claude-haiku-5"


@pytest.mark.parametrize(("method", "path"), [("POST", MODELS), ("DELETE", f"{MODELS}/claude-sonnet-5")])
async def test_other_methods_are_refused(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert (await client.request(method, path)).status_code == 405


async def test_models_need_a_key_and_meet_faults(start: Start) -> None:
    emulator = await start()
    emulator.faults.add("529", operation="models", times=1)
    async with http(emulator) as client:
        assert [(await client.get(MODELS)).status_code for _ in range(2)] == [529, 200]
        assert (await client.get(MODELS, headers={"x-api-key": "sk-invalid-1"})).status_code == 401
    assert {call.operation for call in emulator.calls} == {"models"}
