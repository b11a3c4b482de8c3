"""What a run carries over continue-as-new of its notifications."""

from pydantic import BaseModel, Field


class NotificationState(BaseModel):
    """The notifications of a run so far.

    Attributes:
        notified: the events whose delivery was started, by their keys.
        undelivered: those that do not get through, by notification and webhook: which and why, as markdown.
    """

    notified: list[str] = Field(default_factory=list)
    undelivered: dict[str, str] = Field(default_factory=dict)
