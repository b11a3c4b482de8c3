"""Finding, following and stopping a run, deciding which batch is its own, and finding its results."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from message_batches.api.keys import DEFAULT_KEY, may_be_a_key
from message_batches.api.models import MessageBatch
from message_batches.contract import CANCEL_BATCH, RESOLVE_SUBMISSION, NextAction
from message_batches.errors import RunError, StoreUnavailable
from message_batches.models import Resolution
from message_batches.results import reader
from message_batches.results.reader import Publication, ResultsNotFound
from message_batches.runs.deduplication import AttachedBatch, attach_id_of, attached_batch
from message_batches.runs.describe import QUERY_TIMEOUT, RunNotFound, RunView, describe_run, follow, run_exists
from message_batches.runs.forgotten import with_records
from message_batches.storage.accounts import AccountRecords
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import BatchOwner, SubmissionRecords
from message_batches.temporal.connection import TemporalUnreachable
from message_batches.temporal.diagnosis import unanswered

T = TypeVar("T")

_BATCH_ID_PATTERN = re.compile(r"msgbatch_[A-Za-z0-9_-]{1,100}")
UPDATE_TIMEOUT = timedelta(seconds=30)
"""The time that a worker may take to carry out an update; cancelling a batch is two calls to the API."""

_CALL_TIMEOUT = timedelta(seconds=10)
"""The time of one call of an update: one whose answer is lost is made again."""

_PAUSE = 0.2
"""Seconds before a call that failed at once is made again."""


class Refused(RunError):
    """The command was not carried out; nothing was sent.

    Attributes:
        option: the option that it is about, whose name the message begins with; None for any other reason.
    """

    def __init__(
        self, message: str, action: NextAction | None = None, *, option: str | None = None, **facts: Any
    ) -> None:
        super().__init__(message, action, **facts)
        self.option = option


class NoAnswer(RunError):
    """No answer from a worker, or from Temporal: whether the command was carried out is not known."""


class Runs:
    """The runs of one namespace, and their records in one store."""

    def __init__(self, client: Client, store: Store) -> None:
        self._client = client
        self._store = store

    async def describe(self, identity: str, *, query_timeout: timedelta = QUERY_TIMEOUT) -> RunView:
        """Describe the run of a workflow id or a batch id.

        Args:
            identity: a workflow id, or the id of the run's batch.
            query_timeout: how long to wait for a worker's answer.
        """
        owner = await self._owner(identity) if is_batch_id(identity) else None
        workflow_id = owner.workflow_id if owner else identity
        try:
            return await describe_run(self._client, workflow_id, query_timeout=query_timeout)
        except RunNotFound as error:
            try:
                batch = AttachedBatch(identity, owner.api_key) if owner else None
                raise await with_records(self._store, error, workflow_id, batch) from error
            except StoreUnavailable:
                raise error from None

    async def describe_running(self, identity: str) -> RunView:
        """Describe a run that can be stopped or resolved: `Refused` if it is over, `NoAnswer` without a worker."""
        view = await self.describe(identity)
        if not view.running:
            raise Refused(f"{view.workflow_id} is over ({view.status}): there is nothing to stop or to decide")
        if view.worker is False:
            raise NoAnswer(
                f"No worker that takes the run polls task queue {view.task_queue!r}. Nothing was stopped or decided",
                NextAction.START_WORKER,
                workflow_id=view.workflow_id,
            )
        return view

    async def workflow_id(self, identity: str) -> str:
        """Return the workflow id itself, or that of the run which owns a batch."""
        return (await self._owner(identity)).workflow_id if is_batch_id(identity) else identity

    def follow(self, workflow_id: str) -> AsyncGenerator[RunView]:
        """Yield a run as it is seen, about once a second, to its end; also while Temporal is unavailable."""
        return follow(self._client, workflow_id, lambda: self.describe(workflow_id))

    async def cancel_batch(self, workflow_id: str) -> MessageBatch | None:
        """Stop a run's batch and land the finished results. None while the API has not confirmed it."""
        batch: MessageBatch | None = await self.update(workflow_id, CANCEL_BATCH, result_type=MessageBatch)
        return batch

    async def abandon(self, workflow_id: str) -> None:
        """Cancel the run itself: it stops its batch at the provider and lands nothing."""
        handle = self._client.get_workflow_handle(workflow_id)
        # A second request to cancel the same run changes nothing.
        await self._until_answered(lambda: handle.cancel(rpc_timeout=_CALL_TIMEOUT), workflow_id)

    async def resolve(self, workflow_id: str, resolution: Resolution) -> None:
        """Decide which batch is a run's, after a lost reply left that open."""
        await self.update(workflow_id, RESOLVE_SUBMISSION, resolution)

    async def _owner(self, batch_id: str) -> BatchOwner:
        """Return the run that owns a batch."""
        owners = set(await SubmissionRecords(self._store).owners_of(batch_id))
        keys = {DEFAULT_KEY, *(account.api_key for account in await AccountRecords(self._store).all())}
        for api_key in keys:
            if await run_exists(self._client, attached := attach_id_of(batch_id, api_key)):
                owners = {owner for owner in owners if owner.api_key != api_key} | {BatchOwner(api_key, attached)}
        if not owners:
            raise RunNotFound(f"No run follows batch {batch_id}", NextAction.ATTACH, batch_id=batch_id)
        if len(owners) > 1:
            named = " and ".join(f"{workflow_id} (key {api_key})" for api_key, workflow_id in sorted(owners))
            raise Refused(
                f"{batch_id} is followed with several keys or base URLs, for which it may be different batches: name "
                f"one of the runs, {named}"
            )
        return owners.pop()

    async def update(self, workflow_id: str, name: str, *arguments: Any, result_type: Any = None) -> Any:
        """Return an update's result, None if it was accepted and takes long; `Refused` with the run's own reason."""
        handle = self._client.get_workflow_handle(workflow_id)
        # The server carries out an update of one id once, however often it is asked for.
        update_id = uuid4().hex

        async def start() -> WorkflowUpdateHandle[Any]:
            return await handle.start_update(
                name,
                args=arguments,
                id=update_id,
                wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                result_type=result_type,
                rpc_timeout=_CALL_TIMEOUT,
            )

        try:
            update = await self._until_answered(start, workflow_id)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            # The run has ended meanwhile, perhaps by this update, whose answer was lost.
            update = handle.get_update_handle(update_id, result_type=result_type)
        try:
            return await self._until_answered(lambda: update.result(rpc_timeout=_CALL_TIMEOUT), workflow_id)
        except NoAnswer:
            return None
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise Refused(
                f"{workflow_id} ended before this was carried out: there is nothing to stop or to decide"
            ) from error
        except WorkflowUpdateFailedError as error:
            reason = error.cause.message if isinstance(error.cause, ApplicationError) else str(error.cause)
            raise Refused(reason) from error

    async def _until_answered(self, call: Callable[[], Awaitable[T]], workflow_id: str) -> T:
        """Make a call that may be repeated until it has an answer; `NoAnswer` after `UPDATE_TIMEOUT`."""
        clock, task = asyncio.get_running_loop().time, asyncio.current_task()
        end = clock() + UPDATE_TIMEOUT.total_seconds()
        while (left := end - clock()) > 0:
            try:
                return await asyncio.wait_for(call(), left)
            except TimeoutError:
                continue
            except WorkflowUpdateRPCTimeoutOrCancelledError as error:
                if task and task.cancelling():  # The SDK reports it in place of the cancellation.
                    raise asyncio.CancelledError from error
            except RPCError as error:
                if not unanswered(error):
                    raise
                await asyncio.sleep(_PAUSE)
        raise NoAnswer(
            f"No answer came within {UPDATE_TIMEOUT.total_seconds():g} s, from Temporal or from a worker: this may "
            "have been carried out or not",
            NextAction.CHECK_RUN,
            workflow_id=workflow_id,
        )


async def find_results(store: Store, identity: str, connect: Callable[[], Awaitable[Runs]]) -> Publication:
    """Find the landed results of a run or a batch; `ResultsNotFound` if there are none, with the run's status.

    Args:
        store: where results and records are; it keeps them for longer than Temporal keeps histories.
        identity: a workflow id, or the id of a batch.
        connect: connects to Temporal, where the store alone does not have the answer.
    """
    if is_batch_id(identity) and (found := await find_stored_results(store, identity)):
        return found
    try:
        view = await (await connect()).describe(identity, query_timeout=timedelta())
    except (RunNotFound, TemporalUnreachable):
        if found := await find_stored_results(store, identity):
            return found
        raise
    if view.output:
        return await reader.of_output(store, view.output)
    api_key = view.failure.api_key if view.failure else None
    if found := await find_stored_results(store, view.workflow_id, view.batch_id, api_key):
        return found
    if view.running:
        message = f"{view.workflow_id} has no results yet, it is running"
        raise ResultsNotFound(message, NextAction.WATCH, workflow_id=view.workflow_id)
    failure = view.failure
    message = f"{view.workflow_id} has no results, it {view.status}{f' ({failure.message})' if failure else ''}"
    if failure is None:
        raise ResultsNotFound(message)
    raise ResultsNotFound(
        message,
        failure.action,
        workflow_id=view.workflow_id,
        batch_id=failure.batch_id,
        candidates=failure.candidates,
        api_key=failure.api_key,
    )


async def find_stored_results(
    store: Store, identity: str, batch_id: str | None = None, api_key: str | None = None
) -> Publication | None:
    """Find what the store alone knows of a run or a batch, whatever Temporal knows; None if it has no results.

    Args:
        store: where results and records are.
        identity: a workflow id, or the id of a batch.
        batch_id: the run's batch, as far as Temporal names it.
        api_key: the name of the run's key, as far as it is known.
    """
    if is_batch_id(identity):
        return await reader.landed_of_batch(store, identity)
    known: dict[str, str | None] = {batch_id: api_key} if batch_id else {}
    if attached := attached_batch(identity):
        known[attached.batch_id] = attached.api_key
    return await reader.of_past_run(store, identity, known)


def is_batch_id(text: str) -> bool:
    """Check whether a text is a batch's id, rather than a run's."""
    return bool(_BATCH_ID_PATTERN.fullmatch(text))


def check_batch_id(text: str) -> None:
    """Raise `Refused` for a text that is not a batch's id; the text is not repeated if it may be a key."""
    if may_be_a_key(text):
        raise Refused("That is not a batch id. If it was a key, your shell's history has it now: rotate it")
    if not is_batch_id(text):
        raise Refused(f"{text[:80]!r} is not a batch id: they look like msgbatch_0123abc")
