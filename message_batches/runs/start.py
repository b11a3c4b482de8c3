"""Beginning a run: for new requests, for those that were sent before, for a batch that exists."""

from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import uuid4

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from message_batches.api.models import Account
from message_batches.contract import WORKFLOW_TYPE
from message_batches.models import BatchInput, Manifest, PollSchedule, SubmissionSchedule
from message_batches.requests.reader import Requests
from message_batches.runs.control import Refused, check_batch_id
from message_batches.runs.deduplication import (
    BatchKnown,
    Finished,
    NeverSent,
    Running,
    Standing,
    Undecided,
    attach_id_of,
    look_or_none,
    standing,
    workflow_id_of,
)
from message_batches.runs.describe import RunView
from message_batches.runs.static_details import Asked
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import Ledger
from message_batches.temporal.namespaces import NamespaceRecords, encrypts

MAX_INLINE_BYTES = 128 * 1024

_TRIES = 5


@dataclass(frozen=True)
class Order:
    """What a run is started with, besides its requests.

    Attributes:
        requests: those that are sent, or that a batch is held against, in words.
    """

    account: Account
    poll: PollSchedule
    submission: SubmissionSchedule
    task_queue: str
    requests: Asked | None = None
    delete_after_landing: bool = False

    def saying(self, file: str, requests: Requests) -> Self:
        """The same, with a file of requests in words."""
        return replace(self, requests=Asked.of_file(file, requests, self.account, self.poll))


@dataclass(frozen=True)
class Begun:
    """A run that is under way, or whose results are there already.

    Attributes:
        note: why it is not simply a new run; empty if it is one.
        finished: the results, if they had landed before.
    """

    workflow_id: str
    note: str = ""
    finished: Finished | None = None


class RunStarter:
    """Starts runs in one namespace, after a look at what one store remembers of their requests."""

    def __init__(self, client: Client, store: Store) -> None:
        self._client = client
        self._store = store
        self._ledger = Ledger(store)

    async def start(self, order: Order, manifest: Manifest, inline: list[Any] | None, *, again: bool = False) -> Begun:
        """Start a run of this content, unless there is or was one: the same content is the same run.

        Args:
            order: what goes with the requests.
            manifest: the requests in the store.
            inline: the requests themselves, where they are small.
            again: buy them again, under a workflow id of its own.
        """
        workflow_id = workflow_id_of(manifest.sha256, order.account)
        given = BatchInput(
            **_common(order, order.requests),
            store_id=manifest.store_id,
            requests=inline,
            requests_uri=None if inline is not None else manifest.uri,
        )
        if again:
            workflow_id = f"{workflow_id}-{uuid4().hex[:8]}"
            await self._begin(order, workflow_id, given, WorkflowIDReusePolicy.REJECT_DUPLICATE)
            return Begun(workflow_id)
        for _ in range(_TRIES):
            found = await standing(self._client, self._store, manifest, order.account.api_key, workflow_id)
            if not isinstance(found, NeverSent):
                return await self._take_up(found, order, manifest, workflow_id)
            # Whatever another starter did since that look makes this one fail, and look again.
            policy = (
                WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
                if found.before
                else WorkflowIDReusePolicy.REJECT_DUPLICATE
            )
            try:
                await self._begin(order, workflow_id, given, policy)
            except WorkflowAlreadyStartedError:
                continue
            return Begun(workflow_id, _ended_before(found.before))
        raise Refused(f"Others keep starting and ending {workflow_id}; nothing was sent from here")

    async def attach(self, batch_id: str, order: Order, manifest: Manifest | None) -> Begun:
        """Take over a batch; with its requests the results are fully checked."""
        check_batch_id(batch_id)
        owner = await self._ledger.owner(batch_id)
        for workflow_id in (attach_id_of(batch_id), *([owner] if owner else [])):
            view = await look_or_none(self._client, workflow_id)
            if view and view.running:
                return Begun(workflow_id, f"{workflow_id} follows this batch already")
            if view and view.output and view.output.batch_id == batch_id and (view.output.verified or not manifest):
                note = f"The results of this batch have landed before, by {workflow_id}"
                return Begun(workflow_id, note, Finished(workflow_id, view.output, view))
        return await self._attach(batch_id, order, manifest)

    async def _take_up(self, found: Standing, order: Order, manifest: Manifest, workflow_id: str) -> Begun:
        match found:
            case Running(view):
                return Begun(view.workflow_id, "These requests have a run already, it is under way: attached to it")
            case Finished():
                return Begun(found.workflow_id, "These requests have been run before, these are their results", found)
            case BatchKnown(batch_id, how):
                begun = await self._attach(batch_id, order, manifest)
                note = f"These requests were sent as {batch_id}, and their run is over ({how}): attached to that batch"
                return Begun(begun.workflow_id, note)
            case Undecided():
                raise Refused(_undecided(found, workflow_id))
            case NeverSent():
                raise AssertionError("a run is started for these")

    async def _attach(self, batch_id: str, order: Order, manifest: Manifest | None) -> Begun:
        given = BatchInput(
            **_common(order, Asked.of_batch(batch_id, order.requests, order.account, order.poll)),
            batch_id=batch_id,
            store_id=manifest.store_id if manifest else None,
            requests_uri=manifest.uri if manifest else None,
        )
        workflow_id = attach_id_of(batch_id)
        await self._refuse_to_send_in_clear()
        await self._client.start_workflow(
            WORKFLOW_TYPE,
            given,
            id=workflow_id,
            task_queue=order.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=given.static_summary,
            static_details=given.static_details,
        )
        return Begun(workflow_id)

    async def _begin(self, order: Order, workflow_id: str, given: BatchInput, policy: WorkflowIDReusePolicy) -> None:
        await self._refuse_to_send_in_clear()
        await self._client.start_workflow(
            WORKFLOW_TYPE,
            given,
            id=workflow_id,
            task_queue=order.task_queue,
            id_reuse_policy=policy,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            static_summary=given.static_summary,
            static_details=given.static_details,
        )

    async def _refuse_to_send_in_clear(self) -> None:
        namespace = self._client.namespace
        if encrypts(self._client) or not (note := await NamespaceRecords(self._store).encrypted(namespace)):
            return
        raise Refused(
            f"The workers of namespace {namespace!r} encrypt, and there is no key here: Temporal could read what would "
            "be sent. Set MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE or MESSAGE_BATCHES_ENCRYPTION_KEYS; if encryption was "
            f"switched off for good, remove {note}. Nothing was sent"
        )


def _common(order: Order, asked: Asked | None) -> dict[str, Any]:
    shown = {"static_summary": asked.summary, "static_details": asked.details} if asked else {}
    return {
        **dict(order.account),
        "poll": order.poll,
        "submission": order.submission,
        "delete_after_landing": order.delete_after_landing,
        **shown,
    }


def _ended_before(view: RunView | None) -> str:
    if view is None:
        return ""
    why = f": {view.failure.message}" if view.failure else ""
    return f"An earlier run of these requests {view.status} before anything was sent{why}. Started anew"


def _undecided(found: Undecided, workflow_id: str) -> str:
    named = f" These may be it: {', '.join(found.candidates)}." if found.candidates else ""
    return (
        f"It is not known whether these requests were bought ({workflow_id}). {found.why}.{named} Look at the batches "
        "in the Console: if one is yours, `starter.py attach MSGBATCH_ID --requests FILE` takes it over; if none is, "
        "`--again` buys them. Nothing was sent"
    )
