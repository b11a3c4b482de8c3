"""A local Temporal server with its Web UI, for the demo and the tests; a development server, not for production."""

import asyncio
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.testing import WorkflowEnvironment

from message_batches.encryption.keys import EncryptionKey
from message_batches.temporal.connection import data_converter
from message_batches.temporal.search_attributes import SEARCH_ATTRIBUTES

# An idle development server checks its timers once a second; these make a short timer fire when it is due.
PROMPT_TIMERS = (
    "--dynamic-config-value",
    'history.timerProcessorMaxTimeShift="1ms"',
    "--dynamic-config-value",
    "history.timerProcessorMaxPollRPS=100000",
)

_STARTS = 3


@dataclass(frozen=True)
class DevServer:
    """A running server."""

    client: Client
    address: str
    ui_url: str


def temporal_command() -> str | None:
    """Find the `temporal` command, next to this interpreter or on the PATH; None where the SDK has to download it."""
    installed = Path(sys.executable).with_name("temporal")
    return str(installed) if installed.exists() else shutil.which("temporal")


@asynccontextmanager
async def dev_server(
    *,
    extra_args: Sequence[str] = PROMPT_TIMERS,
    search_attributes: Sequence[SearchAttributeKey[Any]] = SEARCH_ATTRIBUTES,
    keys: Sequence[EncryptionKey] = (),
) -> AsyncIterator[DevServer]:
    """Start a server on free loopback ports, in memory, and stop it at the end; with keys, its client encrypts."""
    ui_port = 0

    def start() -> Awaitable[WorkflowEnvironment]:
        nonlocal ui_port
        ui_port = free_port()
        return WorkflowEnvironment.start_local(
            ui=True,
            ui_port=ui_port,
            data_converter=data_converter(keys),
            search_attributes=search_attributes,
            dev_server_existing_path=temporal_command(),
            dev_server_log_level="error",
            dev_server_extra_args=list(extra_args),
        )

    environment = await started(start)
    try:
        address = environment.client.service_client.config.target_host
        yield DevServer(client=environment.client, address=address, ui_url=f"http://127.0.0.1:{ui_port}")
    finally:
        await environment.shutdown()


async def started(start: Callable[[], Awaitable[WorkflowEnvironment]]) -> WorkflowEnvironment:
    """Start a server, anew where it does not answer within the SDK's 5 s: a busy machine, or a port taken meanwhile."""
    for tries_left in reversed(range(_STARTS)):
        starting = asyncio.ensure_future(start())
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A start that is cancelled halfway leaves its process behind.
            await (await starting).shutdown()
            raise
        except RuntimeError as error:
            if not tries_left or "did not start within" not in str(error):
                raise
    raise AssertionError("the last try returns or raises")


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
