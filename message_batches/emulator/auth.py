"""Authentication and rate limits: key, workspace and version of a call, in the order the API checks them."""

import re
import time
from collections.abc import Collection
from datetime import timedelta

from message_batches.emulator.clock import VirtualClock
from message_batches.emulator.errors import ErrorReply, invalid
from message_batches.emulator.exchange import Exchange
from message_batches.emulator.identifiers import workspace_of
from message_batches.emulator.params_validation import NEW_VERSION

VERSIONS = ("2023-06-01", NEW_VERSION)
_OF_WORKSPACE = re.compile(r"(.+)=(wrkspc_\w+)")


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
