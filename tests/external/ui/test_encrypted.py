"""The page of an encrypted run: unreadable at first, readable once the browser uses a codec server."""

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from pydantic import SecretStr

from message_batches.codec_server import CodecServer, TokenAuth
from message_batches.encryption.codec import EncryptionCodec
from message_batches.temporal.dev_server import DevServer, dev_server
from tests.external.ui.run_page import RunPage
from tests.harness.command_line import CommandLine
from tests.harness.encryption import key, written
from tests.harness.project import ROOT
from tests.harness.stack import Stack, progress_when

KEY = key("2026-11")
TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[DevServer]:
    """Start a server whose client encrypts."""
    async with dev_server(keys=[KEY]) as server:
        yield server


@pytest.fixture
async def codec(temporal: DevServer) -> AsyncIterator[CodecServer]:
    async with CodecServer(EncryptionCodec([KEY]), TokenAuth(SecretStr(TOKEN), [temporal.ui_url])) as running:
        yield running


async def test_an_encrypted_run_is_readable_through_the_codec_server_alone(
    temporal: DevServer,
    live: Stack,
    codec: CodecServer,
    starter: CommandLine,
    page: Page,
    pytestconfig: pytest.Config,
) -> None:
    pictures: Path | None = pytestconfig.getoption("--screenshots")
    shutil.copy(ROOT / "examples" / "requests.jsonl", starter.folder)
    starter.environment = {**starter.environment, "MESSAGE_BATCHES_ENCRYPTION_KEYS": written([KEY])}
    begun = await starter("start", "requests.jsonl", "--poll-interval", "1s", "--json")
    run = live.client.get_workflow_handle(begun.json["workflowId"])
    seen = await progress_when(run, lambda progress: progress.polls >= 3)
    shown = RunPage(page, temporal.ui_url, run.id)

    await page.goto(f"{temporal.ui_url}/namespaces/default/workflows/{run.id}")
    await page.get_by_role("tab", name="User Metadata").click()
    await expect(page.get_by_text("No summary available")).to_be_visible()
    await expect(shown.current_details).not_to_contain_text(str(seen.batch_id))

    await shown.decode_through(codec.url, TOKEN)
    await shown.open(waiting=True)
    await expect(shown.codec).to_have_attribute("aria-label", re.compile("converted content"))
    await expect(shown.summary).to_have_text("24 requests from requests.jsonl")
    await expect(shown.details).to_contain_text(re.compile(r"claude-haiku-5-5\s+11"))
    await expect(shown.current_details).to_contain_text(f"Waiting for the batch: {seen.batch_id} in_progress")
    await expect(shown.current_details).to_contain_text(re.compile(r"polls\s+\d+, the next at 20.* UTC"))
    if pictures:
        await shown.codec.hover()
        await expect(page.get_by_text("converted content")).to_be_visible()
        await shown.screenshot(pictures / "web-ui-encrypted.png")
    await shown.timeline_shows(re.compile(r"^poll \d+"))
    await shown.timeline_shows(re.compile(r"^pollBatchStatus"))
    await run.terminate()
