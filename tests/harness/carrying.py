"""Carrying bytes between a client and a server, both ways, until one of them closes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

_PIECE = 256 * 1024
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Handle a connection as a server that reads and never answers."""
    await reader.read(-1)


@asynccontextmanager
async def listening(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Handle connections to a free port of this machine, and yield its address; drop them at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ExceptionGroup):
            pass
        finally:
            writer.transport.abort()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(enter(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def carry_both(server: str, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Carry each connection to a server; yield the address to connect to."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await carry_on(reader, writer, server)

    async with listening(handle, tls) as address:
        yield address


async def carry_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: str, first: bytes = b"") -> None:
    """Carry a connection to a server, after some bytes of ours."""
    host, _, port = server.rpartition(":")
    back, onward = await asyncio.open_connection(host, int(port))
    try:
        onward.write(first)
        async with asyncio.TaskGroup() as both:
            both.create_task(_carry(reader, onward))
            both.create_task(_carry(back, writer))
    finally:
        onward.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    with suppress(OSError, NotImplementedError):
        writer.write_eof()
