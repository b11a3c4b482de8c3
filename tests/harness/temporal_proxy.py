"""A proxy before Temporal that loses, delays and repeats the answers of chosen calls, by the method's name.

It reads the frames of HTTP/2 and decodes no header: both sides are told that there is no table of headers, and the path
of a call is never in one (seen with the SDK's core, temporalio 1.35), so that it stands in the headers as it is.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

from tests.harness.carrying import listening

SERVICE = "/temporal.api.workflowservice.v1.WorkflowService/"
_OPERATOR_SERVICE = "/temporal.api.operatorservice.v1.OperatorService/"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _CONTINUATION = 0, 1, 4, 9
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_NO_TABLE = b"\x00\x01\x00\x00\x00\x00"
"""The setting SETTINGS_HEADER_TABLE_SIZE with the value 0."""

# The code of RFC 7541, appendix B, as far as a path needs it: the codes of a length follow each other.
_CODES = {
    char: (first + place, bits)
    for bits, first, chars in (
        (5, 0x0, "012aceiost"),
        (6, 0x14, " %-./3456789=A_bdfghlmnpru"),
        (7, 0x5C, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
        (8, 0xF8, "&*,;XZ"),
    )
    for place, char in enumerate(chars)
}


class AnswerFault(StrEnum):
    """The fate of an answer; the server has carried the call out in each case."""

    HANG = "hang"
    """It never comes; the connection stays."""
    CUT = "cut"
    """The connection is closed in place of it: the SDK makes the call again."""
    DELAY = "delay"
    """It comes late."""
    REPEAT = "repeat"
    """The call reaches the server twice; the first answer comes."""


@dataclass
class _Order:
    method: str
    fault: AnswerFault
    times: int | None
    delay: float


@dataclass
class TemporalProxy:
    """A port before a server; `struck` has the methods whose answers met a fault, in order."""

    address: str = ""
    struck: list[str] = field(default_factory=list)
    _orders: list[_Order] = field(default_factory=list)

    def add(self, fault: AnswerFault, method: str, *, times: int | None = 1, delay: float = 0) -> None:
        """Let the next answers of a method, such as `StartWorkflowExecution`, meet a fault; `times=None` is all."""
        self._orders.append(_Order(method, fault, times, delay))

    def clear(self) -> None:
        """Let all answers pass from now on."""
        self._orders.clear()

    def methods(self) -> Sequence[str]:
        """Return the methods with a fault."""
        return [order.method for order in self._orders if order.times != 0]

    def take(self, method: str) -> _Order | None:
        """Return the fault that a call meets, and count it."""
        for order in self._orders:
            if order.method == method and order.times != 0:
                order.times = order.times and order.times - 1
                self.struck.append(method)
                return order
        return None


@asynccontextmanager
async def temporal_proxy(server: str) -> AsyncIterator[TemporalProxy]:
    """Run a proxy before a server on a free port of this machine, until the block ends."""
    proxy = TemporalProxy()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Connection(proxy, server).run(reader, writer)

    async with listening(handle) as proxy.address:
        yield proxy


@dataclass
class _Call:
    """A call under way: its fault, and the frames of its request, to repeat it."""

    method: str
    order: _Order
    body: bytearray = field(default_factory=bytearray)


class _Connection:
    """One connection of a client, and one to the server."""

    def __init__(self, proxy: TemporalProxy, server: str) -> None:
        self._proxy = proxy
        self._server = server
        self._calls: dict[int, _Call] = {}
        self._later: set[asyncio.Task[None]] = set()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward: asyncio.StreamWriter | None = None
        try:
            back, onward = await asyncio.open_connection(*self._server.rsplit(":", 1))
            onward.write(await reader.readexactly(len(_PREFACE)))
            async with asyncio.TaskGroup() as both:
                both.create_task(_carry(reader, onward, self._request))
                both.create_task(_carry(back, writer, self._answer))
        except* (OSError, asyncio.IncompleteReadError, _Cut):
            pass
        finally:
            for task in self._later:
                task.cancel()
            for end in filter(None, (writer, onward)):
                end.transport.abort()

    async def _request(self, frame: "_Frame", _: asyncio.StreamWriter) -> bool:
        if frame.kind == _HEADERS:
            for method in self._proxy.methods():
                if path_in(frame.payload, method) and (order := self._proxy.take(method)):
                    self._calls[frame.stream] = _Call(method, order)
                    break
        call = self._calls.get(frame.stream)
        if call and frame.kind == _DATA and call.order.fault is AnswerFault.REPEAT:
            call.body += frame.payload
            if frame.flags & _END_STREAM:
                await _call_once(self._server, call.method, bytes(call.body))
        return True

    async def _answer(self, frame: "_Frame", writer: asyncio.StreamWriter) -> bool:
        call = self._calls.get(frame.stream) if frame.stream else None
        if call is None or frame.kind not in (_DATA, _HEADERS, _CONTINUATION):
            return True
        match call.order.fault:
            case AnswerFault.CUT:
                raise _Cut
            case AnswerFault.HANG:
                return False
            case AnswerFault.DELAY:
                sending = asyncio.create_task(_send_later(frame, writer, call.order.delay))
                self._later.add(sending)
                sending.add_done_callback(self._later.discard)
                return False
            case AnswerFault.REPEAT:
                return True


@asynccontextmanager
async def grpc_refusing(status: int, message: str, *, connects: bool = False) -> AsyncIterator[str]:
    """Serve gRPC on a free port, every call refused with a status, and yield the address.

    With `connects` the first call of a connection, `GetSystemInfo`, has an answer without content.
    """
    head = {":status": "200", "content-type": "application/grpc"}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(_PREFACE))
        writer.write(_Frame(_SETTINGS, 0, 0, b"").encoded)
        while True:
            frame = await _read(reader)
            if frame.kind == _SETTINGS and not frame.flags & _ACK:
                writer.write(_Frame(_SETTINGS, _ACK, 0, b"").encoded)
            if frame.kind == _HEADERS and connects and path_in(frame.payload, "GetSystemInfo"):
                writer.write(_Frame(_HEADERS, _END_HEADERS, frame.stream, b"".join(_literals(head))).encoded)
                writer.write(_Frame(_DATA, 0, frame.stream, bytes(5)).encoded)
                trailers = b"".join(_literals({"grpc-status": "0"}))
                writer.write(_Frame(_HEADERS, _END_STREAM | _END_HEADERS, frame.stream, trailers).encoded)
            elif frame.kind == _HEADERS:
                block = b"".join(_literals({**head, "grpc-status": str(status), "grpc-message": message}))
                writer.write(_Frame(_HEADERS, _END_STREAM | _END_HEADERS, frame.stream, block).encoded)
            await writer.drain()

    async with listening(handle) as address:
        yield address


class _Cut(Exception):
    """The connection is to be closed."""


@dataclass(frozen=True)
class _Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def encoded(self) -> bytes:
        head = len(self.payload).to_bytes(3, "big") + bytes((self.kind, self.flags)) + self.stream.to_bytes(4, "big")
        return head + self.payload


def path_in(headers: bytes, method: str) -> bool:
    """Return whether a block of headers has the path of a method."""
    paths = [huffman(f"{service}{method}") for service in (SERVICE, _OPERATOR_SERVICE)]
    return any(bytes((0x80 | len(path),)) + path in headers for path in paths)


def huffman(text: str) -> bytes:
    """Encode a text as HTTP/2 does, padded by ones to whole bytes."""
    value = length = 0
    for char in text:
        code, bits = _CODES[char]
        value, length = value << bits | code, length + bits
    padding = -length % 8
    return (value << padding | (1 << padding) - 1).to_bytes((length + padding) // 8, "big")


async def _carry(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    passes: Callable[[_Frame, asyncio.StreamWriter], Awaitable[bool]],
) -> None:
    while True:
        frame = await _read(reader)
        if frame.kind == _SETTINGS and not frame.flags & _ACK:
            frame = _Frame(frame.kind, frame.flags, frame.stream, frame.payload + _NO_TABLE)
        if await passes(frame, writer):
            writer.write(frame.encoded)
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> _Frame:
    head = await reader.readexactly(9)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return _Frame(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload)


async def _send_later(frame: _Frame, writer: asyncio.StreamWriter, delay: float) -> None:
    # Each frame as late as the others, so that they keep their order.
    await asyncio.sleep(delay)
    writer.write(frame.encoded)
    with suppress(OSError):
        await writer.drain()


async def _call_once(server: str, method: str, body: bytes) -> None:
    """Make a call on a connection of its own, and wait until the server has answered it."""
    reader, writer = await asyncio.open_connection(*server.rsplit(":", 1))
    try:
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": f"{SERVICE}{method}",
            ":authority": server,
            "content-type": "application/grpc",
            "grpc-encoding": "gzip",
            "te": "trailers",
        }
        block = b"".join(_literals(headers))
        writer.write(_PREFACE + _Frame(_SETTINGS, 0, 0, b"").encoded)
        writer.write(_Frame(_HEADERS, _END_HEADERS, 1, block).encoded + _Frame(_DATA, _END_STREAM, 1, body).encoded)
        await writer.drain()
        while True:
            frame = await _read(reader)
            if frame.stream == 1 and frame.flags & _END_STREAM:
                return
    finally:
        writer.transport.abort()


def _literals(headers: Mapping[str, str]) -> Iterator[bytes]:
    """Encode headers, each as a literal that is in no table."""
    for name, value in headers.items():
        yield b"\x00" + b"".join(bytes((len(text),)) + text.encode() for text in (name, value))
