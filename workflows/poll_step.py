"""The pollBatchStatus step: one look at each interval of the contract, until the batch has ended."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.batch import MessageBatchActivities
from activities.models import BatchRef
from message_batches.errors import BatchNotFound
from message_batches.models import DEFAULT_RETRY_LIMIT, Phase
from message_batches.observability.metrics import ENDED, POLL_LATENESS
from workflows import activity_options
from workflows.context import Chain
from workflows.failures import failure, kind_of


class PollStep:
    """One run's polling; the interval is a durable timer, which survives any worker."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._schedule = chain.request.poll

    async def run(self) -> None:
        """Return once the batch has ended; `BatchNotEnded` if it may not be waited for any longer."""
        state = self._chain.state
        state.phase = Phase.POLLING
        while True:
            if state.next_poll:
                self._chain.tell()
                await self._chain.alarm.until(state.next_poll, f"poll {state.polls + 1}, {state.status}")
                POLL_LATENESS.record(workflow.metric_meter(), self._chain.now - state.next_poll, stage="timer")
                state.next_poll = None
            if await self._poll_once():
                ENDED.add(workflow.metric_meter())
                self._chain.note("The batch has ended")
                return
            self._check_limit()
            state.next_poll = self._chain.now + self._schedule.retry_after
            await self._chain.continue_if_due()

    async def _poll_once(self) -> bool:
        """Whether the batch has ended."""
        state = self._chain.state
        self._chain.tell()
        try:
            batch = await workflow.execute_activity_method(
                MessageBatchActivities.poll_batch_status,
                BatchRef(account=self._chain.request.account, batch_id=self._chain.batch_id),
                **activity_options.poll(self._schedule),
                summary=f"poll {state.polls + 1}",
            )
        except ActivityError as error:
            if kind_of(error) is not BatchNotFound:
                raise
            state.not_found_since = state.not_found_since or self._chain.now
            if self._chain.now - state.not_found_since >= activity_options.NOT_FOUND_GRACE:
                raise
            return False
        state.saw(batch, self._chain.now)
        state.polls += not batch.ended
        return batch.ended

    def _check_limit(self) -> None:
        """The contract's own limit lasts as long as the batch may; any other is obeyed to the poll."""
        state, limit = self._chain.state, self._schedule.retry_limit
        if state.polls <= limit or state.batch is None or state.first_seen is None:
            return
        lifetime = state.batch.expires_at - state.batch.created_at + activity_options.LIFETIME_MARGIN
        if limit == DEFAULT_RETRY_LIMIT and self._chain.now < state.first_seen + lifetime:
            return
        raise failure(
            "BatchNotEnded",
            f"The batch is still {state.status} after {state.polls} polls, {limit} retries were allowed",
            batch_id=self._chain.batch_id,
        )
