"""Sending a reply, whole or with the damage of faults."""

import asyncio
from collections.abc import Iterable, Mapping

from aiohttp import web

from message_batches.emulator.exchange import Exchange, Reply
from message_batches.emulator.faults import Fault
from message_batches.emulator.results import cut, gzipped, paced

# The default position at which a body is cut.
_CUT_AT = 512


async def send(
    exchange: Exchange, answer: Reply, headers: Mapping[str, str], damage: Iterable[Fault] = (), pace: float = 0.0
) -> web.StreamResponse:
    """Send a response at so many bytes a second (0: as fast as possible)."""
    all_headers = {**headers, **answer.headers}
    if answer.content_type is not None:
        all_headers["Content-Type"] = answer.content_type
    faults = {fault.name: fault for fault in damage}
    exchange.call.status = answer.status
    if isinstance(answer.body, bytes) and not faults and not pace:
        return web.Response(status=answer.status, body=answer.body, headers=all_headers)

    pieces = (answer.body,) if isinstance(answer.body, bytes) else answer.body
    if "no-content-type" in faults:
        all_headers.pop("Content-Type", None)
    if "gzip" in faults:
        pieces = gzipped(pieces)
        all_headers["Content-Encoding"] = "gzip"
    if "cut" in faults:
        at = faults["cut"].number("at")
        pieces = cut(pieces, _CUT_AT if at is None else int(at))
    if pace:
        pieces = paced(pieces, max(1, int(pace / 10)))
    response = web.StreamResponse(status=answer.status, headers=all_headers)
    await response.prepare(exchange.request)
    try:
        last = b""
        for piece in pieces:
            if last:
                await response.write(last)
                await asyncio.sleep(len(last) / pace if pace else 0)
            last = piece
        if "cut" in faults and not faults["cut"].flag("clean"):
            if last:
                await response.write(last)
            await abort(exchange.request, flush=True)
        else:
            await asyncio.sleep(len(last) / pace if pace else 0)
            # The last piece goes with the end: a short answer is one packet, as from a server that is near.
            await response.write_eof(last)
    except ConnectionError:
        # The client has disconnected: there is nobody to answer.
        pass
    return response


async def abort(request: web.Request, *, flush: bool = False) -> None:
    """Close the connection in the middle of a response; with `flush`, the bytes written before it are delivered."""
    transport = request.transport
    if transport is None:
        return
    if flush:
        transport.set_write_buffer_limits(0)
        # A transport has no event for an empty buffer.
        while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    transport.abort()


def keep_no_content_type(response: web.StreamResponse) -> None:
    """Remove the content type that the server library adds to a response that has none on purpose."""
    if response.headers.get("Content-Type") == "application/octet-stream":
        del response.headers["Content-Type"]
