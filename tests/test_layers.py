"""Imports go one way, and each layer loads only what its reader needs: checked in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["temporalio", "httpx", "obstore", "aiohttp", "msgspec", "yaml", "typer", "rich", "anthropic", "cryptography"]
APPLICATION = ["activities", "workflows", "worker", "starter"]


def loaded_by(module: str) -> set[str]:
    """The top-level modules that importing `module` brings in."""
    code = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("message_batches", []),
        ("message_batches.models", []),
        ("message_batches.api.models", []),
        ("message_batches.storage.interface", []),
        ("message_batches.api.interface", []),
        ("message_batches.errors", []),
        ("message_batches.contract", []),
        ("message_batches.settings", []),
        ("message_batches.storage.submission_records", []),
        ("message_batches.arazzo.plan", ["yaml"]),
        ("message_batches.api.client", ["httpx", "rich"]),
        ("message_batches.temporal.connection", ["temporalio"]),
        ("message_batches.encryption.codec", ["temporalio"]),
        ("message_batches.codec_server", ["temporalio", "aiohttp"]),
        ("message_batches.temporal.search_attributes", ["temporalio"]),
        ("message_batches.observability.metrics", ["temporalio"]),
        ("message_batches.observability.logs", ["temporalio"]),
        ("message_batches.observability.log_context", []),
        ("message_batches.storage.object_store", ["obstore"]),
        ("message_batches.results.landing", ["msgspec"]),
        ("message_batches.requests.reader", ["msgspec"]),
        ("message_batches.emulator", ["aiohttp"]),
        ("activities.models", ["activities"]),
        ("activities.batch", ["activities", "temporalio", "msgspec"]),
        ("activities.submission", ["activities", "temporalio", "msgspec"]),
        ("workflows.submission.protocol", ["activities", "workflows"]),
        ("workflows.message_batch", ["activities", "workflows", "temporalio", "msgspec"]),
        ("starter", ["starter", "typer", "rich"]),
    ],
)
def test_a_module_loads_what_its_layer_may(module: str, allowed: list[str]) -> None:
    loaded = loaded_by(module) & {*HEAVY, *APPLICATION}

    assert loaded <= set(allowed)


def test_a_run_asks_one_clock_for_the_time() -> None:
    workflows = Path(__file__).parents[1] / "workflows"

    assert [path.name for path in workflows.rglob("*.py") if "workflow.now()" in path.read_text()] == ["context.py"]
