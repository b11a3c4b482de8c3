"""The HTTP listeners of our processes: bounded, so that no number of open connections brings a process down."""

import asyncio
import ctypes
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from message_batches.errors import MessageBatchesError

MAX_CONNECTIONS = 64
"""Connections that a listener keeps open."""

HEAD_SECONDS = 5
"""Seconds for the head of a request, and for which a connection may be idle between two."""

# Connections that are accepted in a turn of the event loop. A request is known to be under way after four turns: by
# then its connection must not be the oldest.
_ACCEPTED_AT_ONCE = 8
# Those that wait in the kernel meanwhile.
_BACKLOG = 1024

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CannotListen(MessageBatchesError):
    """An address to listen on is not valid, or is in use."""


class Listener:
    """A listener at an address; use it with `async with`, and call `url`.

    A new connection always finds room: the oldest one is closed for it, one without a request under way first. So a
    probe is answered however many connections are opened and left.
    """

    def __init__(
        self,
        app: web.Application,
        host: str,
        port: int,
        *,
        connections: int = MAX_CONNECTIONS,
        idle_seconds: float = HEAD_SECONDS,
        **runner: Any,
    ) -> None:
        """Bind nothing yet; port 0 means any free port. `runner` has further arguments of aiohttp's `AppRunner`."""
        self._host, self._port = host, port
        self._most = connections
        self._answering: set[web.RequestHandler] = set()
        app.middlewares.insert(0, self._answered)
        # No body is unpacked: a few bytes could become many, also of a body that no handler reads.
        given = {"access_log": None, "auto_decompress": False, "shutdown_timeout": 1, **runner}
        # From 3.14.4 on aiohttp applies this time to the first head of a connection too.
        self._runner = web.AppRunner(app, keepalive_timeout=idle_seconds, **given)
        self._serve: web.Server | None = None
        self._listening: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The URL, without a trailing slash."""
        return f"http://{self._address}"

    @property
    def _address(self) -> str:
        return f"{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"

    async def start(self) -> None:
        """Begin to listen; `CannotListen` says why that is not possible."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            family, *_, address = found[0]
            bound = socket.create_server(address, family=family, backlog=_BACKLOG)
        except (OSError, OverflowError, UnicodeError) as error:
            # The address follows the reason.
            reason = (getattr(error, "strerror", None) or str(error)).partition(" (while ")[0]
            raise CannotListen(f"cannot listen on {self._address}: {reason}") from error
        self._port = bound.getsockname()[1]
        await self._runner.setup()
        self._serve = self._runner.server
        self._listening = await loop.create_server(self._accept, sock=bound, backlog=_ACCEPTED_AT_ONCE)
        # asyncio has one number for both.
        bound.listen(_BACKLOG)

    async def stop(self) -> None:
        """Stop listening, and close every connection."""
        if self._listening:
            self._listening.close()
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _accept(self) -> asyncio.Protocol:
        """Return the protocol of a new connection, after making room for it."""
        assert self._serve
        # In the order in which they were made, which sorting keeps.
        there = [(each, pipe) for each in self._serve.connections if (pipe := each.transport) and not pipe.is_closing()]
        there.sort(key=lambda pair: pair[0] in self._answering or pair[1].get_write_buffer_size() > 0)
        for _, pipe in there[: max(0, len(there) + 1 - self._most)]:
            pipe.abort()
        return self._serve()

    @web.middleware
    async def _answered(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        self._answering.add(request.protocol)
        try:
            return await handler(request)
        finally:
            self._answering.discard(request.protocol)


@asynccontextmanager
async def listening(option: str, address: str, app: web.Application, *, example: int) -> AsyncIterator[str]:
    """Listen at the HOST:PORT of an option, and yield the URL."""
    listener = Listener(app, *host_and_port(option, address, example))
    try:
        await listener.start()
    except CannotListen as error:
        raise CannotListen(f"{option} {error}") from error
    try:
        yield listener.url
    finally:
        await listener.stop()


def host_and_port(option: str, address: str, example: int) -> tuple[str, int]:
    """Split HOST:PORT into its two parts."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise CannotListen(
            f"{option} is not valid: expected HOST:PORT, such as 127.0.0.1:{example}, not {address[:80]!r}"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


LARGE_BLOCK = 4 * 1024 * 1024
"""Bytes from which on memory goes back to the machine as soon as it is freed; chunks of streams are smaller."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def set_process_limits() -> None:
    """Allow as many open files as the machine does, keep little freed memory, and dump no core: it would hold keys."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A machine may refuse what it names as its most.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # By default glibc learns from large blocks to keep up to 64 MB of what was freed, for each thread. Other libraries
    # do not have this function.
    with suppress(AttributeError):
        set_allocator = ctypes.CDLL(None).mallopt
        set_allocator(_M_MMAP_THRESHOLD, LARGE_BLOCK)
        set_allocator(_M_TRIM_THRESHOLD, 4 * LARGE_BLOCK)
