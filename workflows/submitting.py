"""The submitBatch step: performs what the submission protocol decides, one activity or timer each."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.inputs import BatchRef, ExamineInput, Looked, LookInput, SettleInput, SubmitInput
from activities.message_batches import MessageBatchActivities
from activities.submission import SubmissionActivities
from message_batches.errors import NotSent, RateLimited, StoreUnavailable, UnknownKey, WrongStore
from message_batches.ledger import Claim as LedgerClaim
from message_batches.ledger import Submitter
from message_batches.models import Anchor, Manifest, Phase, Resolution
from workflows import options
from workflows.chain import Chain
from workflows.failures import failure, from_activity, kind_of, stopped_by_itself
from workflows.moves import Claim, Examine, FindAnchor, GiveUp, Look, NoteAbsent, Post, Settled, WaitUntil

NOT_NOW = (NotSent, RateLimited, StoreUnavailable, WrongStore, UnknownKey)
"""After these a POST has certainly created nothing, and may be made again later."""

_Found = TypeVar("_Found")


class SubmitStep:
    """One run's submission: state in `RunState.submission`, decisions in `workflows.submission`."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._request = chain.request
        self._state = chain.state
        self._submission = chain.state.submission
        self._recording: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Go on until the batch is known; `SubmissionUnknown` if that cannot be had.

        Shielded: a cancel is remembered until nothing is out that could be paid for unseen. The record of it is
        written beside what comes next.
        """
        submitting = asyncio.create_task(self._submit())
        try:
            await asyncio.shield(submitting)
        except asyncio.CancelledError:
            self._state.cancel_requested = True
            self._chain.alarm.ring()
            if self._submission.may_stop:
                submitting.cancel()
            await submitting
        if not self._state.settled:
            self._recording = asyncio.create_task(self._record())
        if self._state.cancel_requested:
            raise asyncio.CancelledError

    async def recorded(self) -> None:
        """Wait until the batch's id and our claim are in the store."""
        if self._recording:
            await self._recording

    async def look_again(self) -> tuple[list[str], str | None]:
        """After a second POST: further batches that match ours, possibly paid for too; or why that is not known."""
        if self._submission.posted < 2 or self._submission.anchor is None:
            return [], None
        try:
            found = await workflow.execute_activity_method(
                SubmissionActivities.find_candidates,
                self._look_input(self._submission.anchor, number=0),
                **options.LAST_LOOK,
                summary="a last look for a second batch",
            )
        except ActivityError as error:
            return [], f"the list of batches could not be read: {error.cause}"
        known = (self._submission.batch_id, *self._submission.refuted)
        others = [s.candidate for s in found.sightings if not s.taken and s.candidate.batch_id not in known]
        return [c.batch_id for c in others if not c.ended or await self._is_ours(c.batch_id) is not False], None

    async def resolve(self, resolution: Resolution) -> None:
        """A person decides; a batch that is to be adopted must exist, with our count."""
        if resolution.adopt:
            batch = await workflow.execute_activity_method(
                MessageBatchActivities.poll_batch_status,
                BatchRef(account=self._request.account, batch_id=resolution.adopt),
                **options.ASK,
                summary=f"does {resolution.adopt} exist",
            )
            if batch.request_counts.total != self._manifest.count:
                raise failure(
                    "NotOurs",
                    f"{batch.id} holds {batch.request_counts.total} requests, ours are {self._manifest.count}",
                )
        if self._submission.undecided:
            self._submission.resolved(resolution)
            self._chain.alarm.ring()

    # --- the protocol ----------------------------------------------------------------------------------------------

    async def _submit(self) -> None:
        submission = self._submission
        while not self._request.batch_id:
            if self._state.cancel_requested and submission.may_stop:
                raise asyncio.CancelledError
            if not submission.batch_id:
                self._state.phase = Phase.UNDECIDED if submission.undecided else Phase.SUBMITTING
                await self._chain.continue_if_due()
            match submission.next_move(workflow.now(), self._request.submission, self._request.poll.retry_after):
                case Settled():
                    return
                case FindAnchor():
                    await self._find_anchor()
                case Post() as post:
                    await self._post(post)
                case WaitUntil(time, why):
                    self._state.next_poll, self._state.waiting_for = time, why
                    await self._chain.alarm.until(time, why)
                    self._state.next_poll = self._state.waiting_for = None
                case Look() as look:
                    await self._look(look)
                case Examine(batch_id):
                    await self._examine(batch_id)
                case Claim(batch_id):
                    ours = await self._while_in_doubt(self._settle((submission.number,), batch_id))
                    if ours is not None:
                        submission.claimed(batch_id, ours=ours)
                case NoteAbsent(numbers):
                    await self._settle(numbers, None)
                    submission.noted()
                case GiveUp(why, candidates):
                    self._unknown(why, candidates)

    async def _find_anchor(self) -> None:
        self._submission.anchored(
            await workflow.execute_activity_method(
                SubmissionActivities.find_anchor,
                self._request.account,
                **options.poll(self._request.poll),
                summary="the newest batch before ours",
            )
        )

    async def _post(self, post: Post) -> None:
        timeout = self._request.submission.timeout
        self._submission.posting()
        try:
            submitted = await workflow.execute_activity_method(
                MessageBatchActivities.submit_batch,
                SubmitInput(
                    account=self._request.account,
                    manifest=self._manifest,
                    submitter=self._submitter,
                    number=post.number,
                    anchor=post.anchor,
                    timeout=timeout,
                ),
                **options.submit(timeout),
                summary=f"POST {self._manifest.count} requests, {self._manifest.body_bytes:,} bytes",
            )
        except ActivityError as error:
            self._post_failed(error, timeout)
            return
        if submitted.batch:
            self._state.saw(submitted.batch, workflow.now())
            self._submission.answered(submitted.batch.id)
        elif submitted.recorded:
            self._submission.answered(submitted.recorded)
        elif submitted.earlier_not_created:
            self._submission.not_created()
        elif submitted.earlier_absent:
            self._submission.absent_before()
        else:
            # The earlier POST may be under way on a worker that does not know of this reset.
            self._submission.unanswered(workflow.now() + timeout, anchor=submitted.earlier_anchor)

    def _post_failed(self, error: ActivityError, timeout: timedelta) -> None:
        kind = kind_of(error)
        if kind in NOT_NOW:
            asked = error.cause.next_retry_delay if isinstance(error.cause, ApplicationError) else None
            transient = self._request.poll.transient
            self._submission.not_created(not_before=workflow.now() + (asked or transient.retry_after))
            if self._submission.out_of_patience(transient):
                self._refused(error)
        elif kind and not kind.outcome_unknown:
            self._submission.not_created()
            self._refused(error)
        else:
            over = workflow.now() if stopped_by_itself(error) else workflow.now() + timeout
            self._submission.unanswered(over)

    async def _look(self, look: Look) -> None:
        look_up = workflow.execute_activity_method(
            SubmissionActivities.find_candidates,
            self._look_input(look.anchor, number=self._submission.number),
            **options.LOOK,
            summary="batches that may be ours",
        )
        try:
            found: Looked | None = await self._while_in_doubt(look_up)
        except ActivityError as error:
            why = f"the POST got no answer, and the list cannot be read: {getattr(error.cause, 'message', error)}"
            self._unknown(why, tuple(self._submission.sightings))
        if found and found.recorded:
            self._submission.answered(found.recorded)
        elif found:
            self._submission.looked(found.sightings, workflow.now(), self._request.submission)

    async def _examine(self, batch_id: str) -> None:
        ours = await self._while_in_doubt(self._is_ours(batch_id))
        if not self._submission.in_doubt:
            return
        if ours is None:
            self._submission.not_examined(batch_id)
        else:
            self._submission.examined(batch_id, ours=ours, now=workflow.now())

    async def _while_in_doubt(self, found: Coroutine[Any, Any, _Found]) -> _Found | None:
        """What an activity finds; None if a person decides first, whose word must not wait, nor be overtaken by it."""
        task = asyncio.create_task(found)
        await workflow.wait_condition(lambda: task.done() or not self._submission.in_doubt)
        if self._submission.in_doubt:
            return await task
        task.cancel()
        with suppress(asyncio.CancelledError, ActivityError):
            await task
        return None

    async def _is_ours(self, batch_id: str) -> bool | None:
        """Whether the results are for exactly our custom_ids; None if they cannot be read now."""
        try:
            return await workflow.execute_activity_method(
                SubmissionActivities.examine_candidate,
                ExamineInput(account=self._request.account, manifest=self._manifest, batch_id=batch_id),
                task_queue=self._chain.landing_queue,
                **options.EXAMINE,
                summary=f"whose results are in {batch_id}",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("The results of %s could not be examined: %s", batch_id, error.cause)
            return None

    # --- the records -----------------------------------------------------------------------------------------------

    async def _record(self) -> None:
        """The batch's id under its POST, and our claim: retried beside the polling, which it never stops."""
        await self._settle((self._submission.number,), self._chain.batch_id, certain=True)
        self._state.settled = True

    async def _settle(self, numbers: tuple[int, ...], batch_id: str | None, *, certain: bool = False) -> bool:
        taken_over = self._request.batch_id is not None
        return await workflow.execute_activity_method(
            SubmissionActivities.settle_submission,
            SettleInput(
                submitter=None if taken_over else self._submitter,
                claim=self._claim,
                store_id=self._state.store_id or "",
                numbers=numbers,
                batch_id=batch_id,
                certain=certain,
            ),
            **options.RECORD,
            summary=f"record {batch_id}" if batch_id else "no batch found",
        )

    @property
    def _manifest(self) -> Manifest:
        assert self._state.manifest is not None, "only a batch that is taken over has none"
        return self._state.manifest

    @property
    def _claim(self) -> LedgerClaim:
        info = workflow.info()
        return LedgerClaim(owner=info.workflow_id, first_run_id=info.first_execution_run_id)

    @property
    def _submitter(self) -> Submitter:
        return Submitter.of(
            self._manifest,
            api_key=self._request.api_key,
            workflow_id=self._claim.owner,
            first_run_id=self._claim.first_run_id,
        )

    def _look_input(self, anchor: Anchor, *, number: int) -> LookInput:
        submission, schedule = self._submission, self._request.submission
        return LookInput(
            account=self._request.account,
            manifest=self._manifest,
            submitter=self._submitter,
            number=number,
            anchor=anchor,
            until=(submission.safe_at or workflow.now()) + schedule.quiet_period,
        )

    # --- the ends --------------------------------------------------------------------------------------------------

    def _refused(self, error: ActivityError) -> NoReturn:
        """The POST was refused for good: nothing was created by it, nor by an earlier one that is known of."""
        refusal = from_activity(error)
        note = "" if self._submission.posted else ". Nothing was created"
        raise failure(refusal.type or "", f"{refusal.message.rstrip('.')}{note}") from error

    def _unknown(self, why: str, candidates: tuple[str, ...]) -> NoReturn:
        named = f" These may be ours: {', '.join(candidates)}; attach to the right one." if candidates else ""
        raise failure(
            "SubmissionUnknown",
            f"Whether the requests were accepted cannot be told: {why}.{named} Look at the batches in the Console "
            "before buying again (`starter.py start --again`).",
            candidates=list(candidates),
        )
