"""Reading the body of a create, and of a count of tokens, from the connection."""

import asyncio
import json
from dataclasses import replace

from aiohttp import web

from message_batches.emulator.batches import BatchRequest
from message_batches.emulator.create_validation import RequestCollector
from message_batches.emulator.errors import ErrorReply, invalid
from message_batches.emulator.exchange import Exchange
from message_batches.emulator.params_validation import ParamsRules, check_params
from message_batches.emulator.prompt_parsing import PromptReader
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


_NOT_COUNTED = ("max_tokens", "metadata", "service_tier", "stop_sequences", "stream", "temperature", "top_k", "top_p")


async def count_tokens(exchange: Exchange, rules: ParamsRules, max_bytes: int) -> int:
    """Read a message without the parameters of its reply, and count the tokens of its input; raise 400 or 404."""
    request = exchange.request
    if (request.content_length or 0) > max_bytes:
        raise ErrorReply(413, "Request exceeds the maximum size")
    if request.content_type != "application/json":
        raise invalid("content-type: must be application/json")
    try:
        params = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise invalid("The request body is not valid JSON") from error
    if not isinstance(params, dict):
        raise invalid("Input should be a valid dictionary")
    for name in _NOT_COUNTED:
        if name in params:
            raise invalid(f"{name}: Extra inputs are not permitted")
    if refusal := check_params({"max_tokens": 1, **params}, replace(rules, undocumented=False)):
        raise ErrorReply(404 if refusal.type == "not_found_error" else 400, refusal.message)
    prompt = PromptReader().read(params, shows_thinking=False)
    return prompt.input_tokens + prompt.cache_written + prompt.cache_read
