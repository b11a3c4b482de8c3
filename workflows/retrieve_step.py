"""The retrieveResults step: lands the results in the store, complete and checked."""

import logging

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.batch import MessageBatchActivities
from activities.models import DeleteInput, RetrieveInput
from message_batches.api.models import MessageBatch
from message_batches.errors import BatchNotFound, MessageBatchesError, ReplyLost, ResultsIncomplete
from message_batches.formatting import SUMMARY_BYTES, plural, truncate_payload
from message_batches.models import Phase
from message_batches.result_models import LandedResults
from workflows import activity_options
from workflows.context import RunContext
from workflows.failures import FIXED_BY_ANOTHER_WORKER, error_name_of, error_type_of


class RetrieveStep:
    """The landing of one run: a stream that was cut starts over, an unavailable store is waited for."""

    def __init__(self, context: RunContext) -> None:
        self._context = context

    async def run(self, batch: MessageBatch) -> LandedResults:
        """Land the results; `ResultsIncomplete` if no download of several was complete."""
        state = self._context.state
        state.phase = Phase.RETRIEVING
        while True:
            last = state.downloads + 1 >= activity_options.MAX_DOWNLOADS
            self._context.publish_status()
            try:
                return await self._land(batch, last=last)
            except ActivityError as error:
                if not self._may_retry(error_type_of(error), last=last):
                    raise
                self._context.log("The results could not be landed: %s", error_name_of(error), level=logging.WARNING)
                state.landing_fails_since = state.landing_fails_since or self._context.now
                state.waiting_for = f"the results could not be landed: {error.cause}"[:500]
            await self._context.maybe_continue_as_new()
            self._context.publish_status()
            await workflow.sleep(
                min(activity_options.DOWNLOAD_INTERVAL, self._context.request.poll.retry_after),
                summary=truncate_payload(state.waiting_for, SUMMARY_BYTES),
            )
            state.waiting_for = None

    async def delete(self, landed: LandedResults, *, twice: bool) -> str | None:
        """Delete the batch at the provider; return why it is still there, or None.

        Args:
            landed: its results.
            twice: whether it may have been paid for twice, and so is kept as the evidence.
        """
        if not landed.verified:
            return "its results could not be compared with the requests"
        if twice:
            return "it may have been paid for twice, and is the evidence"
        try:
            await workflow.execute_activity_method(
                MessageBatchActivities.delete_batch,
                DeleteInput(
                    profile=self._context.request.profile,
                    batch_id=landed.batch_id,
                    store_id=self._context.state.store_id or "",
                    results_file=landed.results_file,
                    claim=self._context.claim,
                    anchor=self._context.state.submission.anchor,
                ),
                task_queue=self._context.landing_queue,
                **activity_options.DELETE,
                summary=f"delete {landed.batch_id}",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return str(error.cause)[:500]
        return None

    def _may_retry(self, kind: type[MessageBatchesError] | None, *, last: bool) -> bool:
        """Count the failed download; return whether another one may succeed."""
        state = self._context.state
        if kind in FIXED_BY_ANOTHER_WORKER:
            return True
        if kind is BatchNotFound:
            state.results_missing_since = state.results_missing_since or self._context.now
            return self._context.now - state.results_missing_since < activity_options.NOT_FOUND_GRACE
        if kind is ReplyLost:
            # Cut at every one of its retries: one last download keeps what does arrive.
            state.downloads = activity_options.MAX_DOWNLOADS - 1
        elif kind is ResultsIncomplete:
            state.downloads += 1
        else:
            return False
        return not last

    async def _land(self, batch: MessageBatch, *, last: bool) -> LandedResults:
        return await workflow.execute_activity_method(
            MessageBatchActivities.retrieve_results,
            RetrieveInput(
                profile=self._context.request.profile,
                batch_id=batch.id,
                store_id=self._context.state.store_id or "",
                manifest=self._context.state.manifest,
                expected_count=batch.request_counts.total,
                keep_partial=last,
                compare=self._context.request.batch_id is not None or self._context.state.submission.adopted,
            ),
            task_queue=self._context.landing_queue,
            **activity_options.retrieve(self._context.request.poll.transient),
            summary=f"land {plural(batch.request_counts.total, 'result')}",
        )
