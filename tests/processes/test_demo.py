"""The demo as a whole: everything embedded, ended by itself or by Ctrl-C, with nothing left behind."""

import asyncio
import json
import re
import signal
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.harness.command_line import CommandLine
from tests.harness.golden import Scenes, assert_golden
from tests.harness.waiting import eventually

LIVE = {"ANTHROPIC_API_KEY": "sk-ant-none", "ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}


def below(process: asyncio.subprocess.Process) -> list[psutil.Process]:
    """Return the processes that a process has started."""
    return psutil.Process(process.pid).children(recursive=True)


def kept(folder: Path) -> list[Path]:
    return list(folder.glob("message-batches-demo-*"))


def reports(folder: Path) -> dict[Path, str]:
    """Return the reports of the demos in folders, with their text."""
    return {file: file.read_text(encoding="utf-8") for file in folder.glob("*/message-batches-demo-*/report.html")}


def lines_of(file: Path) -> int:
    return len(file.read_bytes().splitlines())


async def suggestion_works(starter: CommandLine, shown: str) -> None:
    """Run the suggested command, after Temporal has ended."""
    command = r"(results \S+ --failed=all --max-tokens) N (-o retry.jsonl)"
    suggested = re.search(rf"MESSAGE_BATCHES_STORE=(\S+) \S+ \S*starter.py {command}", shown)
    assert suggested
    later = CommandLine(starter.folder, {"MESSAGE_BATCHES_STORE": suggested[1], "TEMPORAL_ADDRESS": "127.0.0.1:1"})

    failed = await later(*suggested[2].split(), "1024", *suggested[3].split())

    assert failed.code == 0, failed.err
    lines = (starter.folder / "retry.invalid.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["custom_id"] for line in lines} == {"ticket-0005", "review-0003", "chat-0002"}
    raised = (starter.folder / "retry.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["params"]["max_tokens"] for line in raised] == [1024] * 6


@pytest.mark.slow
async def test_two_concurrent_demos_show_their_results_and_their_suggested_commands_work(tmp_path: Path) -> None:
    starters = [CommandLine(tmp_path / name) for name in ("one", "two")]
    for starter in starters:
        starter.folder.mkdir()

    shown, document = await asyncio.gather(starters[0]("demo"), starters[1]("demo", "--json"))

    scenes: Scenes = {
        "landed": [shown, document],
        "live, without a key": await CommandLine(tmp_path)("demo", "--live"),
        "live, not agreed to": await CommandLine(tmp_path, LIVE)("demo", "--live", stdin="n\n"),
    }
    assert_golden("demo", scenes, tmp_path)
    assert lines_of(Path(urlsplit(document.json["output"]["resultsFile"]["uri"]).path)) == 24
    await suggestion_works(starters[0], shown.out)
    pages = reports(tmp_path)
    assert len(pages) == 2
    assert all("15 of 24 requests have a usable reply" in text for text in pages.values())
    assert any(str(file) in shown.out for file in pages)


@pytest.mark.slow
async def test_with_keep_it_runs_until_ctrl_c_and_other_commands_work_with_it(tmp_path: Path) -> None:
    starter = CommandLine(tmp_path)
    process = await starter.begin("demo", "--keep")
    assert process.stderr
    said = ""
    async with asyncio.timeout(60):
        while "starter.py list" not in said:
            said += (await process.stderr.readline()).decode()
    address = re.search(r"TEMPORAL_ADDRESS=(\S+)", said)
    store = re.search(r"MESSAGE_BATCHES_STORE=(\S+)", said)
    assert address
    assert store
    beside = CommandLine(tmp_path, {"TEMPORAL_ADDRESS": address[1], "MESSAGE_BATCHES_STORE": store[1]})

    listed = await beside("list", "--json")
    started_by_it = below(process)
    process.send_signal(signal.SIGINT)
    _, rest = await process.communicate()

    assert [run["status"] for run in listed.json] == ["completed"]
    assert started_by_it
    assert process.returncode == 130
    assert b"Traceback" not in rest
    assert not [child for child in started_by_it if child.is_running()]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["at the start", "while the server starts", "while the batch runs"])
async def test_ctrl_c_leaves_no_process_behind(tmp_path: Path, moment: str) -> None:
    starter = CommandLine(tmp_path)
    process = await starter.begin("demo")
    assert process.stderr
    said, children = b"", []
    async with asyncio.timeout(60):
        if moment != "at the start":
            said = await process.stderr.readline()
        if moment == "while the server starts":
            while not (children := below(process)):  # noqa: ASYNC110 another process starts them
                await asyncio.sleep(0.01)
        if moment == "while the batch runs":
            while b"in_progress" not in said:
                said += await process.stderr.readline()
            children = below(process)
            assert children
        else:
            # Python needs some CPU time before it can handle a signal.
            await eventually(lambda: sum(psutil.Process(process.pid).cpu_times()[:2]) > 0.15, "a Python that has begun")

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, rest = await process.communicate()

    assert process.returncode == 130, rest
    assert b"Traceback" not in said + rest
    assert not [child for child in children if child.is_running()]
    assert not kept(tmp_path)


async def test_live_sends_nothing_without_an_answer_and_never_shows_the_key(tmp_path: Path) -> None:
    ended = await CommandLine(tmp_path, LIVE)("demo", "--live", stdin="")

    assert ended.code == 2
    assert LIVE["ANTHROPIC_API_KEY"] not in ended.said
