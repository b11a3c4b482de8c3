"""The report in a browser: it asks for nothing, breaks none of its own rules, and fits a screen and a telephone."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.prices import PriceList
from message_batches.report import page as report_page
from message_batches.report.data import Report, cost_by_kind, read_figures
from message_batches.report.moments import moments_in_store
from message_batches.storage.object_store import open_store
from tests.harness.command_line import CommandLine
from tests.harness.landed import error, put_results, reply
from tests.harness.requests import request
from tests.harness.stack import Stack

WIDE, NARROW = 1280, 390
HOSTILE = (
    "<script>document.title='owned'</script><img src=http://127.0.0.1:1/x onerror=alert(1)>",
    "</pre></style><style>*{display:none}</style>",
    "W" * 1_000_000,
    "\u05e9\u05dc\u05d5\u05dd \u202e\x00\x1b[2J <b>",
    # Marks on one letter: no line can be broken between them, and some fonts pile them up.
    "Z" + "\u0300\u0316\u0489" * 150,
)


class Watched:
    """A page of a browser, and what it has asked for or complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda failure: self.complaints.append(str(failure)))
        page.on("request", lambda asked: self.asked.append(asked.url))

    async def open(self, file: Path, width: int, scheme: Any) -> None:
        """Open a file, and its first and its last result."""
        await self.page.set_viewport_size({"width": width, "height": 900})
        await self.page.emulate_media(color_scheme=scheme)
        await self.page.goto(file.as_uri())
        results = self.page.locator("summary")
        for each in (results.first, results.last):
            await each.click()
            await expect(each.locator("xpath=..")).to_have_attribute("open", "")

    async def fits(self) -> bool:
        """Return whether no part of the page is beyond its right edge."""
        wide, window = await self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        return bool(wide <= window)

    async def background(self) -> str:
        """Return the colour of the page, which shows that its style is applied."""
        return str(await self.page.evaluate("getComputedStyle(document.body).backgroundColor"))


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Start an emulator whose batches end by themselves: the times on the page are those of one clock."""
    async with Emulator(EmulatorOptions(processing_time=timedelta(seconds=7))) as running:
        yield running


async def test_a_report_asks_for_nothing_and_fits(
    live: Stack, starter: CommandLine, page: Page, pytestconfig: pytest.Config
) -> None:
    pictures: Path | None = pytestconfig.getoption("--screenshots")
    file = starter.folder / "report.html"
    workflow_id = await reviewed(live, starter)
    written = await starter("report", workflow_id, "-o", file)
    assert written.code == 0, written.err
    watched = Watched(page)
    colours = set()

    for width in (NARROW, WIDE):
        for scheme in ("dark", "light"):
            await watched.open(file, width, scheme)
            assert await watched.fits(), (width, scheme)
            colours.add(await watched.background())

    assert watched.complaints == []
    assert watched.asked == [file.as_uri()] * 4
    assert len(colours) == 2
    await expect(page.get_by_role("heading", level=1)).to_contain_text("requests have a usable reply")
    await expect(page.get_by_role("link", name=workflow_id)).to_be_visible()
    await expect(page.locator("details[open] pre").last).to_be_visible()
    if pictures:
        await page.goto(file.as_uri())
        clip = {"x": 0, "y": 0, "width": WIDE, "height": 1550}
        await page.screenshot(path=pictures / "report.png", full_page=True, clip=clip)  # type: ignore[arg-type]


async def reviewed(live: Stack, starter: CommandLine) -> str:
    """The workflow id of a run whose results have landed: replies, cut ones, refusals, errors, reads from the cache."""
    live.emulator.faults.add("outcome", share=0.02)
    live.emulator.faults.add("outcome", share=0.015, stop_reason="refusal")
    text = "You sort reviews of lamps by what they praise and what they miss. " * 300
    guide = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    models = ["claude-sonnet-5", "claude-haiku-5-5", "claude-sonnet-5", "claude-opus-5"]
    given = [
        request(f"review-{n:04}", f"Review {n}", model=model, system=guide, max_tokens=128 if n % 7 else 64)
        for n, model in enumerate(models * 120)
    ]
    given[40]["params"]["model"] = "claude-does-not-exist-9"
    del given[300]["params"]["messages"]
    ended = await starter("start", starter.file(given), "--poll-interval", "1s", "--wait", "--json")
    return str(ended.json["workflowId"])


@pytest.mark.parametrize("width", [WIDE, NARROW])
async def test_hostile_replies_are_text_and_do_not_break_the_page(tmp_path: Path, page: Page, width: int) -> None:
    store = open_store((tmp_path / "store").as_uri())
    lines = [reply(text[:60], text, model=text[:100], stop_reason=text[:200]) for text in HOSTILE]
    lines += [error(f"e{text[:60]}", text[:200], text) for text in HOSTILE]
    publication = await put_results(store, lines)
    landed = publication.landed
    made = Report(
        HOSTILE[2][:900],
        landed,
        await read_figures(store, publication),
        await moments_in_store(store, landed),
        cost_by_kind(landed, PriceList()),
    )
    file = tmp_path / "report.html"
    file.write_bytes(report_page.page(made, report_page.Commands(*HOSTILE[:3], *HOSTILE[:2]), datetime.now(UTC)))
    watched = Watched(page)

    await watched.open(file, width, "light")
    for row in await page.locator("summary").all():
        await row.click()

    assert await watched.fits()
    assert watched.complaints == []
    assert watched.asked == [file.as_uri()]
    assert (await page.title()).startswith("Report of msgbatch_")
    shown = " ".join(await page.locator("pre").all_inner_texts())
    assert HOSTILE[0] in shown
    assert r"\u202e\x00\x1b[2J <b>" in shown
