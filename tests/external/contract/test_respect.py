"""The document, run by an external runner against the emulator in a process of its own."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import yaml

from message_batches.arazzo.loader import load_document
from message_batches.arazzo.plan import interface_of, normalize, plan_of
from message_batches.contract import WORKFLOW_TYPE
from tests.external.contract.judges import run
from tests.harness.project import DOCUMENT, OPENAPI, PUBLISHED, SIX_OPERATIONS, calls_for

pytestmark = pytest.mark.usefixtures("judged")

KEY = "the-key-of-the-contract-test"
REQUESTS = [
    {
        "custom_id": custom_id,
        "params": {
            "model": "claude-sonnet-5",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": f"Say {custom_id}."}],
        },
    }
    for custom_id in ("first", "second")
]
FAST = 0.05


@contextmanager
def emulator(*options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "message_batches.emulator", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


@contextmanager
def recipient() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Run a server that keeps the bodies posted to it."""
    received: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", received
        finally:
            server.shutdown()
            thread.join()


def fast_copy(text: str, folder: Path, recipient_url: str) -> Path:
    """Write the document with short waits, and a second workflow that runs the first and posts its outputs."""
    document = yaml.safe_load(text)
    workflow = document["workflows"][0]
    for step in workflow["steps"]:
        for action in step.get("onFailure", []):
            action["retryAfter"] = FAST
    outputs = list(workflow["outputs"])
    hand_over = {
        "workflowId": "hand-over-outputs",
        "inputs": workflow["inputs"],
        "steps": [
            {
                "stepId": "runIt",
                "workflowId": workflow["workflowId"],
                "parameters": [{"name": name, "value": f"$inputs.{name}"} for name in workflow["inputs"]["properties"]],
                "outputs": {name: f"$outputs.{name}" for name in outputs},
            },
            {
                "stepId": "handOver",
                "x-operation": {"url": recipient_url, "method": "post"},
                "requestBody": {
                    "contentType": "application/json",
                    "payload": {name: f"$steps.runIt.outputs.{name}" for name in outputs},
                },
                "successCriteria": [{"condition": "$statusCode == 204"}],
            },
        ],
    }
    document["workflows"].append(hand_over)
    document["sourceDescriptions"][0]["url"] = "./openapi.yml"
    shutil.copy(OPENAPI, folder / "openapi.yml")
    copy = folder / "document.yml"
    copy.write_text(yaml.safe_dump(document, sort_keys=False))
    return copy


def respect(copy: Path, url: str, workflow_id: str = "hand-over-outputs") -> subprocess.CompletedProcess[str]:
    inputs = json.dumps({"apiKey": KEY, "anthropicVersion": "2023-06-01", "requests": REQUESTS})
    # The runner's own limits are below 2880 polls in 24 hours.
    limits = ("--max-steps", "5000", "--execution-timeout", "90000000")
    where = ("--workflow", workflow_id, "--server", f"claudeApi={url}")
    return run("redocly", "respect", copy, "--input", inputs, *where, *limits, cwd=copy.parent)


@pytest.mark.parametrize("file", [DOCUMENT, PUBLISHED], ids=["ours", "published-normalized"])
def test_the_runner_makes_the_calls_of_the_plan_and_gets_every_output(file: Path, tmp_path: Path) -> None:
    document = load_document(file)
    with recipient() as (recipient_url, received), emulator("--ends-after-polls", "4") as url:
        done = respect(fast_copy(normalize(document), tmp_path, recipient_url), url)
        calls = httpx.get(f"{url}/_emulator/calls").json()
    assert done.returncode == 0
    assert KEY not in done.stdout
    [outputs] = received
    assert list(outputs) == list(interface_of(document).outputs)
    path = f"/v1/messages/batches/{outputs['batchId']}"
    made = [(call["method"], call["path"], call["status"]) for call in calls]
    assert made == calls_for(str(outputs["batchId"]), polls=4)
    assert outputs["requestCounts"] == {"processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0}
    assert outputs["resultsUrl"] == f"{url}{path}/results"
    lines = [json.loads(line) for line in str(outputs["results"]).splitlines()]
    assert sorted(line["custom_id"] for line in lines) == ["first", "second"]
    assert plan_of(document).workflow_id == WORKFLOW_TYPE


def test_the_runner_waits_through_errors_that_pass(tmp_path: Path) -> None:
    faults = ("--fault", "529:operation=retrieve,times=2")
    with recipient() as (recipient_url, received), emulator("--ends-after-polls", "1", *faults) as url:
        done = respect(fast_copy(DOCUMENT.read_text(), tmp_path, recipient_url), url)
        calls = httpx.get(f"{url}/_emulator/calls").json()
    assert done.returncode == 0
    assert [call["status"] for call in calls] == [200, 529, 529, 200, 200]
    assert len(received) == 1


def test_the_runner_does_not_send_a_refused_submission_again(tmp_path: Path) -> None:
    with recipient() as (recipient_url, received), emulator("--fault", "529:operation=create,times=1") as url:
        done = respect(fast_copy(DOCUMENT.read_text(), tmp_path, recipient_url), url)
        calls = httpx.get(f"{url}/_emulator/calls").json()
    assert done.returncode != 0
    assert [(call["operation"], call["status"]) for call in calls] == [("create", 529)]
    assert not received


def test_the_responses_of_all_six_operations_match_the_slice(tmp_path: Path) -> None:
    shutil.copy(OPENAPI, tmp_path / "openapi.yml")
    copy = Path(shutil.copy(SIX_OPERATIONS, tmp_path))
    with emulator("--processing-time", "1h", "--cancel-time", "0.3s") as url:
        done = respect(copy, url, "six-operations")
        operations = {call["operation"] for call in httpx.get(f"{url}/_emulator/calls").json()}
    assert done.returncode == 0
    assert operations == {"create", "list", "retrieve", "cancel", "results", "delete"}
