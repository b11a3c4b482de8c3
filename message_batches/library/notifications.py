"""The notifications of a run as Temporal has them: which were delivered, which were not, and sending these again."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import FailureError
from temporalio.service import RPCError

from message_batches.contract import NOTIFICATION_WORKFLOW_TYPE
from message_batches.runs.describe import RunStatus, raw_description
from message_batches.runs.list import list_executions
from message_batches.webhooks.events import Notification, notification_parts, notification_prefix

MAX_SENT = 200
"""Notifications of one run that are looked at: ten webhooks, each with fewer events than that."""


class Delivery(StrEnum):
    """Whether an event has reached its webhook."""

    DELIVERED = "delivered"
    TRYING = "trying"
    UNDELIVERED = "undelivered"
    """No further attempt is made."""


@dataclass(frozen=True)
class SentNotification:
    """A notification of a run.

    Attributes:
        attempts: that have failed, of one that is tried again; 0 where that is not known, or none has.
        problem: why the last attempt failed; empty where none has.
        next_attempt: when it is due; None where none is, or while it is under way.
    """

    workflow_id: str
    task_queue: str
    event: str
    webhook: str
    time: datetime
    delivery: Delivery
    attempts: int = 0
    problem: str = ""
    next_attempt: datetime | None = None


async def notifications_of(client: Client, first_run_id: str) -> list[SentNotification]:
    """Return the notifications of a chain of runs, in the order in which they were started.

    Args:
        client: from `connect()`.
        first_run_id: of the run that began the chain.
    """
    query = (
        f'WorkflowType = "{NOTIFICATION_WORKFLOW_TYPE}" AND WorkflowId STARTS_WITH '
        f'"{notification_prefix(first_run_id)}"'
    )
    newest: dict[str, WorkflowExecutionInfo] = {}
    async for found in list_executions(client, query, MAX_SENT):
        # One that was sent again has several runs.
        known = newest.get(found.execution.workflow_id)
        if known is None or _started(found) > _started(known):
            newest[found.execution.workflow_id] = found
    sent = await asyncio.gather(*(_look(client, each) for each in newest.values()))
    return sorted(filter(None, sent), key=lambda each: (each.time, each.workflow_id))


async def send_again(client: Client, sent: SentNotification) -> None:
    """Send an event to its webhook again, with the same `webhook-id`: at once, and then tried for another day."""
    start = await anext(aiter(client.get_workflow_handle(sent.workflow_id).fetch_history_events()))
    payloads = start.workflow_execution_started_event_attributes.input.payloads
    (given,) = await client.data_converter.decode(payloads, [Notification])
    await client.start_workflow(
        NOTIFICATION_WORKFLOW_TYPE,
        given,
        id=sent.workflow_id,
        task_queue=sent.task_queue,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
        static_summary=f"{sent.event} to {sent.webhook}, again",
    )


def _started(listed: WorkflowExecutionInfo) -> datetime:
    return listed.start_time.ToDatetime(tzinfo=UTC)


async def _look(client: Client, listed: WorkflowExecutionInfo) -> SentNotification | None:
    workflow_id = listed.execution.workflow_id
    parts = notification_parts(workflow_id)
    if parts is None:
        return None
    sent = SentNotification(workflow_id, listed.task_queue, *parts, _started(listed), Delivery.DELIVERED)
    status = RunStatus.of(listed)
    try:
        if status is RunStatus.COMPLETED:
            return sent
        if status.running:
            return await _trying(client, replace(sent, delivery=Delivery.TRYING), listed.execution)
        return replace(sent, delivery=Delivery.UNDELIVERED, problem=await _failure(client, listed.execution))
    except RPCError:  # It has been removed since it was listed.
        return None


async def _trying(client: Client, sent: SentNotification, execution: WorkflowExecution) -> SentNotification:
    """Add the attempts so far: those of the activity that is under way, and of the one before it."""
    attempts, problem, next_attempt = 0, "", None
    async for event in client.get_workflow_handle(
        execution.workflow_id, run_id=execution.run_id
    ).fetch_history_events():
        if event.HasField("activity_task_started_event_attributes"):
            attempts += event.activity_task_started_event_attributes.attempt
        elif event.HasField("activity_task_failed_event_attributes"):
            problem = await _words(client, event.activity_task_failed_event_attributes.failure)
    for activity in (await raw_description(client, execution)).pending_activities:
        attempts += activity.attempt - 1
        if activity.HasField("last_failure"):
            problem = await _words(client, activity.last_failure)
        if activity.HasField("next_attempt_schedule_time"):
            next_attempt = activity.next_attempt_schedule_time.ToDatetime(tzinfo=UTC)
    return replace(sent, attempts=attempts, problem=problem, next_attempt=next_attempt)


async def _words(client: Client, failure: Failure) -> str:
    error = await client.data_converter.decode_failure(failure)
    return error.message if isinstance(error, FailureError) else str(error)


async def _failure(client: Client, execution: WorkflowExecution) -> str:
    try:
        await client.get_workflow_handle(execution.workflow_id, run_id=execution.run_id).result(follow_runs=False)
    except WorkflowFailureError as error:
        return error.cause.message if isinstance(error.cause, FailureError) else str(error.cause)
    return ""


def undelivered(sent: Sequence[SentNotification]) -> list[SentNotification]:
    """Return those that have not reached their webhook, as far as is known."""
    return [each for each in sent if each.problem or each.delivery is Delivery.UNDELIVERED]
