"""One run in a chain of continue-as-new: its input, its state, its timer, and when the next one begins."""

import logging
from datetime import datetime, timedelta

from temporalio import workflow

from message_batches.contract import landing_queue
from message_batches.storage.submission_records import Claim
from workflows import activity_options, current_details, search_attributes
from workflows.state import BatchRun, RunState


class Chain:
    """What the steps of a run share."""

    def __init__(self, request: BatchRun) -> None:
        self.request = request
        self.state = request.state or RunState()
        self.alarm = Alarm()
        self._turns = 0
        info = workflow.info()
        self.state.started = self.state.started or info.start_time
        self._continues = info.continued_run_id is not None

    @property
    def now(self) -> datetime:
        """The time for whatever the run decides."""
        return self.alarm.now

    @property
    def landing_queue(self) -> str:
        """Where landings wait for each other, and nothing else for them."""
        return landing_queue(workflow.info().task_queue)

    @property
    def claim(self) -> Claim:
        """What the run puts on its batch."""
        info = workflow.info()
        attached = self.request.batch_id is not None
        return Claim(owner=info.workflow_id, first_run_id=info.first_execution_run_id, attached=attached)

    @property
    def batch_id(self) -> str:
        """The batch's id, empty before it is known."""
        return self.state.submission.batch_id or ""

    @property
    def overlong(self) -> bool:
        """Whether this run ought to have continued as a new one, and may not."""
        return self.state.cancel_requested and self._turns > activity_options.CONTINUE_AFTER

    def tell(self, said: str = "") -> None:
        """Show in the Web UI where it stands, on the run's page with what is to be said beside, and in the list."""
        shown = current_details.standing(self.request, self.state, self.now, workflow_id=workflow.info().workflow_id)
        asked = current_details.as_asked(self.request) if self._continues else ""
        workflow.set_current_details("\n\n".join(part for part in (shown, said, asked) if part))
        search_attributes.show(self.state, self.now)

    def note(self, message: str, *details: object, level: int = logging.INFO) -> None:
        """Log, with the run's batch, what is ours to say: nothing that the API or a caller has written."""
        workflow.logger.log(level, message, *details, extra={"batch_id": self.state.batch and self.state.batch.id})

    async def wait(self, time: datetime, why: str) -> None:
        """Wait until a time for a reason that the run tells whoever asks."""
        self.state.next_poll, self.state.waiting_for = time, why
        self.tell()
        await self.alarm.until(time, why)
        self.state.next_poll = self.state.waiting_for = None

    async def continue_if_due(self) -> None:
        """Continue as a new run before the history gets long, or once there is a newer build to do so.

        Handlers finish first, what is undecided is carried.
        """
        self._turns += 1
        if self.state.cancel_requested:
            return  # The server lets only the run that was asked to cancel end as cancelled, not one that continues it.
        info = workflow.info()
        # A run stays with the build that it began on; what continues it begins on the newest.
        outdated = info.is_target_worker_deployment_version_changed()
        if self._turns <= activity_options.CONTINUE_AFTER and not info.is_continue_as_new_suggested() and not outdated:
            return
        await workflow.wait_condition(workflow.all_handlers_finished)
        bare = {"requests": None, "requests_uri": None, "state": self.state}
        workflow.continue_as_new(
            self.request.model_copy(update=bare),
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )


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
