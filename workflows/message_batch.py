"""The run of one batch: the three steps of the Arazzo document, in its order, each surviving any crash."""

import asyncio
import logging
from contextlib import suppress

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.batch import MessageBatchActivities
    from activities.models import BatchRef, PrepareInput
    from message_batches.api.models import MessageBatch
    from message_batches.contract import WORKFLOW_TYPE
    from message_batches.models import BatchOutput, Phase, Progress, Resolution
    from message_batches.observability.metrics import PAID_TWICE, RUNS_ENDED, count_results
    from message_batches.temporal.search_attributes import BatchOutcome
    from workflows import activity_options, current_details
    from workflows.context import Chain
    from workflows.failures import extended, failure, from_activity, name_of
    from workflows.input_validation import NOTHING, check_input, read_input
    from workflows.poll_step import PollStep
    from workflows.retrieve_step import RetrieveStep
    from workflows.search_attributes import outcome_of
    from workflows.state import BatchRun
    from workflows.submit_step import SubmitStep


@workflow.defn(name=WORKFLOW_TYPE)
class MessageBatchWorkflow:
    """Submits a batch once, waits until it has ended, lands its results."""

    @workflow.init
    def __init__(self, given: RawValue = NOTHING) -> None:
        self._chain = Chain(read_input(given))
        self._state = self._chain.state
        self._submit_step = SubmitStep(self._chain)
        self._poll_step = PollStep(self._chain)
        self._retrieve_step = RetrieveStep(self._chain)

    @workflow.run
    async def run(self, given: RawValue = NOTHING) -> BatchOutput:
        """The document's steps: submitBatch, pollBatchStatus until ended, retrieveResults."""
        try:
            await self._prepare(self._chain.request)
            await self._submit_step.run()
            await self._poll_step.run()
            output = await self._retrieve_results()
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled_exception(error):
                await self._ended(Phase.CANCELED, BatchOutcome.CANCELED, await self._stop_for_good())
                raise
            if not isinstance(error, ActivityError | ApplicationError):
                await self._ended(Phase.FAILED, None, current_details.failed(error))
                raise
            batch_id = self._chain.batch_id
            typed = from_activity(error, batch_id=batch_id) if isinstance(error, ActivityError) else error
            failed = await self._naming_a_second_batch(typed)
            await self._ended(Phase.FAILED, failed.type, current_details.failed(failed))
            if failed is error:
                raise
            raise failed from error
        await self._ended(Phase.LANDED, outcome_of(output), current_details.outcome(output))
        return output

    async def _naming_a_second_batch(self, failed: ApplicationError) -> ApplicationError:
        """What may have been paid for besides: who attaches to the batch of a run that failed does not know of it."""
        twice_perhaps = self._chain.batch_id and self._state.submission.may_be_paid_twice
        if not (twice_perhaps and workflow.patched("failures-name-a-second-batch")):
            return failed
        twice, unchecked = await self._submit_step.look_again()
        if unchecked:
            return extended(failed, f"Whether it was paid for twice is not known: {unchecked}")
        named = ", ".join(twice)
        return extended(failed, f"Possibly paid for besides: {named}", possiblyPaidTwice=twice) if twice else failed

    async def _ended(self, phase: Phase, outcome: str | None, said: str) -> None:
        self._state.phase, self._state.outcome = phase, outcome
        if outcome:  # Without one the run has not ended: its task is tried again.
            RUNS_ENDED.add(workflow.metric_meter(), status=phase.value, outcome=outcome)
            level = logging.WARNING if phase is Phase.FAILED else logging.INFO
            how = phase.value if phase.value == outcome else f"{phase.value}, {outcome}"
            self._chain.note("The run has ended: %s", how, level=level)
        self._chain.tell(said)
        await self._submit_step.recorded_within(activity_options.LAST_RECORD)
        # An update that came in time is answered, however the run ends.
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _prepare(self, request: BatchRun) -> None:
        """Before the steps: the requests, checked and in the store."""
        check_input(request)
        self._chain.tell()
        if self._state.store_id:
            return
        prepared = await workflow.execute_activity_method(
            MessageBatchActivities.prepare_requests,
            PrepareInput(
                account=request.account,
                requests=request.requests,
                requests_uri=request.requests_uri,
                store_id=request.store_id,
            ),
            **activity_options.PREPARE,
            summary="check the requests",
        )
        self._state.store_id, self._state.manifest = prepared.store_id, prepared.manifest
        self._state.search_attributes = prepared.search_attributes
        self._state.submission.batch_id = request.batch_id

    async def _retrieve_results(self) -> BatchOutput:
        batch = self._state.batch
        assert batch is not None, "polling has seen the batch"
        await self._submit_step.recorded()
        twice, unchecked = await self._submit_step.look_again()
        landed = await self._retrieve_step.run(batch)
        count_results(workflow.metric_meter(), landed.summary, landed.results_file.bytes)
        PAID_TWICE.add(workflow.metric_meter(), len(twice))
        delete = self._chain.request.delete_after_landing
        kept = await self._retrieve_step.delete(landed, twice=bool(twice or unchecked)) if delete else None
        return BatchOutput(
            batch_id=batch.id,
            request_counts=batch.request_counts,
            results_url=batch.results_url,
            results=landed.results,
            results_omitted=landed.results_omitted,
            results_file=landed.results_file,
            verified=landed.verified,
            possibly_paid_twice=tuple(twice),
            paid_twice_unchecked=unchecked,
            deleted=delete and kept is None,
            not_deleted=kept,
            summary=landed.summary,
        )

    # --- beside the steps ------------------------------------------------------------------------------------------

    async def _stop_for_good(self) -> str:
        """The run is cancelled: stop the batch at the provider first, so that billing stops; what became of it."""
        state, batch_id, said = self._state, self._chain.batch_id, ""
        if not batch_id or (state.batch and state.batch.ended):
            return said
        try:
            state.saw(await self._cancel_at_provider(), self._chain.now)
        except ActivityError as error:
            self._chain.note("The batch could not be cancelled and goes on: %s", name_of(error), level=logging.ERROR)
            said = current_details.not_cancelled(batch_id, error)
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: state.settled, timeout=activity_options.LAST_RECORD, timeout_summary="record the batch"
            )
        return said

    async def _cancel_at_provider(self) -> MessageBatch:
        return await workflow.execute_activity_method(
            MessageBatchActivities.cancel_batch,
            BatchRef(account=self._chain.request.account, batch_id=self._chain.batch_id),
            **activity_options.CANCEL,
            summary=f"stop {self._chain.batch_id}",
        )

    # --- from outside ----------------------------------------------------------------------------------------------

    @workflow.signal(name="pollNow")
    def poll_now(self) -> None:
        """Poll at once instead of at the timer."""
        self._chain.alarm.ring()

    @workflow.query
    def progress(self) -> Progress:
        """Where the run stands."""
        return self._state.progress()

    @workflow.update(name="cancelBatch")
    async def cancel_batch(self) -> MessageBatch:
        """Stop the batch at the provider; what had finished is landed."""
        try:
            batch = await self._cancel_at_provider()
        except ActivityError as error:
            raise from_activity(error) from error
        self._state.saw(batch, self._chain.now)
        self._chain.alarm.ring()
        return batch

    @cancel_batch.validator
    def _may_cancel_batch(self) -> None:
        if self._state.submission.undecided:
            raise failure("Undecided", "Which batch is ours is not decided: resolve the submission first")
        if not self._chain.batch_id:
            raise failure("NotSubmitted", "There is no batch yet: cancel the run itself, or try again in a moment")
        if self._state.phase is not Phase.POLLING:
            raise failure("AlreadyEnded", f"The batch has ended, the run is {self._state.phase}: nothing to cancel")

    @workflow.update(name="resolveSubmission")
    async def resolve_submission(self, resolution: Resolution) -> Progress:
        """Decide what the lost reply left open: adopt this batch, or submit again."""
        try:
            await self._submit_step.resolve(resolution)
        except ActivityError as error:
            raise from_activity(error) from error
        return self._state.progress()

    @resolve_submission.validator
    def _may_resolve(self, resolution: Resolution) -> None:
        if bool(resolution.adopt) == resolution.submit_again:
            raise failure("InvalidResolution", "Give either adopt (a batch id) or submitAgain, not both")
        if not self._state.submission.undecided:
            raise failure("NotUndecided", "The submission is not undecided: there is nothing to resolve")
