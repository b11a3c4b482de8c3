"""Access to the codec server: with the token, or from a browser with a session that began with the token."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Collection
from datetime import timedelta

from aiohttp import web
from pydantic import SecretStr

COOKIE = "message-batches-codec"
SESSION = timedelta(hours=12)


ATTEMPT_SECONDS = 0.2
"""Seconds between two attempts to log in, whoever makes them."""

MAX_WAITING = 25
"""Attempts that wait for their turn; further ones are refused."""


class TokenAuth:
    """Authentication by one shared token.

    The Web UI can send no token of its own, unless its users log in to it by OIDC; it can send a cookie. The cookie
    holds no token but a date, signed with it.
    """

    def __init__(
        self, token: SecretStr | None, origins: Collection[str] = (), *, attempt_seconds: float = ATTEMPT_SECONDS
    ) -> None:
        """Require the token, if there is one; of pages in a browser allow those of these origins."""
        self._token = token
        self.origins = tuple(origins)
        self._attempt_seconds = attempt_seconds
        self._next_attempt = 0.0

    async def attempt(self) -> bool:
        """Wait until a token may be tried; return False if too many attempts wait already.

        The right token waits like any other: it is not locked out, and how long an answer takes reveals nothing.
        """
        now = time.monotonic()
        turn = max(now, self._next_attempt)
        if turn - now > MAX_WAITING * self._attempt_seconds:
            return False
        self._next_attempt = turn + self._attempt_seconds
        await asyncio.sleep(turn - now)
        return True

    @property
    def secure(self) -> bool:
        """Whether browsers send the session over HTTPS only: a page over HTTPS makes no other calls."""
        return bool(self.origins) and all(origin.startswith("https://") for origin in self.origins)

    def knows(self, token: str) -> bool:
        """Return whether this is the token, in constant time."""
        return self._token is None or _same(token, self._token.get_secret_value())

    def refused_origin(self, request: web.Request) -> bool:
        """Return whether the call comes from a page of another origin; programs other than browsers name no origin."""
        origin = request.headers.get("Origin")
        return origin is not None and origin not in self.origins

    def foreign_form(self, request: web.Request) -> bool:
        """Return whether the form comes from a page of neither this server nor an allowed origin."""
        own = request.headers.get("Origin", "").partition("://")[2] == request.host
        return self.refused_origin(request) and not own

    def admits(self, request: web.Request) -> bool:
        """Return whether the call has the token; or, from a page of an allowed origin, a session."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if self._token is None or (scheme.lower() == "bearer" and self.knows(given.strip())):
            return True
        return request.headers.get("Origin") in self.origins and self._holds(request.cookies.get(COOKIE, ""))

    def session(self, lasting: timedelta = SESSION) -> str:
        """Return a session that begins now."""
        return self._signed(str(int(time.time() + lasting.total_seconds())))

    def _holds(self, session: str) -> bool:
        until = session.partition(".")[0]
        return _same(session, self._signed(until)) and time.time() < int(until)

    def _signed(self, until: str) -> str:
        token = self._token.get_secret_value() if self._token else ""
        signature = hmac.new(token.encode(), f"session until {until}".encode(errors="replace"), hashlib.sha256)
        return f"{until}.{signature.hexdigest()}"


def _same(given: str, expected: str) -> bool:
    """Compare by hashes, so that the time taken reveals neither content nor length."""
    hashes = (hashlib.sha256(text.encode(errors="surrogateescape")).digest() for text in (given, expected))
    return hmac.compare_digest(*hashes)
