"""The files of a job: several as one, in every form, with the same checks and warnings as one file of a run."""

import asyncio
import dataclasses
import io
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from message_batches.concurrency import WorkStopped, run_stoppable
from message_batches.errors import InvalidRequests
from message_batches.job_models import ShardLimits
from message_batches.jobs.check import AROUND
from message_batches.jobs.files import find_files, name_of_files, read_files
from message_batches.prices import PriceList
from message_batches.requests.reader import UnreadableFile, read_requests
from tests.harness.requests import mixed, request, requests


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, items: list[Any], *, form: str = "jsonl") -> str:
    whole = {"array": items, "object": {"requests": items}}
    text = "".join(json.dumps(item) + "\n" for item in items) if form == "jsonl" else json.dumps(whole[form], indent=1)
    Path(name).write_text(text)
    return name


def test_one_file_is_read_as_that_of_a_run() -> None:
    # One comes back errored, one is found out by the second reading.
    file = write("one.jsonl", [*mixed(), request("odd", x={"a": 1})])

    with read_requests(file, prices=PriceList()) as run, read_files([file], prices=PriceList()) as job:
        for field in dataclasses.fields(run):
            if field.name != "lines":
                assert getattr(job, field.name) == getattr(run, field.name), field.name
        assert job.lines.read(0, job.lines.size) == run.lines.read(0, run.lines.size)
        assert run.warnings
        assert job.items() == run.items()


def test_several_files_of_any_form_are_read_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    items = requests(8)
    files = [
        write("a.jsonl", items[:2]),
        write("b.json", items[2:4], form="array"),
        write("c", items[4:6], form="object"),
    ]
    text = "".join(json.dumps(item) + "\n" for item in items[6:])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    with read_files([*files, "-"], limits=ShardLimits(max_requests=3)) as job, read_files([write("d", items)]) as one:
        assert [shard.count for shard in job.shards] == [3, 3, 2]
        assert [custom_id for shard in job.shards for custom_id in shard.checked().ids] == [
            item["custom_id"] for item in items
        ]
        assert (job.count, job.files) == (8, 4)
        assert job.content_sha256 == one.content_sha256
        assert job.body_bytes == sum(shard.body_bytes for shard in job.shards) - 2 * AROUND
        assert job.ids == one.ids


def test_problems_and_warnings_name_file_and_line() -> None:
    first = write("a.jsonl", requests(2))
    second = write("b.json", [requests(1)[0], {"custom_id": "no params"}], form="array")
    third = write("c.jsonl", [{"custom_id": "b b", "params": {}}])

    with pytest.raises(InvalidRequests) as caught, read_files([first, second, third]):
        pass
    with read_files([first, write("d.jsonl", [request("late", model="claude-does-not-exist-9")])]) as job:
        warned = job.warnings[0]

    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        "b.json, requests[0].custom_id",
        "b.json, requests[1].custom_id",
        "b.json, requests[1].params",
        "c.jsonl, line 1, custom_id",
    ]
    assert caught.value.problems[0].endswith("is also the custom_id of a.jsonl, line 1")
    assert warned.places == ("d.jsonl, line 1",)


def test_the_form_of_a_later_file_is_recognised_as_that_of_the_first() -> None:
    good, other = write("a.jsonl", requests(1)), Path("b.jsonl")
    other.write_text('{"custom_id":"x","method":"POST","url":"/v1/chat/completions","body":{}}\n')

    said = []
    for files in ([str(other)], [good, str(other)]):
        with pytest.raises(InvalidRequests) as caught, read_files(files):
            pass
        said.append(caught.value.problems[0])

    assert said[1] == f"b.jsonl, {said[0]}"


def test_a_name_with_control_characters_cannot_forge_a_line() -> None:
    file = write("a\nb", [*requests(1), *requests(1)])

    with pytest.raises(InvalidRequests) as caught, read_files([write("c", [request("x")]), file]):
        pass

    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]
    assert caught.value.problems[0].count("line 2") == 1


def test_patterns_that_the_shell_has_left_are_expanded_in_order() -> None:
    for name in ("part-2.jsonl", "part-1.jsonl", "other.jsonl", "odd[1].jsonl"):
        write(name, [])

    assert find_files(["other.jsonl", "part-*.jsonl", "-"]) == ["other.jsonl", "part-1.jsonl", "part-2.jsonl", "-"]
    assert find_files(["odd[1].jsonl", "there-is-none"]) == ["odd[1].jsonl", "there-is-none"]
    with pytest.raises(UnreadableFile, match=r"No file matches none-\*"):
        find_files(["other.jsonl", "none-*"])
    with pytest.raises(UnreadableFile, match="only once"):
        find_files(["-", "-"])


def test_files_are_named_together() -> None:
    assert name_of_files(["-"]) == "standard input"
    assert name_of_files(["a", "b"]) == "a and 1 more file"
    assert name_of_files(["a", "b", "c"]) == "a and 2 more files"


async def test_reading_in_a_thread_ends_where_nobody_waits_for_it() -> None:
    stop, reading = threading.Event(), threading.Event()
    file = write("requests.jsonl", [request("a")])

    def read() -> None:
        reading.set()
        while True:  # As a file without an end.
            with read_files([file], stop=stop):
                pass

    waiting = asyncio.create_task(run_stoppable(read, stop))
    await asyncio.to_thread(reading.wait)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(WorkStopped), read_files([file], stop=stop):
        pass
