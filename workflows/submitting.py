"""The submitBatch step: performs what the submission protocol decides, one activity or timer each."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities.inputs import ExamineInput, LookInput, SettleInput, SubmitInput
from activities.message_batches import MessageBatchActivities
from activities.submission import SubmissionActivities
from message_batches.errors import NotSent, RateLimited, StoreUnavailable, WrongStore
from message_batches.ledger import Submitter
from message_batches.models import Manifest, Phase
from workflows import options
from workflows.chain import Chain
from workflows.failures import failure, from_activity, kind_of, stopped_by_itself
from workflows.moves import Claim, Examine, FindAnchor, GiveUp, Look, Post, Settled, WaitUntil

NOT_NOW = (NotSent, RateLimited, StoreUnavailable, WrongStore)
"""After these a POST has certainly created nothing, and may be made again later."""


class SubmitStep:
    """One run's submission: state in `RunState.submission`, decisions in `workflows.submission`."""

    def __init__(self, chain: Chain, manifest: Manifest) -> None:
        self._chain = chain
        self._request = chain.request
        self._state = chain.state
        self._submission = chain.state.submission
        self._manifest = manifest
        info = workflow.info()
        self._submitter = Submitter.of(
            manifest,
            api_key=chain.request.api_key,
            workflow_id=info.workflow_id,
            first_run_id=info.first_execution_run_id,
        )

    async def run(self) -> None:
        """Go on until the batch is known; `SubmissionUnknown` if that cannot be had."""
        while True:
            self._take_up_resolution()
            if self._state.cancel_requested and self._submission.may_stop:
                raise asyncio.CancelledError
            self._state.phase = Phase.UNDECIDED if self._submission.undecided else Phase.SUBMITTING
            await self._chain.continue_if_due()
            schedule, every = self._request.submission, self._request.poll.retry_after
            match self._submission.next_move(workflow.now(), schedule, every):
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
                    self._submission.claimed(batch_id, ours=await self._settle(batch_id))
                case GiveUp(why, candidates):
                    raise self._unknown(why, candidates)

    def settle_input(self, batch_id: str | None, *, certain: bool) -> SettleInput:
        """What to record once the submission is decided."""
        return SettleInput(
            submitter=self._submitter,
            store_id=self._manifest.store_id,
            posts=self._submission.number,
            batch_id=batch_id,
            certain=certain,
        )

    async def look_again(self) -> list[str]:
        """After a second POST: further batches that match ours, which are possibly paid for as well."""
        if self._submission.posted < 2 or self._submission.anchor is None:
            return []
        sightings = await workflow.execute_activity_method(
            SubmissionActivities.find_candidates,
            self._look_input(Look(self._submission.anchor)),
            **options.LOOK,
            summary="a last look for a second batch",
        )
        known = (self._submission.batch_id, *self._submission.refuted)
        others = [s.candidate for s in sightings if not s.taken and s.candidate.batch_id not in known]
        return [c.batch_id for c in others if not c.ended or await self._is_ours(c.batch_id) is not False]

    # --- one method a step -----------------------------------------------------------------------------------------

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
                raise from_activity(error) from error
        elif kind and not kind.outcome_unknown:
            self._submission.not_created()
            raise from_activity(error) from error
        else:
            over = workflow.now() if stopped_by_itself(error) else workflow.now() + timeout
            self._submission.unanswered(over)

    async def _look(self, look: Look) -> None:
        sightings = await workflow.execute_activity_method(
            SubmissionActivities.find_candidates,
            self._look_input(look),
            **options.LOOK,
            summary="batches that may be ours",
        )
        if self._submission.looked(sightings, workflow.now(), self._request.submission):
            await self._settle(None)

    async def _examine(self, batch_id: str) -> None:
        ours = await self._is_ours(batch_id)
        if ours is None:
            self._submission.not_examined(batch_id)
        else:
            self._submission.examined(batch_id, ours=ours, now=workflow.now())

    async def _is_ours(self, batch_id: str) -> bool | None:
        """Whether the results are for exactly our custom_ids; None if they cannot be read now."""
        try:
            return await workflow.execute_activity_method(
                SubmissionActivities.examine_candidate,
                ExamineInput(account=self._request.account, manifest=self._manifest, batch_id=batch_id),
                **options.EXAMINE,
                summary=f"whose results are in {batch_id}",
            )
        except ActivityError as error:
            if kind_of(error) is None:
                workflow.logger.warning("The results of %s could not be examined: %s", batch_id, error.cause)
            return None

    async def _settle(self, batch_id: str | None) -> bool:
        return await workflow.execute_activity_method(
            SubmissionActivities.settle_submission,
            self.settle_input(batch_id, certain=False),
            **options.RECORD,
            summary=f"claim {batch_id}" if batch_id else "no batch found",
        )

    def _take_up_resolution(self) -> None:
        resolution, self._state.resolution = self._state.resolution, None
        if resolution and self._submission.undecided:
            self._submission.resolved(resolution)

    def _look_input(self, look: Look) -> LookInput:
        return LookInput(
            account=self._request.account, manifest=self._manifest, submitter=self._submitter, anchor=look.anchor
        )

    def _unknown(self, why: str, candidates: tuple[str, ...]) -> ApplicationError:
        named = f" These may be ours: {', '.join(candidates)}; attach to the right one." if candidates else ""
        return failure(
            "SubmissionUnknown",
            f"Whether the requests were accepted cannot be told: {why}.{named} Look at the batches in the Console "
            "before buying again (`starter.py start --again`).",
            candidates=list(candidates),
        )
