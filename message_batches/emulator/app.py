"""The API over HTTP: each call passes the checks in the API's own order, and the faults in force."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from message_batches.emulator.auth import Authenticator, RateLimits
from message_batches.emulator.call_log import Call, CallLog
from message_batches.emulator.clock import VirtualClock, http_date
from message_batches.emulator.errors import ErrorReply
from message_batches.emulator.exchange import Exchange, Reply
from message_batches.emulator.fault_effects import error_for, html_page
from message_batches.emulator.fault_kinds import FaultStage
from message_batches.emulator.faults import Fault, Faults
from message_batches.emulator.identifiers import ORGANIZATION_ID, Identifiers
from message_batches.emulator.model_list import ModelList
from message_batches.emulator.operations import Operations
from message_batches.emulator.options import EmulatorOptions
from message_batches.emulator.params_validation import ParamsRules
from message_batches.emulator.repository import BatchRepository
from message_batches.emulator.sending import abort, send
from message_batches.emulator.uploads import count_tokens, receive

_LOG = logging.getLogger(__name__)
_ROOT = "/v1/messages/batches"
_ROUTES = {
    _ROOT: {"POST": "create", "GET": "list"},
    _ROOT + "/{batch_id}": {"GET": "retrieve", "DELETE": "delete"},
    _ROOT + "/{batch_id}/results": {"GET": "results"},
    _ROOT + "/{batch_id}/cancel": {"POST": "cancel"},
    "/v1/messages/count_tokens": {"POST": "count_tokens"},
    "/v1/models": {"GET": "models"},
    "/v1/models/{model_id}": {"GET": "models"},
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EmulatedApi:
    """A server of the operations on batches and models, and of the counting of tokens."""

    def __init__(
        self,
        options: EmulatorOptions,
        clock: VirtualClock,
        repository: BatchRepository,
        faults: Faults,
        calls: CallLog,
        ids: Identifiers,
    ) -> None:
        self._options = options
        self._clock = clock
        self._faults = faults
        self._calls = calls
        self._ids = ids
        self._authenticator = Authenticator(options.api_keys)
        self._limits = RateLimits(options.requests_per_minute, clock)
        self._models = ModelList(options.models)
        self._operations = Operations(options, repository, clock, faults, self._models)

    def routes(self) -> list[web.RouteDef]:
        """Return the operations' routes, and one that answers in the API's form for every other path."""
        # The routes of a path are adjacent, or the server library would try them one after the other.
        routes: list[web.RouteDef] = []
        for path, methods in _ROUTES.items():
            routes += [web.route(method, path, self._handler(name)) for method, name in methods.items()]
            wrong_method = ErrorReply(405, "Method Not Allowed")
            wrong_method.headers["allow"] = ", ".join(methods)
            routes.append(web.route("*", path, self._refusing(wrong_method)))
        return [*routes, web.route("*", "/{anything:.*}", self._refusing(ErrorReply(404, "Not Found")))]

    def _handler(self, operation: str) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            exchange = self._arrived(request, operation)
            try:
                return await self._serve(exchange)
            except ErrorReply as error:
                answer = Reply.error(error, exchange.request_id)
            except ConnectionError:
                # The client disconnected in the middle of its body: there is nobody to answer.
                raise
            except Exception:
                _LOG.exception("a fault of the emulator itself, in %s", operation)
                answer = Reply.error(ErrorReply(500, "Internal server error"), exchange.request_id)
            return await send(exchange, answer, self._headers(exchange))

        return handle

    def _refusing(self, error: ErrorReply) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            exchange = self._arrived(request, "")
            return await send(exchange, Reply.error(error, exchange.request_id), self._headers(exchange))

        return handle

    def _arrived(self, request: web.Request, operation: str) -> Exchange:
        request_id = self._ids.request()
        call = Call(
            time=self._clock.now(),
            method=request.method,
            path=request.path,
            query=request.query_string,
            operation=operation or None,
            batch_id=request.match_info.get("batch_id"),
            request_id=request_id,
        )
        self._calls.add(call)
        return Exchange(request, call, operation, request_id)

    async def _serve(self, exchange: Exchange) -> web.StreamResponse:
        self._authenticator.authenticate(exchange)
        if self._struck(exchange, FaultStage.UNREAD):
            return await send(exchange, html_page(413), {"Date": http_date(self._clock.now())})
        slow = self._struck(exchange, FaultStage.PACE)
        delay = (slow.number("seconds") or 0.0) if slow else 0.0
        pace = (slow.number("bytes_per_second") or 0.0) if slow else 0.0
        try:
            if exchange.operation == "create":
                exchange.requests = await receive(
                    exchange,
                    self._rules(exchange),
                    max_bytes=self._options.max_bytes,
                    max_requests=self._options.max_requests,
                    pace=pace,
                )
            if exchange.operation == "count_tokens":
                exchange.input_tokens = await count_tokens(exchange, self._rules(exchange), self._options.max_bytes)
            if slow and slow.flag("late"):
                await asyncio.sleep(delay)
                delay = 0.0
            if exchange.operation != "models":
                self._limits.spend(exchange.workspace)
            if another := self._struck(exchange, FaultStage.ARRIVED):
                self._operations.create_another(exchange, another)
            if refusal := self._struck(exchange, FaultStage.REFUSE):
                after = refusal.number("creates_after")
                if after is not None and exchange.operation == "create":
                    self._operations.create_later(exchange, after)
                if refusal.flag("html"):
                    page = html_page(int(refusal.number("status") or 500))
                    return await send(exchange, page, {"Date": http_date(self._clock.now())})
                raise error_for(refusal, exchange.call.batch_id)
            answer = self._operations.perform(exchange)
        except ErrorReply as error:
            answer = Reply.error(error, exchange.request_id)
        await asyncio.sleep(delay)
        if answer.status != 200:
            return await send(exchange, answer, self._headers(exchange))
        reply = self._struck(exchange, FaultStage.REPLY)
        if reply and reply.name == "accept-then-drop":
            await abort(exchange.request)
            return web.Response()
        if reply:
            answer = Reply.error(error_for(reply), exchange.request_id)
        damage = self._faults.take_all(exchange.operation, FaultStage.BODY)
        exchange.call.faults.extend(fault.name for fault in damage)
        return await send(exchange, answer, self._headers(exchange), damage, pace)

    def _rules(self, exchange: Exchange) -> ParamsRules:
        return ParamsRules(
            version=exchange.version,
            models=self._models,
            betas=exchange.betas,
            user_profile=exchange.request.headers.get("anthropic-user-profile-id"),
            undocumented=self._options.undocumented.params_refused != 200,
        )

    def _struck(self, exchange: Exchange, stage: FaultStage) -> Fault | None:
        fault = self._faults.take(exchange.operation, stage)
        if fault is not None:
            exchange.call.faults.append(fault.name)
        return fault

    def _headers(self, exchange: Exchange) -> dict[str, str]:
        headers = {
            "Date": http_date(self._clock.now()),
            "Server": "message-batches-emulator",
            "request-id": exchange.request_id,
            "anthropic-organization-id": ORGANIZATION_ID,
        }
        if exchange.workspace:
            headers["anthropic-workspace-id"] = exchange.workspace
            headers.update(self._limits.headers(exchange.workspace))
        return headers
