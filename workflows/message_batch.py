"""The run of one batch: the three steps of the Arazzo document, in its order, each surviving any crash."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from pydantic import ValidationError
from pydantic_core import to_json
from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.inputs import BatchRef, PrepareInput, SettleInput
    from activities.message_batches import MessageBatchActivities
    from activities.submission import SubmissionActivities
    from message_batches.errors import UnknownKey
    from message_batches.keys import check_key_name
    from message_batches.models import WORKFLOW_TYPE, BatchOutput, MessageBatch, Phase, Progress, Resolution
    from workflows import options
    from workflows.chain import Chain
    from workflows.failures import failure, from_activity
    from workflows.polling import PollStep
    from workflows.retrieving import RetrieveStep
    from workflows.state import BatchRun
    from workflows.submitting import SubmitStep


@workflow.defn(name=WORKFLOW_TYPE, failure_exception_types=[ValidationError])
class MessageBatchWorkflow:
    """Submits a batch once, waits until it has ended, lands its results."""

    @workflow.init
    def __init__(self, request: BatchRun) -> None:
        self._chain = Chain(request)
        self._request = request
        self._state = self._chain.state
        self._recording: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, request: BatchRun) -> BatchOutput:
        """The document's steps: submitBatch, pollBatchStatus until ended, retrieveResults."""
        try:
            await self._prepare()
            await self._submit_batch()
            await self._poll_batch_status()
            return await self._retrieve_results()
        except BaseException as error:
            if is_cancelled_exception(error):
                await self._stop_for_good()
            elif isinstance(error, Exception):
                self._state.phase = Phase.FAILED
                if isinstance(error, ActivityError):
                    raise from_activity(error, batch_id=self._chain.batch_id) from error
            raise

    async def _submit_batch(self) -> None:
        """Shielded: a cancel is remembered until nothing is out that could be paid for unseen."""
        if step := self._submit_step():
            submitting = asyncio.create_task(step.run())
            try:
                await asyncio.shield(submitting)
            except asyncio.CancelledError:
                self._state.cancel_requested = True
                self._chain.alarm.ring()
                await submitting
        if not self._state.settled:
            self._recording = asyncio.create_task(self._record())
        if self._state.cancel_requested:
            raise asyncio.CancelledError

    async def _poll_batch_status(self) -> None:
        await PollStep(self._chain).run()

    async def _retrieve_results(self) -> BatchOutput:
        batch = self._state.batch
        assert batch is not None, "polling has seen the batch"
        self._state.phase = Phase.RETRIEVING
        if self._recording:
            await self._recording
        step = self._submit_step()
        twice = await step.look_again() if step else []
        landed = await RetrieveStep(self._chain).run(batch)
        self._state.phase = Phase.LANDED
        return BatchOutput(
            batch_id=batch.id,
            request_counts=batch.request_counts,
            results_url=batch.results_url,
            results=landed.results,
            results_omitted=landed.results_omitted,
            results_file=landed.results_file,
            verified=landed.verified,
            possibly_paid_twice=tuple(twice),
            summary=landed.summary,
        )

    # --- before the steps: the requests, checked and in the store --------------------------------------------------

    async def _prepare(self) -> None:
        if self._state.store_id:
            return
        self._check_input()
        prepared = await workflow.execute_activity_method(
            MessageBatchActivities.prepare_requests,
            PrepareInput(
                account=self._request.account,
                requests=self._request.requests,
                requests_uri=self._request.requests_uri,
                store_id=self._request.store_id,
            ),
            **options.PREPARE,
            summary="check the requests",
        )
        self._state.store_id, self._state.manifest = prepared.store_id, prepared.manifest
        self._state.submission.batch_id = self._request.batch_id

    def _check_input(self) -> None:
        request = self._request
        try:
            # Before any activity: its input would repeat what may be a key.
            check_key_name(request.api_key)
        except UnknownKey as error:
            raise failure("UnknownKey", str(error)) from None
        if request.requests is not None and request.requests_uri is not None:
            raise failure("InvalidRequests", "Give either requests or requestsUri, not both; nothing was sent")
        if request.requests is None and request.requests_uri is None and not request.batch_id:
            raise failure("InvalidRequests", "Give requests, requestsUri, or the batchId of a batch to attach to")
        if request.requests is not None and len(to_json(request.requests)) > options.INLINE_LIMIT:
            raise failure(
                "InvalidRequests",
                f"Inline requests may be {options.INLINE_LIMIT // 1024} KiB at most: put them into the store and pass "
                "requestsUri (`starter.py start FILE` does that); nothing was sent",
            )

    # --- beside the steps ------------------------------------------------------------------------------------------

    def _submit_step(self) -> SubmitStep | None:
        """The submission of this run; None where a batch is only taken over."""
        if self._request.batch_id or self._state.manifest is None:
            return None
        return SubmitStep(self._chain, self._state.manifest)

    async def _record(self) -> None:
        """The batch's id under its intents, and our claim: retried beside the polling, which it never stops."""
        batch_id, step = self._chain.batch_id, self._submit_step()
        taken_over = SettleInput(
            submitter=None, store_id=self._state.store_id or "", posts=0, batch_id=batch_id, certain=True
        )
        await workflow.execute_activity_method(
            SubmissionActivities.settle_submission,
            step.settle_input(batch_id, certain=True) if step else taken_over,
            **options.RECORD,
            summary=f"record {batch_id}",
        )
        self._state.settled = True

    async def _stop_for_good(self) -> None:
        """The run is cancelled: stop the batch at the provider first, so that billing stops."""
        state, batch_id = self._state, self._chain.batch_id
        state.phase = Phase.CANCELED
        if not batch_id or (state.batch and state.batch.ended):
            return
        try:
            state.saw(await self._cancel_at_provider(), workflow.now())
        except ActivityError as error:
            workflow.logger.error("Batch %s could not be cancelled and goes on: %s", batch_id, error.cause)
            workflow.set_current_details(
                f"**Batch {batch_id} could not be cancelled at the provider; it goes on and is billed**: {error.cause}"
            )
        if self._recording:
            with suppress(TimeoutError):
                await workflow.wait_condition(lambda: state.settled, timeout=timedelta(minutes=1))

    async def _cancel_at_provider(self) -> MessageBatch:
        return await workflow.execute_activity_method(
            MessageBatchActivities.cancel_batch,
            BatchRef(account=self._request.account, batch_id=self._chain.batch_id),
            **options.CANCEL,
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
        self._state.saw(batch, workflow.now())
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
    def resolve_submission(self, resolution: Resolution) -> Progress:
        """Decide what the lost reply left open: adopt this batch, or submit again."""
        self._state.resolution = resolution
        self._chain.alarm.ring()
        return self._state.progress()

    @resolve_submission.validator
    def _may_resolve(self, resolution: Resolution) -> None:
        if bool(resolution.adopt) == resolution.submit_again:
            raise failure("InvalidResolution", "Give either adopt (a batch id) or submitAgain, not both")
        if not self._state.submission.undecided or self._state.resolution:
            raise failure("NotUndecided", "The submission is not undecided: there is nothing to resolve")
