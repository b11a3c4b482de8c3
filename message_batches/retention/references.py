"""The references of runs that Temporal knows to objects in the store."""

import asyncio
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE
from message_batches.runs.control import Refused
from message_batches.runs.deduplication import attached_batch
from message_batches.runs.describe import RunStatus, raw_description
from message_batches.runs.history import read_references
from message_batches.runs.list import list_executions
from message_batches.schedules.describe import scheduled_requests
from message_batches.storage.groups import GroupKey, manifest_at
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import CLOCK_MARGIN
from message_batches.temporal.namespaces import NamespaceRecords, address_of, client_beside, id_of

READS_AT_ONCE = 32


class RunReferences:
    """The runs and jobs of a namespace, closed ones too, and the groups of objects that they refer to; both only grow.

    Attributes:
        client: a client of the namespace.
        runs: the workflow id and run id of each that was listed.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.runs: set[tuple[str, str]] = set()
        self._keys: set[GroupKey] = set()
        self._done: set[str] = set()
        self._open: set[tuple[str, str | None]] = set()
        self._newest: datetime | None = None
        self._slots = asyncio.Semaphore(READS_AT_ONCE)

    async def refresh(self) -> AbstractSet[GroupKey]:
        """Return all groups in use: by the runs that were known at the first call, and by those started since."""
        query = f'WorkflowType IN ("{WORKFLOW_TYPE}", "{JOB_WORKFLOW_TYPE}")'
        if self._newest:
            # By the server's clock, not by ours; the margin is for runs that enter its list late.
            query += f' AND StartTime > "{(self._newest - CLOCK_MARGIN).isoformat()}"'
        unread = set(self._open)
        try:
            async for run in list_executions(self.client, query):
                workflow_id, run_id = run.execution.workflow_id, run.execution.run_id
                started = run.start_time.ToDatetime(tzinfo=UTC)
                self.runs.add((workflow_id, run_id))
                self._newest = max(self._newest or started, started)
                if run.type.name == JOB_WORKFLOW_TYPE:
                    self._keys.add(GroupKey.of_job(workflow_id))
                elif attached := attached_batch(workflow_id):
                    self._keys.add(GroupKey.of_batch(attached.api_key, attached.batch_id))
                # While a run continues as new, the list has its end and not yet the next one.
                unread.add((workflow_id, None if RunStatus.of(run) is RunStatus.CONTINUED_AS_NEW else run_id))
            await asyncio.gather(*(self._add_run(*run) for run in unread if run[1] not in self._done))
            await self._add_schedules()
        except RPCError as error:
            raise Refused(
                f"Temporal did not list the runs that use the store, nothing more is removed: {error.message}"
            ) from error
        return self._keys

    async def _add_run(self, workflow_id: str, run_id: str | None) -> None:
        """Add the references of a run; without a run id, of the last run of that workflow id."""
        try:
            async with self._slots:
                execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id or "")
                run = (await raw_description(self.client, execution)).workflow_execution_info
                # A reset or a retry of a run reads the records of the first of its chain.
                self._keys.add(GroupKey.of_run(workflow_id, run.first_run_id or run.execution.run_id))
                handle = self.client.get_workflow_handle(workflow_id, run_id=run.execution.run_id)
                if await self._read(handle) or run.HasField("close_time"):
                    self._done.add(run.execution.run_id)
                    self._open.discard((workflow_id, run.execution.run_id))
                else:
                    self._open.add((workflow_id, run.execution.run_id))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def _add_schedules(self) -> None:
        """Add the requests that the next firings of schedules need."""
        try:
            uris = await scheduled_requests(self.client)
        except RPCError:
            raise
        except Exception as error:
            raise Refused(f"A schedule cannot be read, nothing more is removed: {error}") from error
        self._keys.update(key for uri in uris if (key := manifest_at(uri)))

    async def _read(self, handle: WorkflowHandle[Any, Any]) -> bool:
        """Add the batches and the requests that a run names; return whether it will never name any more."""
        try:
            named = await read_references(self.client, handle)
        except RPCError:
            raise
        except Exception as error:
            raise Refused(
                f"The history of the run {handle.id} cannot be read, nothing more is removed: {error}"
            ) from error
        if named.api_key:
            self._keys.update(GroupKey.of_batch(named.api_key, batch_id) for batch_id in named.batch_ids)
        self._keys.update(key for uri in named.requests_uris if (key := manifest_at(uri)))
        return named.complete


async def clients_of_store(store: Store, client: Client) -> list[Client]:
    """Return a client of each namespace that works with a store, beginning with the given one.

    `Refused` unless the given one does, and the others are on its server.
    """
    recorded = NamespaceRecords(store)
    namespaces = await recorded.all()
    here = f"{client.namespace} at {address_of(client)}"
    if not namespaces:
        raise Refused(
            f"No namespace is recorded in {store.uri('')} yet, so {here} may be the wrong one: a worker records "
            "its own with the next run that it works on. Nothing was removed"
        )
    own = await id_of(client)
    known = {namespace_id: str(namespace or namespace_id) for namespace_id, namespace in namespaces.items()}
    if own not in namespaces:
        raise Refused(
            f"The namespace {here} has had no run that uses {store.uri('')}, but these have: "
            f"{'; '.join(known.values())}. Set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE to it. Nothing was removed"
        )
    clients, missing = [client], []
    for namespace_id, namespace in namespaces.items():
        if namespace_id == own:
            continue
        other = await client_beside(client, namespace.name, namespace_id) if namespace else None
        if other:
            clients.append(other)
        else:
            missing.append(f"{known[namespace_id]} (recorded in {recorded.uri(namespace_id)})")
    if missing:
        raise Refused(
            f"These namespaces use {store.uri('')} too, and {address_of(client)} does not list their runs: "
            f"{'; '.join(missing)}. Remove the record of one that no longer uses this store. Nothing was removed"
        )
    return clients
