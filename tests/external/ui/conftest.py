"""The system's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.async_api import Page, async_playwright, expect

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.temporal.dev_server import DevServer, dev_server
from tests.harness.command_line import CommandLine, command_line
from tests.harness.stack import Stack, running_stack

WINDOW = {"width": 1400, "height": 1060}


PROCESSING = timedelta(hours=12)
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[DevServer]:
    """Start a server for these tests alone: the same content is the same run, and other tests start the example too."""
    async with dev_server() as server:
        yield server


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Start an emulator whose batches end when its clock is advanced."""
    async with Emulator(EmulatorOptions(processing_time=PROCESSING)) as running:
        yield running


@pytest.fixture
async def live(temporal: DevServer, emulator: Emulator) -> AsyncIterator[Stack]:
    """Use a store with a neutral name: it is in the pictures."""
    with TemporaryDirectory(prefix="message-batches-") as folder:
        async with running_stack(temporal.client, emulator, Path(folder).as_uri()) as running:
            yield running


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """Open a page of a browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip(
            "NOT SEEN: no Chromium to open the Web UI with; install it (`apt-get install chromium`) or set CHROMIUM to "
            "its path, then `make test-ui`"
        )
    async with async_playwright() as playwright:
        # Its own sandbox needs rights that a container seldom has; it opens only our own server.
        browser = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield await browser.new_page(viewport=WINDOW)  # type: ignore[arg-type]
        await browser.close()


@pytest.fixture
def starter(temporal: DevServer, live: Stack, tmp_path: Path) -> CommandLine:
    return command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
