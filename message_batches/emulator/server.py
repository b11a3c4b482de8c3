"""The emulator as one object that is started, called and stopped."""

import logging
from types import TracebackType
from typing import Self

from aiohttp import web

from message_batches.emulator.app import EmulatedApi
from message_batches.emulator.auth import PageGuard
from message_batches.emulator.batches import Batch
from message_batches.emulator.call_log import Call, CallLog
from message_batches.emulator.clock import VirtualClock
from message_batches.emulator.control import ControlEndpoints
from message_batches.emulator.faults import Faults, read_fault_flag
from message_batches.emulator.identifiers import Identifiers
from message_batches.emulator.options import EmulatorOptions
from message_batches.emulator.repository import BatchRepository
from message_batches.emulator.sending import keep_no_content_type
from message_batches.listener import Listener

MAX_CONNECTIONS = 1000
"""Connections that it keeps open: those of many workers, each with its own pool."""

IDLE_SECONDS = 75
"""Seconds for the head of a call, and between two: above those after which clients close, since the API does not."""

# The server library logs the headers of calls it cannot parse, and a key may be among them.
_SILENT = logging.Logger("message_batches.emulator.http", logging.CRITICAL + 1)


class Emulator:
    """A Message Batches API on this machine; use it with `async with`, and call `url`."""

    def __init__(self, options: EmulatorOptions | None = None) -> None:
        self.options = options or EmulatorOptions()
        ids = Identifiers(self.options.seed)
        self.clock = VirtualClock(self.options.time_scale)
        self.faults = Faults(ids.seed())
        self._repository = BatchRepository(self.options, self.clock, ids)
        self._calls = CallLog()
        for flag in self.options.faults:
            self.faults.add_described(read_fault_flag(flag))
        app = web.Application(middlewares=[PageGuard(self.options.public_url).check])
        app.add_routes(ControlEndpoints(self.clock, self._repository, self.faults, self._calls).routes())
        app.add_routes(EmulatedApi(self.options, self.clock, self._repository, self.faults, self._calls, ids).routes())
        app.on_response_prepare.append(_prepared)
        self._listener = Listener(
            app,
            self.options.host,
            self.options.port,
            connections=MAX_CONNECTIONS,
            idle_seconds=IDLE_SECONDS,
            auto_decompress=True,
            logger=_SILENT,
            shutdown_timeout=0.1,
        )

    @property
    def url(self) -> str:
        """The URL, without a trailing slash."""
        return self._listener.url

    @property
    def calls(self) -> list[Call]:
        """Return the calls received, oldest first (the latest 200,000)."""
        return list(self._calls)

    @property
    def batches(self) -> list[Batch]:
        """Return the batches that exist, oldest first."""
        return list(self._repository)

    async def start(self) -> None:
        """Begin to listen; port 0 is replaced by a free one."""
        await self._listener.start()

    async def stop(self) -> None:
        """Close every connection, even in the middle of a call."""
        await self._listener.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


async def _prepared(_: web.Request, response: web.StreamResponse) -> None:
    keep_no_content_type(response)
