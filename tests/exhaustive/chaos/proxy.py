"""A TCP proxy that can be closed: then nothing answers, and no connection remains."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.harness.processes import lasting_port

_PIECE = 256 * 1024


class Proxy:
    """A TCP port of this machine that forwards to another one."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.port = lasting_port()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def open(self) -> None:
        """Listen, each time on the same port."""
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Refuse new connections, and drop the existing ones."""
        if self._server:
            self._server.close()
        passing = list(self._passing)
        for each in passing:
            each.cancel()
        await asyncio.gather(*passing, return_exceptions=True)

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_through(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _pass_through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward: asyncio.StreamWriter | None = None
        try:
            back, onward = await asyncio.open_connection("127.0.0.1", self._behind)
            async with asyncio.TaskGroup() as both:
                both.create_task(_carry(reader, onward))
                both.create_task(_carry(back, writer))
        except* OSError:
            pass
        finally:
            for end in filter(None, (writer, onward)):
                end.transport.abort()


@asynccontextmanager
async def running_proxy(behind: int) -> AsyncIterator[Proxy]:
    """Open a proxy, and close it at the end."""
    proxy = Proxy(behind)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
