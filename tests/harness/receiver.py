"""A receiver of webhooks over real HTTP, and webhooks that lead to it."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

from message_batches.api.network import DIRECT, Network
from message_batches.webhooks.delivery import HttpWebhooks
from message_batches.webhooks.endpoints import read_endpoints
from tests.harness import waiting
from tests.harness.contract import problems
from tests.harness.processes import lasting_port

SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
OLD_SECRET = f"whsec_{base64.b64encode(bytes(range(1, 33))).decode()}"
LOOPBACK = "127.0.0.0/8"


@dataclass(frozen=True)
class Received:
    """A request that a receiver got, and the status that it answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The event, once the library's own verifier has accepted its signature, and the contract its body."""
        verified: dict[str, Any] = Webhook(SECRET).verify(self.body, self.headers)
        assert problems("event", verified) == []
        return verified


@dataclass
class Receiver:
    """A running receiver.

    Attributes:
        answer: gives the response to the n-th request, from 1 on.
        got: the requests so far.
    """

    url: str
    answer: Callable[[int], web.Response | None] = lambda _: None
    got: list[Received] = field(default_factory=list)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    hangs: bool = False

    @property
    def accepted(self) -> list[Received]:
        """The requests that it has accepted."""
        return [each for each in self.got if each.status < 300]

    @property
    def events(self) -> list[str]:
        """The types of the events that it has accepted, in order."""
        return [each.event["type"] for each in self.accepted]

    def event(self, kind: str) -> dict[str, Any]:
        """The data of the one event of a type."""
        (found,) = [each.event for each in self.accepted if each.event["type"] == kind]
        data: dict[str, Any] = found["data"]
        return data

    async def has(self, *kinds: str) -> None:
        """Wait until it has accepted events of these types."""
        await waiting.eventually(lambda: {*kinds} <= {*self.events}, f"the events {kinds}, not only {self.events}")

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        answer = self.answer(len(self.got) + 1) or web.Response(status=204)
        self.got.append(
            Received(
                request.path, {name.lower(): value for name, value in request.headers.items()}, body, answer.status
            )
        )
        if self.hangs:
            await self.hanging.wait()
        return answer


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None, *, port: int | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver on that port of loopback, or on a free one."""
    port = port or lasting_port()
    receiver = Receiver(f"http{'s' if tls else ''}://127.0.0.1:{port}")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        yield receiver
    finally:
        receiver.hanging.set()
        await runner.cleanup()


def variables(urls: dict[str, str], *, slack: Iterable[str] = (), allow: str = LOOPBACK) -> dict[str, str]:
    """Return the variables of webhooks by name; those of a chat have no secret."""
    env = {"MESSAGE_BATCHES_WEBHOOKS_ALLOW": allow}
    for name, url in urls.items():
        variable = f"MESSAGE_BATCHES_WEBHOOK_{name.upper().replace('-', '_')}"
        own = {"FORMAT": "slack"} if name in slack else {"SECRET": SECRET}
        env |= {variable: url, **{f"{variable}_{kind}": value for kind, value in own.items()}}
    return env


def webhooks(
    urls: dict[str, str], *, slack: Iterable[str] = (), allow: str = LOOPBACK, network: Network = DIRECT
) -> HttpWebhooks:
    """Return the webhooks of a worker."""
    return HttpWebhooks(read_endpoints(variables(urls, slack=slack, allow=allow)), network)
