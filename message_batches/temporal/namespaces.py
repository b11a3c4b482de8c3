"""Which Temporal namespaces work with a store, and whether their workers encrypt: each leaves a note there.

    namespaces/<id of the namespace>.json   its name, an address of its server, whether payloads are encrypted

The id is the server's own: two servers may both have a namespace `default`. A purge must look at the runs of all; a
starter that holds no key must not send in clear what the workers would encrypt.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from pydantic import ValidationError
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from message_batches.encryption.codec import EncryptionCodec
from message_batches.errors import StoreUnavailable
from message_batches.serialization import Boundary
from message_batches.storage.interface import Store

_FOLDER = "namespaces"

_TIMEOUT = 5
"""Seconds that the note may hold up a run."""

_logger = logging.getLogger(__name__)


class NamespaceRecord(Boundary):
    """A namespace.

    Attributes:
        address: at which a worker reached its server.
        encrypted: a worker has encrypted what it handed to that server; it stays so until the note is removed.
    """

    name: str
    address: str
    encrypted: bool = False

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"


class NamespaceRecords:
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
        """Note a client's namespace; in an older note, that it encrypts."""
        noted = NamespaceRecord(name=client.namespace, address=address_of(client), encrypted=encrypts(client))
        name, data = f"{_FOLDER}/{await id_of(client)}.json", noted.model_dump_json().encode()
        if await self._store.create(name, data) or not noted.encrypted:
            return
        before = await self._read(name)
        if before is None or not before.encrypted:
            await self._store.write(name, _once(data))

    async def all(self) -> dict[str, NamespaceRecord | None]:
        """The namespaces by their ids; None where a note cannot be read."""
        names = await self._store.names(f"{_FOLDER}/")
        return {name.rsplit("/", 1)[-1].removesuffix(".json"): await self._read(name) for name in names}

    async def encrypted(self, name: str) -> str | None:
        """The note of a namespace of this name whose payloads are encrypted; any of them, where several are so called.

        By name: who may start runs may not always ask the server for the id.
        """
        for namespace_id, namespace in (await self.all()).items():
            if namespace and namespace.encrypted and namespace.name == name:
                return self.uri(namespace_id)
        return None

    def uri(self, namespace_id: str) -> str:
        """Where a note is."""
        return self._store.uri(f"{_FOLDER}/{namespace_id}.json")

    async def _read(self, name: str) -> NamespaceRecord | None:
        try:
            return NamespaceRecord.model_validate_json(await self._store.read(name) or b"")
        except ValidationError:
            return None


async def id_of(client: Client) -> str:
    """The server's id of a client's namespace."""
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    # Where a server keeps its ids to itself, the name has to do.
    return str(described.namespace_info.id or client.namespace)


def encrypts(client: Client) -> bool:
    """Whether a client holds a key that it encrypts with."""
    codec = client.data_converter.payload_codec
    return isinstance(codec, EncryptionCodec) and codec.encrypts


def address_of(client: Client) -> str:
    """The address of a client's server."""
    return client.service_client.config.target_host


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
