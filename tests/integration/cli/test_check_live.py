"""`check --live`: what the API says of the models of a file, before anything is sent."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.harness.command_line import CommandLine
from tests.harness.requests import request

SOON = (datetime.now(UTC) + timedelta(days=29)).isoformat()
LATER = (datetime.now(UTC) + timedelta(days=31)).isoformat()


def model(name: str, **fields: Any) -> dict[str, Any]:
    """Return a model as the API describes it."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2026-06-30T00:00:00Z",
        "lifecycle": "active",
        "max_tokens": 128_000,
        "max_input_tokens": 1_000_000,
        "retires_at": None,
        "capabilities": {"batch": {"supported": True}, "citations": {"supported": True}},
        **fields,
    }


MODELS = {
    each["id"]: each
    for each in (
        model("claude-sonnet-5"),
        model("claude-new-7"),
        model("claude-alone", capabilities={"batch": {"supported": False}}),
        model("claude-old", lifecycle="deprecated", retires_at=SOON),
        model("claude-older", lifecycle="deprecated", retires_at="2026-08-05T00:00:00Z"),
        model("claude-oldest", lifecycle="retired", retires_at="2025-08-05T00:00:00Z"),
        model("claude-aging", lifecycle="deprecated", retires_at=LATER),
        model("claude-short", max_tokens=8_000),
        model("claude-bare", capabilities=None, max_tokens=None),
    )
}


class Catalogue:
    """A server of the API's models."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.url = ""
        self.there = True

    async def answer(self, asked: web.Request) -> web.Response:
        self.asked.append((asked.path, asked.headers.get("x-api-key", "")))
        if self.there and asked.path == "/v1/models":
            return web.json_response({"data": [MODELS["claude-sonnet-5"]], "has_more": True})
        name = asked.path.removeprefix("/v1/models/")
        if self.there and name in MODELS:
            return web.json_response(MODELS[name])
        error = {"type": "not_found_error", "message": f"model: {name}"}
        return web.json_response({"type": "error", "error": error, "request_id": "req_1"}, status=404)


@pytest.fixture
async def catalogue() -> AsyncIterator[Catalogue]:
    served = Catalogue()
    app = web.Application()
    app.router.add_get("/{path:.*}", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


@pytest.fixture
def cli(catalogue: Catalogue, tmp_path: Path) -> CommandLine:
    """Return a command line without Temporal."""
    environment = {
        "ANTHROPIC_BASE_URL": catalogue.url,
        "ANTHROPIC_API_KEY": "sk-one",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
    }
    return CommandLine(tmp_path, environment)


def of(name: str, **params: Any) -> dict[str, Any]:
    return request(f"of-{name.replace('.', '-').replace('/', '-').replace(' ', '_')[:50]}", model=name, **params)


FINDINGS = {
    "claude-nothing-9": "notFound",
    "../v1/messages": "notFound",
    "  ": "notFound",
    "claude-alone": "noBatches",
    "claude-old": "retiresSoon",
    "claude-older": "retiresSoon",
    "claude-oldest": "retired",
    "claude-short": "tooManyTokens",
}


async def test_each_model_that_would_fail_is_named_and_the_others_are_not(
    cli: CommandLine, catalogue: Catalogue
) -> None:
    fine = ("claude-sonnet-5", "claude-new-7", "claude-aging", "claude-bare")
    file = cli.file([of(name, max_tokens=10_000) for name in (*fine, *FINDINGS)])

    checked = await cli("check", file, "--live", "--json")

    assert checked.code == 0, checked.err
    findings = checked.json["modelFindings"]
    assert {each["model"]: each["problem"] for each in findings} == FINDINGS
    assert {each["count"] for each in findings} == {1}
    (tokens,) = (each["message"] for each in findings if each["model"] == "claude-short")
    assert "line 12" in tokens
    (blank,) = (each["message"] for each in findings if each["model"] == "  ")
    assert blank.startswith("'  ' does not exist")
    unknown = [warning["message"] for warning in checked.json["warnings"]]
    assert not any("claude-new-7" in message for message in unknown)
    assert any("claude-nothing-9" in message for message in unknown)
    assert {key for _, key in catalogue.asked} == {"sk-one"}
    assert all(path.startswith("/v1/models") for path, _ in catalogue.asked)


async def test_a_beta_lifts_the_limit_of_output(cli: CommandLine) -> None:
    file = cli.file([of("claude-sonnet-5", max_tokens=200_000)])

    without = await cli("check", file, "--live", "--json")
    given = await cli("check", file, "--live", "--json", "--beta", "output-300k-2026-03-24")

    assert [each["problem"] for each in without.json["modelFindings"]] == ["tooManyTokens"]
    assert given.json["modelFindings"] == given.json["warnings"] == []


async def test_an_address_without_models_is_not_taken_for_models_that_do_not_exist(
    cli: CommandLine, catalogue: Catalogue
) -> None:
    catalogue.there = False

    checked = await cli("check", cli.file([of("claude-sonnet-5")]), "--live", "--json")

    assert checked.code == 2
    assert checked.json["error"]["type"] == "RequestRefused"


async def test_a_key_that_is_not_there_is_named(cli: CommandLine, catalogue: Catalogue) -> None:
    checked = await cli("check", cli.file([of("claude-sonnet-5")]), "--live", "--json", "--key", "team-b")

    assert checked.code == 2
    assert checked.json["error"]["type"] == "UnknownKey"
    assert not catalogue.asked


async def test_a_file_of_countless_models_is_asked_for_a_few(cli: CommandLine, catalogue: Catalogue) -> None:
    checked = await cli("check", cli.file([of(f"claude-{n}") for n in range(60)]), "--live", "--json")

    findings = checked.json["modelFindings"]
    assert [each["count"] for each in findings if each["problem"] == "notAsked"] == [10]
    assert len({path for path, _ in catalogue.asked}) == 51


async def test_without_the_option_the_api_is_not_asked(cli: CommandLine, catalogue: Catalogue) -> None:
    checked = await cli("check", cli.file([of("claude-sonnet-5")]), "--json")

    assert checked.json["modelFindings"] is None
    assert not catalogue.asked
