"""The context of a run: its input, its state, its clock and timer, and what it reports."""

import logging
from datetime import datetime, timedelta

from temporalio import workflow

from message_batches.contract import landing_queue
from message_batches.formatting import SUMMARY_BYTES, truncate_payload
from message_batches.storage.submission_records import BatchClaim
from workflows import current_details, search_attributes
from workflows.state import BatchRun, RunState


class RunContext:
    """The context that the steps of a run share; it has one timer at a time.

    Attributes:
        turns: polls, and reads of the list, since the run began or last continued as new.
    """

    def __init__(self, request: BatchRun) -> None:
        self.request = request
        self.state = request.state or RunState(unread_fields=request.unread_fields)
        info = workflow.info()
        self.state.started = self.state.started or info.start_time
        self._continues = info.continued_run_id is not None
        self.turns = 0
        self._woken = False
        self._timer_fired_at = workflow.now()

    @property
    def now(self) -> datetime:
        """The workflow's time, not before that of a timer that has fired: the time for every decision of the run.

        A worker that has to answer a query for a run that it does not know yet replays the whole history, including
        what is newer than the last workflow task, at the time of that task. A later replay, at the time of the next
        task, must decide the same (seen with SDK 1.35 and server 1.32, after a worker had died).
        """
        return max(workflow.now(), self._timer_fired_at)

    @property
    def landing_queue(self) -> str:
        """The task queue of the activities that read a whole batch's results."""
        return landing_queue(workflow.info().task_queue, self.state.server)

    @property
    def claim(self) -> BatchClaim:
        """The run's claim on its batch."""
        info = workflow.info()
        attached = self.request.batch_id is not None
        return BatchClaim(owner=info.workflow_id, first_run_id=info.first_execution_run_id, attached=attached)

    @property
    def batch_id(self) -> str:
        """The batch's id, empty before it is known."""
        return self.state.submission.batch_id or ""

    def publish_status(self, ending: str = "") -> None:
        """Show the run's status, and how it ended, on its page in the Web UI and in the list of runs."""
        status = current_details.describe_status(self.request, self.state, self.now)
        # Temporal shows the text that a run was started with only on the page of the run that did not continue another.
        request = current_details.describe_request(self.request) if self._continues else ""
        workflow.set_current_details("\n\n".join(part for part in (status, ending, request) if part))
        search_attributes.publish(self.state, self.now)

    def log(self, message: str, *details: object, level: int = logging.INFO) -> None:
        """Log words of our own, with the batch's id: nothing that the API or a caller has written."""
        workflow.logger.log(level, message, *details, extra={"batch_id": self.state.batch and self.state.batch.id})

    def wake(self) -> None:
        """End the timer early, or the next one if none is running."""
        self._woken = True

    async def wait_until(self, time: datetime, summary: str) -> None:
        """Wait until that time of the run's clock, or until the run is woken."""
        left = time - self.now
        if left > timedelta(0):
            try:
                await workflow.wait_condition(lambda: self._woken, timeout=left, timeout_summary=summary)
            except TimeoutError:
                self._timer_fired_at = time
        self._woken = False

    async def sleep_until(self, time: datetime, reason: str) -> None:
        """Wait until that time, or until the run is woken, with a reason that the run reports meanwhile."""
        self.state.next_poll, self.state.waiting_for = time, reason
        self.publish_status()
        await self.wait_until(time, truncate_payload(reason, SUMMARY_BYTES))
        self.state.next_poll = self.state.waiting_for = None
