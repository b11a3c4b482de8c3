"""The port of webhooks: the only thing that activities know of them."""

from collections.abc import Collection
from typing import Protocol

from message_batches.errors import UnknownWebhook
from message_batches.webhooks.events import Notification


class Webhooks(Protocol):
    """The webhooks of a worker, by name."""

    @property
    def names(self) -> Collection[str]:
        """Their names."""
        ...

    async def deliver(self, notification: Notification) -> None:
        """Send an event once; `UnknownWebhook`, or `NotDelivered` unless the receiver has accepted it."""
        ...


class NoWebhooks:
    """The webhooks of a worker that has none."""

    names: Collection[str] = ()

    async def deliver(self, notification: Notification) -> None:
        """Raise `UnknownWebhook`."""
        raise unknown(notification.webhook, self.names)


def check_names(names: Collection[str], webhooks: Webhooks) -> None:
    """Raise `UnknownWebhook` unless the worker has each of them."""
    for name in names:
        if name not in webhooks.names:
            raise unknown(name, webhooks.names)


def unknown(name: str, known: Collection[str]) -> UnknownWebhook:
    """Return the error for a name that the worker does not have."""
    held = ", ".join(sorted(known)) or "none"
    return UnknownWebhook(
        f"This worker has no webhook named {name!r} (it has: {held}). Start it with "
        f"MESSAGE_BATCHES_WEBHOOK_{name.upper().replace('-', '_')} set, or name one that it has"
    )
