"""Waiting on a durable timer that a signal or an update can cut short."""

from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow


class Alarm:
    """One timer at a time; `ring` ends it early, or the next one if none is running."""

    def __init__(self) -> None:
        self._rung = False

    def ring(self) -> None:
        """Wake whoever waits."""
        self._rung = True

    async def until(self, time: datetime, summary: str) -> None:
        """Wait until that time of the workflow's clock, or until it is rung."""
        left = time - workflow.now()
        if left > timedelta(0):
            with suppress(TimeoutError):
                await workflow.wait_condition(lambda: self._rung, timeout=left, timeout_summary=summary)
        self._rung = False
