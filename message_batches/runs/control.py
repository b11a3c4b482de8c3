"""Runs over a Temporal client and a store: starting them, taking over a batch, stopping, resolving."""

import asyncio
import re
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from message_batches.api.keys import may_be_a_key
from message_batches.api.models import MessageBatch
from message_batches.contract import CANCEL_BATCH, RESOLVE_SUBMISSION
from message_batches.errors import MessageBatchesError
from message_batches.models import Resolution
from message_batches.runs.deduplication import attach_id_of
from message_batches.runs.describe import PATIENCE, RunNotFound, RunView, is_known, look
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import Ledger

_BATCH_ID = re.compile(r"msgbatch_[A-Za-z0-9_-]{1,100}")

ANSWER_TIMEOUT = timedelta(seconds=30)
"""How long a worker may take to carry out an update; stopping a batch is two calls to the API."""


class Refused(MessageBatchesError):
    """The command was not carried out; nothing was sent."""


class NoAnswer(MessageBatchesError):
    """No worker answers: what was asked for may not have been carried out."""


class Runs:
    """The runs of one namespace, and their records in one store."""

    def __init__(self, client: Client, store: Store) -> None:
        self._client = client
        self._store = store
        self._ledger = Ledger(store)

    async def look(self, identity: str, *, patience: timedelta = PATIENCE) -> RunView:
        """The run of a workflow id, or of a batch id; a worker's answer is waited for so long."""
        return await look(self._client, await self.workflow_id(identity), patience=patience)

    async def workflow_id(self, identity: str) -> str:
        """The workflow id behind what a person types: itself, or that of the run which owns a batch."""
        if not is_batch_id(identity):
            return identity
        if await is_known(self._client, attach_id_of(identity)):
            return attach_id_of(identity)
        owner = await self._ledger.owner(identity)
        if owner is None:
            raise RunNotFound(f"No run follows batch {identity}: `starter.py attach {identity}` takes it over")
        return owner

    async def ended(self, workflow_id: str) -> None:
        """Wait until a run is over, however it ends; or until Temporal goes away."""
        with suppress(WorkflowFailureError, RPCError):
            await self._client.get_workflow_handle(workflow_id).result()

    async def cancel_batch(self, workflow_id: str) -> MessageBatch | None:
        """Stop a run's batch at the provider, what had finished is landed; None while the API has not confirmed it."""
        batch: MessageBatch | None = await self._update(workflow_id, CANCEL_BATCH, result_type=MessageBatch)
        return batch

    async def abandon(self, workflow_id: str) -> None:
        """Cancel the run itself: it stops its batch at the provider and lands nothing."""
        await self._client.get_workflow_handle(workflow_id).cancel()

    async def resolve(self, workflow_id: str, resolution: Resolution) -> None:
        """Decide what a lost reply left open."""
        await self._update(workflow_id, RESOLVE_SUBMISSION, resolution)

    async def _update(self, workflow_id: str, name: str, *arguments: Any, result_type: Any = None) -> Any:
        """An update's answer, None if it was accepted and takes long; `Refused` with the run's own reason."""
        handle = self._client.get_workflow_handle(workflow_id)
        accepted = handle.start_update(
            name, args=arguments, wait_for_stage=WorkflowUpdateStage.ACCEPTED, result_type=result_type
        )
        try:
            update = await asyncio.wait_for(accepted, ANSWER_TIMEOUT.total_seconds())
        except TimeoutError as error:
            raise NoAnswer(
                f"No worker answered within {ANSWER_TIMEOUT.total_seconds():g} s, so this may not have been carried "
                f"out: start a worker (`python worker.py`), look at `starter.py status {workflow_id}`, and try again"
            ) from error
        try:
            return await asyncio.wait_for(update.result(), ANSWER_TIMEOUT.total_seconds())
        except TimeoutError:
            return None
        except WorkflowUpdateFailedError as error:
            raise Refused(_reason(error)) from error


def is_batch_id(text: str) -> bool:
    """Whether it is a batch's id, rather than a run's."""
    return bool(_BATCH_ID.fullmatch(text))


def check_batch_id(text: str) -> None:
    """Raise `Refused` for what is no batch's id, and repeat it unless it may be a key."""
    if may_be_a_key(text):
        raise Refused("That is no batch id. If it was a key, your shell's history has it now: rotate it")
    if not is_batch_id(text):
        raise Refused(f"{text[:80]!r} is no batch id: they look like msgbatch_0123abc")


def _reason(error: WorkflowUpdateFailedError) -> str:
    return error.cause.message if isinstance(error.cause, ApplicationError) else str(error.cause)
