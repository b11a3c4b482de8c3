"""The context of a job: its input, its state, its clock and timer, and what it reports."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, TypeVar

from temporalio import workflow

from message_batches.contract import landing_queue
from message_batches.job_models import JobPhase
from message_batches.temporal.search_attributes import BATCH_OUTCOME, BATCH_REQUESTS, BATCH_STATUS, BatchStatus
from workflows.context import WorkflowClock
from workflows.jobs.details import describe_job
from workflows.jobs.state import JobRun, JobState
from workflows.notifications.contents import job_events
from workflows.notifications.notifier import Notifier
from workflows.status import search_attributes
from workflows.status.current_details import describe_request

_Result = TypeVar("_Result")


class JobContext(WorkflowClock):
    """The context that the parts of a job share."""

    def __init__(self, request: JobRun) -> None:
        super().__init__()
        info = workflow.info()
        self.request = request
        self.job_id = info.workflow_id
        self.state = request.state or JobState(unread_fields=request.unread_fields)
        self.state.started = self.state.started or info.start_time
        self.notifier = Notifier(request, self.state.notifications)
        self._ending = ""

    @property
    def landing_queue(self) -> str:
        """The task queue of the activities that read whole results."""
        return landing_queue(workflow.info().task_queue)

    @property
    def details(self) -> str:
        """The job's status, and how it ended, as markdown for its page in the Web UI."""
        status = describe_job(self.request, self.state, self.now)
        # Temporal shows the text that a job was started with only on the page of the run that did not continue another.
        request = describe_request(self.request) if self.continues else ""
        return "\n\n".join(filter(None, (status, self._ending, self.notifier.details, request)))

    def publish_status(self, ending: str = "") -> None:
        """Show the job's status in the list of runs, and on its page also how it ended; tell webhooks of it."""
        self._ending = ending
        values: Mapping[Any, str | int | None] = {
            BATCH_STATUS: BatchStatus(self.state.phase),
            BATCH_REQUESTS: self.state.requests,
            BATCH_OUTCOME: self.state.outcome,
        }
        search_attributes.upsert_changed(values, self.state.search_attributes)
        if self.request.notify:
            undecided_before = self.now - self.request.submission.quiet_period
            self.notifier.notify(job_events(self.state, undecided_before), self.now)

    def log(self, message: str, *details: object, level: int = logging.INFO) -> None:
        """Log words of our own: nothing that the API or a caller has written."""
        workflow.logger.log(level, message, *details)

    async def settled(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Return a result once all that has come at the same moment is taken in: its order differs between Pythons."""
        result = await work
        await workflow.wait_condition(lambda: True)
        return result

    async def wait_until(self, time: datetime, summary: str) -> None:
        """Wait until that time of the job's clock, or until it is woken."""
        await self.settled(super().wait_until(time, summary))
        self._woken = False

    @property
    def deadline_passed(self) -> bool:
        """Whether the deadline has passed, after which nothing is started."""
        return self.request.deadline is not None and self.now >= self.request.deadline

    def show_phase(self) -> None:
        """Set the phase of a job whose shards are under way."""
        self.state.phase = JobPhase.PAUSED if self.state.paused else JobPhase.RUNNING

    async def maybe_continue_as_new(self) -> None:
        """Count a turn, and continue as a new run if that is due; the shards go on meanwhile."""
        await self.notifier.started()
        if self.count_turn():
            without_requests = {"requests": None, "requests_uri": None, "state": self.state}
            await self.continue_as_new(self.request.model_copy(update=without_requests))


async def finished_first(*work: Coroutine[Any, Any, None]) -> None:
    """Wait for coroutines; those that are under way when the workflow is cancelled are finished first."""
    task = asyncio.gather(*work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
