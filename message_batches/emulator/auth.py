"""Authentication and rate limits: key, workspace and version of a call, in the order the API checks them.

Before these, pages in a browser are refused.
"""

import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from urllib.parse import urlsplit

from aiohttp import web

from message_batches.emulator.clock import VirtualClock
from message_batches.emulator.errors import ErrorReply, invalid
from message_batches.emulator.exchange import Exchange
from message_batches.emulator.identifiers import workspace_of
from message_batches.emulator.params_validation import NEW_VERSION

VERSIONS = ("2023-06-01", NEW_VERSION)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_OF_WORKSPACE = re.compile(r"(.+)=(wrkspc_\w+)")


# Names that no page's author can own: of this machine, of a container, of a private network.
_LOCAL_NAME = re.compile(r"[a-z0-9_-]+|(?:[a-z0-9_-]+\.)+(?:localhost|internal)")


class PageGuard:
    """A check that no page in a browser calls: control needs no key, and any page may send requests to this machine.

    A browser names a page's origin, except where a host name of the page's author leads here: so only names count that
    nobody else can own, and addresses.
    """

    def __init__(self, public_url: str | None) -> None:
        """Allow also the host of this URL."""
        self._public = urlsplit(public_url or "").hostname

    @web.middleware
    async def check(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer 403 to a page, before the call is recorded."""
        host = request.headers.get("host", "")
        if "origin" in request.headers:
            refused = ErrorReply(403, "Calls from pages in a browser are refused: this one names an Origin")
        elif not self._is_ours(host):
            refused = ErrorReply(
                403,
                f"The Host {host[:80]!r} is refused, as it may be a web page's: call this emulator by localhost, an "
                "address or a name without dots, or start it with --public-url and the URL that it is called by",
            )
        else:
            return await handler(request)
        return web.Response(status=refused.status, body=refused.body(None), content_type="application/json")

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if (name and name == self._public) or _LOCAL_NAME.fullmatch(name):
            return True
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return False


class Authenticator:
    """Authentication of calls; no error message repeats a key."""

    def __init__(self, api_keys: Collection[str]) -> None:
        self._workspaces: dict[str, list[str]] = {}
        for text in api_keys:
            named = _OF_WORKSPACE.fullmatch(text)
            key, workspace = named.groups() if named else (text, workspace_of(text))
            self._workspaces.setdefault(key, []).append(workspace)

    def authenticate(self, exchange: Exchange) -> None:
        """Fill in the workspace, the version and the betas of a call; raise 401, 403 or 400."""
        headers = exchange.request.headers
        key = self._key(headers.get("x-api-key"), headers.get("authorization"))
        own = self._workspaces.get(key) or [workspace_of(key)]
        asked = headers.get("anthropic-workspace-id")
        exchange.workspace = asked if asked in own else own[0]
        exchange.call.workspace = exchange.workspace
        if asked and asked not in own:
            raise ErrorReply(403, "anthropic-workspace-id: the credential does not belong to this workspace")
        version = headers.get("anthropic-version")
        if not version:
            raise invalid("anthropic-version: header is required")
        if version not in VERSIONS:
            raise invalid(f"anthropic-version: not a valid version; the versions are {', '.join(VERSIONS)}")
        exchange.version = version
        if "anthropic-beta" in headers:
            named = ",".join(headers.getall("anthropic-beta")).split(",")
            exchange.betas = frozenset(map(str.strip, named))

    def _key(self, api_key: str | None, authorization: str | None) -> str:
        if not api_key:
            if not authorization:
                raise ErrorReply(401, "x-api-key header is required")
            scheme, _, api_key = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise ErrorReply(401, "API key is invalid.")
        api_key = api_key.strip()
        known = api_key in self._workspaces if self._workspaces else bool(api_key)
        if not known or api_key.startswith("sk-invalid"):
            raise ErrorReply(401, "API key is invalid.")
        return api_key


# The headers show the highest published tier if no limit is set.
_PLAUSIBLE = 4_000


class RateLimits:
    """A bucket of calls for each workspace, refilled in real time, since it limits real calls."""

    def __init__(self, requests_per_minute: int, clock: VirtualClock) -> None:
        self._limit = requests_per_minute
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def spend(self, workspace: str) -> None:
        """Take one call out of the bucket; raise 429 if it is empty."""
        if not self._limit:
            return
        left = self._left(workspace)
        if left < 1:
            message = f"This request would exceed the limit of {self._limit} requests per minute to the Batches API."
            raise ErrorReply(429, message, retry_after=max(1, round((1 - left) * 60 / self._limit)))
        self._buckets[workspace] = (left - 1, time.monotonic())

    def headers(self, workspace: str) -> dict[str, str]:
        """Return the `anthropic-ratelimit-requests-*` headers as they are now."""
        limit = self._limit or _PLAUSIBLE
        left = self._left(workspace) if self._limit else float(limit)
        full = self._clock.now() + timedelta(minutes=(limit - left) / limit)
        return {
            "anthropic-ratelimit-requests-limit": str(limit),
            "anthropic-ratelimit-requests-remaining": str(int(left)),
            "anthropic-ratelimit-requests-reset": f"{full:%Y-%m-%dT%H:%M:%SZ}",
        }

    def _left(self, workspace: str) -> float:
        now = time.monotonic()
        left, at = self._buckets.get(workspace, (float(self._limit), now))
        return min(float(self._limit), left + (now - at) * self._limit / 60)
