"""The library of Standard Webhooks for JavaScript verifies what a run sends."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from message_batches.emulator import Emulator
from message_batches.temporal.dev_server import DevServer
from tests.harness import npm
from tests.harness.receiver import OLD_SECRET, SECRET, Received, receiving, webhooks
from tests.harness.requests import requests
from tests.harness.stack import running_stack

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def library() -> None:
    npm.install(HERE, target="interop")


def verified(got: Received, secret: str, body: bytes) -> subprocess.CompletedProcess[str]:
    """Run the library's verifier; its output is the event."""
    given = json.dumps({"headers": got.headers, "body": body.decode()})
    return subprocess.run(
        ["node", "verify.js"],
        cwd=HERE,
        env={"PATH": os.environ["PATH"], "WEBHOOK_SECRET": secret},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_library_for_javascript_verifies_the_events_of_a_run(
    library: None, temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    async with (
        receiving() as receiver,
        running_stack(temporal.client, emulator, tmp_path.as_uri(), webhooks=webhooks({"ops": receiver.url})) as live,
    ):
        await live.run(requests(2, "Grüße, 世界"), notify=["ops"])
        await receiver.has("batch.submitted", "batch.landed")

    for got in receiver.accepted:
        accepted = verified(got, SECRET, got.body)
        assert accepted.returncode == 0, accepted.stderr
        assert json.loads(accepted.stdout) == json.loads(got.body)
        for wrong in (verified(got, OLD_SECRET, got.body), verified(got, SECRET, got.body.replace(b"batch.", b"job."))):
            assert wrong.returncode
            assert "WebhookVerificationError" in wrong.stderr
