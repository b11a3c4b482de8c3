"""The log of a real worker: each line has its ids, and none contains a key, a prompt or a result."""

import base64
import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from message_batches.emulator import Emulator
from message_batches.observability.logs import JsonFormatter, TextFormatter
from message_batches.temporal.dev_server import DevServer
from tests.harness.processes import WorkerProcess, refused_worker, settings
from tests.harness.requests import requests
from tests.harness.stack import Stack
from tests.processes.observability.conftest import KEY, PROMPT, WRONG, Seen


def lines_of(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]


def test_every_line_is_one_json_object_with_time_level_and_message(seen: Seen) -> None:
    lines = lines_of(seen.log)

    assert len(lines) > 50
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert lines[0]["message"].startswith("Worker ready: ")
    assert any(line["message"].startswith("Worker stopping: ") for line in lines)


def test_a_submission_is_logged_with_its_run_its_batch_and_the_apis_own_id_of_the_call(seen: Seen) -> None:
    posts = {call.request_id for call in seen.live.emulator.calls if call.operation == "create" and call.status == 200}
    submitted = [line for line in lines_of(seen.log) if line["message"] == "Submitted"]

    assert {line["workflowId"] for line in submitted} == {seen.runs[name] for name in ("partly", "again", "canceled")}
    assert {line["requestId"] for line in submitted} <= posts
    assert len({line["batchId"] for line in submitted}) == len({line["runId"] for line in submitted}) == 3


def test_a_call_that_failed_is_logged_by_its_type_with_the_apis_id_of_it(seen: Seen) -> None:
    (refusal,) = [line for line in lines_of(seen.log) if line["message"] == "submitBatch failed: SpendLimitReached"]
    calls = {call.request_id: call.status for call in seen.live.emulator.calls}

    assert refusal["level"] == "WARNING"
    assert refusal["workflowId"] == seen.runs["failed"]
    assert calls[refusal["requestId"]] == refusal["status"] == 429
    assert (refusal["activity"], refusal["attempt"]) == ("submitBatch", 1)


def test_the_course_of_a_run_is_logged_by_the_run_itself(seen: Seen) -> None:
    ours = [line for line in lines_of(seen.log) if line.get("workflowId") == seen.runs["found"]]
    said = [(line["level"], line["message"]) for line in ours if line["logger"] == "temporalio.workflow"]

    assert said == [
        ("WARNING", "The outcome of POST 1 is not known"),
        ("INFO", "The outcome of POST 1: found"),
        ("INFO", "The batch is submitted"),
        ("INFO", "The batch has ended"),
        ("INFO", "The run has ended: landed, succeeded"),
    ]
    assert len({line["batchId"] for line in ours if "batchId" in line}) == 1


def test_the_sdks_core_logs_in_the_same_format(seen: Seen) -> None:
    core = [line for line in lines_of(seen.log) if line["logger"] == "temporalio.core"]

    assert any("workflow task" in line["message"] and line["runId"] for line in core)


def test_no_line_holds_a_key_a_prompt_a_custom_id_or_a_result(seen: Seen) -> None:
    results = [path.read_text(encoding="utf-8") for path in seen.live.store_folder.glob("results/*/*/*.jsonl")]
    replies = [
        content["text"]
        for line in "".join(results).splitlines()
        for content in json.loads(line)["result"].get("message", {}).get("content", [])
    ]
    forbidden = [
        KEY,
        base64.b64encode(KEY.encode()).decode(),
        quote(KEY, safe=""),
        PROMPT,
        WRONG["custom_id"],
        "request-0001",
    ]

    assert len(replies) == 3 + 4 + 5
    assert [word for word in [*forbidden, *replies] if str(word) in seen.log] == []


@pytest.mark.slow
async def test_a_text_line_ends_with_its_ids(temporal: DevServer, emulator: Emulator, tmp_path: Path) -> None:
    live = Stack(temporal.client, emulator, (tmp_path / "store").as_uri())
    configured = settings(
        temporal=temporal.address, api=emulator.url, key=KEY, store=live.store_url, task_queue=live.task_queue
    )
    worker = await WorkerProcess.begin(configured, tmp_path / "worker.log", tmp_path)
    try:
        output = await live.run(requests(), workflow_id=f"{tmp_path.name} with a blank")
        await worker.terminate()
    finally:
        await worker.kill()

    assert worker.output.startswith("Worker ready: Temporal ")
    (landed,) = [line for line in worker.output.splitlines() if "temporalio.activity Landed 3 lines" in line]
    assert f' workflowId="{tmp_path.name} with a blank" runId=' in landed
    assert f" batchId={output.batch_id} requestId=req_" in landed
    assert "{'" not in worker.output


@pytest.mark.slow
async def test_a_failed_start_is_logged_as_json_too(temporal: DevServer, tmp_path: Path) -> None:
    status, said = await refused_worker(
        tmp_path, temporal.address, "--log-format", "json", MESSAGE_BATCHES_SCRATCH="/there/is/none"
    )

    assert status == 2
    (line,) = lines_of(said)
    assert line["level"] == "ERROR"
    assert line["message"].startswith("worker.py: MESSAGE_BATCHES_SCRATCH is not valid: expected a directory")


def written(formatter: logging.Formatter, message: str, *, error: str = "", **about: object) -> str:
    """Return the output of a formatter for a record."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    try:
        if error:
            raise ValueError(error)
        raised = None
    except ValueError:
        raised = sys.exc_info()
    record = logging.LogRecord("ours", logging.INFO, __file__, 1, message, None, raised)
    vars(record).update(about)
    handler.handle(record)
    return stream.getvalue()


def test_any_record_is_one_line_of_json() -> None:
    line = written(
        JsonFormatter(),
        "several\nlines \u2028",
        error="two\nlines",
        workflow_id="a\nb",
        batch_id=None,
        other="left out",
    )

    assert line.count("\n") == 1
    assert line.isascii()
    found = json.loads(line)
    assert found["message"] == "several\nlines \u2028"
    assert found["workflowId"] == "a\nb"
    assert found["exception"].startswith("Traceback")
    assert not {"batchId", "other"} & set(found)


def test_a_callers_id_can_neither_break_a_line_nor_add_a_field() -> None:
    line = written(TextFormatter(), "said", workflow_id="a\n2026 ERROR b batchId=c")

    assert line.endswith(' INFO ours said workflowId="a\\n2026 ERROR b batchId=c"\n')
    assert os.linesep not in line[:-1]


def test_no_text_record_contains_control_sequences_or_forged_lines() -> None:
    forged = "x\n2026-11-23 03:00:00,000 INFO temporalio.activity Submitted\x1b[2J\x9b\u202e\r"

    first, *trace = written(TextFormatter(), f"The batch is claimed by {forged} already", error=forged).splitlines()

    assert first.endswith(r"Submitted\x1b[2J\x9b\u202e\r already")
    assert trace[0] == "  Traceback (most recent call last):"
    assert trace[-2:] == [
        "  ValueError: x",
        r"  2026-11-23 03:00:00,000 INFO temporalio.activity Submitted\x1b[2J\x9b\u202e\r",
    ]
    assert all(line.startswith("  ") and line.isprintable() for line in trace)
