"""Credentials by key name: keys, tokens, workspaces and further headers, from the environment or a directory."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile
from message_batches.errors import RequestRefused, UnknownKey
from message_batches.settings import InvalidSettings, Settings
from tests.harness.carrying import listening


def keys_of(environment: Mapping[str, str]) -> ApiKeys:
    return Settings.from_environment(environment).keys


@pytest.mark.parametrize(
    ("environment", "name", "headers"),
    [
        ({"ANTHROPIC_API_KEY": "sk-1"}, "default", {"x-api-key": "sk-1"}),
        ({"ANTHROPIC_AUTH_TOKEN": " tok\n"}, "default", {"authorization": "Bearer tok"}),
        ({"ANTHROPIC_AUTH_TOKEN_TEAM_A": "tok"}, "team-a", {"authorization": "Bearer tok"}),
        (
            {"ANTHROPIC_API_KEY": "sk-1", "ANTHROPIC_WORKSPACE_ID": "wrkspc_1"},
            "default",
            {"x-api-key": "sk-1", "anthropic-workspace-id": "wrkspc_1"},
        ),
        (
            {"ANTHROPIC_API_KEY_B": "sk-1", "ANTHROPIC_WORKSPACE_ID_B": "wrkspc_1", "ANTHROPIC_API_KEY": "sk-0"},
            "b",
            {"x-api-key": "sk-1", "anthropic-workspace-id": "wrkspc_1"},
        ),
        (
            {"ANTHROPIC_API_KEY": "sk-1", "ANTHROPIC_CUSTOM_HEADERS": " X-Gateway :  a: b \n\nno header\nX-Two:2\n"},
            "default",
            {"x-api-key": "sk-1", "x-gateway": "a: b", "x-two": "2"},
        ),
        (
            {"ANTHROPIC_API_KEY": "sk-1", "ANTHROPIC_CUSTOM_HEADERS": "X-A: 1\nx-a: 2"},
            "default",
            {"x-api-key": "sk-1", "x-a": "2"},
        ),
        (
            {"ANTHROPIC_AUTH_TOKEN": "tok", "ANTHROPIC_CUSTOM_HEADERS": "anthropic-workspace-id: wrkspc_2"},
            "default",
            {"authorization": "Bearer tok", "anthropic-workspace-id": "wrkspc_2"},
        ),
        (
            {"ANTHROPIC_API_KEY": "sk-1", "ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer gateway"},
            "default",
            {"x-api-key": "sk-1", "authorization": "Bearer gateway"},
        ),
    ],
)
def test_a_call_has_the_headers_of_its_key(environment: dict[str, str], name: str, headers: dict[str, str]) -> None:
    assert keys_of(environment).headers_of(name) == headers


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        (
            {"ANTHROPIC_API_KEY": "hidden", "ANTHROPIC_AUTH_TOKEN": "hidden"},
            "ANTHROPIC_API_KEY and ANTHROPIC_AUTH_TOKEN are both set for the key 'default'",
        ),
        (
            {"ANTHROPIC_API_KEY_A": "hidden", "ANTHROPIC_AUTH_TOKEN_A": "hidden"},
            "ANTHROPIC_API_KEY_A and ANTHROPIC_AUTH_TOKEN_A are both set for the key 'a'",
        ),
        ({"ANTHROPIC_AUTH_TOKEN": "hidden token"}, "ANTHROPIC_AUTH_TOKEN is not valid"),
        ({"ANTHROPIC_AUTH_TOKEN": "hidden\nX-More: 1"}, "ANTHROPIC_AUTH_TOKEN is not valid"),
        ({"ANTHROPIC_WORKSPACE_ID": "wrkspc_1"}, "ANTHROPIC_WORKSPACE_ID is set, but there is no key named 'default'"),
        ({"ANTHROPIC_CUSTOM_HEADERS_B": "X-A: hidden"}, "ANTHROPIC_CUSTOM_HEADERS_B is set, but there is no key named"),
        ({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_WORKSPACE_ID": "a hidden one"}, "ANTHROPIC_WORKSPACE_ID is not valid"),
        ({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_WORKSPACE_ID": "sk-ant-hidden"}, "ANTHROPIC_WORKSPACE_ID is not valid"),
        *(
            (
                {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_CUSTOM_HEADERS": f"{name}: hidden"},
                f"ANTHROPIC_CUSTOM_HEADERS cannot set {name.lower()}",
            )
            for name in ("Content-Length", "X-API-Key", "anthropic-version", "Anthropic-Beta", "Host", "Content-Type")
        ),
        (
            {"ANTHROPIC_AUTH_TOKEN": "k", "ANTHROPIC_CUSTOM_HEADERS": "Authorization: hidden"},
            "ANTHROPIC_CUSTOM_HEADERS cannot set authorization, which is the token's",
        ),
        (
            {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_CUSTOM_HEADERS": "X A: hidden"},
            "ANTHROPIC_CUSTOM_HEADERS is not valid",
        ),
        ({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_CUSTOM_HEADERS": ": hidden"}, "ANTHROPIC_CUSTOM_HEADERS is not valid"),
        (
            {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_CUSTOM_HEADERS": "X: hidden\0"},
            "ANTHROPIC_CUSTOM_HEADERS is not valid",
        ),
        ({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_CUSTOM_HEADERS": "X: hïdden"}, "ANTHROPIC_CUSTOM_HEADERS is not valid"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_not_repeated(environment: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSettings, match=says) as caught:
        keys_of(environment)

    assert "hidden" not in "".join(traceback.format_exception(caught.value))


def test_a_directory_holds_all_of_them_and_variables_go_first(tmp_path: Path) -> None:
    for name, text in (
        ("default", "sk-file\n"),
        ("team-a.auth-token", "tok\n"),
        ("team-a.workspace-id", "wrkspc_1\n"),
        ("team-a.custom-headers", "X-A: 1\nX-B: 2\n"),
        ("team-a.txt", "not one of them"),
        (".hidden", "nor this"),
    ):
        (tmp_path / name).write_text(text)
    directory = {"MESSAGE_BATCHES_SECRETS": str(tmp_path)}

    found = keys_of(directory)
    other = keys_of(directory | {"ANTHROPIC_AUTH_TOKEN": "tok-2", "ANTHROPIC_API_KEY_TEAM_A": "sk-2"})

    assert found.headers_of("default") == {"x-api-key": "sk-file"}
    assert found.headers_of("team-a") == {
        "authorization": "Bearer tok",
        "anthropic-workspace-id": "wrkspc_1",
        "x-a": "1",
        "x-b": "2",
    }
    assert str(found).startswith("default, team-a (token, headers x-a, x-b, a workspace); ")
    assert found.other_files == ("team-a.txt",)
    assert other.headers_of("default") == {"authorization": "Bearer tok-2"}
    assert other.headers_of("team-a")["x-api-key"] == "sk-2"
    (tmp_path / "default.auth-token").write_text("tok")
    with pytest.raises(InvalidSettings, match=r"default and the file .*default\.auth-token are both set"):
        keys_of(directory)


def test_a_key_that_is_not_held_is_unknown_whatever_else_is_set() -> None:
    with pytest.raises(UnknownKey):
        keys_of({"ANTHROPIC_AUTH_TOKEN": "tok"}).headers_of("team-a")


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[str, list[str]]]:
    """Serve answers that repeat the request's head in an error and in a header; yield the URL and the heads."""
    heads: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        heads.append(head)
        said = head.replace("\r\n", " ").replace('"', "'")
        body = f'{{"type":"error","error":{{"type":"invalid_request_error","message":"{said[-400:]}"}}}}'.encode()
        lines = ("HTTP/1.1 400 Bad Request", f"request-id: {said[-90:].strip()}", f"content-length: {len(body)}")
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with listening(handle) as address:
        yield f"http://{address}", heads


async def test_tokens_and_further_headers_are_sent_and_no_answer_repeats_them() -> None:
    held = keys_of(
        {
            "ANTHROPIC_AUTH_TOKEN": "token-hidden-1",
            "ANTHROPIC_CUSTOM_HEADERS": "X-Gateway-Key: header-hidden-2",
            "ANTHROPIC_WORKSPACE_ID": "wrkspc_01",
        }
    )
    async with echo() as (url, heads), http_client(url) as http:
        api = HttpBatchApi(http, held)
        calls = (api.list(ApiProfile(), limit=1), api.results(ApiProfile(), "msgbatch_1").__aenter__())
        for call in calls:
            with pytest.raises(RequestRefused) as caught:
                await call
            assert "hidden" not in f"{caught.value} {caught.value.request_id}"
            assert "[API key]" in str(caught.value)

    for head in heads:
        sent = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head.split("\r\n")[1:]}
        assert sent["authorization"] == "Bearer token-hidden-1"
        assert sent["x-gateway-key"] == "header-hidden-2"
        assert sent["anthropic-workspace-id"] == "wrkspc_01"
        assert sent["anthropic-version"] == "2023-06-01"
        assert "x-api-key" not in sent
