"""Records in a store of the Temporal namespaces that use it, and whether their workers encrypt.

    namespaces/<id of the namespace>.json   its name, an address of its server, whether payloads are encrypted

The id is the server's own: two servers may both have a namespace `default`. A purge must check the runs of all
namespaces; a starter without a key must not send unencrypted what the workers would encrypt.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

from pydantic import ValidationError
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from message_batches.encryption.codec import EncryptionCodec
from message_batches.errors import StoreUnavailable
from message_batches.serialization import ContractModel
from message_batches.storage import paths
from message_batches.storage.interface import Store
from message_batches.temporal.connection import connect
from message_batches.temporal.diagnosis import read_again

_TIMEOUT = 5
"""Seconds that writing the record may delay a run."""

_UNTOUCHED = 3
"""Events of a run that no worker has answered yet: started, its first task scheduled, and perhaps handed out."""

_logger = logging.getLogger(__name__)


class NamespaceRecord(ContractModel):
    """The record of a namespace.

    Attributes:
        address: the server's address, as a worker reached it.
        encrypted: a worker has encrypted payloads there; stays true until the record is removed.
    """

    name: str
    address: str
    encrypted: bool = False

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"


class NamespaceRecords:
    """The namespace records in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted = False

    async def record_once(self, client: Client) -> None:
        """Record a worker's namespace, once a process; no run fails for it: without a record, `purge` refuses."""
        if self._noted:
            return
        try:
            async with asyncio.timeout(_TIMEOUT):
                await self.add(client)
            self._noted = True
        except (RPCError, StoreUnavailable, TimeoutError) as error:
            _logger.warning("The store could not record this namespace yet: %s", error)

    async def add(self, client: Client) -> None:
        """Record a client's namespace; an older record is updated if the client encrypts."""
        record = NamespaceRecord(name=client.namespace, address=address_of(client), encrypted=encrypts(client))
        name, data = paths.namespace_path(await id_of(client)), record.model_dump_json().encode()
        if await self._store.create(name, data) or not record.encrypted:
            return
        before = await self._read(name)
        if before is None or not before.encrypted:
            await self._store.write(name, _once(data))

    async def all(self) -> dict[str, NamespaceRecord | None]:
        """Return the records by namespace id; None for a record that cannot be read."""
        names = await self._store.names(f"{paths.NAMESPACES}/")
        return {paths.namespace_id_of(name): await self._read(name) for name in names}

    async def encrypted(self, name: str) -> str | None:
        """Return the URI of the record of a namespace of this name with encrypted payloads, None if there is none.

        By name, since a caller that may start runs may not be allowed to ask the server for the id.
        """
        for namespace_id, namespace in (await self.all()).items():
            if namespace and namespace.encrypted and namespace.name == name:
                return self.uri(namespace_id)
        return None

    def uri(self, namespace_id: str) -> str:
        """Return the URI of a record."""
        return self._store.uri(paths.namespace_path(namespace_id))

    async def _read(self, name: str) -> NamespaceRecord | None:
        try:
            return NamespaceRecord.model_validate_json(await self._store.read(name) or b"")
        except ValidationError:
            return None


async def begin_store(client: Client, store: Store, task_queue: str) -> bool:
    """Give a new store its id, unless runs of the task queue have used one; return whether it was new.

    Its folder may be unmounted, moved away, or misspelt: results would be split over two stores, and what the other one
    knows of submissions would be missing.
    """
    if await store.known_identity() is not None:
        return False
    if await _any_has_begun(client, task_queue):
        raise StoreUnavailable(
            f"There is no store at {store.uri('')}, and runs of task queue {task_queue!r} have used one: check that it "
            "is mounted there, and that MESSAGE_BATCHES_STORE names it. Nothing was made there. To begin a new store "
            f'all the same, write {{"id": "a name of your own"}} into {store.uri(paths.STORE_ID)}'
        )
    await store.identity()
    return True


async def _any_has_begun(client: Client, task_queue: str) -> bool:
    """Return whether a worker has worked on any run of a task queue that Temporal knows."""
    service, of_queue = client.workflow_service, f'TaskQueue = "{task_queue}"'

    async def listed(query: str, limit: int) -> Sequence[WorkflowExecutionInfo]:
        request = ListWorkflowExecutionsRequest(namespace=client.namespace, query=query, page_size=limit)
        listing = service.list_workflow_executions
        return (await read_again(lambda timeout: listing(request, retry=True, timeout=timeout))).executions

    async def touched(run: WorkflowExecutionInfo) -> bool:
        # A list has no length of one that is open, which a caller may have started before the first worker.
        request = DescribeWorkflowExecutionRequest(namespace=client.namespace, execution=run.execution)
        describe = service.describe_workflow_execution
        described = await read_again(lambda timeout: describe(request, retry=True, timeout=timeout))
        return described.workflow_execution_info.history_length > _UNTOUCHED

    if await listed(f"{of_queue} AND HistoryLength > {_UNTOUCHED}", 1):
        return True
    for run in await listed(f"{of_queue} AND CloseTime IS NULL", 1000):
        if await touched(run):
            return True
    return False


async def id_of(client: Client) -> str:
    """Return the server's id of a client's namespace."""
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    # The server does not report its ids: the name is used instead.
    return str(described.namespace_info.id or client.namespace)


async def client_beside(client: Client, name: str, namespace_id: str) -> Client | None:
    """Return a client of another namespace on the same server, if that has this id."""
    try:
        other = await connect(address=address_of(client), namespace=name)
        return other if await id_of(other) == namespace_id else None
    except RPCError:
        return None


def encrypts(client: Client) -> bool:
    """Return whether a client encrypts."""
    codec = client.data_converter.payload_codec
    return isinstance(codec, EncryptionCodec) and codec.encrypts


def address_of(client: Client) -> str:
    """Return the address of a client's server."""
    return client.service_client.config.target_host


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
