"""`worker.py --health`: the probes of a real worker process in every state."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, PollWorkflowTaskQueueRequest
from temporalio.client import Client

from message_batches.contract import WORKFLOW_TYPE
from message_batches.emulator import Emulator
from message_batches.listener import CannotListen
from message_batches.models import BatchInput, PollSchedule
from message_batches.observability.health import Health, HealthReport, WatchedWorker, serve_probes
from message_batches.observability.prometheus import StalledRuns
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.temporal.connection import connect, worker_identity
from message_batches.temporal.dev_server import DevServer
from tests.harness.left_open import connections
from tests.harness.metrics import page_at
from tests.harness.processes import Running, TemporalProcess, bare_environment, lasting_port, refused_worker, settings
from tests.harness.requests import requests
from tests.harness.stack import KEYS, Stack
from tests.harness.waiting import TIMEOUT, eventually


class Probed(Running):
    """A worker process with `--health`."""

    url = ""

    @property
    def limits(self) -> str:
        """The limits that the kernel holds for it."""
        return Path(f"/proc/{self.pid}/limits").read_text()

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON at a path."""
        async with httpx.AsyncClient(base_url=self.url, timeout=10) as http:
            answer = await http.get(path)
            return answer.status_code, answer.json()

    async def until(self, holds: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the report of `/healthz` as soon as it is as expected."""

        async def check() -> dict[str, Any] | None:
            assert self.exit_code is None, self.output
            try:
                status, found = await self.get("/healthz")
            except httpx.ConnectError:
                status, found = 0, {}
            return found if holds(status, found) else None

        return await eventually(check, "the expected health")


@asynccontextmanager
async def worker(
    folder: Path, address: str, *, options: Sequence[str] = (), within: Sequence[str] = (), **variables: str
) -> AsyncIterator[Probed]:
    """Start a worker process, within another command if there is one; it is killed at the end."""
    configured = settings(
        temporal=address,
        key=KEYS["default"].get_secret_value(),
        store=(folder / "store").as_uri(),
        task_queue=f"probed-{uuid4()}",
    )
    environment = bare_environment(folder, **{**configured, **variables})
    listen = f"127.0.0.1:{lasting_port()}"
    command = [*within, sys.executable, "worker.py", "--health", listen, *options]
    running = await Probed.start(command, folder / "worker.log", environment=environment)
    running.url = f"http://{listen}"
    try:
        yield running
    finally:
        await running.kill()


def is_well(status: int, found: dict[str, Any]) -> bool:
    return status == 200


def is_not_well(status: int, found: dict[str, Any]) -> bool:
    return status == 503 and not found["problems"][0].startswith("The worker is starting")


async def test_a_worker_that_polls_is_healthy(temporal: DevServer, tmp_path: Path) -> None:
    async with worker(tmp_path, temporal.address) as probed:
        found = await probed.until(is_well)

        assert found == {"connected": True, "polling": True, "storeReachable": True, "problems": [], "stalledRuns": {}}
        assert await probed.get("/livez") == (200, {"alive": True})
        assert f"health {probed.url}/healthz" in probed.output
        assert await probed.terminate() == 0


@pytest.mark.slow
async def test_connections_that_are_left_open_use_up_neither_files_nor_probes(
    temporal: DevServer, tmp_path: Path
) -> None:
    metrics = f"http://127.0.0.1:{lasting_port()}"
    few_files = ("sh", "-c", 'ulimit -S -n 512; ulimit -H -n 1024; exec "$0" "$@"')
    options = ("--metrics", metrics.removeprefix("http://"))
    async with worker(tmp_path, temporal.address, options=options, within=few_files) as probed:
        await probed.until(is_well)
        limits = probed.limits
        async with connections(probed.url, 1050), connections(metrics, 1050):
            async with asyncio.timeout(2):
                assert (await probed.get("/livez"))[0] == 200
            found = await probed.until(is_well)
            page = await page_at(f"{metrics}/metrics")

        assert found["storeReachable"]
        assert any(name.startswith("temporal_") for name in page.names)
        assert re.search(r"Max open files +1024 ", limits)
        assert re.search(r"Max core file size +0 ", limits)
        assert "Too many open files" not in probed.output


@pytest.mark.slow
async def test_without_temporal_it_is_unhealthy_but_alive(tmp_path: Path) -> None:
    server = TemporalProcess(tmp_path)
    await server.start()
    try:
        async with worker(tmp_path, server.address) as probed:
            await probed.until(is_well)

            await server.kill()
            found = await probed.until(is_not_well)
            assert (found["connected"], found["polling"], found["storeReachable"]) == (False, False, True)
            assert found["problems"][0].startswith(f"Temporal at {server.address} does not answer: ")
            assert (await probed.get("/livez"))[0] == 200

            await server.start()
            await probed.until(is_well)
    finally:
        await server.kill()


@pytest.mark.slow
async def test_without_its_store_it_is_unhealthy_but_alive(temporal: DevServer, tmp_path: Path) -> None:
    identity = tmp_path / "store" / "store.json"
    async with worker(tmp_path, temporal.address) as probed:
        await probed.until(is_well)

        kept = identity.rename(tmp_path / "kept.json")
        found = await probed.until(is_not_well)
        assert (found["connected"], found["polling"], found["storeReachable"]) == (True, True, False)
        assert found["problems"] == [f"{identity.as_uri()} is missing: check that the store still exists"]
        assert (await probed.get("/livez"))[0] == 200

        kept.rename(identity)
        await probed.until(is_well)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"id": "another"}', "belongs to another store: this worker started with {id}"),
        ("garbage", "does not hold the store's id: restore it"),
        ("[]", "does not hold the store's id: restore it"),
    ],
)
async def test_with_another_store_it_is_unhealthy(
    temporal: DevServer, tmp_path: Path, content: str, problem: str
) -> None:
    identity = tmp_path / "store.json"
    store = open_store(tmp_path.as_uri())
    store_id = await store.identity()
    health = Health()
    health.started(WatchedWorker(temporal.client, store, store_id, "any", lambda: True))
    assert (await health.report()).store_reachable

    identity.write_text(content)
    health.stopping()  # The next probe checks again.
    found = await health.report()

    assert not found.store_reachable
    assert found.problems[-1] == f"{identity.as_uri()} {problem.format(id=store_id)}"


@pytest.mark.slow
async def test_a_store_that_hangs_is_reported_in_time_and_read_only_once(temporal: DevServer, tmp_path: Path) -> None:
    hanging = tmp_path / "hanging"
    # Opening the store's id blocks on this pipe until another process writes into it.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n\n"
        "def hook(event, args):\n"
        f"    if event == 'open' and args[0] == 'store.json' and os.path.exists({str(hanging)!r}):\n"
        f"        open({str(hanging)!r}).close()\n\n"
        "sys.addaudithook(hook)\n"
    )
    async with worker(tmp_path, temporal.address, PYTHONPATH=str(tmp_path)) as probed:
        await probed.until(is_well)

        os.mkfifo(hanging)
        found = await probed.until(is_not_well)
        assert found["problems"] == [f"The store {(tmp_path / 'store').as_uri()} does not answer"]
        assert (await probed.get("/livez"))[0] == 200

        # One write ends the one read.
        writer = await asyncio.to_thread(os.open, hanging, os.O_WRONLY)
        hanging.unlink()
        os.close(writer)
        await probed.until(is_well)


async def test_a_store_that_hangs_at_the_start_blocks_neither_probe_nor_signal(
    temporal: DevServer, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    os.mkfifo(blocked)
    # Creating the store's directory blocks on this pipe, into which nothing is written.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n\n"
        "def hook(event, args):\n"
        f"    if event == 'os.mkdir' and str(args[0]) == {str(tmp_path / 'store')!r}:\n"
        "        print('The store hangs', flush=True)\n"
        f"        open({str(blocked)!r})\n\n"
        "sys.addaudithook(hook)\n"
    )
    async with worker(tmp_path, temporal.address, PYTHONPATH=str(tmp_path)) as probed:
        await eventually(lambda: "The store hangs" in probed.output, "a store that hangs")

        assert await probed.get("/livez") == (200, {"alive": True})
        assert (await probed.get("/healthz"))[1]["problems"] == ["The worker is starting: it is not connected yet"]
        assert await probed.terminate() == 0


@pytest.mark.slow
async def test_a_worker_that_is_starting_is_alive_and_not_yet_healthy(temporal: DevServer, tmp_path: Path) -> None:
    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        bucket = {
            "MESSAGE_BATCHES_STORE": "s3://bucket/prefix",
            "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
        }
        async with worker(tmp_path, temporal.address, **bucket) as probed:
            found = await probed.until(lambda status, _: status == 503)

            assert found["problems"] == ["The worker is starting: it is not connected yet"]
            assert await probed.get("/livez") == (200, {"alive": True})


@pytest.mark.slow
async def test_a_worker_that_is_stopping_answers_until_the_end(
    live: Stack, temporal: DevServer, tmp_path: Path
) -> None:
    async with worker(
        tmp_path, temporal.address, ANTHROPIC_BASE_URL=live.emulator.url, MESSAGE_BATCHES_TASK_QUEUE="stopping"
    ) as probed:
        await probed.until(is_well)
        live.emulator.faults.add("slow", operation="retrieve", seconds=4)
        run = await Stack(live.client, live.emulator, (tmp_path / "store").as_uri(), "stopping").start(
            requests(), poll=PollSchedule(retry_after=timedelta(seconds=10))
        )
        await live.saw("retrieve")

        leaving = asyncio.create_task(probed.terminate())
        found = await probed.until(is_not_well)

        assert found["problems"] == ["The worker is stopping: it finishes the tasks under way"]
        assert (found["connected"], found["polling"], found["storeReachable"]) == (True, False, True)
        assert await probed.get("/livez") == (200, {"alive": True})
        assert await leaving == 0
        await run.terminate()


async def test_a_worker_whose_polls_temporal_does_not_see_is_unhealthy(temporal: DevServer, tmp_path: Path) -> None:
    health = Health()
    store = open_store(tmp_path.as_uri())
    health.started(WatchedWorker(temporal.client, store, await store.identity(), "nobody-polls-here", lambda: True))
    async with serve_probes(health, "127.0.0.1:0") as url, httpx.AsyncClient() as http:
        answer = await http.get(f"{url}/healthz")

        assert answer.status_code == 503
        assert answer.json()["problems"] == [
            f"Temporal has seen no recent poll of this worker ({temporal.client.identity}) "
            "on task queue nobody-polls-here"
        ]


async def test_runs_that_do_not_move_are_counted_and_are_no_problem_of_the_worker(
    temporal: DevServer, live: Stack
) -> None:
    health, store, queue = Health(), open_store(live.store_url), f"nobody-polls-{uuid4()}"
    run = await live.client.start_workflow(WORKFLOW_TYPE, BatchInput(requests=requests()), id=queue, task_queue=queue)
    stalled = StalledRuns(live.client, queue)
    await eventually(lambda: looked(stalled), "a run that was looked at")
    watched = WatchedWorker(
        temporal.client, store, await store.identity(), live.task_queue, lambda: True, stalled=lambda: stalled.counts
    )
    health.started(watched)

    async def well() -> HealthReport | None:
        report = await health.report()
        return None if report.problems else report

    report = await eventually(well, "a healthy worker")
    await run.terminate()

    assert report.answer().status == 200
    assert report.stalled == {"no-worker": 1}


async def looked(stalled: StalledRuns) -> bool:
    await stalled.look()
    return bool(stalled.counts)


async def test_polls_of_another_worker_on_this_host_do_not_count(temporal: DevServer, tmp_path: Path) -> None:
    queue = f"polled-{uuid4()}"
    store = open_store(tmp_path.as_uri())
    store_id = await store.identity()
    polls, does_not = [await connect(address=temporal.address, identity=worker_identity()) for _ in range(2)]
    healths = [Health(), Health()]
    for health, client in zip(healths, (polls, does_not), strict=True):
        health.started(WatchedWorker(client, store, store_id, queue, lambda: True))

    async def seen() -> bool:
        return (await healths[0].report()).polling

    polling = asyncio.create_task(poll(polls, queue))
    try:
        await eventually(seen, "a poll that is seen")
    finally:
        polling.cancel()

    assert (await healths[1].report()).problems == (
        f"Temporal has seen no recent poll of this worker ({does_not.identity}) on task queue {queue}",
    )


async def poll(client: Client, queue: str) -> None:
    """Wait for a workflow task, as a worker does."""
    request = PollWorkflowTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), identity=client.identity
    )
    await client.workflow_service.poll_workflow_task_queue(request)


def test_two_workers_have_different_identities() -> None:
    assert re.fullmatch(r"\S{1,5}[0-9A-Z]{3}", worker_identity())
    assert len({worker_identity() for _ in range(8)}) > 1


@pytest.mark.slow
async def test_a_worker_polls_under_its_own_identity(temporal: DevServer, tmp_path: Path) -> None:
    queue = f"named-{uuid4()}"
    async with worker(tmp_path, temporal.address, MESSAGE_BATCHES_TASK_QUEUE=queue) as probed:
        await probed.until(is_well)
        request = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue))
        found = await temporal.client.workflow_service.describe_task_queue(request)

        assert found.pollers
        assert all(re.fullmatch(r"\S{1,5}[0-9A-Z]{3}", poller.identity) for poller in found.pollers)


async def test_simultaneous_probes_share_one_check(temporal: DevServer, tmp_path: Path) -> None:
    class Counting(ObjectStore):
        reads = 0

        async def read(self, name: str) -> bytes | None:
            self.reads += 1
            return await super().read(name)

    store = Counting(None, tmp_path.as_uri(), tmp_path)
    health = Health()
    health.started(WatchedWorker(temporal.client, store, await ObjectStore.identity(store), "any", lambda: True))
    store.reads = 0

    await asyncio.gather(*(health.report() for _ in range(500)))

    assert store.reads == 1


async def test_it_checks_without_probes(temporal: DevServer, tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    health = Health()
    checked = asyncio.Event()

    def runs() -> bool:
        checked.set()
        return True

    health.started(WatchedWorker(temporal.client, store, await store.identity(), "any", runs))
    checked.clear()
    async with serve_probes(health, "127.0.0.1:0"), asyncio.timeout(TIMEOUT):
        await checked.wait()


async def test_a_worker_that_has_failed_is_dead(temporal: DevServer, tmp_path: Path) -> None:
    health = Health()
    health.started(WatchedWorker(temporal.client, open_store(tmp_path.as_uri()), "none", "any", lambda: False))
    async with serve_probes(health, "127.0.0.1:0") as url, httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/livez")).status_code == 503
        assert "The worker has failed: it does not poll" in (await http.get(f"{url}/healthz")).json()["problems"]


@pytest.mark.slow
async def test_a_worker_that_waits_for_a_silent_temporal_ends_at_once_on_a_signal(tmp_path: Path) -> None:
    connected = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    environment = bare_environment(tmp_path, TEMPORAL_ADDRESS=f"{host}:{port}")
    async with server:
        worker = await Running.start([sys.executable, "worker.py"], tmp_path / "log", environment=environment)
        try:
            async with asyncio.timeout(TIMEOUT):
                await connected.wait()
            # If it were waited for, the connection would fail, and the exit status would be 2.
            assert await worker.terminate() == 0, worker.output
        finally:
            await worker.kill()
    assert worker.output == "Worker stopping: it had not started yet\n"


@pytest.mark.parametrize(
    "address", ["8079", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000", ":8079", f"h:{'9' * 5000}"]
)
async def test_an_invalid_address_is_refused_in_a_sentence(address: str) -> None:
    with pytest.raises(CannotListen) as caught:
        async with serve_probes(Health(), address):
            pass

    said = str(caught.value)
    assert "--health" in said
    assert said.endswith(repr(address[:80]))
    assert "\n" not in said


async def test_an_invalid_host_is_refused_in_a_sentence() -> None:
    with pytest.raises(CannotListen, match=r"^--health .* x{70}:8079: .+$"):
        async with serve_probes(Health(), f"{'x' * 70}:8079"):
            pass


async def test_a_port_in_use_is_refused_in_a_sentence(emulator: Emulator, temporal: DevServer, tmp_path: Path) -> None:
    taken = emulator.url.removeprefix("http://")

    status, said = await refused_worker(tmp_path, temporal.address, "--health", taken)

    assert status == 2
    assert all(word in said for word in ("--health", taken))
    assert len(said.splitlines()) == 1


async def test_a_worker_that_temporal_refuses_ends_with_the_reason(temporal: DevServer, tmp_path: Path) -> None:
    status, said = await refused_worker(tmp_path, temporal.address, TEMPORAL_NAMESPACE="nowhere")

    assert status == 1
    assert "nowhere" in said.splitlines()[-1]
    assert "Traceback" not in said
