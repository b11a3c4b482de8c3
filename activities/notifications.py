"""The activity that delivers an event to a webhook, once at each attempt."""

from temporalio import activity

from activities.failures import errors_as_failures
from message_batches.contract import ActivityType
from message_batches.webhooks.events import Notification
from message_batches.webhooks.interface import Webhooks


class NotificationActivities:
    """The delivery of events, over the webhooks of a worker."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    @activity.defn(name=ActivityType.DELIVER_NOTIFICATION)
    async def deliver_notification(self, given: Notification) -> None:
        """Send an event to its webhook; `NotDelivered` unless the receiver has accepted it."""
        with errors_as_failures():
            await self._webhooks.deliver(given)
