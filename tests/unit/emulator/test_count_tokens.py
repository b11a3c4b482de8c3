"""The counting of tokens: what a body must be, and that nothing is made of it."""

import httpx
import pytest

from message_batches.emulator import Emulator

PATH = "/v1/messages/count_tokens"
ASKED = {"model": "claude-sonnet-5", "messages": [{"role": "user", "content": "x" * 400}]}


async def test_the_count_is_that_of_the_replies(emulator: Emulator, client: httpx.AsyncClient) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    cached = [{"type": "text", "text": "y" * 8000, "cache_control": {"type": "ephemeral"}}]
    several = {**ASKED, "system": cached, "messages": [{"role": "user", "content": [image]}]}

    assert (await client.post(PATH, json=ASKED)).json() == {"input_tokens": 104}
    assert (await client.post(PATH, json=several)).json() == {"input_tokens": 2004 + 1500}
    assert emulator.batches == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "valid dictionary"),
        (b'{"messages": []}', "model"),
        (b'{"model": "claude-sonnet-5", "messages": "x"}', "messages"),
        (b'{"model": "claude-sonnet-5", "messages": [{"role": "user", "content": "x"}], "stream": true}', "stream"),
    ],
)
async def test_a_body_that_is_no_message_is_refused(client: httpx.AsyncClient, content: bytes, says: str) -> None:
    reply = await client.post(PATH, content=content, headers={"content-type": "application/json"})

    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")
    assert says in reply.json()["error"]["message"]


async def test_a_count_needs_a_key_and_a_post(client: httpx.AsyncClient) -> None:
    assert (await client.post(PATH, json=ASKED, headers={"x-api-key": ""})).status_code == 401
    assert (await client.get(PATH)).status_code == 405
    assert (await client.post(PATH, content=b"{}", headers={"content-type": "text/plain"})).status_code == 400
