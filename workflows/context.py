"""The context of a run: its input, its state, its clock and timer, what it reports, and when it continues as new.

A worker that meets a run for the first time replays its history, so the length of the history is the time that takes.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError

from message_batches.contract import calls_queue, landing_queue
from message_batches.formatting import SUMMARY_BYTES, truncate_payload
from message_batches.serialization import ContractModel
from message_batches.storage.submission_records import BatchClaim
from workflows.notifications.contents import run_events
from workflows.notifications.notifier import Notifier
from workflows.state import BatchRun, RunState
from workflows.status import current_details, search_attributes

_Result = TypeVar("_Result")

CONTINUE_AFTER = 50
"""Turns in a run before continue-as-new: a worker that takes over a run replays 25 polls on average, in 30 ms."""

_FORMERLY = 100
"""Those of runs that an earlier version began."""

LONGEST_TIMER = timedelta(days=365)
"""The server counts a timer in nanoseconds, of which it can hold those of 292 years."""


class WorkflowClock:
    """The clock of a workflow, its timer, of which there is one at a time, and the count of its turns.

    Attributes:
        turns: polls, reads of the list, or looks at shards, since the run began or last continued as new.
        continues: whether the run continues another one.
    """

    def __init__(self) -> None:
        self.continues = workflow.info().continued_run_id is not None
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
    def calls_queue(self) -> str:
        """The task queue of the activities that each make a call of the API, besides polls and landings."""
        return calls_queue(workflow.info().task_queue)

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
                self._fired(time)
        self._woken = False

    def _fired(self, time: datetime) -> None:
        """Take in that a timer has fired; there may be two, in any order."""
        self._timer_fired_at = max(self._timer_fired_at, time)

    def count_turn(self) -> bool:
        """Count a turn; return whether the run is to continue as a new one, or there is a newer build to do so."""
        self.turns += 1
        info = workflow.info()
        # A run stays with the build that it began on; what continues it begins on the newest.
        outdated = info.is_target_worker_deployment_version_changed()
        enough = self.turns > CONTINUE_AFTER and (self.turns > _FORMERLY or workflow.patched("fifty-turns"))
        return enough or info.is_continue_as_new_suggested() or outdated

    async def unless(self, condition: Callable[[], bool], activity: Coroutine[Any, Any, _Result]) -> _Result | None:
        """Return the activity's result; None if the condition comes first, in which case the activity is cancelled."""
        task = asyncio.create_task(activity)
        # Not `finally`: a run that leaves the worker's cache is closed, and must not wait for anything then.
        try:
            await workflow.wait_condition(lambda: task.done() or condition())
            if not condition():
                return await task
        except asyncio.CancelledError:
            await _cancel(task)
            raise
        await _cancel(task)
        return None

    async def continue_as_new(self, given: ContractModel) -> NoReturn:
        """Continue as a new run with that input; handlers finish first."""
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(
            given, initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
        )


class RunContext(WorkflowClock):
    """The context that the steps of a run share; besides its timer there is that of the deadline."""

    def __init__(self, request: BatchRun) -> None:
        super().__init__()
        self.request = request
        self.state = request.state or RunState(unread_fields=request.unread_fields)
        self.state.started = self.state.started or workflow.info().start_time
        self.state.deadline = request.deadline
        self.notifier = Notifier(request, self.state.notifications)
        self._ending = ""
        self._watching: asyncio.Task[None] | None = None

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

    @property
    def deadline_passed(self) -> bool:
        """Whether the run has a deadline, and it has come."""
        return self.request.deadline is not None and self.now >= self.request.deadline

    def watch_deadline(self) -> None:
        """Set the timer of the deadline, if there is one: it ends the timer that the run is in."""
        if self.request.deadline and not self.deadline_passed:
            self._watching = asyncio.create_task(self._watch(self.request.deadline))

    def forget_deadline(self) -> None:
        """Take back the timer of the deadline, which matters no more."""
        if self._watching:
            self._watching.cancel()

    async def before_deadline(self, activity: Coroutine[Any, Any, _Result]) -> _Result | None:
        """Return the activity's result; None if the deadline comes first, in which case the activity is cancelled."""
        if self.request.deadline is None or self.deadline_passed:
            return await activity
        return await self.unless(lambda: self.deadline_passed, activity)

    @property
    def details(self) -> str:
        """The run's status, and how it ended, as markdown for its page in the Web UI."""
        status = current_details.describe_status(self.request, self.state, self.now)
        # Temporal shows the text that a run was started with only on the page of the run that did not continue another.
        request = current_details.describe_request(self.request) if self.continues else ""
        return "\n\n".join(filter(None, (status, self._ending, self.notifier.details, request)))

    def publish_status(self, ending: str = "") -> None:
        """Show the run's status in the list of runs, and on its page also how it ended; tell webhooks of it."""
        self._ending = ending
        search_attributes.publish(self.state, self.now)
        if self.request.notify:
            needs = search_attributes.status_of(self.state, self.now)
            events = run_events(self.state, needs, attached=self.request.batch_id is not None)
            self.notifier.notify(events, self.now)

    def log(self, message: str, *details: object, level: int = logging.INFO) -> None:
        """Log words of our own, with the batch's id: nothing that the API or a caller has written."""
        workflow.logger.log(level, message, *details, extra={"batch_id": self.state.batch and self.state.batch.id})

    async def sleep_until(self, time: datetime, reason: str) -> None:
        """Wait until that time, or until the run is woken, with a reason that the run reports meanwhile."""
        self.state.next_poll, self.state.waiting_for = time, reason
        self.publish_status()
        await self.wait_until(time, truncate_payload(reason, SUMMARY_BYTES))
        self.state.next_poll = self.state.waiting_for = None

    async def maybe_continue_as_new(self) -> None:
        """Count a turn, and continue as a new run if that is due; a submission that is undecided is carried over."""
        await self.notifier.started()
        # The server lets only the run that was asked to cancel end as cancelled, not one that continues it.
        if self.count_turn() and not self.state.cancel_requested:
            without_requests = {"requests": None, "requests_uri": None, "state": self.state}
            await self.continue_as_new(self.request.model_copy(update=without_requests))

    @property
    def past_history_budget(self) -> bool:
        """Whether the run should have continued as a new one, and may not because its cancellation was requested."""
        return self.state.cancel_requested and self.turns > CONTINUE_AFTER

    async def _watch(self, deadline: datetime) -> None:
        while (left := deadline - self.now) > timedelta(0):
            time = self.now + min(left, LONGEST_TIMER)
            await workflow.sleep(time - self.now, summary="the deadline")
            self._fired(time)
        self.wake()


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError, ActivityError):
        await task
