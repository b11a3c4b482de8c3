"""What a program works with: its settings, Temporal and the store, each opened when it is first used."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

from temporalio.client import Client, Interceptor
from temporalio.service import RPCError

from message_batches.errors import MessageBatchesError
from message_batches.jobs.control import Jobs
from message_batches.runs.control import NoAnswer, Runs
from message_batches.settings import Settings
from message_batches.storage.interface import Store
from message_batches.storage.object_store import open_store
from message_batches.temporal.connection import TemporalUnreachable, connect
from message_batches.temporal.diagnosis import call_problem, unanswered
from message_batches.temporal.namespaces import address_of


class TemporalFailed(MessageBatchesError):
    """Temporal has answered a call with an error of its own; the call was not carried out."""


class Connections:
    """The connections of a program.

    Args:
        client: from `connect()`; by default that is called when it is needed.
        store: that of the workers, or its URL; by default that of the settings.
        settings: by default those of the environment.

    Attributes:
        connected: the client, once there is one.
        interceptors: of the client that is made when it is needed.
    """

    def __init__(
        self, client: Client | None = None, store: Store | str | None = None, settings: Settings | None = None
    ) -> None:
        self.connected = client
        self.interceptors: Sequence[Interceptor] = ()
        self._store = store
        self._settings = settings
        self._connecting = asyncio.Lock()

    @cached_property
    def settings(self) -> Settings:
        """The settings; `InvalidSettings` for a value that is not valid."""
        settings = self._settings or Settings.from_environment(calls_api=False)
        return replace(settings, store_url=self._store) if isinstance(self._store, str) else settings

    @cached_property
    def store(self) -> Store:
        """The store that the workers share."""
        if self._store and not isinstance(self._store, str):
            return self._store
        return open_store(self.settings.store_url, client_options=self.settings.store_options)

    async def client(self) -> Client:
        """Connect to Temporal, once."""
        async with self._connecting:
            self.connected = self.connected or await connect(interceptors=self.interceptors)
            return self.connected

    async def runs(self) -> Runs:
        """Return the runs of the namespace."""
        return Runs(await self.client(), self.store)

    async def jobs(self) -> Jobs:
        """Return the jobs of the namespace."""
        return Jobs(await self.client(), self.store)

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Call Temporal: its errors become those of `message_batches`."""
        try:
            yield
        except RPCError as error:
            raise self.error_of(error) from error

    def error_of(self, error: RPCError) -> MessageBatchesError:
        """Return the error of `message_batches` for a call of Temporal that has failed."""
        if unanswered(error):
            again = "do the same again, nothing is done twice"
            return NoAnswer(f"Temporal gave no usable answer ({error.message}): {again}")
        client = self.connected
        if client and (problem := call_problem(error, client.namespace, address_of(client))):
            return TemporalUnreachable(problem)
        return TemporalFailed(f"Temporal did not carry it out: {error.message}")
