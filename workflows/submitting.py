"""The submitBatch step: performs what the submission protocol decides, one activity or timer each."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.inputs import Looked
from message_batches.errors import CannotDecrypt, NotSent, RateLimited, StoreUnavailable, UnknownKey, WrongStore
from message_batches.metrics import LOST_REPLIES, RECONCILIATIONS, SUBMITTED
from message_batches.progress import Phase, Resolution
from workflows import options
from workflows.chain import Chain
from workflows.failures import failure, from_activity, kind_of, stopped_by_itself
from workflows.moves import Claim, Examine, FindAnchor, GiveUp, Look, NoteAbsent, Post, Settled, WaitUntil
from workflows.submission_calls import SubmissionCalls

NOT_NOW = (CannotDecrypt, NotSent, RateLimited, StoreUnavailable, WrongStore, UnknownKey)
"""After these a POST has certainly created nothing, and may be made again later."""

_Found = TypeVar("_Found")


class SubmitStep:
    """One run's submission: state in `RunState.submission`, decisions in `workflows.submission`."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._request = chain.request
        self._state = chain.state
        self._submission = chain.state.submission
        self._calls = SubmissionCalls(chain)
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
        if not self._submission.may_be_paid_twice or self._submission.anchor is None:
            return [], None
        try:
            anchor, summary = self._submission.anchor, "a last look for a second batch"
            found = await self._calls.look(anchor, number=0, policy=options.LAST_LOOK, summary=summary)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return [], f"the list of batches could not be read: {error.cause}"
        known = (self._submission.batch_id, *self._submission.refuted)
        others = [s.candidate for s in found.sightings if not s.taken and s.candidate.batch_id not in known]
        return [c.batch_id for c in others if not c.ended or await self._calls.is_ours(c.batch_id) is not False], None

    async def resolve(self, resolution: Resolution) -> None:
        """A person decides; a batch that is to be adopted must exist, with our count."""
        if resolution.adopt:
            batch = await self._calls.batch(resolution.adopt)
            if batch.request_counts.total != self._calls.manifest.count:
                raise failure(
                    "NotOurs",
                    f"{batch.id} holds {batch.request_counts.total} requests, ours are {self._calls.manifest.count}",
                )
        if self._submission.undecided:
            self._submission.resolved(resolution)
            self._reconciled("resolved")
            self._chain.alarm.ring()

    # --- the protocol ----------------------------------------------------------------------------------------------

    async def _submit(self) -> None:
        submission = self._submission
        known = submission.batch_id
        while not self._request.batch_id:
            if self._state.cancel_requested and submission.may_stop:
                raise asyncio.CancelledError
            if not submission.batch_id:
                self._state.phase = Phase.UNDECIDED if submission.undecided else Phase.SUBMITTING
                await self._chain.continue_if_due()
            self._chain.tell()
            match submission.next_move(workflow.now(), self._request.submission, self._request.poll.retry_after):
                case Settled():
                    if not known:
                        SUBMITTED.add(workflow.metric_meter())
                        self._chain.note("The batch is submitted")
                    return
                case FindAnchor():
                    submission.anchored(await self._calls.find_anchor())
                case Post() as post:
                    await self._post(post)
                    if submission.undecided:
                        LOST_REPLIES.add(workflow.metric_meter())
                        self._chain.note("What came of POST %d is not known", post.number, level=logging.WARNING)
                case WaitUntil(time, why):
                    await self._chain.wait(time, why)
                case Look() as look:
                    await self._look(look)
                case Examine(batch_id):
                    await self._examine(batch_id)
                case Claim(batch_id):
                    ours = await self._while_in_doubt(self._calls.settle((submission.number,), batch_id))
                    if ours is not None:
                        submission.claimed(batch_id, ours=ours)
                        if ours:
                            self._reconciled("found")
                case NoteAbsent(numbers):
                    await self._calls.settle(numbers, None)
                    submission.noted()
                case GiveUp(why, candidates):
                    self._unknown(why, candidates)

    async def _post(self, post: Post) -> None:
        timeout = self._request.submission.timeout
        self._submission.posting()
        try:
            submitted = await self._calls.post(post.number, post.anchor)
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
        number = self._submission.number
        look_up = self._calls.look(look.anchor, number=number, policy=options.LOOK, summary="batches that may be ours")
        try:
            found: Looked | None = await self._while_in_doubt(look_up)
        except ActivityError as error:
            why = f"the POST got no answer, and the list cannot be read: {getattr(error.cause, 'message', error)}"
            self._unknown(why, tuple(self._submission.sightings))
        if found and found.recorded:
            self._submission.answered(found.recorded)
            self._reconciled("found")
        elif found:
            schedule = self._request.submission
            self._submission.looked(found.sightings, workflow.now(), schedule, recorded=found.posts)
            if not self._submission.in_doubt:
                self._reconciled("absent")

    async def _examine(self, batch_id: str) -> None:
        ours = await self._while_in_doubt(self._calls.is_ours(batch_id))
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

    async def _record(self) -> None:
        """The batch's id under its POST, and our claim: retried beside the polling, which it never stops."""
        await self._calls.settle((self._submission.number,), self._chain.batch_id, certain=True)
        self._state.settled = True

    def _reconciled(self, result: str) -> None:
        RECONCILIATIONS.add(workflow.metric_meter(), result=result)
        self._chain.note("What came of POST %d: %s", self._submission.number, result)

    # --- the ends --------------------------------------------------------------------------------------------------

    def _refused(self, error: ActivityError) -> NoReturn:
        """The POST was refused for good: nothing was created by it, nor by an earlier one that is known of."""
        refusal = from_activity(error)
        note = "" if self._submission.posted else ". Nothing was created"
        raise failure(refusal.type or "", f"{refusal.message.rstrip('.')}{note}") from error

    def _unknown(self, why: str, candidates: tuple[str, ...]) -> NoReturn:
        self._reconciled("given-up")
        named = f" These may be ours: {', '.join(candidates)}; attach to the right one." if candidates else ""
        raise failure(
            "SubmissionUnknown",
            f"Whether the requests were accepted cannot be told: {why}.{named} Look at the batches in the Console "
            "before buying again (`starter.py start --again`).",
            candidates=list(candidates),
        )
