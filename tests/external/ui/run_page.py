"""A run's page in the Temporal Web UI, as a user sees it in a browser."""

import re
from pathlib import Path

from playwright.async_api import Locator, Page, expect


class RunPage:
    """The tab `User Metadata` of a run: its summary, its details, its current details."""

    def __init__(self, page: Page, ui_url: str, workflow_id: str) -> None:
        self._page = page
        self._url = f"{ui_url}/namespaces/default/workflows/{workflow_id}"

    async def open(self, *, waiting: bool = False) -> None:
        """Open the page of the workflow's latest run; if requested, at a moment when it waits for its next poll."""
        while True:
            await self._page.goto(self._url)
            await self._page.get_by_role("tab", name="User Metadata").click()
            await expect(self.current_details).to_be_visible()
            if not waiting or "the next at" in await self.current_details.inner_text():
                return

    @property
    def summary(self) -> Locator:
        """Return the summary of the run's input, a line."""
        return self._rendered("user-metadata-summary")

    @property
    def details(self) -> Locator:
        """Return the details of the run's input."""
        return self._rendered("user-metadata-details")

    @property
    def current_details(self) -> Locator:
        """Return the run's current state."""
        return self._rendered("user-metadata-current-details")

    @property
    def codec(self) -> Locator:
        """Return the button that shows the state of decoding, and opens its settings."""
        return self._page.get_by_test_id(re.compile("^data-encoder-status"))

    async def decode_through(self, codec_url: str, token: str) -> None:
        """Log in to a codec server, and have this browser use it."""
        await self._page.goto(f"{codec_url}/login")
        await self._page.get_by_label("Token").fill(token)
        await self._page.get_by_role("button", name="Log in").click()
        await expect(self._page.get_by_text("Logged in")).to_be_visible()
        await self._page.goto(self._url)
        await self.codec.click()
        await self._page.get_by_text("Use my browser setting").click()
        await self._page.get_by_label("Codec Server browser endpoint").fill(codec_url)
        await self._page.get_by_text("Include cross-origin credentials").click()
        await self._page.get_by_role("button", name="Apply").click()

    async def timeline_shows(self, summary: re.Pattern[str]) -> None:
        """Wait for an activity or a timer with this summary, in the tab that shows a run over time."""
        await self._page.get_by_role("tab", name="Timeline").click()
        await expect(self._page.get_by_text(summary).first).to_be_visible()

    async def screenshot(self, path: Path) -> None:
        """Save a picture of the page."""
        await self._page.screenshot(path=path)

    def _rendered(self, name: str) -> Locator:
        return self._page.frame_locator(f"iframe#{name}").locator("body")
