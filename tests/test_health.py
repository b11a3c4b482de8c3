"""`worker.py --health`: what the probes of a real worker process are told, whatever happens to it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from obstore.store import LocalStore

from message_batches.devserver import DevServer, free_port
from message_batches.emulator import Emulator
from message_batches.health import CannotListen, Health, Watched, probes
from message_batches.models import PollSchedule
from message_batches.store import ObjectStore, open_store
from tests.processes import Running, TemporalProcess
from tests.rig import KEYS, Rig, requests
from tests.waiting import PATIENCE


class Probed(Running):
    """A worker process with `--health`."""

    url = ""

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """The status and the JSON at a path."""
        async with httpx.AsyncClient(base_url=self.url, timeout=10) as http:
            answer = await http.get(path)
            return answer.status_code, answer.json()

    async def until(self, holds: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
        """What `/healthz` says as soon as it is as expected."""
        async with asyncio.timeout(PATIENCE):
            while True:
                assert self.exit_code is None, self.output
                try:
                    status, found = await self.get("/healthz")
                except httpx.ConnectError:
                    status, found = 0, {}
                if holds(status, found):
                    return found
                await asyncio.sleep(0.1)


@asynccontextmanager
async def worker(folder: Path, address: str, **settings: str) -> AsyncIterator[Probed]:
    """A worker process; it is killed at the end."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TEMPORAL_ADDRESS": address,
        "ANTHROPIC_API_KEY": KEYS["default"].get_secret_value(),
        "MESSAGE_BATCHES_STORE": (folder / "store").as_uri(),
        "MESSAGE_BATCHES_TASK_QUEUE": f"probed-{uuid4()}",
        **settings,
    }
    listen = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "worker.py", "--health", listen]
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


async def test_a_worker_that_polls_is_well(temporal: DevServer, tmp_path: Path) -> None:
    async with worker(tmp_path, temporal.address) as probed:
        found = await probed.until(is_well)

        assert found == {"connected": True, "polling": True, "storeReachable": True, "problems": []}
        assert await probed.get("/livez") == (200, {"alive": True})
        assert f"health {probed.url}/healthz" in probed.output
        assert await probed.terminate() == 0


async def test_without_temporal_it_is_not_well_but_alive(tmp_path: Path) -> None:
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


async def test_without_its_store_it_is_not_well_but_alive(temporal: DevServer, tmp_path: Path) -> None:
    identity = tmp_path / "store" / "store.json"
    async with worker(tmp_path, temporal.address) as probed:
        await probed.until(is_well)

        kept = identity.rename(tmp_path / "kept.json")
        found = await probed.until(is_not_well)
        assert (found["connected"], found["polling"], found["storeReachable"]) == (True, True, False)
        assert found["problems"] == [f"{identity.as_uri()} is gone: is the store still there?"]
        assert (await probed.get("/livez"))[0] == 200

        kept.rename(identity)
        await probed.until(is_well)


async def test_a_store_that_hangs_is_told_in_time_and_asked_no_second_time(temporal: DevServer, tmp_path: Path) -> None:
    identity = tmp_path / "store" / "store.json"
    async with worker(tmp_path, temporal.address) as probed:
        await probed.until(is_well)

        kept = identity.rename(tmp_path / "kept.json")
        os.mkfifo(identity)  # Whoever reads it waits until somebody writes.
        found = await probed.until(is_not_well)
        assert found["problems"] == [f"The store {(tmp_path / 'store').as_uri()} does not answer"]
        assert (await probed.get("/livez"))[0] == 200

        # One write ends the one read.
        await asyncio.to_thread(identity.write_bytes, kept.read_bytes())
        kept.replace(identity)
        await probed.until(is_well)


async def test_a_worker_that_is_starting_is_alive_and_not_yet_well(temporal: DevServer, tmp_path: Path) -> None:
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


async def test_a_worker_that_is_stopping_answers_until_the_end(live: Rig, temporal: DevServer, tmp_path: Path) -> None:
    async with worker(
        tmp_path, temporal.address, ANTHROPIC_BASE_URL=live.emulator.url, MESSAGE_BATCHES_TASK_QUEUE="stopping"
    ) as probed:
        await probed.until(is_well)
        live.emulator.faults.add("slow", operation="retrieve", seconds=4)
        run = await Rig(live.client, live.emulator, (tmp_path / "store").as_uri(), "stopping").start(
            requests(), poll=PollSchedule(retry_after=timedelta(seconds=10))
        )
        await live.saw("retrieve")

        leaving = asyncio.create_task(probed.terminate())
        found = await probed.until(is_not_well)

        assert found["problems"] == ["The worker is stopping: it lets what is under way finish"]
        assert (found["connected"], found["polling"], found["storeReachable"]) == (True, False, True)
        assert await probed.get("/livez") == (200, {"alive": True})
        assert await leaving == 0
        await run.terminate()


async def test_a_worker_whose_polls_temporal_does_not_see_is_not_well(temporal: DevServer, tmp_path: Path) -> None:
    health = Health()
    store = open_store(tmp_path.as_uri())
    await store.identity()
    health.started(Watched(temporal.client, store, "nobody-polls-here", lambda: True))
    async with probes(health, "127.0.0.1:0") as url, httpx.AsyncClient() as http:
        answer = await http.get(f"{url}/healthz")

        assert answer.status_code == 503
        assert answer.json()["problems"] == [
            f"Temporal has seen no recent poll of this worker ({temporal.client.identity}) "
            "on task queue nobody-polls-here"
        ]


async def test_many_probes_at_once_look_once(temporal: DevServer, tmp_path: Path) -> None:
    class Counting(ObjectStore):
        reads = 0

        async def read(self, name: str) -> bytes | None:
            self.reads += 1
            return await super().read(name)

    store = Counting(LocalStore(str(tmp_path)), tmp_path.as_uri(), tmp_path)
    health = Health()
    health.started(Watched(temporal.client, store, "any", lambda: True))

    await asyncio.gather(*(health.report() for _ in range(500)))

    assert store.reads == 1


async def test_a_worker_that_has_failed_is_dead(temporal: DevServer, tmp_path: Path) -> None:
    health = Health()
    health.started(Watched(temporal.client, open_store(tmp_path.as_uri()), "any", lambda: False))
    async with probes(health, "127.0.0.1:0") as url, httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/livez")).status_code == 503
        assert "The worker has failed: it does not poll" in (await http.get(f"{url}/healthz")).json()["problems"]


async def refused(folder: Path, address: str, *arguments: str, **settings: str) -> tuple[int, str]:
    """The exit status and the last line of a worker that does not stay."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TEMPORAL_ADDRESS": address, **settings}
    command = [sys.executable, "worker.py", *arguments]
    running = await Running.start(command, folder / "worker.log", environment=environment)
    async with asyncio.timeout(PATIENCE):
        while running.exit_code is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return running.exit_code, running.output


@pytest.mark.parametrize("address", ["8079", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000", ":8079"])
async def test_what_is_no_address_is_refused_in_a_sentence(address: str) -> None:
    with pytest.raises(CannotListen) as caught:
        async with probes(Health(), address):
            pass

    assert str(caught.value) == f"--health takes HOST:PORT, such as 127.0.0.1:8079, not {address!r}"


async def test_a_port_that_is_taken_is_refused_in_a_sentence(
    emulator: Emulator, temporal: DevServer, tmp_path: Path
) -> None:
    taken = emulator.url.removeprefix("http://")

    status, said = await refused(tmp_path, temporal.address, "--health", taken)

    assert status == 2
    assert said == f"worker.py: --health cannot listen on {taken}: address already in use\n"


async def test_a_worker_that_temporal_refuses_ends_with_the_reason(temporal: DevServer, tmp_path: Path) -> None:
    status, said = await refused(tmp_path, temporal.address, TEMPORAL_NAMESPACE="nowhere")

    assert status == 1
    assert "worker.py: The worker cannot go on: " in said
    assert "Namespace nowhere was not found" in said.splitlines()[-1]
    assert "Traceback" not in said
