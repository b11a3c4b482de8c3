"""The submitBatch step: performs what the submission protocol decides, one activity or timer each."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.models import Looked
from message_batches.errors import CannotDecrypt, NotSent, RateLimited
from message_batches.models import Phase, Resolution
from message_batches.observability.metrics import LOST_REPLIES, RECONCILIATIONS, SUBMITTED
from workflows import activity_options
from workflows.context import Chain
from workflows.failures import WORKER_LACKS, failure, kind_of, refused, stopped_by_itself, unknown
from workflows.submission.calls import SubmissionCalls
from workflows.submission.commands import Claim, Examine, FindAnchor, GiveUp, Look, NoteAbsent, Post, Settled, WaitUntil

NOT_NOW = (*WORKER_LACKS, CannotDecrypt, NotSent, RateLimited)
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
            await asyncio.shield(self._recording)

    async def recorded_within(self, limit: timedelta) -> None:
        """Before the run ends: what it knows of its batch is in the store, unless that is away for longer."""
        if self._recording and not self._state.settled and workflow.patched("recorded-before-the-end"):
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._state.settled, timeout=limit, timeout_summary="record the batch"
                )

    async def look_again(self) -> tuple[list[str], str | None]:
        """After a second POST: further batches that match ours, possibly paid for too; or why that is not known."""
        if not self._submission.may_be_paid_twice or self._submission.anchor is None:
            return [], None
        try:
            anchor, summary = self._submission.anchor, "a last look for a second batch"
            found = await self._calls.look(anchor, number=0, policy=activity_options.LAST_LOOK, summary=summary)
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
            batch = await self._calls.batch_to_adopt(resolution.adopt)
            if batch.request_counts.total != self._calls.manifest.count:
                raise failure(
                    "NotOurs",
                    f"{batch.id} holds {batch.request_counts.total} requests, ours are {self._calls.manifest.count}",
                )
        if self._submission.undecided:
            self._submission.resolved(resolution)
            self._reconciled("resolved")
            self._chain.alarm.ring()
        elif self._submission.batch_id != resolution.adopt:
            what = f"it goes on with {self._submission.batch_id}" if self._submission.batch_id else "it sends again"
            raise failure("NotUndecided", f"The submission was decided meanwhile, otherwise: {what}")

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
            match submission.next_move(self._chain.now, self._request.submission, self._look_every()):
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
                    self._give_up(why, candidates)

    def _look_every(self) -> timedelta:
        """The interval of polls, as far as that does for looks: not over hours, nor for days in one history."""
        every = self._request.poll.retry_after
        other = self._submission.in_doubt and (every > activity_options.LOOK_EVERY or self._chain.overlong)
        return activity_options.LOOK_EVERY if other and workflow.patched("looks-have-a-pace-of-their-own") else every

    async def _post(self, post: Post) -> None:
        timeout = self._request.submission.timeout
        self._submission.posting()
        try:
            submitted = await self._calls.post(post.number, post.anchor)
        except ActivityError as error:
            self._post_failed(error, timeout)
            return
        if submitted.earlier_anchor:
            self._submission.began_before(submitted.earlier_anchor)
        if submitted.batch:
            self._state.saw(submitted.batch, self._chain.now)
            self._submission.answered(submitted.batch.id)
        elif submitted.recorded:
            self._submission.answered(submitted.recorded)
        elif submitted.earlier_not_created:
            self._submission.not_created()
        elif submitted.earlier_absent:
            self._submission.absent_before()
        else:
            # The earlier POST may be under way on a worker that does not know of this reset.
            self._submission.unanswered(self._chain.now + timeout)

    def _post_failed(self, error: ActivityError, timeout: timedelta) -> None:
        kind = kind_of(error)
        if kind in NOT_NOW:
            asked = error.cause.next_retry_delay if isinstance(error.cause, ApplicationError) else None
            transient = self._request.poll.transient
            not_before = self._chain.now + (asked or transient.retry_after)
            # While nothing may have been created, what others make before the next POST cannot be ours.
            forget = self._submission.posted == 0 and workflow.patched("anchor-before-each-first-post")
            self._submission.not_created(not_before=not_before, refused=kind not in WORKER_LACKS, forget_anchor=forget)
            if self._submission.out_of_patience(transient):
                raise refused(error, sent_before=self._submission.posted > 0) from error
        elif kind and not kind.outcome_unknown:
            self._submission.not_created()
            raise refused(error, sent_before=self._submission.posted > 0) from error
        else:
            over = self._chain.now if stopped_by_itself(error) else self._chain.now + timeout
            self._submission.unanswered(over)

    async def _look(self, look: Look) -> None:
        number = self._submission.number
        look_up = self._calls.look(
            look.anchor, number=number, policy=activity_options.LOOK, summary="batches that may be ours"
        )
        try:
            found: Looked | None = await self._while_in_doubt(look_up)
        except ActivityError as error:
            why = f"the POST got no answer, and the list cannot be read: {getattr(error.cause, 'message', error)}"
            self._give_up(why, tuple(self._submission.sightings))
        if found and found.recorded:
            # It was counted when its reply did not come.
            self._submission.answered(found.recorded, posted=not workflow.patched("a-post-counts-once"))
            self._reconciled("found")
        elif found:
            schedule = self._request.submission
            # A worker that does not read it may have gone on from here without it.
            counts = found.posts > self._submission.posted and workflow.patched("posts-before-a-reset-count")
            recorded = found.posts if counts else 0
            now = self._chain.now
            self._submission.looked(found.sightings, now, schedule, recorded=recorded, asked_at=found.time)
            if not self._submission.in_doubt:
                self._reconciled("absent")

    async def _examine(self, batch_id: str) -> None:
        ours = await self._while_in_doubt(self._calls.is_ours(batch_id))
        if not self._submission.in_doubt:
            return
        if ours is None:
            self._submission.not_examined(batch_id)
        else:
            self._submission.examined(batch_id, ours=ours, now=self._chain.now)

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

    def _give_up(self, why: str, candidates: tuple[str, ...]) -> NoReturn:
        self._reconciled("given-up")
        raise unknown(why, candidates)
