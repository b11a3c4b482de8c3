"""docker-compose.yml with keys of encryption, by the commands of the page."""

import base64
import json
import re
import secrets
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.external.deploy.deployment import Deployment, owned
from tests.harness.encryption import key, written
from tests.harness.pages import page

pytestmark = pytest.mark.timeout(900)  # The first one makes the images and brings everything up.

DEPLOYMENT = page("docs/deployment.md")
TOKEN = secrets.token_hex(32)


@pytest.fixture
async def encrypted(deployment: Deployment) -> AsyncIterator[Deployment]:
    """Have everything encrypted as the page says.

    The worker stays so: only test_upgrade.py comes after, and puts its own in its place.
    """
    (deployment.folder / "encryption-keys").write_text(written([key("2026-11")]))
    (deployment.folder / "encryption-keys").chmod(0o600)
    owned(deployment.folder / "encryption-keys")
    before = dict(deployment.variables)
    deployment.variables |= {
        "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE": "./encryption-keys",
        "COMPOSE_PROFILES": "demo,encryption",
        "MESSAGE_BATCHES_CODEC_TOKEN": TOKEN,
        # A store knows that its workers encrypt, and is used by no others then.
        "MESSAGE_BATCHES_DATA": "./encrypted",
        "MESSAGE_BATCHES_TASK_QUEUE": "encrypted",
    }
    deployment.data.mkdir()
    owned(deployment.data)
    try:
        for command in deployment.commands(DEPLOYMENT, "docker compose stop worker"):
            await deployment(command)
        for service in ("worker", "codec"):
            await deployment.up(service)
        yield deployment
    finally:
        await deployment.engine("rm", "--force", "--ignore", deployment.container("codec"))
        deployment.variables = before


async def test_with_keys_everything_is_encrypted_and_the_codec_server_decrypts(encrypted: Deployment) -> None:
    run = await encrypted.begin_file("a-hidden-prompt")
    history = (await run.fetch_history()).to_json()
    sent = json.loads(history)["events"][0]["workflowExecutionStartedEventAttributes"]["input"]
    # As a browser calls it that shows the Web UI.
    codec, ui = (f"http://localhost:{encrypted.ports[port]}" for port in ("CODEC_PORT", "TEMPORAL_UI_PORT"))
    async with httpx.AsyncClient(base_url=codec, headers={"Origin": ui}) as http:
        refused = await http.post("/decode", json=sent)
        await http.post("/login", data={"token": TOKEN}, headers={"Origin": codec})
        answer = await http.post("/decode", json=sent)
    await run.terminate()

    assert "2026-11" in base64.b64decode(re.findall('"encryption-key-id": "([^"]+)"', history)[0]).decode()
    assert refused.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == ui
    [payload] = answer.json()["payloads"]
    assert b"a-hidden-prompt" in base64.b64decode(payload["data"])
