"""What the runs that Temporal knows need of the store."""

import asyncio
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import WORKFLOW_TYPE
from message_batches.runs.control import Refused
from message_batches.runs.deduplication import attach_id_of
from message_batches.storage.interface import Store
from message_batches.storage.paths import Key, manifest_at
from message_batches.storage.submission_records import CLOCK_MARGIN
from message_batches.temporal.connection import connect
from message_batches.temporal.namespaces import NamespaceRecords, address_of, id_of

PREPARE = "prepareRequests"

AT_ONCE = 32


class InUse:
    """The runs of a namespace, the closed ones too, with what they name; growing as more of them begin.

    Attributes:
        client: of the namespace.
        runs: how many there are, by their ids.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.runs: set[tuple[str, str]] = set()
        self._keys: set[Key] = set()
        self._done: set[str] = set()
        self._open: set[tuple[str, str | None]] = set()
        self._newest: datetime | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def look(self) -> AbstractSet[Key]:
        """All that is in use, by the runs that were known at the first look and those that began since."""
        query = f'WorkflowType = "{WORKFLOW_TYPE}"'
        if self._newest:
            # By the server's clock, not by ours; the margin is for what gets into its list late.
            query += f' AND StartTime > "{(self._newest - CLOCK_MARGIN).isoformat()}"'
        looks = set(self._open)
        try:
            async for run in self.client.list_workflows(query):
                self.runs.add((run.id, run.run_id))
                self._newest = max(self._newest or run.start_time, run.start_time)
                if run.id.startswith(attach_id_of("")):
                    self._keys.add(Key.of_batch(run.id.removeprefix(attach_id_of(""))))
                # A run that continues as new is gone from the list for a moment: its end is there, the next one not
                # yet.
                looks.add((run.id, None if run.status is WorkflowExecutionStatus.CONTINUED_AS_NEW else run.run_id))
            await asyncio.gather(*(self._take(*look) for look in looks if look[1] not in self._done))
        except RPCError as error:
            raise Refused(f"Temporal does not say what its runs need, so nothing more goes: {error.message}") from error
        return self._keys

    async def _take(self, workflow_id: str, run_id: str | None) -> None:
        """A run, or the last one of its id."""
        try:
            async with self._slots:
                described = await self.client.get_workflow_handle(workflow_id, run_id=run_id).describe()
                # A reset or a retry of a run looks for the records of the first of its chain.
                first = described.raw_description.workflow_execution_info.first_run_id or described.run_id
                self._keys.add(Key.of_run(workflow_id, first))
                handle = self.client.get_workflow_handle(workflow_id, run_id=described.run_id)
                if await self._read(handle) or described.close_time:
                    self._done.add(described.run_id)
                    self._open.discard((workflow_id, described.run_id))
                else:
                    self._open.add((workflow_id, described.run_id))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def _read(self, handle: WorkflowHandle[Any, Any]) -> bool:
        """Take up the batch and the requests that a run names; whether that is all that it will ever name."""
        preparing: set[int] = set()
        async for event in handle.fetch_history_events():
            match event.event_type:
                case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                    given = await self._value(handle, event.workflow_execution_started_event_attributes.input)
                    state = _part(given, "state")
                    self._take_up(given.get("batchId"), given.get("requestsUri"))
                    self._take_up(_part(state, "submission").get("batch_id"), _part(state, "manifest").get("uri"))
                    if state:
                        return True
                case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                    if event.activity_task_scheduled_event_attributes.activity_type.name == PREPARE:
                        preparing.add(event.event_id)
                case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                    completed = event.activity_task_completed_event_attributes
                    if completed.scheduled_event_id in preparing:
                        prepared = await self._value(handle, completed.result)
                        self._take_up(None, _part(prepared, "manifest").get("uri"))
                        return True
        return False

    def _take_up(self, batch_id: Any, requests_uri: Any) -> None:
        if isinstance(batch_id, str):
            self._keys.add(Key.of_batch(batch_id))
        if isinstance(requests_uri, str) and (key := manifest_at(requests_uri)):
            self._keys.add(key)

    async def _value(self, handle: WorkflowHandle[Any, Any], payloads: Payloads) -> dict[str, Any]:
        try:
            values = await self.client.data_converter.decode(payloads.payloads)
        except Exception as error:
            raise Refused(f"What the run {handle.id} needs cannot be read, nothing more is removed: {error}") from error
        return values[0] if values and isinstance(values[0], dict) else {}


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    part = value.get(name)
    return part if isinstance(part, dict) else {}


async def clients_of(store: Store, client: Client) -> list[Client]:
    """A client of each namespace that works with a store, beginning with the given one.

    `Refused` unless the given one does, and the others are on its server.
    """
    notes = NamespaceRecords(store)
    noted = await notes.all()
    here = f"{client.namespace} at {address_of(client)}"
    if not noted:
        raise Refused(
            f"No namespace is noted in {store.uri('')} yet, so {here} may be the wrong one: a worker notes its own "
            "with the next run that it takes up. Nothing was removed"
        )
    own = await id_of(client)
    known = {namespace_id: str(namespace or namespace_id) for namespace_id, namespace in noted.items()}
    if own not in noted:
        raise Refused(
            f"The namespace {here} has no run that worked with {store.uri('')}, but these have: "
            f"{'; '.join(known.values())}. Set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE to it. Nothing was removed"
        )
    clients, missing = [client], []
    for namespace_id, namespace in noted.items():
        if namespace_id == own:
            continue
        other = await _beside(client, namespace.name, namespace_id) if namespace else None
        if other:
            clients.append(other)
        else:
            missing.append(f"{known[namespace_id]} (noted in {notes.uri(namespace_id)})")
    if missing:
        raise Refused(
            f"These namespaces work with {store.uri('')} too, and {address_of(client)} does not show their runs: "
            f"{'; '.join(missing)}. Remove the note of one that no longer works with this store. Nothing was removed"
        )
    return clients


async def _beside(client: Client, name: str, namespace_id: str) -> Client | None:
    """A client of another namespace on the same server, if that is the one of this id."""
    try:
        other = await connect(address=address_of(client), namespace=name)
        return other if await id_of(other) == namespace_id else None
    except RPCError:
        return None
