"""The pages of runs in the Web UI, as in the pictures of README and docs/."""

import re
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from message_batches.models import Phase, SubmissionSchedule
from message_batches.temporal.dev_server import DevServer
from tests.external.ui.conftest import PROCESSING
from tests.external.ui.run_page import RunPage
from tests.harness.command_line import CommandLine
from tests.harness.project import ROOT
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, Stack, progress_when


async def test_a_run_shows_its_status_and_at_the_end_its_outcome(
    temporal: DevServer, live: Stack, starter: CommandLine, page: Page, pytestconfig: pytest.Config
) -> None:
    pictures: Path | None = pytestconfig.getoption("--screenshots")
    shutil.copy(ROOT / "examples" / "requests.jsonl", starter.folder)
    begun = await starter("start", "requests.jsonl", "--poll-interval", "1s", "--json")
    run = live.client.get_workflow_handle(begun.json["workflowId"])
    seen = await progress_when(run, lambda progress: progress.polls >= 5)
    shown = RunPage(page, temporal.ui_url, run.id)
    await shown.open(waiting=True)

    await expect(shown.summary).to_have_text("24 requests from requests.jsonl")
    await expect(shown.details).to_contain_text(re.compile(r"claude-haiku-5-5\s+11"))
    await expect(shown.details).to_contain_text("messages is missing (chat-0002 in line 24)")
    await expect(shown.current_details).to_contain_text(f"Waiting for the batch: {seen.batch_id} in_progress")
    await expect(shown.current_details).to_contain_text(re.compile(r"elapsed\s+0:\d\d, as of 20.* UTC"))
    await expect(shown.current_details).to_contain_text(re.compile(r"polls\s+\d+, the next at 20.* UTC"))
    await expect(shown.current_details).to_contain_text("sent once, answered")
    await expect(shown.current_details).to_contain_text(re.compile(r"expires\s+20.* UTC"))
    if pictures:
        await shown.screenshot(pictures / "web-ui-running.png")
    await shown.timeline_shows(re.compile(r"^poll \d+"))
    await shown.timeline_shows(re.compile(r"^pollBatchStatus"))

    live.emulator.clock.advance(PROCESSING)
    await run.result()
    await shown.open()

    await expect(shown.current_details).to_contain_text(f"Landed: {seen.batch_id} ended")
    await expect(shown.current_details).to_contain_text("21 succeeded, 3 errored")
    await expect(shown.current_details).to_contain_text(
        re.compile(r"invalid_request_error.*review-0003.*1.*invalid_request_error.*chat-0002.*1", re.S)
    )
    await expect(shown.current_details).to_contain_text(re.compile(r"claude-opus-5\s+136\s+217"))
    await expect(shown.current_details).to_contain_text(re.compile(r"sha256 [0-9a-f]{64}"))
    if pictures:
        await shown.screenshot(pictures / "web-ui-landed.png")


async def test_a_run_that_continues_another_still_shows_its_input(
    temporal: DevServer, live: Stack, starter: CommandLine, page: Page
) -> None:
    shutil.copy(ROOT / "examples" / "requests.jsonl", starter.folder)
    begun = await starter("start", "requests.jsonl", "--key", "team-a", "--poll-interval", "0.01s", "--json")
    run = live.client.get_workflow_handle(begun.json["workflowId"])
    await live.saw("retrieve", 103, within=120)
    shown = RunPage(page, temporal.ui_url, run.id)
    await shown.open()

    await expect(shown.current_details).to_contain_text("Waiting for the batch")
    await expect(shown.current_details).to_contain_text("24 requests from requests.jsonl")
    await expect(shown.current_details).to_contain_text(re.compile(r"claude-haiku-5-5\s+11"))


async def test_an_undecided_run_shows_its_candidates_and_how_to_decide(
    temporal: DevServer, live: Stack, page: Page
) -> None:
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    quiet = SubmissionSchedule(timeout=timedelta(seconds=2), quiet_period=timedelta(minutes=5))
    run = await live.start(requests(), submission=quiet, poll=QUICK_POLL)
    seen = await progress_when(run, lambda progress: progress.phase is Phase.UNDECIDED and bool(progress.candidates))
    shown = RunPage(page, temporal.ui_url, run.id)
    await shown.open()

    await expect(shown.current_details).to_contain_text("Undecided: no usable reply to the POST")
    await expect(shown.current_details).to_contain_text("sent once, no reply")
    await expect(shown.current_details).to_contain_text(seen.candidates[0].batch_id)
    await expect(shown.current_details).to_contain_text("send the update resolveSubmission")


async def test_a_failed_run_shows_the_reason(temporal: DevServer, live: Stack, page: Page) -> None:
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    run = await live.start(requests())
    await progress_when(run, lambda progress: progress.phase is Phase.FAILED)
    shown = RunPage(page, temporal.ui_url, run.id)
    await shown.open()

    await expect(shown.current_details).to_contain_text(
        re.compile("Failed.*SpendLimitReached: .*Nothing was created", re.S)
    )
    await shown.timeline_shows(re.compile("submitBatch • POST 3 requests, 422 bytes"))
