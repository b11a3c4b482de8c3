"""Listeners under connections that are opened and left: real sockets."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
from aiohttp import web

from message_batches.listener import HEAD_SECONDS, MAX_CONNECTIONS, CannotListen, Listener
from message_batches.observability.health import Health, serve_probes
from tests.harness.left_open import HALF, connect, connections, is_open
from tests.harness.project import ROOT
from tests.harness.waiting import TIMEOUT, eventually

WHOLE = HALF + b"\r\n"
BODY_TO_COME = b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
SLACK = 2 * 8
"""Connections above the bound: those that are being accepted."""


@pytest.fixture
async def probes() -> AsyncIterator[str]:
    async with serve_probes(Health(), "127.0.0.1:0") as url:
        yield url


@contextmanager
def reconnecting(url: str, sent: bytes = HALF) -> Iterator[list[int]]:
    """Open connections as fast as possible, and keep the newest 500; yields their number so far."""
    stop, number, kept = threading.Event(), [0], list[socket.socket]()

    def connect_again() -> None:
        while not stop.is_set():
            kept.append(connect(url, sent))
            number[0] += 1
            if len(kept) > 500:
                kept.pop(0).close()

    thread = threading.Thread(target=connect_again)
    thread.start()
    try:
        yield number
    finally:
        stop.set()
        thread.join()
        for connection in kept:
            connection.close()


async def is_alive(url: str) -> bool:
    """Return whether a probe on a connection of its own is answered; how soon depends on what else runs here."""
    async with httpx.AsyncClient(timeout=TIMEOUT) as http:
        return (await http.get(f"{url}/livez")).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing", marks=pytest.mark.slow),
        pytest.param(HALF, id="half"),
        pytest.param(WHOLE, id="whole", marks=pytest.mark.slow),
        pytest.param(BODY_TO_COME, id="no body", marks=pytest.mark.slow),
    ],
)
async def test_a_probe_is_answered_however_many_connections_are_left_open(probes: str, sent: bytes) -> None:
    async with connections(probes, 1050, sent) as opened:
        assert await is_alive(probes)
        assert sum(map(is_open, opened)) <= MAX_CONNECTIONS + SLACK


@pytest.mark.slow
async def test_a_probe_is_answered_while_connections_are_opened_all_the_time(probes: str) -> None:
    async def probe() -> bool:
        # The attacker, the probe and the server share an interpreter: one that waits for it for long may be the oldest.
        with suppress(httpx.TransportError):
            return await is_alive(probes)
        return False

    with reconnecting(probes) as number:
        await eventually(lambda: number[0] > MAX_CONNECTIONS, "an attack")
        answered = [await probe() for _ in range(20)]

    assert sum(answered) > 10


async def test_a_head_that_does_not_end_is_closed_in_time_also_if_bytes_of_it_come() -> None:
    async with (
        Listener(web.Application(), "127.0.0.1", 0, idle_seconds=0.5) as listener,
        connections(listener.url, 3) as (silent, dripping, again),
    ):
        again.sendall(b"\r\n" + HALF)

        def closed() -> bool:
            with suppress(ConnectionError):
                dripping.send(b"x")
            return not any(map(is_open, (silent, dripping, again)))

        await eventually(closed, "connections that are closed")
    assert HEAD_SECONDS == 5


async def test_a_request_under_way_outlives_connections_that_are_left_open() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        asked.set()
        await go_on.wait()
        return web.Response(text="done")

    app = web.Application()
    app.add_routes([web.get("/slow", slow)])
    async with Listener(app, "127.0.0.1", 0) as listener, httpx.AsyncClient(timeout=TIMEOUT) as http:
        answer = asyncio.create_task(http.get(f"{listener.url}/slow"))
        await asked.wait()
        async with connections(listener.url, 3 * MAX_CONNECTIONS):
            go_on.set()
            assert (await answer).text == "done"


async def test_a_port_in_use_is_named_with_the_reason(probes: str) -> None:
    with pytest.raises(CannotListen, match=r"^cannot listen on 127\.0\.0\.1:\d+: Address already in use$"):
        await Listener(web.Application(), "127.0.0.1", int(probes.rpartition(":")[2])).start()


LIMITS = "print(*resource.getrlimit(resource.RLIMIT_NOFILE), *resource.getrlimit(resource.RLIMIT_CORE))"


@pytest.mark.parametrize(
    ("run", "files"),
    [
        ("from message_batches.listener import set_process_limits; set_process_limits()", "1024"),
        ("runpy.run_path('starter.py', run_name='__main__')", "256"),
    ],
    ids=["a process that listens", "the starter"],
)
def test_a_process_may_open_all_files_that_it_needs_and_dumps_no_core(run: str, files: str) -> None:
    limits = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1024)); sys.argv[1:] = ['-h']"
    )
    code = f"{limits}\ntry:\n    {run}\nexcept SystemExit:\n    pass\n{LIMITS}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.splitlines()[-1] == f"{files} 1024 0 0"


FREED = r"""
import io, re, threading
from pathlib import Path

def fill():
    block = io.BytesIO()
    for _ in range(24):
        block.write(bytes(2**20))
    together.wait()
    del block
    together.wait()

together = threading.Barrier(8)
for _ in range(2):
    threads = [threading.Thread(target=fill) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_what_threads_have_freed_goes_back_to_the_machine() -> None:
    code = f"from message_batches.listener import set_process_limits; set_process_limits(){FREED}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    # Over 200 MB where each thread keeps what it once had.
    assert int(done.stdout) < 120 * 1024
