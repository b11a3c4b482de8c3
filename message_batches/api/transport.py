"""The way of an HTTP call: directly or through a proxy, which an error on it names, and with the trusted certificates.

No library reads the environment for it: `Settings` does, once.
"""

import ssl
from collections.abc import AsyncIterator
from functools import cache

import httpx

from message_batches.api.network import Network, Proxy

PROXY = "message_batches.proxy"
"""The extension of a response that names the proxy between, which may have answered itself: without TLS it can."""


class Transport(httpx.AsyncBaseTransport):
    """Sends each call directly, or through the proxy that its URL has; each way has a pool of connections."""

    def __init__(self, network: Network, limits: httpx.Limits) -> None:
        self._network = network
        self._limits = limits
        self._ways: dict[Proxy | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; a proxy that wants another user is an error of the proxy, not an answer."""
        proxy = self._network.proxy_for(request.url.scheme, request.url.host, request.url.port)
        if proxy is None:
            return await self._way(None).handle_async_request(request)
        try:
            reply = await self._way(proxy).handle_async_request(request)
        except httpx.TransportError as error:
            raise _through(proxy, error) from error
        if reply.status_code == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
            await reply.aclose()
            raise _through(proxy, httpx.ProxyError("407 Proxy Authentication Required", request=request))
        if request.url.scheme == "http":
            reply.extensions[PROXY] = str(proxy)
        assert isinstance(reply.stream, httpx.AsyncByteStream)
        reply.stream = _Stream(reply.stream, proxy)
        return reply

    async def aclose(self) -> None:
        """Close all connections."""
        for way in self._ways.values():
            await way.aclose()

    def _way(self, proxy: Proxy | None) -> httpx.AsyncHTTPTransport:
        if proxy not in self._ways:
            tls = tls_context(self._network)
            through = httpx.Proxy(proxy.url.get_secret_value(), ssl_context=tls_of(proxy, tls)) if proxy else None
            self._ways[proxy] = httpx.AsyncHTTPTransport(
                verify=tls, trust_env=False, limits=self._limits, proxy=through
            )
        return self._ways[proxy]


class _Stream(httpx.AsyncByteStream):
    """A body that comes through a proxy."""

    def __init__(self, stream: httpx.AsyncByteStream, proxy: Proxy) -> None:
        self._stream = stream
        self._proxy = proxy

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except httpx.TransportError as error:
            raise _through(self._proxy, error) from error

    async def aclose(self) -> None:
        await self._stream.aclose()


def _through(proxy: Proxy, error: httpx.TransportError) -> httpx.TransportError:
    return type(error)(f"{str(error) or type(error).__name__}, through the proxy {proxy}")


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
