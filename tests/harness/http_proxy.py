"""An HTTP proxy whose names all lead to one server: loopback is never proxied, so a test calls a made-up host."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.harness.carrying import carry_on, listening


@dataclass
class HttpProxy:
    """A running proxy.

    Attributes:
        seen: the method and the target of each request, such as `CONNECT api.example:443`.
        user: `user:password` that it wants; None for nobody.
        refuses: the status that it answers to all; None if it lets them through.
    """

    server: str
    address: str = ""
    seen: list[str] = field(default_factory=list)
    user: str | None = None
    refuses: str | None = None

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        self.seen.append(f"{method} {target}")
        wanted = self.user and f"Basic {base64.b64encode(self.user.encode()).decode()}"
        if wanted and f"proxy-authorization: {wanted}".lower() not in head.lower():
            return await _answer(writer, "407 Proxy Authentication Required")
        if self.refuses:
            return await _answer(writer, self.refuses)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return await carry_on(reader, writer, self.server)
        path = re.sub(r"^http://[^/]*", "", target) or "/"
        plain = re.sub(r"(?im)^proxy-[^\n]*\n", "", head.replace(target, path, 1))
        return await carry_on(reader, writer, self.server, plain.encode())


@asynccontextmanager
async def http_proxy(server: str) -> AsyncIterator[HttpProxy]:
    """Run a proxy that leads to a server, until the block ends."""
    proxy = HttpProxy(server)
    async with listening(proxy.handle) as proxy.address:
        yield proxy


async def _answer(writer: asyncio.StreamWriter, status: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
