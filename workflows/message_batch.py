"""The run of one batch: the three steps of the Arazzo document, in its order, each surviving any crash."""

import asyncio
import logging

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.batch import MessageBatchActivities
    from activities.models import PrepareInput
    from message_batches.api.models import MessageBatch
    from message_batches.contract import CANCEL_BATCH, DELIVERY, POLL_NOW, PROGRESS, RESOLVE_SUBMISSION, WORKFLOW_TYPE
    from message_batches.models import BatchOutput, Phase, Progress, Resolution
    from message_batches.observability.metrics import PAID_TWICE, RUNS_ENDED, count_results
    from message_batches.temporal.search_attributes import BatchOutcome
    from message_batches.webhooks.events import DeliveryReport
    from workflows import activity_options
    from workflows.context import RunContext
    from workflows.failures import deadline_passed, error_name_of, failure, from_activity, with_duplicates
    from workflows.input_validation import NOTHING, check_input, read_input
    from workflows.notifications.contents import run_end
    from workflows.poll_step import PollStep
    from workflows.retrieve_step import RetrieveStep
    from workflows.schedules.requests_file import find_requests
    from workflows.state import BatchRun
    from workflows.status.current_details import describe_failed_cancel, describe_failure, describe_outcome
    from workflows.status.search_attributes import outcome_of
    from workflows.submit_step import SubmitStep


@workflow.defn(name=WORKFLOW_TYPE)
class MessageBatchWorkflow:
    """Submits a batch once, waits until it has ended, lands its results."""

    @workflow.init
    def __init__(self, given: RawValue = NOTHING) -> None:
        self._context = RunContext(read_input(given, BatchRun))
        self._request, self._state = self._context.request, self._context.state
        self._submit_batch = SubmitStep(self._context)
        self._poll_batch_status = PollStep(self._context)
        self._retrieve_results = RetrieveStep(self._context)

    @property
    def current_details(self) -> str:
        """The markdown on the run's page in the Web UI."""
        return self._context.details

    @workflow.run
    async def run(self, given: RawValue = NOTHING) -> BatchOutput:
        """Run the document's steps: submitBatch, pollBatchStatus until the batch has ended, retrieveResults."""
        try:
            await self._prepare_requests()
            await self._submit_batch.run()
            batch = await self._poll_batch_status.run()
            output = await self._retrieve(batch)
        except (Exception, asyncio.CancelledError) as error:
            await self._end_without_results(error)
            raise
        outcome = outcome_of(output.summary, output.results_file.lines)
        await self._end(Phase.LANDED, outcome, describe_outcome(output), output)
        return output

    async def _prepare_requests(self) -> None:
        """Check the requests and put them into the store, before the steps."""
        check_input(self._request)
        self._context.publish_status()
        self._context.watch_deadline()
        if self._state.store_id:
            return
        to_send = self._request.batch_id is None
        if to_send and self._context.deadline_passed:
            raise deadline_passed(self._request, sent_before=False)
        if unread := self._state.unread_fields:
            self._context.log("Fields of the input are not read: %s", ", ".join(unread), level=logging.WARNING)
        requests_uri = await find_requests(self._context)
        preparing = workflow.execute_activity_method(
            MessageBatchActivities.prepare_requests,
            PrepareInput(
                profile=self._request.profile,
                requests=self._request.requests,
                requests_uri=requests_uri,
                first_run_id=workflow.info().first_execution_run_id,
                store_id=self._request.store_id,
                to_send=to_send,
                max_cost=self._request.max_cost,
                notify=self._request.notify,
            ),
            **activity_options.PREPARE,
            summary="check the requests",
        )
        prepared = await (self._context.before_deadline(preparing) if to_send else preparing)
        if prepared is None:
            raise deadline_passed(self._request, sent_before=False)
        self._state.store_id, self._state.manifest = prepared.store_id, prepared.manifest
        self._state.search_attributes = prepared.search_attributes
        self._state.submission.batch_id = self._request.batch_id

    async def _retrieve(self, batch: MessageBatch) -> BatchOutput:
        """Land the results, search for duplicate batches, and delete the batch if requested."""
        await self._submit_batch.recorded()
        duplicates, unchecked = await self._submit_batch.find_duplicate_batches()
        landed = await self._retrieve_results.run(batch)
        count_results(workflow.metric_meter(), landed.summary, landed.results_file.bytes)
        PAID_TWICE.add(workflow.metric_meter(), len(duplicates))
        delete, not_deleted = self._request.delete_after_landing, None
        if delete:
            not_deleted = await self._retrieve_results.delete(landed, twice=bool(duplicates or unchecked))
        inline = self._request.inline_results
        return BatchOutput(
            batch_id=batch.id,
            request_counts=batch.request_counts,
            results_url=batch.results_url,
            results=landed.results if inline else None,
            results_omitted=landed.results_omitted if inline else "the input has left them out: read the results file",
            results_file=landed.results_file,
            verified=landed.verified,
            possibly_paid_twice=tuple(duplicates),
            paid_twice_unchecked=unchecked,
            deleted=delete and not_deleted is None,
            not_deleted=not_deleted,
            unfinished=landed.summary.unfinished if self._state.canceled_at_deadline else None,
            summary=landed.summary,
            cost=landed.cost,
        )

    async def _end_without_results(self, error: BaseException) -> None:
        """End as failed or cancelled; raise the typed failure where `error` is not one itself."""
        if is_cancelled_exception(error):
            await self._end(Phase.CANCELED, BatchOutcome.CANCELED, await self._cancel_batch_before_exit(), error)
            return
        if not isinstance(error, ActivityError | ApplicationError):
            await self._end(Phase.FAILED, None, describe_failure(error), error)
            return
        failed = await self._with_duplicates(self._typed(error) if isinstance(error, ActivityError) else error)
        await self._end(Phase.FAILED, failed.type, describe_failure(failed), failed)
        if failed is not error:
            raise failed from error

    def _typed(self, error: ActivityError) -> ApplicationError:
        return from_activity(error, batch_id=self._context.batch_id, last_seen=self._state.last_seen)

    async def _with_duplicates(self, failed: ApplicationError) -> ApplicationError:
        """Name possible duplicate batches: a run that attaches to the failed run's batch does not know them."""
        if not (self._context.batch_id and self._state.submission.may_be_paid_twice):
            return failed
        return with_duplicates(failed, *await self._submit_batch.find_duplicate_batches())

    async def _cancel_batch_before_exit(self) -> str:
        """Cancel the batch at the provider, so that billing stops; return why that failed, or an empty text."""
        if not self._context.batch_id or (self._state.batch and self._state.batch.ended):
            return ""
        try:
            self._state.update_batch(await self._poll_batch_status.cancel_batch(), self._context.now)
        except ActivityError as error:
            name = error_name_of(error)
            self._context.log("The batch could not be cancelled and continues: %s", name, level=logging.ERROR)
            return describe_failed_cancel(self._context.batch_id, error)
        return ""

    async def _end(self, phase: Phase, outcome: str | None, details: str, end: BatchOutput | BaseException) -> None:
        """Report how the run ends; without an outcome it has not ended, and its workflow task is tried again."""
        self._state.phase, self._state.outcome = phase, outcome
        if outcome:
            RUNS_ENDED.add(workflow.metric_meter(), status=phase.value, outcome=outcome)
            level = logging.WARNING if phase is Phase.FAILED else logging.INFO
            ending = phase.value if phase.value == outcome else f"{phase.value}, {outcome}"
            self._context.log("The run has ended: %s", ending, level=level)
        self._context.publish_status(details)
        if outcome:
            self._context.notifier.end(run_end(self._state, end), self._context.now)
            await self._context.notifier.started_at_end()
        await self._submit_batch.wait_recorded(activity_options.RECORD_GRACE)
        # An update that came in time is answered, however the run ends.
        await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.signal(name=POLL_NOW)
    def poll_now(self) -> None:
        """Poll at once instead of at the timer."""
        self._context.wake()

    @workflow.signal(name=DELIVERY)
    def delivery(self, report: DeliveryReport) -> None:
        """Take in that an event does not get through to a webhook, or does after all."""
        self._context.notifier.on_report(report)
        if self._state.outcome is None:
            self._context.publish_status()

    @workflow.query(name=PROGRESS)
    def progress(self) -> Progress:
        """Return where the run is."""
        return self._state.progress()

    @workflow.update(name=CANCEL_BATCH)
    async def cancel_batch(self) -> MessageBatch:
        """Cancel the batch at the provider; the requests that had finished are landed."""
        try:
            batch = await self._poll_batch_status.cancel_batch()
        except ActivityError as error:
            raise from_activity(error) from error
        self._state.update_batch(batch, self._context.now)
        self._context.wake()
        return batch

    @cancel_batch.validator
    def _may_cancel_batch(self) -> None:
        if self._state.submission.undecided:
            raise failure("Undecided", "It is not decided which batch is ours: resolve the submission first")
        if not self._context.batch_id:
            raise failure("NotSubmitted", "There is no batch yet: cancel the run itself, or try again in a moment")
        if self._state.phase is not Phase.POLLING:
            raise failure("AlreadyEnded", f"The batch has ended, the run is {self._state.phase}: nothing to cancel")

    @workflow.update(name=RESOLVE_SUBMISSION)
    async def resolve_submission(self, resolution: Resolution) -> Progress:
        """Decide a submission whose reply was lost: adopt this batch, or submit again."""
        try:
            await self._submit_batch.resolve(resolution)
        except ActivityError as error:
            raise from_activity(error) from error
        return self._state.progress()

    @resolve_submission.validator
    def _may_resolve(self, resolution: Resolution) -> None:
        if bool(resolution.adopt) == resolution.submit_again:
            raise failure("InvalidResolution", "Give either adopt (a batch id) or submitAgain, not both")
        if not self._state.submission.undecided:
            raise failure("NotUndecided", "The submission is not undecided: there is nothing to resolve")
