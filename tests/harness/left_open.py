"""Connections that are opened and left, as an attacker's."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

from tests.harness.waiting import TIMEOUT

HALF = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
"""A head without its end."""


def connect(url: str, sent: bytes) -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=TIMEOUT)
    with suppress(ConnectionError):  # Closed already, for a newer one.
        connection.sendall(sent)
    return connection


@asynccontextmanager
async def connections(url: str, number: int, sent: bytes = HALF) -> AsyncIterator[list[socket.socket]]:
    """Open connections and send the same on each."""
    with ExitStack() as opened:
        yield [opened.enter_context(await asyncio.to_thread(connect, url, sent)) for _ in range(number)]


def is_open(connection: socket.socket) -> bool:
    """Return whether the server has not closed it; what it sent is read."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
        return False
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
