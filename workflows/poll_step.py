"""The pollBatchStatus step: one poll at each interval of the document, until the batch has ended."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.batch import MessageBatchActivities
from activities.models import BatchRef
from message_batches.api.models import MessageBatch
from message_batches.errors import BatchNotFound
from message_batches.models import DEFAULT_RETRY_LIMIT, Phase
from message_batches.observability.metrics import ENDED, POLL_LATENESS
from workflows import activity_options
from workflows.context import RunContext
from workflows.continue_as_new import maybe_continue_as_new
from workflows.failures import batch_failure, error_type_of


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
                await self._context.wait_until(state.next_poll, f"poll {state.polls + 1}, {state.status}")
                POLL_LATENESS.record(workflow.metric_meter(), self._context.now - state.next_poll, stage="timer")
                state.next_poll = None
            if batch := await self._poll_once():
                ENDED.add(workflow.metric_meter())
                self._context.log("The batch has ended")
                return batch
            self._check_limit()
            state.next_poll = self._context.now + self._schedule.retry_after
            await maybe_continue_as_new(self._context)

    async def _poll_once(self) -> MessageBatch | None:
        """Poll the batch; return it if it has ended, or else None."""
        state = self._context.state
        self._context.publish_status()
        # Not with every poll: the history has the input of each.
        look_in_store = not state.polls or state.not_found_since
        try:
            batch = await workflow.execute_activity_method(
                MessageBatchActivities.poll_batch_status,
                BatchRef(
                    profile=self._context.request.profile,
                    batch_id=self._context.batch_id,
                    store_id=state.store_id if look_in_store else None,
                ),
                **activity_options.poll(self._schedule),
                summary=f"poll {state.polls + 1}",
            )
        except ActivityError as error:
            if error_type_of(error) is not BatchNotFound:
                raise
            state.not_found_since = state.not_found_since or self._context.now
            state.not_found += 1
            if self._context.now - state.not_found_since >= activity_options.NOT_FOUND_GRACE:
                raise
            return None
        state.update_batch(batch, self._context.now)
        state.polls += not batch.ended
        return batch if batch.ended else None

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
