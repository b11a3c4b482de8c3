"""The retrieveResults step: lands the results in the store, complete and checked."""

import logging

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.batch import MessageBatchActivities
from activities.models import DeleteInput, RetrieveInput
from message_batches.api.models import MessageBatch
from message_batches.errors import BatchNotFound, MessageBatchesError, ReplyLost, ResultsIncomplete
from message_batches.formatting import SUMMARY_BYTES, fitted, plural
from message_batches.models import Landed, Phase
from workflows import activity_options
from workflows.context import Chain
from workflows.failures import WORKER_LACKS, kind_of, name_of


class RetrieveStep:
    """One run's landing: a stream that was cut starts over, a store that is away is waited for."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    async def run(self, batch: MessageBatch) -> Landed:
        """The landed results; `ResultsIncomplete` if no download of several was complete."""
        state = self._chain.state
        state.phase = Phase.RETRIEVING
        while True:
            last = state.downloads + 1 >= activity_options.LANDINGS
            self._chain.tell()
            try:
                return await self._land(batch, last=last)
            except ActivityError as error:
                if not self._again(kind_of(error), last=last):
                    raise
                self._chain.note("The results could not be landed: %s", name_of(error), level=logging.WARNING)
                state.landing_fails_since = state.landing_fails_since or self._chain.now
                state.waiting_for = f"the results could not be landed: {error.cause}"[:500]
            await self._chain.continue_if_due()
            self._chain.tell()
            await workflow.sleep(
                min(activity_options.ASK_AGAIN, self._chain.request.poll.retry_after),
                summary=fitted(state.waiting_for, SUMMARY_BYTES),
            )
            state.waiting_for = None

    async def delete(self, landed: Landed, *, twice: bool) -> str | None:
        """Delete the batch at the provider; why not, if it is still there.

        Args:
            landed: its results.
            twice: whether it may have been paid for twice, for which it is the evidence.
        """
        if not landed.verified:
            return "its results could not be held against the requests"
        if twice:
            return "it may have been paid for twice, and shows that"
        try:
            await workflow.execute_activity_method(
                MessageBatchActivities.delete_batch,
                DeleteInput(
                    account=self._chain.request.account,
                    batch_id=landed.batch_id,
                    store_id=self._chain.state.store_id or "",
                    results_file=landed.results_file,
                    claim=self._chain.claim,
                ),
                task_queue=self._chain.landing_queue,
                **activity_options.DELETE,
                summary=f"delete {landed.batch_id}",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return str(error.cause)[:500]
        return None

    def _again(self, kind: type[MessageBatchesError] | None, *, last: bool) -> bool:
        """Whether another download may mend it."""
        state = self._chain.state
        if kind in WORKER_LACKS:
            return True
        if kind is BatchNotFound:
            state.results_missing_since = state.results_missing_since or self._chain.now
            return self._chain.now - state.results_missing_since < activity_options.NOT_FOUND_GRACE
        if kind is ReplyLost:
            # Cut at every one of its retries: once more, to keep what does arrive.
            state.downloads = activity_options.LANDINGS - 1
        elif kind is ResultsIncomplete:
            state.downloads += 1
        else:
            return False
        return not last

    async def _land(self, batch: MessageBatch, *, last: bool) -> Landed:
        return await workflow.execute_activity_method(
            MessageBatchActivities.retrieve_results,
            RetrieveInput(
                account=self._chain.request.account,
                batch_id=batch.id,
                store_id=self._chain.state.store_id or "",
                manifest=self._chain.state.manifest,
                expected_count=batch.request_counts.total,
                keep_partial=last,
            ),
            task_queue=self._chain.landing_queue,
            **activity_options.retrieve(self._chain.request.poll.transient),
            summary=f"land {plural(batch.request_counts.total, 'result')}",
        )
