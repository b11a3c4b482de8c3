"""The control endpoints under `/_emulator`: faults, calls, batches, the clock. They need no key."""

import json
from collections.abc import Mapping
from datetime import timedelta

from aiohttp import web

from message_batches.emulator.call_log import CallLog
from message_batches.emulator.clock import VirtualClock, rfc3339
from message_batches.emulator.errors import invalid
from message_batches.emulator.faults import Faults
from message_batches.emulator.repository import BatchRepository


class ControlEndpoints:
    """A server of `/_emulator/*`."""

    def __init__(self, clock: VirtualClock, repository: BatchRepository, faults: Faults, calls: CallLog) -> None:
        self._clock = clock
        self._repository = repository
        self._faults = faults
        self._calls = calls

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the endpoints."""
        return [
            web.get("/_emulator/faults", self._list_faults, allow_head=False),
            web.post("/_emulator/faults", self._add_fault),
            web.delete("/_emulator/faults", self._clear_faults),
            web.get("/_emulator/calls", self._list_calls, allow_head=False),
            web.delete("/_emulator/calls", self._clear_calls),
            web.get("/_emulator/batches", self._list_batches, allow_head=False),
            web.get("/_emulator/clock", self._show_clock, allow_head=False),
            web.post("/_emulator/clock", self._advance_clock),
        ]

    async def _list_faults(self, _: web.Request) -> web.Response:
        return _json([fault.as_json() for fault in self._faults])

    async def _add_fault(self, request: web.Request) -> web.Response:
        try:
            return _json(self._faults.add_described(await _object(request)).as_json())
        except ValueError as error:
            return _refused(str(error))

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._faults.clear()
        return _json([])

    async def _list_calls(self, _: web.Request) -> web.Response:
        return _json([call.as_json() for call in self._calls])

    async def _clear_calls(self, _: web.Request) -> web.Response:
        self._calls.clear()
        return _json([])

    async def _list_batches(self, _: web.Request) -> web.Response:
        now = self._clock.now()
        return _json(
            [
                {
                    "id": batch.id,
                    "workspace": batch.workspace,
                    "created_at": rfc3339(batch.created_at),
                    "processing_status": batch.status(now).value,
                    "count": len(batch),
                    "custom_ids": batch.custom_ids,
                }
                for batch in self._repository
            ]
        )

    async def _show_clock(self, _: web.Request) -> web.Response:
        return _json({"now": rfc3339(self._clock.now())})

    async def _advance_clock(self, request: web.Request) -> web.Response:
        try:
            seconds = (await _object(request)).get("advance")
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e12:
                raise ValueError("advance is a number of seconds of at least 0, and below 1e12")
            return _json({"now": rfc3339(self._clock.advance(timedelta(seconds=seconds)))})
        except ValueError as error:
            return _refused(str(error))


async def _object(request: web.Request) -> Mapping[str, object]:
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("the body is a JSON object")
    return value


def _json(value: object, status: int = 200) -> web.Response:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return web.Response(status=status, body=body, content_type="application/json")


def _refused(message: str) -> web.Response:
    error = invalid(message)
    return web.Response(status=error.status, body=error.body(None), content_type="application/json")
