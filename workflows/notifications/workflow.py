"""The delivery of one event to one webhook: a workflow of its own, which outlives the run that it is about."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from message_batches.contract import DELIVERY, NOTIFICATION_WORKFLOW_TYPE
    from message_batches.observability.metrics import NOTIFICATIONS
    from message_batches.webhooks.errors import NotDelivered
    from message_batches.webhooks.events import DeliveryReport, Notification
    from workflows import activity_options
    from workflows.failures import error_name_of


@workflow.defn(name=NOTIFICATION_WORKFLOW_TYPE)
class NotificationWorkflow:
    """Delivers one event to one webhook, tried for a day."""

    @workflow.run
    async def run(self, given: Notification) -> None:
        """Deliver the event; the run is told where that does not succeed soon, and where it has been given up."""
        try:
            await self._deliver(given, activity_options.first_deliveries(given.retry_after))
        except ActivityError as error:
            if is_cancelled_exception(error) or not _may_retry(error):
                raise await self._given_up(given, error) from error
            await self._report(given, "failing", _problem(error))
        else:
            if workflow.info().parent is None:
                # An operator has sent it again: the run was told before that it does not get through.
                await self._report(given, "delivered", None)
            else:
                NOTIFICATIONS.add(workflow.metric_meter(), event=given.event.type, result="delivered")
            return
        await workflow.sleep(activity_options.later_delivery_after(given.retry_after), summary="the next attempt")
        try:
            await self._deliver(given, activity_options.later_deliveries(given.retry_after))
        except ActivityError as error:
            raise await self._given_up(given, error) from error
        await self._report(given, "delivered", None)

    async def _deliver(self, given: Notification, options: activity_options.ActivityOptions) -> None:
        await workflow.execute_activity_method(
            NotificationActivities.deliver_notification,
            given,
            **options,
            summary=f"{given.event.type} to {given.webhook}",
        )

    async def _given_up(self, given: Notification, error: ActivityError) -> Exception:
        """Report that no further attempt is made; return what the workflow is to end with."""
        if is_cancelled_exception(error):
            return error
        problem = _problem(error)
        workflow.logger.warning("%s was not delivered to %s: %s", given.event.type, given.webhook, error_name_of(error))
        await self._report(given, "undelivered", problem, given_up=True)
        return ApplicationError(problem, type=NotDelivered.__name__, non_retryable=True)

    async def _report(self, given: Notification, result: str, problem: str | None, *, given_up: bool = False) -> None:
        """Count a result, and tell the run of it, if that has not ended."""
        NOTIFICATIONS.add(workflow.metric_meter(), event=given.event.type, result=result)
        data = given.event.data
        report = DeliveryReport(
            run_id=data.run_id,
            id=given.id,
            event=given.event.type,
            webhook=given.webhook,
            problem=problem,
            given_up=given_up,
        )
        try:
            await workflow.get_external_workflow_handle(data.workflow_id).signal(DELIVERY, report)
        except FailureError:
            workflow.logger.debug("%s has ended: it is not told", data.workflow_id)


def _may_retry(error: ActivityError) -> bool:
    """Return whether an activity ended because its attempts were used up, and more may succeed."""
    return not (isinstance(error.cause, ApplicationError) and error.cause.non_retryable)


def _problem(error: ActivityError) -> str:
    """Return why the last attempt failed."""
    cause = error.cause
    for each in (cause, cause.__cause__ if cause else None):
        # A timeout carries the failure of the last attempt.
        if isinstance(each, ApplicationError):
            return each.message[:500]
    return "no worker that could deliver it has taken it, or each was lost"
