"""The process behind the fixtures: a Temporal server, and a worker for each test; it ends with the process of pytest.

It is run as a script, by its path, with the folder of the application: only here can that be imported. Each line of its
input is a command, and each line of its output the answer, in JSON.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from types import ModuleType
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest

from message_batches.errors import MessageBatchesError
from message_batches.observability.logs import LogFormat, start_logging
from message_batches.settings import Settings
from message_batches.temporal.connection import connect, leave
from message_batches.temporal.dev_server import DevServer, dev_server, temporal_command
from message_batches.temporal.search_attributes import SEARCH_ATTRIBUTES, register

_LIMIT = 60
"""Seconds for a command; far above what it takes, even on a busy machine."""

_RETENTION = 24 * 3600


class Host:
    """A server, and the worker that runs on it, if there is one."""

    def __init__(self, server: DevServer, application: ModuleType) -> None:
        self._server = server
        self._application = application
        self._inherited = dict(os.environ)
        self._stop = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def namespace(self, name: str) -> None:
        """Create a namespace with our search attributes."""
        self._set_variables({})  # None of those of the test before.
        kept = Duration(seconds=_RETENTION)
        request = RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=kept)
        await self._server.client.workflow_service.register_namespace(request)
        client = await connect(address=self._server.address, namespace=name)
        await register(client, tuple(key.name for key in SEARCH_ATTRIBUTES))

    async def start(self, environment: Mapping[str, str]) -> None:
        """Start a worker with these variables, and wait until it polls."""
        self._set_variables(environment)
        self._stop = asyncio.Event()
        ready = asyncio.Event()
        options = self._application.Options(graceful_shutdown=timedelta(0), say=lambda _: ready.set())
        self._worker = asyncio.create_task(self._application.serve(Settings.from_environment(), self._stop, options))
        # The first thing that it says is that it is ready.
        saying = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({self._worker, saying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            saying.cancel()
        if self._worker.done():
            worker, self._worker = self._worker, None
            worker.result()

    async def stop(self) -> None:
        """Stop the worker; its activities under way are cancelled."""
        worker, self._worker = self._worker, None
        self._stop.set()
        if worker:
            await worker

    def _set_variables(self, variables: Mapping[str, str]) -> None:
        os.environ.clear()
        os.environ.update({**self._inherited, **variables})


async def main(answers: Any) -> None:
    """Answer commands until the input ends, or SIGTERM."""

    def answer(**fields: str) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    loop, this, commands = asyncio.get_running_loop(), asyncio.current_task(), asyncio.StreamReader()
    assert this
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    if temporal_command() is None:
        answer(error="There is no command `temporal`: pip install 'message-batches[testing]' has it")
        return
    # Meanwhile: it takes as long as the start of the server.
    loading = asyncio.create_task(asyncio.to_thread(_application))
    async with dev_server() as server:
        host = Host(server, await loading)
        answer(address=server.address, ui_url=server.ui_url)
        try:
            while line := await commands.readline():
                (command, arguments), *_ = json.loads(line).items()
                try:
                    async with asyncio.timeout(_LIMIT):
                        await getattr(host, command)(*arguments)
                    answer()
                except (MessageBatchesError, TimeoutError) as error:
                    answer(error=str(error) or f"{command} took more than {_LIMIT} s")
        finally:
            await host.stop()


def _application() -> ModuleType:
    import worker

    return worker


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    # The server says at its start what it is; its errors, and those of the worker, go to the log.
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    start_logging(LogFormat.TEXT, "WARNING")
    try:
        with suppress(asyncio.CancelledError):
            asyncio.run(main(own))
    except Exception:
        logging.exception("The process of the fixtures has failed")
        leave(1)
    leave(0)
