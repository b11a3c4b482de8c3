"""Which Temporal namespaces work with a store: each leaves a note there, for a purge must look at the runs of all.

    namespaces/<id of the namespace>.json   its name, and an address of its server

The id is the server's own: two servers may both have a namespace `default`.
"""

import asyncio
import logging

from pydantic import ValidationError
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from message_batches.errors import StoreUnavailable
from message_batches.models import Boundary
from message_batches.ports import Store

_FOLDER = "namespaces"
_TIMEOUT = 5
"""Seconds that the note may hold up a run."""
_logger = logging.getLogger(__name__)


class Namespace(Boundary):
    """A namespace by name, and the address at which a worker reached its server."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"


class Namespaces:
    """The notes in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted = False

    async def note(self, client: Client) -> None:
        """Note a worker's namespace, once a process; no run fails for it: where it is missing, `purge` refuses."""
        if self._noted:
            return
        try:
            async with asyncio.timeout(_TIMEOUT):
                await self.add(client)
            self._noted = True
        except (RPCError, StoreUnavailable, TimeoutError) as error:
            _logger.warning("The store could not take a note of this namespace yet: %s", error)

    async def add(self, client: Client) -> None:
        """Note a client's namespace."""
        noted = Namespace(name=client.namespace, address=address_of(client))
        await self._store.create(f"{_FOLDER}/{await id_of(client)}.json", noted.model_dump_json().encode())

    async def all(self) -> dict[str, Namespace | None]:
        """The namespaces by their ids; None where a note cannot be read."""
        names = await self._store.names(f"{_FOLDER}/")
        return {name.rsplit("/", 1)[-1].removesuffix(".json"): await self._read(name) for name in names}

    def uri(self, namespace_id: str) -> str:
        """Where a note is."""
        return self._store.uri(f"{_FOLDER}/{namespace_id}.json")

    async def _read(self, name: str) -> Namespace | None:
        try:
            return Namespace.model_validate_json(await self._store.read(name) or b"")
        except ValidationError:
            return None


async def id_of(client: Client) -> str:
    """The server's id of a client's namespace."""
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    # Where a server keeps its ids to itself, the name has to do.
    return str(described.namespace_info.id or client.namespace)


def address_of(client: Client) -> str:
    """The address of a client's server."""
    return client.service_client.config.target_host
