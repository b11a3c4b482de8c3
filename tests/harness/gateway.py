"""A gateway between a worker and the emulator: it passes every call on, and changes one thing in the answers."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from aiohttp import web
from aiohttp.test_utils import unused_port

ENDED_BATCH: dict[str, Any] = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"succeeded": 3},
    "created_at": "2026-11-22T12:00:00Z",
    "expires_at": "2026-11-23T12:00:00Z",
}
"""A valid description of a batch."""

_OF_THE_CONNECTION = ("connection", "content-encoding", "content-length", "host", "transfer-encoding")


@dataclass
class Answer:
    """An answer of the emulator, which a gateway may change before it sends it on.

    Attributes:
        operation: the call, such as `GET /v1/messages/batches/msgbatch_1`, without its query.
    """

    operation: str
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_batch(self) -> bool:
        """Whether it describes one batch."""
        return self.status == 200 and b'"message_batch"' in self.body and b'"has_more"' not in self.body

    @property
    def is_results(self) -> bool:
        """Whether it holds results."""
        return self.status == 200 and self.operation.endswith("/results")

    def set(self, **fields: Any) -> None:
        """Set fields of the JSON object in the body."""
        self.body = json.dumps({**json.loads(self.body), **fields}).encode()


@dataclass
class Gateway:
    """A running gateway.

    Attributes:
        change: called with every answer; it changes what it wants.
        instead: called with every operation; an answer that it returns is sent in place of the emulator's.
        calls: the operations that have come in, in order.
    """

    url: str
    change: Callable[[Answer], None] = lambda _: None
    instead: Callable[[str], Answer | None] = lambda _: None
    calls: list[str] = field(default_factory=list)

    def refuse(self, operation: str, status: int, body: bytes, *, times: int = 1, content_type: str = "") -> None:
        """Answer the next calls of an operation with an error of its own."""
        headers = {"content-type": content_type or "application/json"}

        def refusal(called: str) -> Answer | None:
            refused = self.calls.count(operation) <= before + times
            return Answer(called, status, headers, body) if called == operation and refused else None

        before = self.calls.count(operation)
        self.instead = refusal


@asynccontextmanager
async def gateway_to(upstream: str) -> AsyncIterator[Gateway]:
    """Run a gateway to the server at `upstream`."""
    running = Gateway(f"http://127.0.0.1:{unused_port()}")
    async with httpx.AsyncClient(base_url=upstream, timeout=60) as client:

        async def pass_on(request: web.Request) -> web.Response:
            operation = f"{request.method} {request.path}"
            headers = {name: value for name, value in request.headers.items() if _is_passed_on(name)}
            content = await request.read()
            running.calls.append(operation)
            answer = running.instead(operation)
            if answer is None:
                reply = await client.request(request.method, str(request.rel_url), headers=headers, content=content)
                answer = Answer(operation, reply.status_code, dict(reply.headers), reply.content)
            running.change(answer)
            passed_on = {name: value for name, value in answer.headers.items() if _is_passed_on(name)}
            return web.Response(status=answer.status, headers=passed_on, body=answer.body)

        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", int(running.url.rpartition(":")[2])).start()
            yield running
        finally:
            await runner.cleanup()


def results_of(**results: dict[str, Any]) -> Callable[[Answer], None]:
    """Return a change of the results: those of some requests are these."""

    def change(answer: Answer) -> None:
        if answer.is_results:
            lines = [json.loads(line) for line in answer.body.splitlines()]
            changed = [
                line | {"result": results.get(line["custom_id"].replace("-", "_"), line["result"])} for line in lines
            ]
            answer.body = b"".join(json.dumps(line).encode() + b"\n" for line in changed)

    return change


def errored(message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    """Return a result with an error."""
    error = {"type": kind, "message": message}
    return {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}


def succeeded(*content: Any, stop_reason: str = "end_turn", output_tokens: int = 5) -> dict[str, Any]:
    """Return a result with a reply of texts, or of blocks."""
    blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": blocks}
    usage = {"input_tokens": 10, "output_tokens": output_tokens}
    ending = {"stop_reason": stop_reason, "stop_sequence": None, "usage": usage}
    return {"type": "succeeded", "message": message | ending}


def _is_passed_on(header: str) -> bool:
    return header.lower() not in _OF_THE_CONNECTION
