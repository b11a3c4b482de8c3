"""The HTTP of the codec server: `POST /decode` and `/encode`, `/login` for browsers, `GET /healthz`."""

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from aiohttp import web
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

from message_batches.codec_server.auth import COOKIE, TokenAuth
from message_batches.codec_server.pages import GUARDED, logged_in, login
from message_batches.errors import CannotDecrypt

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a body: four times what Temporal accepts in one call, which base64 makes a third larger."""
MAX_LOGIN = 4096
"""Bytes of the form with the token: its sender is not authenticated yet."""
_logger = logging.getLogger("message_batches.codec_server")
# The server library logs the headers of calls that it cannot parse, and a token may be among them.
_SILENT = logging.Logger("message_batches.codec_server.http", logging.CRITICAL + 1)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Convert = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


class CodecServer:
    """Temporal's remote codec; use it with `async with`, and call `url`."""

    def __init__(
        self, codec: PayloadCodec, access: TokenAuth, *, host: str = "127.0.0.1", port: int = 0, encode: bool = False
    ) -> None:
        self._access = access
        self._host, self._port = host, port
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
        self._runner = web.AppRunner(app, access_log=None, logger=_SILENT, shutdown_timeout=1)

    @property
    def url(self) -> str:
        """The URL, without a trailing slash."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        """Begin to listen; port 0 becomes a free one."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening."""
        await self._runner.cleanup()

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
            payloads = _read(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return _refusal(413, f"The body may have at most {MAX_BODY:,} bytes")
        if payloads is None:
            return _refusal(400, 'The body must be {"payloads": [...]}, as Temporal writes payloads in JSON')
        try:
            done = Payloads(payloads=await convert(payloads))
        except CannotDecrypt as error:
            return _refusal(400, str(error))
        return web.json_response(
            {"payloads": [], **json_format.MessageToDict(done)}, headers={"Cache-Control": "no-store"}
        )

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
        form = await request.clone(client_max_size=MAX_LOGIN).read()
        given = parse_qs(form.decode(errors="replace")).get("token", [""])
        if not self._access.knows(given[0].strip()):
            return _page(login(refused=True), status=401)
        answered = _page(logged_in(self._access.origins))
        answered.set_cookie(
            COOKIE, self._access.session(), httponly=True, samesite="Strict", secure=self._access.secure, path="/"
        )
        return answered


@web.middleware
async def _logged(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Log a line for each call that is refused or fails, without its query, headers or body."""
    try:
        answered = await handler(request)
    except web.HTTPException as error:
        answered = _refusal(error.status, error.reason)
    except Exception as error:
        answered = _refusal(500, f"Unexpected {type(error).__name__}")
    if answered.status >= 400:
        path = request.rel_url.raw_path
        _logger.warning("%s %s from %s: %d", request.method, path, request.remote, answered.status)
    return answered


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"listening": True})


def _read(body: bytes) -> Sequence[Payload] | None:
    """Read the payloads of a body; None if it holds none, without repeating its content."""
    try:
        document = json.loads(body)
        if isinstance(document, dict):
            return json_format.ParseDict(document, Payloads(), ignore_unknown_fields=True).payloads
    except (json_format.ParseError, ValueError, RecursionError):
        pass
    return None


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def _page(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", charset="utf-8", status=status, headers=GUARDED)
