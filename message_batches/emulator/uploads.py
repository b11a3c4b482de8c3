"""Reading the body of a create from the connection."""

import asyncio

from aiohttp import web

from message_batches.emulator.batches import BatchRequest
from message_batches.emulator.create_validation import RequestCollector
from message_batches.emulator.errors import ErrorReply, invalid
from message_batches.emulator.exchange import Exchange
from message_batches.emulator.params_validation import ParamsRules
from message_batches.emulator.request_body import BodyReader

_ENCODINGS = ("", "identity", "gzip", "deflate")


async def receive(
    exchange: Exchange, rules: ParamsRules, *, max_bytes: int, max_requests: int, pace: float = 0.0
) -> list[BatchRequest]:
    """Read a body at so many bytes a second (0: unlimited); raise 413 or 400 as soon as it is certain.

    A body that ends before its Content-Length raises the server library's own error: it must create nothing.
    """
    request = exchange.request
    encoding = request.headers.get("content-encoding", "").lower()
    if encoding not in _ENCODINGS:
        message = f"Content-Encoding {encoding[:32]!r} is not supported"
        raise ErrorReply(400, message, error_code="request_body_encoding_unsupported")
    if (request.content_length or 0) > max_bytes:
        raise ErrorReply(413, "Request exceeds the maximum size")
    if request.content_type != "application/json":
        raise invalid("content-type: must be application/json")
    reader = BodyReader(RequestCollector(rules, max_requests))
    size = 0
    try:
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > max_bytes:
                code = "request_body_too_large_after_decoding" if encoding else None
                raise ErrorReply(413, "Request exceeds the maximum size", error_code=code)
            reader.feed(chunk)
            await asyncio.sleep(len(chunk) / pace if pace else 0)
    except web.RequestPayloadError as error:
        code = "request_body_encoding_invalid" if encoding else None
        raise ErrorReply(400, "The request body is not valid for its encoding", error_code=code) from error
    return reader.finish()
