"""Our services of docker-compose.yml, run as the file says, from the files that Dockerfile copies."""

import base64
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from message_batches.temporal.dev_server import DevServer, dev_server
from tests.external.deploy.containers import Engine, up
from tests.external.deploy.dockerfile import BuildStage
from tests.harness.encryption import key, written
from tests.harness.project import ROOT
from tests.harness.requests import requests
from tests.harness.waiting import eventually


@pytest.fixture(scope="module")
async def engine(
    temporal: DevServer, image: BuildStage, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engine]:
    variables = {"MESSAGE_BATCHES_TASK_QUEUE": f"deployed-{uuid4()}"}
    before = contents(image.root)
    yield Engine(image, temporal.address, tmp_path_factory.mktemp("host"), variables)
    # As root, which tests may run as, a process ignores the permissions that a read-only file system would enforce.
    assert contents(image.root) == before


def contents(root: Path) -> dict[str, int]:
    """Return every file, and the time of its last change."""
    return {str(path): path.lstat().st_mtime_ns for path in root.rglob("*")}


async def test_a_file_that_the_starter_was_given_lands_through_worker_and_emulator(engine: Engine) -> None:
    (engine.data / "in").mkdir()
    shutil.copy(ROOT / "examples" / "requests.jsonl", engine.data / "in")

    async with up(engine, "emulator", "worker") as (emulator, worker), httpx.AsyncClient() as http:
        control = f"http://{engine.address('emulator')}/_emulator"
        start = await engine.run("starter", "start", "in/requests.jsonl", "--wait", "--poll-interval=0.5s")

        async def created() -> bool:
            assert start.exit_code is None, start.output
            return bool((await http.get(f"{control}/batches")).json())

        await eventually(created, "a batch at the emulator")
        await http.post(f"{control}/clock", json={"advance": 600})
        ended = await start.end()
        run = re.findall(r"batch-[0-9a-f]{24}", ended.output)[0]
        results = await (await engine.run("starter", "results", run, "-o", "out.jsonl")).end()

    assert ended.code == 0, ended.output + worker.output + emulator.output
    assert "21 succeeded, 3 errored" in ended.output
    hint = f"docker compose --env-file deploy/demo/demo.env run --rm starter results {run}"
    assert hint in " ".join(ended.output.split())
    assert results.code == 0, results.output
    assert len((engine.data / "out.jsonl").read_text().splitlines()) == 24
    assert list((engine.data / "store" / "results").rglob("*.jsonl"))


@pytest.fixture
async def own_server() -> AsyncIterator[DevServer]:
    """Start a server for encrypted runs, which other tests that look at all runs could not read."""
    async with dev_server() as server:
        yield server


async def test_with_keys_all_payloads_are_encrypted_and_the_codec_server_decrypts(
    own_server: DevServer, image: BuildStage, tmp_path: Path
) -> None:
    token = "a-token-of-the-tests-0123456789"
    variables = {
        "MESSAGE_BATCHES_TASK_QUEUE": f"deployed-{uuid4()}",
        "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE": "./encryption-keys",
        "MESSAGE_BATCHES_CODEC_TOKEN": token,
    }
    engine = Engine(image, own_server.address, tmp_path, variables)
    (tmp_path / "encryption-keys").write_text(f"# of this test\n{written([key('2026-11')])}\n")
    (engine.data / "requests.jsonl").write_text(json.dumps(requests(1, f"A hidden prompt {uuid4()}")[0]))

    async with up(engine, "emulator", "worker", "codec"), httpx.AsyncClient() as http:
        started = await (await engine.run("starter", "start", "requests.jsonl")).end()
        run = re.findall(r"batch-[0-9a-f]{24}", started.output)[0]
        history = (await own_server.client.get_workflow_handle(run).fetch_history()).to_json()
        answer = await http.post(
            f"http://{engine.address('codec')}/decode",
            json=json.loads(history)["events"][0]["workflowExecutionStartedEventAttributes"]["input"],
            headers={"Authorization": f"Bearer {token}"},
        )
        await own_server.client.get_workflow_handle(run).terminate()

    assert started.code == 0, started.output
    assert "2026-11" in base64.b64decode(re.findall('"encryption-key-id": "([^"]+)"', history)[0]).decode()
    (payload,) = answer.json()["payloads"]
    assert b"A hidden prompt" in base64.b64decode(payload["data"])


async def test_the_health_checks_detect_a_stopped_service(engine: Engine) -> None:
    assert not await engine.healthy("emulator")
    assert not await engine.healthy("worker")
    assert not await engine.healthy("codec")

    async with up(engine, "emulator", "worker"):
        assert await engine.healthy("emulator")
        assert await engine.healthy("worker")


async def test_sigterm_ends_each_service_cleanly_within_its_grace_period(engine: Engine) -> None:
    services = ("emulator", "worker")

    async with up(engine, *services) as running:
        for service, container in zip(services, running, strict=True):
            ended = await container.stop()
            assert ended.code == 0, ended.output
            assert ended.after < engine.grace(service)


async def test_without_arguments_the_starter_prints_its_help(engine: Engine) -> None:
    ended = await (await engine.run("starter")).end()

    assert ended.code == 0, ended.output
    assert "Usage: starter.py" in ended.output
