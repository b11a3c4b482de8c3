"""The way of an HTTP call: directly or through a proxy, which an error on it names, and with the trusted certificates.

It bounds what the head of an answer may cost, which the libraries below it parse. No library reads the environment for
the way: `Settings` does, once.
"""

import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

import httpcore
import httpx
from h11 import _readers

from message_batches.api.network import Network, Proxy
from message_batches.api.redaction import MAX_TEXT, redact

_READ = frozenset(
    (
        *(b"content-encoding", b"content-type", b"date", b"retry-after", b"server"),
        *(b"request-id", b"anthropic-organization-id", b"anthropic-workspace-id"),
    )
)
"""The headers of a response that are read."""

_MAX_HEADS = 128 * 1024
_HEAD_STEP = 8 * 1024
"""Bytes of the heads before a body, and those that are read at a time: an empty provisional answer has 20 of them."""

_BODY_STEP = 256 * 1024
"""Bytes of a body that are read at a time: as many as the event loop takes from a socket. httpcore asks for a quarter,
and what it did not ask for was copied again and again."""

# h11 backtracks over blanks before a character that is not valid: in a header 64,000 of them took 12 s, in an extension
# of a chunk 4 s, in which the whole process stood still. These are the same rules without going back.
_readers.header_field_re = re.compile(
    rb"(?P<field_name>[-!#$%&'*+.^_`|~0-9a-zA-Z]++):"
    rb"[ \t]*+(?P<field_value>(?:[^\x00\s]++(?:[ \t]++[^\x00\s]++)*+)?+)[ \t]*+"
)
_readers.chunk_header_re = re.compile(
    rb"(?P<chunk_size>[0-9A-Fa-f]{1,20}+)(?P<chunk_ext>;(?:[^\r\n]|\r(?!\n))*+)?+[ \t]*+\r\n"
)

MAX_CALLS = 100
"""Calls to one server at a time, beyond which no more are begun: those that it leaves unanswered must not keep a
worker's activities from other servers."""

_Server = tuple[str, str, int | None]
Addresses = Callable[[str], Awaitable[Sequence[str]]]

ALONE = "message_batches.alone"
"""The extension of a request that is sent over a new connection, which no other call uses."""

PROXY = "message_batches.proxy"
"""The extension of a response that names the proxy between, which may have answered itself: without TLS it can."""


class Transport(httpx.AsyncBaseTransport):
    """Sends each call directly, or through the proxy that its URL has; each server has a pool of connections.

    Args:
        network: the proxies and certificates.
        limits: of each pool.
        addresses: gives the addresses of a host that a direct connection may be made to; by default it may be any.
    """

    def __init__(self, network: Network, limits: httpx.Limits, addresses: Addresses | None = None) -> None:
        self._network = network
        self._limits = limits
        self._addresses = addresses
        self._ways: dict[tuple[Proxy | None, _Server], httpx.AsyncHTTPTransport] = {}
        self._calls: Counter[_Server] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; a proxy that wants another user is an error of the proxy, not an answer."""
        server = (request.url.scheme, request.url.host, request.url.port)
        proxy = self._network.proxy_for(*server)
        if self._calls[server] >= MAX_CALLS:
            raise httpx.PoolTimeout(f"{MAX_CALLS} calls to it are under way already", request=request)
        self._calls[server] += 1
        async with AsyncExitStack() as closing:
            closing.callback(self._calls.subtract, [server])
            reply = await self._send(request, proxy, server, closing)
            assert isinstance(reply.stream, httpx.AsyncByteStream)
            reply.stream = _Stream(reply.stream, proxy, closing.pop_all())
        return reply

    async def _send(
        self, request: httpx.Request, proxy: Proxy | None, server: _Server, closing: AsyncExitStack
    ) -> httpx.Response:
        way = self._new_way(proxy) if ALONE in request.extensions else self._way(proxy, server)
        if ALONE in request.extensions:
            closing.push_async_callback(way.aclose)
        try:
            reply = await way.handle_async_request(request)
        except BaseException as error:
            await _close_unused(way)
            if proxy is None or not isinstance(error, httpx.TransportError):
                raise
            raise _through(proxy, error) from error
        if proxy and reply.status_code == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
            await reply.aclose()
            raise _through(proxy, httpx.ProxyError("407 Proxy Authentication Required", request=request))
        if proxy and request.url.scheme == "http":
            reply.extensions[PROXY] = str(proxy)
        return _reduced(reply)

    async def aclose(self) -> None:
        """Close all connections."""
        for way in self._ways.values():
            await way.aclose()

    def _way(self, proxy: Proxy | None, server: _Server) -> httpx.AsyncHTTPTransport:
        if (proxy, server) not in self._ways:
            self._ways[proxy, server] = self._new_way(proxy)
        return self._ways[proxy, server]

    def _new_way(self, proxy: Proxy | None) -> httpx.AsyncHTTPTransport:
        tls = tls_context(self._network)
        through = httpx.Proxy(proxy.url.get_secret_value(), ssl_context=tls_of(proxy, tls)) if proxy else None
        way = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=self._limits, proxy=through)
        # A parameter of the pool, which httpx does not pass on. A proxy may have any address.
        way._pool._network_backend = _Backend(None if proxy else self._addresses)
        return way


async def _close_unused(way: httpx.AsyncHTTPTransport) -> None:
    """Close the connections that no call has, and none can get: calls that are cancelled early leave them to the pool.

    It does not take them for idle (httpcore 1.0.9), and once all of its places are taken so, no call is made any more.
    """
    pool = way._pool
    used = [each.connection for each in pool._requests]
    unused = [each for each in pool.connections if not (each in used or each.is_idle() or each.is_closed())]
    for each in unused:
        pool._connections.remove(each)
    # Those that wait for a place get one.
    unused += pool._assign_requests_to_connections()
    await pool._close_connections(unused)


class _Stream(httpx.AsyncByteStream):
    """A body, perhaps through a proxy; the call is over once it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, proxy: Proxy | None, closing: AsyncExitStack) -> None:
        self._stream = stream
        self._proxy = proxy
        self._closing = closing

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except httpx.TransportError as error:
            if self._proxy is None:
                raise
            raise _through(self._proxy, error) from error

    async def aclose(self) -> None:
        async with self._closing:
            await self._stream.aclose()


def _reduced(reply: httpx.Response) -> httpx.Response:
    """Return a response without its reason and the headers that nothing reads: no cookie is parsed or sent back."""
    reply.headers = httpx.Headers([(name, value) for name, value in reply.headers.raw if name.lower() in _READ])
    reply.extensions.pop("reason_phrase", None)
    # After a 101 it is another.
    if isinstance(connection := reply.extensions["network_stream"], _Connection):
        connection.head_is_read()
    return reply


class _Backend(httpcore.AnyIOBackend):
    """Opens connections on which a head is bounded, with all provisional answers before it."""

    def __init__(self, addresses: Addresses | None) -> None:
        self._addresses = addresses

    async def connect_tcp(self, host: str, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        if self._addresses is None:
            return _Connection(await super().connect_tcp(host, *args, **options))
        failed: Exception | None = None
        for address in await self._addresses(host):
            try:
                return _Connection(await super().connect_tcp(address, *args, **options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError(f"{host} has no address")


class _Connection(httpcore.AsyncNetworkStream):
    """A connection that reads a head in small steps, so that others get their turn, and not for ever."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, body_step: int = _BODY_STEP) -> None:
        self._stream = stream
        self._body_step = body_step
        self._left: int | None = _MAX_HEADS

    def head_is_read(self) -> None:
        """Read as much as there is, until the next request."""
        self._left = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if self._left is None:
            return await self._stream.read(max(max_bytes, self._body_step), timeout)
        data = await self._stream.read(min(max_bytes, _HEAD_STEP), timeout)
        self._left -= len(data)
        if self._left < 0:
            raise httpcore.RemoteProtocolError(f"no answer began within {_MAX_HEADS:,} bytes")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._left = _MAX_HEADS
        await self._stream.write(buffer, timeout)

    async def start_tls(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        # A record of TLS has 16 KiB at most: httpcore asks for more already.
        return _Connection(await self._stream.start_tls(*args, **options), body_step=0)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _through(proxy: Proxy, error: httpx.TransportError) -> httpx.TransportError:
    # It may repeat the proxy's own words, and these the password.
    words = redact(str(error)[:MAX_TEXT], (httpx.URL(proxy.url.get_secret_value()).password,))
    return type(error)(f"{words or type(error).__name__}, through the proxy {proxy}")


def tls_of(proxy: Proxy, context: ssl.SSLContext) -> ssl.SSLContext | None:
    """Return the TLS context of the connection to a proxy, None if that is plain."""
    return context if proxy.url.get_secret_value().startswith("https:") else None


@cache
def _default_tls() -> ssl.SSLContext:
    """Return the process's TLS context: reading the certificates takes 35 ms of CPU, as much as a whole submission."""
    return httpx.create_ssl_context(trust_env=False)


@cache
def _tls_with(cert_file: str | None, cert_dirs: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cert_file, capath=cert_dirs)


def tls_context(network: Network) -> ssl.SSLContext:
    """Return a TLS context that trusts the network's certificates; by default those that come with httpx."""
    if not network.cert_file and not network.cert_dirs:
        return _default_tls()
    directories = ":".join(map(str, network.cert_dirs))
    return _tls_with(str(network.cert_file) if network.cert_file else None, directories or None)
