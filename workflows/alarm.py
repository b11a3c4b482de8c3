"""The run's clock, and waiting on a durable timer that a signal or an update can cut short."""

from datetime import datetime, timedelta

from temporalio import workflow


class Alarm:
    """One timer at a time; `ring` ends it early, or the next one if none is running."""

    def __init__(self) -> None:
        self._rung = False
        self._reached = workflow.now()

    @property
    def now(self) -> datetime:
        """The workflow's time, not before that of a timer that has fired.

        A worker that has to answer a query and does not know the run yet replays all that has happened, what is newer
        than the last workflow task too, at the time of that task. What it decided then stands: a later replay, at the
        time of the next task, must decide the same (seen with SDK 1.35 and server 1.32, where a worker had died).
        """
        return max(workflow.now(), self._reached)

    def ring(self) -> None:
        """Wake whoever waits."""
        self._rung = True

    async def until(self, time: datetime, summary: str) -> None:
        """Wait until that time of the run's clock, or until it is rung."""
        left = time - self.now
        if left > timedelta(0):
            try:
                await workflow.wait_condition(lambda: self._rung, timeout=left, timeout_summary=summary)
            except TimeoutError:
                self._reached = time
        self._rung = False
