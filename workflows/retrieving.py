"""The retrieveResults step: lands the results in the store, complete and checked."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.inputs import RetrieveInput
from activities.message_batches import MessageBatchActivities
from message_batches.errors import BatchNotFound, ResultsIncomplete, StoreUnavailable, WrongStore
from message_batches.models import Landed, MessageBatch
from workflows import options
from workflows.chain import Chain
from workflows.failures import kind_of

STORE_IS_AWAY = (StoreUnavailable, WrongStore)
MAY_BE_MENDED = (ResultsIncomplete, BatchNotFound)


class RetrieveStep:
    """One run's landing: a stream that was cut starts over, a store that is away is waited for."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    async def run(self, batch: MessageBatch) -> Landed:
        """The landed results; `ResultsIncomplete` if no download of several was complete."""
        downloads = 0
        while True:
            try:
                return await self._land(batch, last=downloads + 1 >= options.LANDINGS)
            except ActivityError as error:
                kind, cause = kind_of(error), error.cause
                downloads += kind not in STORE_IS_AWAY
                if kind not in STORE_IS_AWAY and (kind not in MAY_BE_MENDED or downloads >= options.LANDINGS):
                    raise
            again = workflow.now() + self._chain.request.poll.retry_after
            await self._chain.alarm.until(again, f"download again: {cause}"[:200])

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
            **options.retrieve(self._chain.request.poll.transient),
            summary=f"land {batch.request_counts.total} results",
        )
