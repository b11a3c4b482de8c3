"""`--by`: the deadline of a run, what it leaves unfinished, and what is said of it at the start."""

import dataclasses
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.library.options import read_deadline
from message_batches.runs.control import Refused
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, CommandLine, command_line
from tests.harness.namespaces import new_namespace
from tests.harness.requests import fresh
from tests.harness.stack import Stack, progress_when, running_stack


@pytest.fixture
async def held(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a worker in a namespace of its own, over an emulator whose batches end when they are cancelled."""
    options = EmulatorOptions(processing_time=timedelta(minutes=10), cancel_time=timedelta(seconds=0.3))
    client = await new_namespace(temporal, {})
    async with Emulator(options) as emulator, running_stack(client, emulator, (tmp_path / "store").as_uri()) as live:
        yield live


@pytest.fixture
def hurried(temporal: DevServer, held: Stack, tmp_path: Path) -> CommandLine:
    made = command_line(tmp_path / "user", temporal, held.store_url, held.task_queue)
    return dataclasses.replace(made, environment={**made.environment, "TEMPORAL_NAMESPACE": held.client.namespace})


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.slow
async def test_what_a_deadline_leaves_unfinished_is_named_and_the_exit_code_is_3(
    hurried: CommandLine, held: Stack
) -> None:
    file = hurried.file(fresh(4))
    ended = await hurried("start", file, "--by", soon(6), "--wait", *QUICK)
    again = await hurried("start", file, "--wait", "--strict", "--json")
    later = await hurried("start", hurried.file(fresh(), "later.jsonl"), "--by", soon(5), *QUICK)
    far = await hurried("start", hurried.file(fresh(), "far.jsonl"), "--by", soon(3600), *QUICK)

    assert ended.code == 3, ended.err
    named = "The deadline came before 4 requests had finished (request-0000, request-0001, request-0002, ...)"
    assert named in ended.said
    assert "Deadline: " in ended.err
    assert "unlikely" not in ended.err
    assert again.code == 3
    assert again.json["output"]["unfinished"] == {
        "count": 4,
        "customIds": ["request-0000", "request-0001", "request-0002"],
    }
    assert held.operations().count("cancel") >= 1
    assert later.code == 0
    assert "unlikely to be enough: 1 of the last 1 batch took longer than 0:0" in later.said
    assert "unlikely" not in far.err


async def test_a_run_that_is_joined_keeps_its_deadline_and_status_shows_it(hurried: CommandLine, held: Stack) -> None:
    file = hurried.file(fresh())
    started = await hurried("start", file, "--by", "2100-01-01T06:00+01:00", "--json", *QUICK)
    run = held.client.get_workflow_handle(started.json["workflowId"])
    await progress_when(run, lambda seen: seen.polls > 0)

    same = await hurried("start", file, "--by", "2100-01-01T05:00Z", *QUICK)
    other = await hurried("start", file, "--by", "2100-01-01T07:00+01:00", *QUICK)
    shown = await hurried("status", run.id)
    document = await hurried("status", run.id, "--json")
    await run.terminate()

    assert "Deadline: 2100-01-01 05:00:00 UTC" in started.err
    assert "deadline" not in same.err
    assert "Deadline: " not in other.err
    assert "(its deadline stays: 2100-01-01 05:00:00 UTC)" in other.err
    assert ", 2100-01-01 05:00:00 UTC" in next(line for line in shown.out.splitlines() if line.startswith("deadline"))
    assert document.json["progress"]["deadline"] == "2100-01-01T05:00:00Z"


@pytest.mark.slow
async def test_a_batch_that_is_taken_over_has_a_deadline_too(hurried: CommandLine, held: Stack) -> None:
    batch_id = await held.post_by_a_stranger(fresh())

    ended = await hurried("attach", batch_id, "--by", soon(5), "--poll-interval", "0.1s", "--wait", "--json")

    assert ended.code == 3, ended.err
    assert json.loads(ended.out)["output"]["unfinished"]["count"] == 3


@pytest.mark.parametrize("by", ["tomorrow", "6", "25:00", "06:60", "2026-11-28", "2026-13-28T06:00", "+1h", "0600"])
async def test_what_is_no_time_is_refused_and_nothing_is_started(by: str) -> None:
    with pytest.raises(Refused, match="neither a time of day such as 06:00 nor a date"):
        read_deadline(by, datetime.now(UTC))


async def test_a_time_that_is_over_is_refused(hurried: CommandLine, held: Stack) -> None:
    ended = await hurried("start", hurried.file(fresh()), "--by", "2020-01-01 06:00:00+01:00", "--json")

    assert ended.code == 2
    assert "is over: it was 2020-01-01 05:00:00 UTC" in ended.json["error"]["message"]
    assert not held.emulator.calls


@pytest.mark.parametrize(
    ("now", "by", "expected"),
    [
        # Vienna is an hour ahead of UTC, in summer two; in 2026 that changes on March 29th and October 25th.
        ("2026-11-27T20:00", "06:00", "2026-11-28T05:00"),
        ("2026-11-27T04:59", "06:00", "2026-11-27T05:00"),
        ("2026-11-27T05:00", "06:00", "2026-11-28T05:00"),
        ("2026-11-27T22:30", "23:45", "2026-11-27T22:45"),
        ("2026-11-27T23:30", "0:15", "2026-11-28T23:15"),
        ("2026-03-28T20:00", "06:00", "2026-03-29T04:00"),
        ("2026-10-24T20:00", "06:00:30", "2026-10-25T05:00:30"),
        ("2026-11-27T20:00", "2026-11-28T06:00", "2026-11-28T05:00"),
        ("2026-11-27T20:00", "2026-07-28 06:00", None),
        ("2026-11-27T20:00", "2027-07-28 06:00", "2027-07-28T04:00"),
        ("2026-11-27T20:00", "2026-11-28T06:00Z", "2026-11-28T06:00"),
        ("2026-11-27T20:00", "2026-11-28T06:00-05:00", "2026-11-28T11:00"),
    ],
)
def test_a_time_of_day_is_the_next_one_here(
    monkeypatch: pytest.MonkeyPatch, now: str, by: str, expected: str | None
) -> None:
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    try:
        if expected is None:
            with pytest.raises(Refused, match="is over"):
                read_deadline(by, at)
        else:
            assert read_deadline(by, at) == datetime.fromisoformat(expected).replace(tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
