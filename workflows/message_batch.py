"""The run of one batch: the three steps of the Arazzo document, in its order, each surviving any crash."""

import asyncio
from datetime import timedelta

from pydantic import ValidationError
from pydantic_core import to_json
from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.inputs import BatchRef, PrepareInput, RetrieveInput, SettleInput
    from activities.message_batches import MessageBatchActivities
    from activities.submission import SubmissionActivities
    from message_batches.errors import BatchNotFound, ResultsIncomplete, StoreUnavailable, WrongStore
    from message_batches.models import (
        DEFAULT_RETRY_LIMIT,
        WORKFLOW_TYPE,
        BatchOutput,
        Landed,
        MessageBatch,
        Phase,
        Progress,
        Resolution,
    )
    from workflows import options
    from workflows.alarm import Alarm
    from workflows.failures import failure, from_activity, kind_of
    from workflows.state import BatchRun, RunState
    from workflows.submitting import SubmitStep


@workflow.defn(name=WORKFLOW_TYPE, failure_exception_types=[ValidationError])
class MessageBatchWorkflow:
    """Submits a batch once, waits until it has ended, lands its results."""

    @workflow.init
    def __init__(self, request: BatchRun) -> None:
        self._request = request
        self._state = request.state or RunState()
        self._alarm = Alarm()
        self._turns = 0
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
            if isinstance(error, ActivityError) and not is_cancelled_exception(error):
                raise from_activity(error, batch_id=self._batch_id) from error
            raise

    # --- before the document: the requests, checked and in the store -----------------------------------------------

    async def _prepare(self) -> None:
        if self._state.store_id:
            return
        request = self._request
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
        prepared = await workflow.execute_activity_method(
            MessageBatchActivities.prepare_requests,
            PrepareInput(
                account=request.account,
                requests=request.requests,
                requests_uri=request.requests_uri,
                store_id=request.store_id,
            ),
            **options.PREPARE,
            summary="check the requests",
        )
        self._state.store_id, self._state.manifest = prepared.store_id, prepared.manifest
        self._state.submission.batch_id = request.batch_id

    # --- submitBatch -----------------------------------------------------------------------------------------------

    async def _submit_batch(self) -> None:
        """Shielded: a cancel is remembered until nothing is out that could be paid for unseen."""
        if step := self._submit_step():
            submitting = asyncio.create_task(step.run())
            try:
                await asyncio.shield(submitting)
            except asyncio.CancelledError:
                self._state.cancel_requested = True
                self._alarm.ring()
                await submitting
        if not self._state.settled:
            self._recording = asyncio.create_task(self._record())
        if self._state.cancel_requested:
            raise asyncio.CancelledError

    async def _record(self) -> None:
        """The batch's id under its intents, and our claim: retried beside the polling, which it never stops."""
        step, store_id = self._submit_step(), self._state.store_id or ""
        settle = SettleInput(submitter=None, store_id=store_id, posts=0, batch_id=self._batch_id, certain=True)
        await workflow.execute_activity_method(
            SubmissionActivities.settle_submission,
            step.settle_input(self._batch_id, certain=True) if step else settle,
            **options.RECORD,
            summary=f"record {self._batch_id}",
        )
        self._state.settled = True

    # --- pollBatchStatus -------------------------------------------------------------------------------------------

    async def _poll_batch_status(self) -> None:
        state, poll = self._state, self._request.poll
        state.phase = Phase.POLLING
        while True:
            if state.next_poll:
                await self._alarm.until(state.next_poll, f"poll {state.polls + 1}, {self._status}")
                state.next_poll = None
            if await self._poll_once():
                return
            self._check_limit()
            state.next_poll = workflow.now() + poll.retry_after
            await self._continue_if_due()

    async def _poll_once(self) -> bool:
        """One look at the batch; whether it has ended."""
        state = self._state
        try:
            batch = await workflow.execute_activity_method(
                MessageBatchActivities.poll_batch_status,
                BatchRef(account=self._request.account, batch_id=self._batch_id or ""),
                **options.poll(self._request.poll),
                summary=f"poll {state.polls + 1}",
            )
        except ActivityError as error:
            if kind_of(error) is not BatchNotFound:
                raise
            state.not_found_since = state.not_found_since or workflow.now()
            if workflow.now() - state.not_found_since >= options.NOT_FOUND_GRACE:
                raise
            return False
        self._saw(batch)
        state.polls += not batch.ended
        return batch.ended

    def _saw(self, batch: MessageBatch) -> None:
        self._state.batch = batch
        self._state.first_seen = self._state.first_seen or workflow.now()
        self._state.not_found_since = None

    def _check_limit(self) -> None:
        """The contract's own limit lasts as long as the batch may; any other is obeyed to the poll."""
        state, limit = self._state, self._request.poll.retry_limit
        if state.polls <= limit or state.batch is None or state.first_seen is None:
            return
        lifetime = state.batch.expires_at - state.batch.created_at + options.LIFETIME_MARGIN
        if limit == DEFAULT_RETRY_LIMIT and workflow.now() < state.first_seen + lifetime:
            return
        raise failure(
            "BatchNotEnded",
            f"The batch is still {self._status} after {state.polls} polls, {limit} retries were allowed",
            batch_id=self._batch_id,
        )

    # --- retrieveResults -------------------------------------------------------------------------------------------

    async def _retrieve_results(self) -> BatchOutput:
        state, batch = self._state, self._state.batch
        assert batch is not None
        state.phase = Phase.RETRIEVING
        if self._recording:
            await self._recording
        step = self._submit_step()
        twice = await step.look_again() if step else []
        landed = await self._land(batch)
        state.phase = Phase.LANDED
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

    async def _land(self, batch: MessageBatch) -> Landed:
        """A stream that was cut starts over; a store that is away is waited for."""
        downloads = 0
        while True:
            downloads += 1
            try:
                return await workflow.execute_activity_method(
                    MessageBatchActivities.retrieve_results,
                    RetrieveInput(
                        account=self._request.account,
                        batch_id=batch.id,
                        store_id=self._state.store_id or "",
                        manifest=self._state.manifest,
                        expected_count=batch.request_counts.total,
                        keep_partial=downloads >= options.LANDINGS,
                    ),
                    **options.retrieve(self._request.poll.transient),
                    summary=f"land {batch.request_counts.total} results",
                )
            except ActivityError as error:
                kind = kind_of(error)
                if kind in (StoreUnavailable, WrongStore):
                    downloads -= 1
                elif kind not in (ResultsIncomplete, BatchNotFound) or downloads >= options.LANDINGS:
                    raise
                cause = error.cause
            again = workflow.now() + self._request.poll.retry_after
            await self._alarm.until(again, f"download again: {cause}"[:200])

    # --- around the steps ------------------------------------------------------------------------------------------

    @property
    def _batch_id(self) -> str | None:
        return self._state.submission.batch_id

    @property
    def _status(self) -> str:
        return self._state.batch.processing_status if self._state.batch else "not yet seen"

    def _submit_step(self) -> SubmitStep | None:
        """The protocol of this run; None where a batch is only taken over."""
        if self._request.batch_id or self._state.manifest is None:
            return None
        return SubmitStep(self._request, self._state, self._state.manifest, self._alarm, self._continue_if_due)

    async def _continue_if_due(self) -> None:
        """Continue as a new run before the history gets long; handlers first, nothing undecided is left behind."""
        self._turns += 1
        if self._turns <= options.CONTINUE_AFTER and not workflow.info().is_continue_as_new_suggested():
            return
        await workflow.wait_condition(workflow.all_handlers_finished)
        bare = {"requests": None, "requests_uri": None, "state": self._state}
        workflow.continue_as_new(self._request.model_copy(update=bare))

    async def _stop_for_good(self) -> None:
        """The run is cancelled: stop the batch at the provider first, so that billing stops."""
        state = self._state
        state.phase = Phase.CANCELED
        if not self._batch_id or (state.batch and state.batch.ended):
            return
        try:
            self._saw(await self._cancel_at_provider())
        except ActivityError as error:
            workflow.logger.error("Batch %s could not be cancelled and goes on: %s", self._batch_id, error.cause)
            workflow.set_current_details(
                f"**Batch {self._batch_id} could not be cancelled at the provider and goes on, billed**: {error.cause}"
            )
        if self._recording:
            try:
                await workflow.wait_condition(lambda: state.settled, timeout=timedelta(minutes=1))
            except TimeoutError:
                workflow.logger.warning("The store did not take the record of batch %s", self._batch_id)

    async def _cancel_at_provider(self) -> MessageBatch:
        return await workflow.execute_activity_method(
            MessageBatchActivities.cancel_batch,
            BatchRef(account=self._request.account, batch_id=self._batch_id or ""),
            **options.CANCEL,
            summary=f"stop {self._batch_id}",
        )

    # --- from outside ----------------------------------------------------------------------------------------------

    @workflow.signal(name="pollNow")
    def poll_now(self) -> None:
        """Poll at once instead of at the timer."""
        self._alarm.ring()

    @workflow.query
    def progress(self) -> Progress:
        """Where the run stands."""
        state, batch = self._state, self._state.batch
        return Progress(
            phase=state.phase,
            batch_id=self._batch_id,
            processing_status=batch.processing_status if batch else None,
            request_counts=batch.request_counts if batch else None,
            polls=state.polls,
            next_poll=state.next_poll,
            expires_at=batch.expires_at if batch else None,
            posts=state.submission.posted,
            submission=state.waiting_for,
            candidates=state.submission.candidates,
            cancel_requested=state.cancel_requested,
        )

    @workflow.update(name="cancelBatch")
    async def cancel_batch(self) -> MessageBatch:
        """Stop the batch at the provider; what had finished is landed."""
        try:
            batch = await self._cancel_at_provider()
        except ActivityError as error:
            raise from_activity(error) from error
        self._saw(batch)
        self._alarm.ring()
        return batch

    @cancel_batch.validator
    def _may_cancel_batch(self) -> None:
        if self._state.submission.undecided:
            raise failure("Undecided", "Which batch is ours is not decided: resolve the submission first")
        if not self._batch_id:
            raise failure("NotSubmitted", "There is no batch yet: cancel the run itself, or try again in a moment")
        if self._state.phase is not Phase.POLLING:
            raise failure("AlreadyEnded", f"The batch has ended, the run is {self._state.phase}: nothing to cancel")

    @workflow.update(name="resolveSubmission")
    def resolve_submission(self, resolution: Resolution) -> Progress:
        """Decide what the lost reply left open: adopt this batch, or submit again."""
        self._state.resolution = resolution
        self._alarm.ring()
        return self.progress()

    @resolve_submission.validator
    def _may_resolve(self, resolution: Resolution) -> None:
        if bool(resolution.adopt) == resolution.submit_again:
            raise failure("InvalidResolution", "Give either adopt (a batch id) or submitAgain, not both")
        if not self._state.submission.undecided or self._state.resolution:
            raise failure("NotUndecided", "The submission is not undecided: there is nothing to resolve")
