"""The HTTP of the codec server: `POST /decode` and `/encode`, `/login` for browsers, `GET /healthz`."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from aiohttp import web
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

from message_batches.codec_server.auth import COOKIE, TokenAuth
from message_batches.codec_server.pages import GUARDED, logged_in, login
from message_batches.errors import CannotDecrypt, MessageBatchesError
from message_batches.listener import Listener

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a body: four times what Temporal accepts in one call, which base64 makes a third larger."""
MAX_LOGIN = 4096
"""Bytes of the form with the token: its sender is not authenticated yet."""
MAX_PAYLOADS = 10_000
"""Payloads of a body: several times those of a page of a history."""
_MARKS_OF_ONE = 16
"""Braces, brackets, commas and colons of a payload with five entries of metadata."""
CONVERTED_AT_ONCE = 4
"""Bodies that are read and converted at a time: each takes several times its length in memory."""
CALL_SECONDS = 60
"""Seconds for a whole call, its body included."""
_logger = logging.getLogger("message_batches.codec_server")
# The server library logs the headers of calls that it cannot parse, and a token may be among them.
_SILENT = logging.Logger("message_batches.codec_server.http", logging.CRITICAL + 1)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Convert = Callable[[Sequence[Payload]], Coroutine[Any, Any, list[Payload]]]


class CodecServer:
    """Temporal's remote codec; use it with `async with`, and call `url`."""

    def __init__(
        self, codec: PayloadCodec, access: TokenAuth, *, host: str = "127.0.0.1", port: int = 0, encode: bool = False
    ) -> None:
        self._access = access
        self._converting_now = asyncio.Semaphore(CONVERTED_AT_ONCE)
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_logged])
        app.add_routes(
            [
                web.get("/healthz", _healthz),
                web.get("/login", self._ask),
                web.post("/login", self._log_in),
                *self._converting("/decode", codec.decode),
                *(self._converting("/encode", codec.encode) if encode else ()),
            ]
        )
        self._listener = Listener(app, host, port, logger=_SILENT)

    @property
    def url(self) -> str:
        """The URL, without a trailing slash."""
        return self._listener.url

    async def __aenter__(self) -> Self:
        """Begin to listen; port 0 becomes a free one."""
        await self._listener.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening."""
        await self._listener.stop()

    def _converting(self, path: str, convert: _Convert) -> list[web.RouteDef]:
        """Route a path that converts payloads; pages must be of an allowed origin."""

        async def answer(request: web.Request) -> web.Response:
            if self._access.refused_origin(request):
                return _refusal(403, "Pages of this origin are not admitted: --ui-origin names those that are")
            answered = await self._converted(request, convert)
            answered.headers.update(self._cors(request))
            return answered

        async def preflight(request: web.Request) -> web.Response:
            if self._access.refused_origin(request):
                return _refusal(403, "Pages of this origin are not admitted: --ui-origin names those that are")
            return web.Response(status=204, headers=self._cors(request))

        return [web.post(path, answer), web.options(path, preflight)]

    async def _converted(self, request: web.Request, convert: _Convert) -> web.Response:
        if not self._access.admits(request):
            return _refusal(401, "Log in at /login, or send the header `Authorization: Bearer TOKEN`")
        try:
            async with self._converting_now:
                converted = await asyncio.to_thread(_converted, await request.read(), convert)
        except web.HTTPRequestEntityTooLarge:
            return _refusal(413, f"The body may have at most {MAX_BODY:,} bytes")
        except (CannotDecrypt, InvalidBody) as error:
            return _refusal(400, str(error))
        return web.Response(body=converted, content_type="application/json", headers={"Cache-Control": "no-store"})

    def _cors(self, request: web.Request) -> dict[str, str]:
        """Return the CORS headers for a call from a page."""
        origin = request.headers.get("Origin")
        if origin is None:
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "Authorization, Authorization-Extras, Content-Type, X-Namespace",
            "Access-Control-Max-Age": "600",
        }

    async def _ask(self, _: web.Request) -> web.Response:
        return _page(login())

    async def _log_in(self, request: web.Request) -> web.Response:
        if self._access.foreign_form(request):
            return _refusal(403, "Log in on this server's own page: a proxy before it must pass on the header Host")
        if not await self._access.attempt():
            answered = _page(login("Too many attempts: try again in a few seconds."), status=429)
            answered.headers["Retry-After"] = "5"
            return answered
        form = await request.clone(client_max_size=MAX_LOGIN).read()
        given = parse_qs(form.decode(errors="replace")).get("token", [""])
        if not self._access.knows(given[0].strip()):
            return _page(login("That is not the token."), status=401)
        answered = _page(logged_in(self._access.origins))
        answered.set_cookie(
            COOKIE, self._access.session(), httponly=True, samesite="Strict", secure=self._access.secure, path="/"
        )
        return answered


@web.middleware
async def _logged(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Log a line for each call that is refused or fails, without its query, headers or body."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            # A browser always names it; without it, no origin could be compared with this server's own.
            answered = await handler(request) if request.headers.get("Host") else _refusal(400, "The call has no Host")
    except web.HTTPException as error:
        answered = _refusal(error.status, error.reason)
    except TimeoutError:
        answered = _refusal(408, f"The call has not ended within {CALL_SECONDS} seconds")
    except Exception as error:
        answered = _refusal(500, f"Unexpected {type(error).__name__}")
    if answered.status >= 400:
        path = request.rel_url.raw_path
        _logger.warning("%s %s from %s: %d", request.method, path, request.remote, answered.status)
    return answered


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"listening": True})


class InvalidBody(MessageBatchesError):
    """A body is not a list of payloads, or holds too many; its content is not repeated."""


def _converted(body: bytes, convert: _Convert) -> bytes:
    """Convert the payloads of a body; runs in a thread, since 16 MiB take a second."""
    too_many = InvalidBody(f"The body may have at most {MAX_PAYLOADS:,} payloads")
    # Values are counted before they are read: `[{},{},...` takes a hundred times its length in memory.
    if sum(map(body.count, (b"{", b"[", b",", b":"))) > MAX_PAYLOADS * _MARKS_OF_ONE:
        raise too_many
    try:
        document = json.loads(body)
        if not isinstance(document, dict):
            raise ValueError("no object")
        payloads = json_format.ParseDict(document, Payloads(), ignore_unknown_fields=True).payloads
    except (json_format.ParseError, ValueError, RecursionError):
        raise InvalidBody('The body must be {"payloads": [...]}, as Temporal writes payloads in JSON') from None
    if len(payloads) > MAX_PAYLOADS:
        raise too_many
    # The codec is awaited nowhere else: in a loop of its own, this thread alone waits for it.
    done = Payloads(payloads=asyncio.run(convert(payloads)))
    return json.dumps({"payloads": [], **json_format.MessageToDict(done)}).encode()


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def _page(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", charset="utf-8", status=status, headers=GUARDED)
