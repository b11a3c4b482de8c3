"""One attempt to deliver an event over HTTP: no redirect is followed, and only the status of the answer is read."""

import asyncio
import ipaddress
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import httpx
from standardwebhooks import Webhook

from message_batches import __version__
from message_batches.api.network import Network
from message_batches.api.responses import retry_after_of
from message_batches.api.transport import Transport
from message_batches.webhooks.endpoints import Endpoint, Endpoints, IpAddress, WebhookFormat
from message_batches.webhooks.errors import AddressRefused, NotDelivered, WebhookGone
from message_batches.webhooks.events import Event, Notification
from message_batches.webhooks.interface import unknown
from message_batches.webhooks.slack import slack_body

MAX_DELIVERIES = 10
"""Attempts at a time for one webhook: a receiver that hangs holds no more of a worker's activities."""

MAX_BODY = 20_000
"""Bytes of a body that receivers of Standard Webhooks take."""

_DETAIL = 300
"""Characters that are repeated of what is wrong with a connection."""


LookUp = Callable[[str], Awaitable[Sequence[IpAddress]]]


class HttpWebhooks:
    """The `Webhooks` port over HTTP.

    Attributes:
        timeout: seconds for an attempt, the receiver's answer included.
    """

    timeout: ClassVar[float] = 15

    def __init__(self, endpoints: Endpoints, network: Network, look_up: LookUp | None = None) -> None:
        self._endpoints = endpoints
        self._network = network
        self._look_up = look_up or _look_up
        self._under_way: Counter[str] = Counter()

    @property
    def names(self) -> Collection[str]:
        """The names of the webhooks."""
        return self._endpoints.by_name

    async def deliver(self, notification: Notification) -> None:
        """Send an event once; `NotDelivered` unless the receiver has accepted it."""
        endpoint = self._endpoints.by_name.get(notification.webhook)
        if endpoint is None:
            raise unknown(notification.webhook, self.names)
        if self._under_way[endpoint.name] >= MAX_DELIVERIES:
            # The others that are refused now have to come at other times.
            later = timedelta(seconds=self.timeout * random.uniform(0.1, 1))
            raise NotDelivered(
                f"{MAX_DELIVERIES} deliveries to {endpoint.host} are under way already", retry_after=later
            )
        self._under_way[endpoint.name] += 1
        try:
            async with asyncio.timeout(self.timeout):
                await self._send(endpoint, notification)
        except TimeoutError:
            raise NotDelivered(f"{endpoint.host} did not answer within {self.timeout:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            # What is wrong with an answer repeats it, and it may repeat the address.
            words = "" if isinstance(error, httpx.ProtocolError | httpx.DecodingError) else str(error)[:_DETAIL]
            words = words or type(error).__name__
            raise NotDelivered(f"No answer from {endpoint.host}: {words}") from None
        finally:
            self._under_way[endpoint.name] -= 1

    async def _send(self, endpoint: Endpoint, notification: Notification) -> None:
        url = httpx.URL(endpoint.url.get_secret_value())
        await self._check_proxied(endpoint, url)
        body, headers = _content(endpoint, notification)
        if len(body) > MAX_BODY:
            raise NotDelivered(f"The event has {len(body):,} bytes, and a receiver takes {MAX_BODY:,}")

        async def addresses(host: str) -> Sequence[str]:
            return await self._addresses(endpoint, host, tls=url.scheme == "https")

        transport = Transport(self._network, httpx.Limits(max_connections=1), addresses)
        async with (
            httpx.AsyncClient(
                transport=transport, timeout=self.timeout, follow_redirects=False, trust_env=False
            ) as http,
            http.stream("POST", url, content=body, headers=headers) as reply,
        ):
            _check_status(endpoint, reply)

    async def _check_proxied(self, endpoint: Endpoint, url: httpx.URL) -> None:
        """Check the address of a host that a proxy reaches, as far as it is known here."""
        if not self._network.proxy_for(url.scheme, url.host, url.port):
            return
        tls = url.scheme == "https"
        try:
            await self._addresses(endpoint, url.host, tls=tls)
        except OSError:
            # The proxy may know names that are not known here.
            if not tls:
                raise AddressRefused(f"{endpoint.host} was not called: the call is not https") from None

    async def _addresses(self, endpoint: Endpoint, host: str, *, tls: bool) -> Sequence[str]:
        """Return the addresses of a host that may be connected to; `AddressRefused` if there is none.

        It is these that the connection is made to: the name is not looked up again.
        """
        found = await self._look_up(host)
        allowed = [address for address in found if self._endpoints.allows(address, tls=tls)]
        if not allowed:
            addresses = ", ".join(map(str, found[:3]))
            raise AddressRefused(
                f"{endpoint.host} was not called: its address {addresses} is private or this machine's own, or the "
                "call is not https. If that is meant, set MESSAGE_BATCHES_WEBHOOKS_ALLOW to its network"
            )
        return [str(address) for address in allowed]


async def _look_up(host: str) -> list[IpAddress]:
    """Return the addresses of a host, in any spelling that a connection takes; `OSError` if it has none."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos]


def _content(endpoint: Endpoint, notification: Notification) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of an attempt, which is signed as of now."""
    body = _body(endpoint, notification.event)
    now = datetime.now(UTC)
    headers = {
        "user-agent": f"message-batches/{__version__}",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "webhook-id": notification.id,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    signers = [Webhook(secret.get_secret_value()) for secret in endpoint.secrets]
    if signers:
        signatures = (signer.sign(notification.id, now, body.decode()) for signer in signers)
        headers["webhook-signature"] = " ".join(signatures)
    return body, headers


def _body(endpoint: Endpoint, event: Event) -> bytes:
    return slack_body(event) if endpoint.format is WebhookFormat.SLACK else event.body


def _check_status(endpoint: Endpoint, reply: httpx.Response) -> None:
    """Raise unless the receiver has accepted the event; its words are not repeated."""
    status = reply.status_code
    if reply.is_success:
        return
    answered = f"{endpoint.host} answered {status}"
    if status == httpx.codes.GONE:
        raise WebhookGone(f"{answered}: it wants no more of them")
    also = ", a redirect, which is not followed" if reply.is_redirect else ""
    raise NotDelivered(f"{answered}{also}", retry_after=retry_after_of(reply))
