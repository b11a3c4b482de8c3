"""`report`: a page of what came back, with a worker and without one, with Temporal and without it."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from message_batches.emulator import Emulator
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, CommandLine, Ended, command_line
from tests.harness.gateway import Answer, gateway_to
from tests.harness.requests import fresh
from tests.harness.stack import Stack, running_stack
from tests.harness.waiting import eventually
from tests.integration.cli.output.runs import in_environment, landed, polling, terminate

HOSTILE = "<script>alert(1)</script>\x1b]0;owned\x07\x00\x9b31m\u202e=1+1"


def text_of(page: Path) -> str:
    """Return the text of a page, which is well-formed and has no script."""
    text = page.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    assert "<script" not in text
    assert all(each.isprintable() or each == "\n" for each in text)
    return " ".join("".join(root.itertext()).split())


def page_of(starter: CommandLine, ended: Ended) -> str:
    assert ended.code == 0, ended.err
    return text_of(starter.folder / ended.json["file"])


async def test_a_page_of_a_run_has_its_outcome_its_times_and_its_commands(starter: CommandLine, live: Stack) -> None:
    workflow_id = await landed(starter)
    (batch,) = live.emulator.batches

    ended = await starter("report", workflow_id, "--json")

    shown = page_of(starter, ended)
    size = (starter.folder / f"report-{workflow_id}.html").stat().st_size
    assert ended.json == {
        "batchId": batch.id,
        "workflowId": workflow_id,
        "file": f"report-{workflow_id}.html",
        "bytes": size,
        "results": 4,
        "shown": 4,
    }
    for said in (
        "2 of 4 requests have a usable reply",
        "1 request-0001 model: claude-does-not-exist-9",
        "request-0002 messages: Field required",
        f"starter.py results {workflow_id} --failed -o retry.jsonl",
        "max_tokens of the requests: 256 (4)",
        "run started",
        "submitted",
        "batch ended",
        "results landed",
        "found the batch unfinished",
        "verified: each custom_id of the requests exactly once",
        f"{workflow_id} in the Web UI, completed",
    ):
        assert said in shown, said
    assert f"/namespaces/default/workflows/{workflow_id}/" in (starter.folder / ended.json["file"]).read_text()


async def test_a_file_is_overwritten_only_on_request(starter: CommandLine) -> None:
    workflow_id = await landed(starter)
    file = starter.folder / "page.html"
    file.write_text("mine")

    refused = await starter("report", workflow_id, "-o", "page.html")
    kept = file.read_text()
    elsewhere, wrong = (in_environment(starter, MESSAGE_BATCHES_UI_URL=url) for url in ("https://ui.invalid/", "ui"))
    forced = await elsewhere("report", workflow_id, "-o", "page.html", "--force")
    invalid = await wrong("report", workflow_id, "-o", "page.html", "--force")
    nowhere = await starter("report", workflow_id, "-o", "none/page.html")

    assert (refused.code, kept) == (2, "mine")
    assert forced.code == 0
    assert f'href="https://ui.invalid/namespaces/default/workflows/{workflow_id}/' in file.read_text(encoding="utf-8")
    assert (invalid.code, "MESSAGE_BATCHES_UI_URL" in invalid.err) == (2, True)
    assert "2 of 4 requests have a usable reply" in text_of(file)
    assert nowhere.code == 2
    assert [path.name for path in starter.folder.glob("*page*")] == ["page.html"]
    assert [path for path in starter.folder.iterdir() if path.name.startswith(".page")] == []


@pytest.mark.slow
async def test_without_a_worker_the_page_is_the_same(temporal: DevServer, emulator: Emulator, tmp_path: Path) -> None:
    async with running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as running:
        starter = command_line(tmp_path / "user", temporal, running.store_url, running.task_queue)
        workflow_id = await landed(starter)
        before = page_of(starter, await starter("report", workflow_id, "--json"))

    after = page_of(starter, await starter("report", workflow_id, "--json", "--force"))

    assert before.partition("Made")[0] == after.partition("Made")[0]


@pytest.mark.parametrize("identity", ["run", pytest.param("batch", marks=pytest.mark.slow)])
async def test_a_run_that_temporal_has_forgotten_has_a_page(
    starter: CommandLine, live: Stack, forgetful: DevServer, identity: str
) -> None:
    workflow_id = await landed(starter)
    (batch,) = live.emulator.batches
    later = in_environment(starter, TEMPORAL_ADDRESS=forgetful.address)

    ended = await later("report", workflow_id if identity == "run" else batch.id, "--json")

    shown = page_of(starter, ended)
    assert ended.json["workflowId"] is None
    assert ended.err == ""
    assert "2 of 4 requests have a usable reply" in shown
    assert "What Temporal knows of the run is not here" in shown
    assert "submitted" in shown
    assert "results landed" in shown


@pytest.mark.slow
async def test_without_temporal_the_page_says_what_the_store_knows(starter: CommandLine, live: Stack) -> None:
    await landed(starter)
    (batch,) = live.emulator.batches
    alone = in_environment(starter, TEMPORAL_ADDRESS="127.0.0.1:1")

    ended = await alone("report", batch.id, "--json")

    assert "2 of 4 requests have a usable reply" in page_of(starter, ended)
    assert "lacks what Temporal knows of the run" in ended.err


async def test_results_that_are_not_there_or_have_changed_make_no_page(
    patient: CommandLine, pending: Stack, starter: CommandLine, live: Stack
) -> None:
    running, over = await polling(patient, pending), await landed(starter)
    (file,) = live.store_folder.glob("results/*/*/*.jsonl")
    file.write_bytes(file.read_bytes().replace(b"request-0003", b"request-0009"))

    refused = [
        await patient("report", running),
        await patient("report", "no-such-run"),
        await patient("report", "msgbatch_none"),
        await starter("report", over),
    ]

    assert [ended.code for ended in refused] == [2, 2, 2, 2]
    assert all(len(ended.err.splitlines()) == 1 for ended in refused)
    assert not [*patient.folder.glob("*.html"), *starter.folder.glob("*.html")]
    await terminate(pending, running)


@pytest.mark.slow
async def test_the_page_is_opened_on_request(starter: CommandLine, tmp_path: Path) -> None:
    workflow_id = await landed(starter)
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    with_browser = in_environment(starter, BROWSER=f"{browser} %s")

    shown = await with_browser("report", workflow_id, "--open")

    assert shown.code == 0
    await eventually(lambda: opened.exists() and opened.read_text().strip(), "a page in the browser")
    assert opened.read_text().strip() == (starter.folder / f"report-{workflow_id}.html").as_uri()


async def test_a_hostile_reply_is_text_on_the_page(temporal: DevServer, emulator: Emulator, tmp_path: Path) -> None:
    def replace_texts(answer: Answer) -> None:
        if answer.is_results:
            lines = [json.loads(line) for line in answer.body.splitlines()]
            lines[0]["result"]["message"]["content"] = [{"type": "text", "text": HOSTILE}]
            lines[1]["result"]["message"]["content"] = [{"type": "text", "text": "<b>" + "x" * 1_000_000}]
            answer.body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    async with (
        gateway_to(emulator.url) as gateway,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri(), through=gateway.url) as running,
    ):
        gateway.change = replace_texts
        starter = command_line(tmp_path / "user", temporal, running.store_url, running.task_queue)
        ended = await starter("start", starter.file(fresh()), "--wait", "--json", *QUICK)
        report = await starter("report", ended.json["workflowId"], "--json")

    shown = page_of(starter, report)
    assert report.json["bytes"] < 200_000
    assert r"<script>alert(1)</script>\x1b]0;owned\x07\x00\x9b31m\u202e=1+1" in shown
    assert re.search(r"<b>x{3000,}…", shown)
