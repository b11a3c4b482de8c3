"""Clients that others wrote, against the emulator: in TypeScript, instructor, and pydantic-ai with batches."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import venv
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.emulator.faults import OPERATIONS
from tests.harness import npm

HERE = Path(__file__).parent
TYPESCRIPT = HERE / "typescript"
KEY = "sk-ant-emulated-0001"

Install = Callable[[str], Path]


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Build an environment from one of the locks here; return its interpreter."""

    def build(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        venv.create(folder)
        interpreter = folder / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet"]
        subprocess.run([*pip, "--require-hashes", "-r", str(HERE / f"{name}.lock")], check=True)
        return interpreter

    return build


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Start an emulator whose batches end at once, with a key that can act on two workspaces."""
    keys = (f"{KEY}=wrkspc_a", f"{KEY}=wrkspc_b")
    async with Emulator(EmulatorOptions(processing_time=timedelta(0), seed=1, api_keys=keys)) as running:
        yield running


async def answer_of(emulator: Emulator, *command: str | Path, cwd: Path = HERE) -> Any:
    """Run a client; return the JSON on the last line that it prints."""
    environment = {**os.environ, "ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": KEY}
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, errors.decode()
    return json.loads(output.decode().splitlines()[-1])


@pytest.mark.parametrize("namespace", ["messages", "beta.messages"])
async def test_the_client_in_typescript_does_the_six_operations(emulator: Emulator, namespace: str) -> None:
    npm.install(TYPESCRIPT, target="interop")

    said = await answer_of(emulator, "node", "client.js", namespace, cwd=TYPESCRIPT)

    results = said.pop("results")
    assert "Why is the sky blue?" in results["text"]["text"]
    assert (results["tool"]["name"], results["tool"]["input"]["count"] >= 3) == ("record", True)
    assert (results["wrong"]["type"], results["wrong"]["message"]) == ("not_found_error", "model: claude-haiku-5")
    assert said.pop("models") >= 20
    assert said == {
        "status": "ended",
        "counts": {"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0},
        "other": True,
        "listed": True,
        "refused": {"status": 400, "type": "invalid_request_error"},
        "deleted": "message_batch_deleted",
        "gone": 404,
    }
    assert {call.operation for call in emulator.calls} == set(OPERATIONS)


async def test_instructor_gets_objects_of_its_type(emulator: Emulator, install: Install) -> None:
    emulator.faults.add("outcome", custom_id="request-2", error="overloaded_error", message="Overloaded")

    said = await answer_of(emulator, install("instructor"), "instructor_client.py", "4")

    results = said["results"]
    assert (said["status"], said["listed"], sorted(results)) == ("ended", True, [f"request-{n}" for n in range(4)])
    assert [name for name, found in results.items() if isinstance(found, str)] == ["request-2"]
    assert "Invoice 3" in results["request-3"]["number"]
    assert len(results["request-3"]["lines"]) >= 2


async def test_pydantic_ai_gets_text_and_objects_of_its_type(emulator: Emulator, install: Install) -> None:
    # It sends again what was overloaded.
    emulator.faults.add("outcome", times=1, error="overloaded_error", message="Overloaded")

    said = await answer_of(emulator, install("pydantic-ai"), "pydantic_ai_client.py")

    assert ["Anna" in said["text"][0], "Acme" in said["text"][1]] == [True, True]
    for name in ("tool", "native"):
        assert {found["party"]["kind"] for found in said[name]} <= {"person", "company"}
        assert all(0 <= found["certainty"] <= 1 for found in said[name])
    assert len(emulator.batches) >= 4
