"""The errors of webhooks."""

from datetime import timedelta

from message_batches.errors import MessageBatchesError


class NotDelivered(MessageBatchesError):
    """An event did not reach its webhook, or was not accepted there.

    Attributes:
        retry_after: how long the receiver asks to wait, None if it does not say.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AddressRefused(NotDelivered):
    """The webhook's host has an address of a private network, or the machine's own, and no setting allows it."""


class WebhookGone(NotDelivered):
    """410: the receiver wants nothing of it any more."""

    retryable = False
