"""The pollBatchStatus step: one poll at each interval of the document, until the batch has ended."""

import logging
from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.batch import MessageBatchActivities
from activities.models import BatchRef
from message_batches.api.models import MessageBatch
from message_batches.errors import BatchNotFound
from message_batches.models import DEFAULT_RETRY_LIMIT, Phase
from message_batches.observability.metrics import ENDED, POLL_LATENESS
from workflows import activity_options
from workflows.context import RunContext
from workflows.failures import batch_failure, error_name_of, error_type_of, had_no_turn


class PollStep:
    """The polling of one run; the interval is a durable timer, which survives any worker."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._schedule = context.request.poll

    async def run(self) -> MessageBatch:
        """Return the batch once it has ended; `BatchNotEnded` if it may not be waited for any longer."""
        state = self._context.state
        state.phase = Phase.POLLING
        while True:
            if state.next_poll:
                self._context.publish_status()
                await self._context.wait_until(state.next_poll, self._summary())
                POLL_LATENESS.record(workflow.metric_meter(), self._context.now - state.next_poll, stage="timer")
                state.next_poll = None
            due = self._must_cancel()
            if due:
                await self._cancel_at_deadline()
            began = self._context.now
            if batch := await self._poll_once():
                self._context.forget_deadline()
                state.waiting_for = None
                ENDED.add(workflow.metric_meter())
                self._context.log("The batch has ended")
                return batch
            self._check_limit()
            # The deadline has come during the poll, or that was the first of a batch that is taken over.
            at_once = self._must_cancel() and not due
            state.next_poll = self._context.now if at_once else self._next_poll_after(began)
            await self._context.maybe_continue_as_new()

    async def cancel_batch(self) -> MessageBatch:
        """Cancel the batch at the provider."""
        return await workflow.execute_activity_method(
            MessageBatchActivities.cancel_batch,
            BatchRef(profile=self._context.request.profile, batch_id=self._context.batch_id),
            task_queue=self._context.calls_queue,
            **activity_options.CANCEL,
            summary=f"stop {self._context.batch_id}",
        )

    async def _poll_once(self) -> MessageBatch | None:
        """Poll the batch; return it if it has ended, or else None."""
        state = self._context.state
        self._context.publish_status()
        try:
            # Where the API does not answer, its retries last for hours.
            batch = await self._context.before_deadline(self._retrieve())
        except ActivityError as error:
            if had_no_turn(error):
                return None
            if error_type_of(error) is not BatchNotFound:
                raise
            state.not_found_since = state.not_found_since or self._context.now
            state.not_found += 1
            if self._context.now - state.not_found_since >= activity_options.NOT_FOUND_GRACE:
                raise
            return None
        if batch is None:
            return None
        state.update_batch(batch, self._context.now)
        state.polls += not batch.ended
        return batch if batch.ended else None

    def _next_poll_after(self, began: datetime) -> datetime:
        """Return the time of the next poll, an interval after this one began, or half of one from now if that is later.

        A worker that has taken over sees the answer of a poll late. An API that answers late is not asked sooner.
        """
        interval = self._schedule.retry_after
        return max(began + interval, self._context.now + interval / 2)

    def _summary(self) -> str:
        """Return the summary of the timer, which each poll's history has: the status only where it is another."""
        state = self._context.state
        return f"poll {state.polls + 1}{'' if state.status == 'in_progress' else f', {state.status}'}"

    async def _retrieve(self) -> MessageBatch:
        """Return the batch as the API describes it now."""
        state, known = self._context.state, self._context.state.batch
        # Not with every poll: the history has the input and the result of each, and no summary but the timer's.
        look_in_store = not state.polls or state.not_found_since
        found = await workflow.execute_activity_method(
            MessageBatchActivities.poll_batch_status,
            BatchRef(
                profile=self._context.request.profile,
                batch_id=self._context.batch_id,
                store_id=state.store_id if look_in_store else None,
                seen=known.fingerprint if known else None,
            ),
            **activity_options.poll(self._schedule),
        )
        found = found or state.batch or known
        assert found
        return found

    def _must_cancel(self) -> bool:
        """Tell whether the deadline has come, and the batch has neither ended nor been canceled."""
        state = self._context.state
        if not self._context.deadline_passed or state.canceled_at_deadline or state.batch is None:
            return False
        return not (state.batch.ended or state.batch.cancel_initiated_at)

    async def _cancel_at_deadline(self) -> None:
        """Cancel the batch because its deadline has come; if that fails, it is tried again before the next poll."""
        state = self._context.state
        try:
            batch = await self.cancel_batch()
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._context.log(
                "The batch could not be canceled at its deadline: %s", error_name_of(error), level=logging.WARNING
            )
            state.waiting_for = f"the deadline has passed, and the batch could not be canceled: {error.cause}"[:500]
            return
        state.update_batch(batch, self._context.now)
        state.canceled_at_deadline, state.waiting_for = True, None
        self._context.log("The batch is canceled: its deadline has passed")

    def _check_limit(self) -> None:
        """Raise `BatchNotEnded` past the limit: the document's lasts as long as the batch may, any other is exact."""
        state, limit = self._context.state, self._schedule.retry_limit
        if state.polls <= limit or state.batch is None or state.first_seen is None:
            return
        lifetime = state.batch.expires_at - state.batch.created_at + activity_options.LIFETIME_MARGIN
        if limit == DEFAULT_RETRY_LIMIT and self._context.now < state.first_seen + lifetime:
            return
        message = f"The batch is still {state.status} after {state.polls} polls, {limit} retries were allowed"
        raise batch_failure("BatchNotEnded", message, self._context.batch_id)
