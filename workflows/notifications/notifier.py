"""The start of notifications by a run or a job: alongside it, once for each event, and never a reason to fail."""

import asyncio
import hashlib
from collections.abc import Coroutine, Iterable
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError

from message_batches.contract import NOTIFICATION_WORKFLOW_TYPE
from message_batches.formatting import markdown_text
from message_batches.models import RequestsInput
from message_batches.webhooks.events import DeliveryReport, Event, EventData, Notification, notification_id
from workflows import activity_options
from workflows.notifications.contents import DueEvent
from workflows.notifications.state import NotificationState


class Notifier:
    """The notifications of a run, if its input asks for any.

    Args:
        request: the input.
        state: what is carried over continue-as-new.
    """

    def __init__(self, request: RequestsInput, state: NotificationState) -> None:
        self._request = request
        self._state = state
        self._starting: set[asyncio.Task[None]] = set()

    def notify(self, events: Iterable[DueEvent], now: datetime) -> None:
        """Start the delivery of events to each webhook, except of those that were started before."""
        if not self._request.notify:
            return
        for due in events:
            if due.key not in self._state.notified:
                self._state.notified.append(due.key)
                event = _event(due, now)
                for webhook in dict.fromkeys(self._request.notify):
                    self._begin(self._start(due.key, webhook, event))

    def end(self, due: DueEvent, now: datetime) -> None:
        """Start what tells of the end: the webhooks, and the signal to a workflow."""
        self.notify([due], now)
        if self._request.notify_signal:
            self._begin(self._signal(_event(due, now)))

    def on_report(self, report: DeliveryReport) -> None:
        """Take in that a notification does not get through, or does after all."""
        if report.run_id != workflow.info().first_execution_run_id or report.webhook not in self._request.notify:
            return
        # There may be several of one type.
        each = f"{report.id}/{report.webhook}"
        if report.problem is None:
            self._state.undelivered.pop(each, None)
        else:
            name = f"{report.event} to {report.webhook}"
            tried = "not delivered" if report.given_up else "not delivered yet"
            why = markdown_text(f"{tried}: {report.problem[:500]}")
            self._state.undelivered[each] = f"**{markdown_text(name)}** {why}"

    @property
    def details(self) -> str:
        """What does not get through, as markdown for the run's page; empty if all does."""
        return "\n\n".join(self._state.undelivered.values())

    async def started(self) -> None:
        """Wait until all is started that was begun: once a run has ended, or continues as new, it would not be."""
        if self._starting:
            await workflow.wait_condition(lambda: not self._starting)

    async def started_at_end(self) -> None:
        """Wait for the same in a run that has ended, but for this: a cancellation comes too late."""
        canceled_before = workflow.cancellation_reason() is not None
        try:
            await self.started()
        except asyncio.CancelledError:
            # Not where the run leaves the worker's cache: it must not wait for anything then.
            if canceled_before or workflow.cancellation_reason() is None:
                raise
            await self.started()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        # A task of its own: the cancellation of a run does not reach it.
        task = asyncio.create_task(work)
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, key: str, webhook: str, event: Event) -> None:
        """Start a notification; after a reset of the run it is there already."""
        run_id = event.data.run_id
        given = Notification(
            webhook=webhook,
            id=f"msg_{hashlib.sha256(f'{run_id}/{key}'.encode()).hexdigest()[:32]}",
            event=event,
            retry_after=min(activity_options.DELIVERY_INTERVAL, self._request.poll.transient.retry_after),
        )
        try:
            delivery = await workflow.start_child_workflow(
                NOTIFICATION_WORKFLOW_TYPE,
                given,
                id=notification_id(run_id, key, webhook),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=f"{event.type} to {webhook}",
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("%s was sent to %s before", event.type, webhook)
        except FailureError as error:
            workflow.logger.error("%s cannot be sent to %s: %s", event.type, webhook, type(error).__name__)
        else:
            # How it ends is its own affair.
            delivery.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    async def _signal(self, event: Event) -> None:
        target = self._request.notify_signal
        assert target is not None
        try:
            await workflow.get_external_workflow_handle(target.workflow_id).signal(target.signal, event)
        except FailureError as error:
            workflow.logger.warning("The workflow of notifySignal was not signaled: %s", error)


def _event(due: DueEvent, now: datetime) -> Event:
    info = workflow.info()
    data = EventData(
        namespace=info.namespace, workflow_id=info.workflow_id, run_id=info.first_execution_run_id, **due.data
    )
    return Event(type=due.type, timestamp=now, data=data)
