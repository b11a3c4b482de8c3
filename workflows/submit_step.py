"""The submitBatch step: carries out the commands of the submission protocol, one activity or timer each."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from message_batches.models import Phase, Resolution
from message_batches.observability.metrics import LOST_REPLIES, RECONCILIATIONS, SUBMITTED
from workflows import activity_options
from workflows.context import RunContext
from workflows.failures import (
    NOT_COUNTED,
    REJECTED_RETRYABLE,
    deadline_passed,
    error_type_of,
    failure,
    from_activity,
    is_answered,
    is_known_ended,
    post_refused,
    submission_unknown,
)
from workflows.submission.calls import SubmissionCalls, Untold
from workflows.submission.commands import (
    ClaimBatch,
    Command,
    Done,
    Fail,
    FindAnchor,
    ListCandidates,
    Post,
    RecordNotFound,
    StopAtDeadline,
    VerifyCandidate,
    WaitUntil,
)

_Result = TypeVar("_Result")


class SubmitStep:
    """The submission of one run: state in `RunState.submission`, decisions in `workflows.submission`."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._request = context.request
        self._state = context.state
        self._submission = context.state.submission
        self._calls = SubmissionCalls(context)
        self._recording: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Continue until the batch is known; `SubmissionUnknown` if that is not possible.

        Shielded: a cancellation is remembered until no POST with an unknown outcome is pending. The outcome is
        recorded alongside the next step.
        """
        submitting = asyncio.create_task(self._submit())
        try:
            await asyncio.shield(submitting)
        except asyncio.CancelledError:
            self._state.cancel_requested = True
            self._context.wake()
            if self._submission.may_stop:
                submitting.cancel()
            await submitting
        if not self._state.outcome_recorded:
            self._recording = asyncio.create_task(self._record_outcome())
        if self._state.cancel_requested:
            raise asyncio.CancelledError

    async def recorded(self) -> None:
        """Wait until the batch's id and our claim are in the store."""
        if self._recording:
            await asyncio.shield(self._recording)

    async def wait_recorded(self, limit: timedelta) -> None:
        """Wait until the batch's id and our claim are in the store, unless that is unavailable for longer."""
        if self._recording and not self._state.outcome_recorded:
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._state.outcome_recorded, timeout=limit, timeout_summary="record the batch"
                )

    async def find_duplicate_batches(self) -> tuple[list[str], str | None]:
        """Return batches that match ours after a second POST, and may be paid for too; or why that is not known."""
        if not self._submission.may_be_paid_twice or self._submission.anchor is None:
            return [], None
        try:
            found = await self._calls.find_candidates(
                self._submission.anchor,
                number=0,
                options=activity_options.DUPLICATE_CHECK,
                summary="a last look for a second batch",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return [], f"the list of batches could not be read: {error.cause}"
        known = (self._submission.batch_id, *self._submission.candidates.refuted)
        others = [match.candidate for match in found.matches if not match.taken]
        return [
            other.batch_id
            for other in others
            if other.batch_id not in known
            and (not other.ended or await self._calls.is_ours(other.batch_id) is not False)
        ], None

    async def resolve(self, resolution: Resolution) -> None:
        """Carry out an operator's decision; a batch that is to be adopted must exist, with our count."""
        if resolution.adopt:
            batch = await self._calls.find_batch_to_adopt(resolution.adopt, self._submission.anchor)
            if batch.request_counts.total != self._calls.manifest.count:
                raise failure(
                    "OwnedByAnotherRun",
                    f"{batch.id} holds {batch.request_counts.total} requests, ours are {self._calls.manifest.count}",
                )
        if self._submission.undecided:
            self._submission.on_resolved(resolution)
            self._report_outcome("resolved")
            self._context.wake()
        elif self._submission.batch_id != resolution.adopt:
            batch_id = self._submission.batch_id
            otherwise = f"the run continues with {batch_id}" if batch_id else "the requests are sent again"
            raise failure("NotUndecided", f"The submission was decided otherwise in the meantime: {otherwise}")

    async def _submit(self) -> None:
        submission = self._submission
        carried_over = submission.batch_id is not None
        while not self._request.batch_id:
            if self._state.cancel_requested and submission.may_stop:
                raise asyncio.CancelledError
            if not submission.batch_id:
                self._state.phase = Phase.UNDECIDED if submission.undecided else Phase.SUBMITTING
                await self._context.maybe_continue_as_new()
            self._context.publish_status()
            command = submission.next_command(
                self._context.now,
                self._request.submission,
                self._list_interval(),
                deadline_passed=self._context.deadline_passed,
            )
            if isinstance(command, Done):
                if not carried_over:
                    SUBMITTED.add(workflow.metric_meter())
                    self._context.log("The batch is submitted")
                return
            await self._carry_out(command)

    async def _carry_out(self, command: Command) -> None:
        submission = self._submission
        match command:
            case FindAnchor():
                submission.on_anchor_read(await self._calls.find_anchor())
            case Post():
                await self._post(command)
            case WaitUntil(time, reason):
                await self._context.sleep_until(time, reason)
            case ListCandidates():
                await self._list_candidates(command)
            case VerifyCandidate(batch_id):
                await self._verify(batch_id)
            case ClaimBatch(batch_id):
                await self._claim(batch_id)
            case RecordNotFound(numbers):
                await self._calls.record_outcome(numbers, None)
                submission.on_not_found_recorded()
            case Fail(reason, candidates):
                self._fail(reason, candidates)
            case StopAtDeadline():
                raise deadline_passed(self._request, sent_before=submission.posted > 0)

    def _list_interval(self) -> timedelta:
        """Return the interval of polls, where that is not hours, and does not fill one history for days."""
        interval = self._request.poll.retry_after
        too_rare = interval > activity_options.LIST_INTERVAL
        if self._submission.outcome_unknown and (too_rare or self._context.past_history_budget):
            return activity_options.LIST_INTERVAL
        return interval

    async def _post(self, post: Post) -> None:
        submission, timeout = self._submission, self._request.submission.timeout
        submission.on_post_started(self._context.now)
        try:
            submitted = await self._calls.post(post.number, post.anchor)
        except ActivityError as error:
            self._on_post_failed(error, timeout)
        else:
            if submitted.earlier_anchor:
                submission.on_earlier_anchor(submitted.earlier_anchor)
            if submitted.batch:
                if submitted.earlier_anchor:
                    submission.on_post_of_another_run()
                self._state.update_batch(submitted.batch, self._context.now)
                submission.on_post_succeeded(submitted.batch.id)
            elif submitted.recorded:
                submission.on_post_succeeded(submitted.recorded)
            elif submitted.earlier_not_created:
                submission.on_post_rejected()
            elif submitted.earlier_absent:
                submission.on_earlier_not_found()
            else:
                # The earlier POST may be under way on a worker that does not know of this reset.
                safe_at = self._context.now + timeout
                submission.on_post_unknown(safe_at, until=safe_at, earlier=True)
        if submission.undecided:
            LOST_REPLIES.add(workflow.metric_meter())
            self._context.log("The outcome of POST %d is not known", post.number, level=logging.WARNING)

    def _on_post_failed(self, error: ActivityError, timeout: timedelta) -> None:
        submission, kind = self._submission, error_type_of(error)
        if kind in REJECTED_RETRYABLE:
            submission.on_post_rejected(
                retry_at=self._retry_at(error), why=from_activity(error).message[:500], counts=kind not in NOT_COUNTED
            )
            if submission.retries_exhausted(self._request.poll.transient):
                raise post_refused(error, sent_before=submission.posted > 0) from error
        elif kind and not kind.outcome_unknown:
            submission.on_post_rejected()
            raise post_refused(error, sent_before=submission.posted > 0) from error
        else:
            now, later = self._context.now, self._context.now + timeout
            submission.on_post_unknown(
                now if is_known_ended(error) else later, until=now if is_answered(error) else later
            )

    def _retry_at(self, error: ActivityError) -> datetime:
        """Return when the next POST may be made: as the API asks, or else by the document's schedule."""
        asked = error.cause.next_retry_delay if isinstance(error.cause, ApplicationError) else None
        return self._context.now + (asked or self._request.poll.transient.retry_after)

    async def _list_candidates(self, command: ListCandidates) -> None:
        submission = self._submission
        finding = self._calls.find_candidates(
            command.anchor,
            number=submission.number,
            options=activity_options.FIND_CANDIDATES,
            summary="batches that may be ours",
        )
        try:
            found = await self._unless_resolved(finding)
        except ActivityError as error:
            reason = f"the POST got no answer, and the list cannot be read: {getattr(error.cause, 'message', error)}"
            self._fail(reason, tuple(submission.candidates.matches))
        if found is None:
            return
        if found.recorded:
            submission.on_record_found(found.recorded)
            self._report_outcome("found")
            return
        submission.on_list_read(
            found.matches,
            self._context.now,
            self._request.submission,
            read_at=found.read_at,
            recorded_posts=found.posts,
        )
        if not submission.outcome_unknown:
            self._report_outcome("absent")

    async def _verify(self, batch_id: str) -> None:
        ours = await self._unless_resolved(self._calls.is_ours(batch_id))
        candidates = self._submission.candidates
        if not self._submission.outcome_unknown:
            return
        if isinstance(ours, Untold):
            candidates.on_unreadable(batch_id, ours.why, final=ours.final)
        elif ours is not None:
            candidates.on_verified(batch_id, ours=ours, now=self._context.now)

    async def _claim(self, batch_id: str) -> None:
        ours = await self._unless_resolved(self._calls.record_outcome((self._submission.number,), batch_id))
        if ours is not None:
            self._submission.on_claim_result(batch_id, ours=ours)
            if ours:
                self._report_outcome("found")

    async def _unless_resolved(self, activity: Coroutine[Any, Any, _Result]) -> _Result | None:
        """Return the activity's result; None if an operator decides first, in which case the activity is cancelled."""
        return await self._context.unless(lambda: not self._submission.outcome_unknown, activity)

    async def _record_outcome(self) -> None:
        """Record the batch's id under its POST, and our claim: retried alongside the polling, which it never stops."""
        await self._calls.record_outcome((self._submission.number,), self._context.batch_id, certain=True)
        self._state.outcome_recorded = True

    def _report_outcome(self, result: str) -> None:
        RECONCILIATIONS.add(workflow.metric_meter(), result=result)
        self._context.log("The outcome of POST %d: %s", self._submission.number, result)

    def _fail(self, reason: str, candidates: tuple[str, ...]) -> NoReturn:
        self._report_outcome("given-up")
        raise submission_unknown(reason, candidates)
