"""The job: requests of any number, in waves of shards of one batch each, merged into one file of results."""

import asyncio
import logging
from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.batch import MessageBatchActivities
    from activities.job_models import CancelShardsInput, LeftBatch, MergeInput, PlannedWave, PlanWaveInput
    from activities.jobs import JobActivities
    from activities.shards import ShardActivities
    from message_batches.contract import CANCEL_JOB, DELIVERY, JOB_WORKFLOW_TYPE, POLL_NOW, PROGRESS, RESUME_JOB
    from message_batches.formatting import plural
    from message_batches.job_models import JobOutput, JobPhase, JobProgress, MergedResults, RetryKind
    from message_batches.temporal.search_attributes import BatchOutcome
    from message_batches.webhooks.events import DeliveryReport
    from workflows import activity_options
    from workflows.failures import error_name_of, failure, from_activity
    from workflows.input_validation import NOTHING, check_requests, read_input
    from workflows.jobs.context import JobContext
    from workflows.jobs.details import describe_merged
    from workflows.jobs.failed_shards import PAST_DEADLINE, without_results
    from workflows.jobs.state import JobRun
    from workflows.jobs.window import ShardWindow
    from workflows.notifications.contents import job_end
    from workflows.schedules.requests_file import find_requests, is_looked_for
    from workflows.status.current_details import describe_failure
    from workflows.status.search_attributes import outcome_of


MAX_JOB_ID_BYTES = 980
"""A shard's workflow id is the job's with its place, and Temporal accepts 1,000 bytes."""

CANCELED_AT_ONCE = 100
"""Batches that are cancelled at one time: Temporal has a limit on the activities that a run waits for."""


@workflow.defn(name=JOB_WORKFLOW_TYPE)
class MessageBatchJobWorkflow:
    """Sends requests in shards, each a run of one batch; sends again what has failed; merges the results."""

    @workflow.init
    def __init__(self, given: RawValue = NOTHING) -> None:
        self._context = JobContext(read_input(given, JobRun))
        self._request, self._state = self._context.request, self._context.state
        self._window = ShardWindow(self._context)
        self._requests_uri = None if is_looked_for(self._request) else self._request.requests_uri

    @property
    def current_details(self) -> str:
        """The markdown on the job's page in the Web UI."""
        return self._context.details

    @workflow.run
    async def run(self, given: RawValue = NOTHING) -> JobOutput:
        """Plan the first wave and follow its shards; so with each later wave, as long as one is due; then merge."""
        try:
            check_job_input(self._request)
            self._context.publish_status()
            if not self._state.waves:
                await self._plan_wave()
            await self._window.run()
            while await self._plan_next_wave():
                await self._window.run()
            output = await self._merge()
        except (Exception, asyncio.CancelledError) as error:
            await self._end_without_results(error)
            raise
        await self._end(JobPhase.LANDED, _outcome_of(output), describe_merged(output), output)
        return output

    async def _plan_wave(self) -> bool:
        """Plan the next wave, or take up the plan that an earlier run has made; return whether there is any."""
        self._state.phase = JobPhase.PLANNING
        self._context.publish_status()
        if (unread := self._state.unread_fields) and not self._state.waves:
            self._context.log("Fields of the input are not read: %s", ", ".join(unread), level=logging.WARNING)
        planned = await self._context.settled(self._ask_for_plan(len(self._state.waves)))
        if not planned.shards:
            return False
        self._state.on_planned(planned)
        self._context.log("Wave %d: %d shards", self._state.wave.number, planned.shards)
        if planned.over_limit:
            self._state.stop(planned.over_limit, self._context.now)
        if planned.planned_before:
            await self._window.take_up()
        return True

    async def _ask_for_plan(self, wave: int) -> PlannedWave:
        request, state = self._request, self._state
        # Of those that this run of the job may plan itself; one that an earlier run has planned is taken up anyway.
        waves_left = max(0, request.retries.waves - state.planned) if state.stopped is None and state.landed else 0
        if not wave:
            self._requests_uri = await find_requests(self._context, self._stopped)
        return await workflow.execute_activity_method(
            JobActivities.plan_wave,
            PlanWaveInput(
                job_id=self._context.job_id,
                first_run_id=workflow.info().first_execution_run_id,
                profile=request.profile,
                store_id=state.store_id or request.store_id,
                folder=state.folder or None,
                wave=wave,
                requests=None if wave else request.requests,
                requests_uri=None if wave else self._requests_uri,
                base=None if wave else request.base,
                limits=request.shards,
                retries=request.retries.model_copy(update={"waves": waves_left}),
                max_cost=request.max_cost,
                void=state.void,
                notify=() if wave else request.notify,
            ),
            # A later one reads the results of all earlier ones.
            task_queue=self._context.landing_queue if wave else workflow.info().task_queue,
            **activity_options.PLAN_WAVE,
            summary=f"plan wave {wave}" if wave else "split the requests into shards",
        )

    def _stopped(self) -> ApplicationError | None:
        return without_results(self._state) if self._state.stopped is not None else None

    async def _plan_next_wave(self) -> bool:
        """Plan the wave that sends again what has failed so far; return whether there is one.

        Where nothing more is sent, one that an earlier run of the job has planned and sent is taken up all the same.
        """
        state = self._state
        if self._context.deadline_passed and state.wave.usable < state.wave.sent:
            state.stop(PAST_DEADLINE, self._context.now)
        try:
            return await self._plan_wave()
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # What has landed is merged whatever comes of the rest.
            why = from_activity(error)
            self._context.log("No further wave: %s", why.type or "", level=logging.WARNING)
            state.stop(f"{why.type}: {why.message}", self._context.now)
            return False

    async def _merge(self) -> JobOutput:
        """Merge the results of all shards of all waves."""
        state = self._state
        if not state.landed:
            raise without_results(state)
        state.phase = JobPhase.MERGING
        self._context.publish_status()
        merged: MergedResults = await workflow.execute_activity_method(
            ShardActivities.merge_results,
            MergeInput(
                profile=self._request.profile, store_id=state.store_id, folder=state.folder, waves=len(state.waves)
            ),
            task_queue=self._context.landing_queue,
            **activity_options.MERGE,
            summary=f"merge {plural(state.landed, 'shard')}",
        )
        return JobOutput(
            **dict(merged),
            waves=tuple(state.waves),
            failed_shards=tuple(state.failed),
            failed_shard_count=state.failed_count,
            stopped=state.stopped,
        )

    async def _end_without_results(self, error: BaseException) -> None:
        """End as failed or cancelled; raise the typed failure where `error` is an activity's."""
        if is_cancelled_exception(error):
            await self._cancel_shards()
            await self._end(JobPhase.CANCELED, BatchOutcome.CANCELED, "", error)
            return
        failed = from_activity(error) if isinstance(error, ActivityError) else error
        kind = failed.type if isinstance(failed, ApplicationError) else None
        await self._end(JobPhase.FAILED, kind, describe_failure(failed), failed)
        if failed is not error:
            raise failed from error

    async def _cancel_shards(self) -> None:
        """Cancel all runs of shards, also those that an earlier run of the job has started, and the batches without."""
        await self._window.cancel()
        request, state, planned = self._request, self._state, bool(self._state.folder)
        try:
            left = await workflow.execute_activity_method(
                ShardActivities.cancel_shards,
                CancelShardsInput(
                    job_id=self._context.job_id,
                    first_run_id=workflow.info().first_execution_run_id,
                    profile=request.profile,
                    store_id=state.store_id or request.store_id,
                    folder=state.folder or None,
                    requests=None if planned else request.requests,
                    requests_uri=None if planned else self._requests_uri,
                ),
                **activity_options.CANCEL_SHARDS,
                summary="cancel the shards",
            )
        except ActivityError as error:
            name = error_name_of(error)
            self._context.log("Not all shards could be cancelled: %s", name, level=logging.ERROR)
            return
        for first in range(0, len(left), CANCELED_AT_ONCE):
            await self._cancel_batches(left[first : first + CANCELED_AT_ONCE])

    async def _cancel_batches(self, batches: Sequence[LeftBatch]) -> None:
        """Cancel batches that no run follows: nobody would land them, and they are billed."""
        cancels = [
            workflow.execute_activity_method(
                MessageBatchActivities.cancel_batch,
                batch.for_calls_with(self._request.profile),
                task_queue=self._context.calls_queue,
                **activity_options.CANCEL,
                summary=f"stop {batch.batch_id}",
            )
            for batch in batches
        ]
        for error in await asyncio.gather(*cancels, return_exceptions=True):
            if isinstance(error, ActivityError):
                name = error_name_of(error)
                self._context.log("A batch could not be cancelled and continues: %s", name, level=logging.ERROR)
            elif isinstance(error, BaseException):
                raise error

    async def _end(self, phase: JobPhase, outcome: str | None, details: str, end: JobOutput | BaseException) -> None:
        """Report how the job ends; without an outcome it has not ended, and its workflow task is tried again."""
        self._state.phase, self._state.outcome = phase, outcome
        if outcome:
            level = logging.WARNING if phase is JobPhase.FAILED else logging.INFO
            self._context.log("The job has ended: %s, %s", phase.value, outcome, level=level)
        self._context.publish_status(details)
        if outcome:
            self._context.notifier.end(job_end(self._state, end), self._context.now)
            await self._context.notifier.started_at_end()
        await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.signal(name=POLL_NOW)
    def poll_now(self) -> None:
        """Look at the shards at once instead of at the timer."""
        self._context.wake()

    @workflow.signal(name=DELIVERY)
    def delivery(self, report: DeliveryReport) -> None:
        """Take in that an event does not get through to a webhook, or does after all."""
        self._context.notifier.on_report(report)
        if self._state.outcome is None:
            self._context.publish_status()

    @workflow.query(name=PROGRESS)
    def progress(self) -> JobProgress:
        """Return where the job is."""
        return self._state.progress(self._request.deadline)

    @workflow.update(name=CANCEL_JOB)
    def cancel_job(self) -> JobProgress:
        """Start nothing any more, cancel the batches at the provider, and land and merge what had finished."""
        if not self._state.stopping:
            self._state.stopping = True
            self._state.stop("the job was asked to stop", self._context.now)
            self._context.wake()
        return self.progress()

    @cancel_job.validator
    def _may_cancel_job(self) -> None:
        if self._state.phase not in (JobPhase.PLANNING, JobPhase.RUNNING, JobPhase.PAUSED):
            raise failure("AlreadyEnded", f"The job is {self._state.phase}: nothing to cancel")

    @workflow.update(name=RESUME_JOB)
    def resume_job(self) -> JobProgress:
        """Go on after a pause: what failed for its reason is taken up again, and the rest is started."""
        self._state.resume(self._context.now)
        self._context.wake()
        return self.progress()

    @resume_job.validator
    def _may_resume_job(self) -> None:
        if not self._state.paused:
            raise failure("NotPaused", "The job is not paused: there is nothing to resume")


def check_job_input(request: JobRun) -> None:
    """Raise the job's failure for an input that cannot be used; nothing is sent."""
    needed = (
        "" if request.base else "Give requests, requestsUri, or the base, a run or a job whose failed requests are sent"
    )
    check_requests(request, needed=needed)
    if request.retries.what is RetryKind.UNUSABLE and request.retries.max_tokens is None:
        raise failure(
            "InvalidInput",
            "The input is not valid; nothing was sent: retries.what is unusable, and retries.maxTokens is missing: the "
            "limit for replies that were cut off at a lower one",
        )
    if len(workflow.info().workflow_id.encode()) > MAX_JOB_ID_BYTES:
        raise failure(
            "InvalidInput",
            f"The workflow id of a job may have {MAX_JOB_ID_BYTES} bytes at most, since its shards have longer ones; "
            "nothing was sent",
        )


def _outcome_of(output: JobOutput) -> BatchOutcome:
    without_result = output.unfinished.count if output.unfinished else 0
    return outcome_of(output.summary, output.results_file.lines + without_result)
