"""The shards of one wave: a window of them is under way; how each stands is read from the store and from Temporal.

What a job remembers of its shards is only which to ask for. So a job that was terminated, reset, or continued as new
takes up what there is, and one that is started again submits only what nobody has.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, FailureError, WorkflowAlreadyStartedError, is_cancelled_exception

from activities.job_models import ReadShardsInput, StopShardsInput
from activities.shards import ShardActivities
from message_batches.contract import WORKFLOW_TYPE
from message_batches.formatting import SUMMARY_BYTES, format_time, plural, truncate_payload
from message_batches.job_models import ShardState, ShardStatus
from message_batches.models import BatchInput
from workflows import activity_options
from workflows.failures import error_name_of
from workflows.jobs.context import JobContext, finished_first
from workflows.jobs.failed_shards import (
    DEADLINE_PASSED,
    LONGEST_HOLD,
    PAST_DEADLINE,
    Consequence,
    again_after,
    consequence_of,
    failed_shard,
    is_void,
)
from workflows.jobs.state import HeldShard

READ_AT_ONCE = 100
"""Shards of a wave that an earlier run has planned, which are all looked at before anything is started."""

MAX_HELD = 100
"""Shards that wait to be taken up again; none is started that might add to them: each is carried over in the input."""

_STARTABLE = (ShardStatus.NEW, ShardStatus.FAILED, ShardStatus.BATCH_LEFT)


class ShardWindow:
    """The shards of the current wave of a job."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._request = context.request
        self._state = context.state
        self._ended: set[int] = set()
        # Since their state was read again, it can be trusted.
        self._refused: set[int] = set()

    async def take_up(self) -> None:
        """Look at all shards of a wave that an earlier run of the job has planned, before any is started."""
        state, wave = self._state, self._state.wave
        for first in range(0, wave.shards, READ_AT_ONCE):
            for shard in await self._read(range(first, min(first + READ_AT_ONCE, wave.shards))):
                if self._on_found(shard):
                    continue
                if shard.status is ShardStatus.BATCH_LEFT:
                    self._forget(shard.number)
                    state.left.append(shard.number)
                elif is_void(wave.number, shard) and self._request.retries.waves:
                    self._forget(shard.number)
                    state.void.setdefault(wave.number, []).append(shard.number)
            self._context.publish_status()

    async def run(self) -> None:
        """Follow the wave until all of its shards have landed or failed, or nothing is started any more."""
        while True:
            if self._context.deadline_passed and self._state.to_start and self._state.stopped is None:
                self._state.stop(PAST_DEADLINE, self._context.now)
            if not self._state.alive and not self._state.to_start:
                return
            self._context.show_phase()
            await self._stop_if_asked()
            await self._context.settled(self._turn())
            self._context.show_phase()
            self._context.publish_status()
            if self._state.alive or self._state.to_start:
                if not self._next_to_start():  # Else places have become free.
                    await self._wait()
                await self._context.maybe_continue_as_new()

    async def cancel(self) -> None:
        """Cancel the runs of all shards that are under way; each cancels its batch at the provider."""
        ids = list(self._state.alive.values())
        cancels = (workflow.get_external_workflow_handle(each).cancel() for each in ids)
        for shard_id, error in zip(ids, await asyncio.gather(*cancels, return_exceptions=True), strict=True):
            if isinstance(error, FailureError):  # It has ended meanwhile.
                self._context.log("The run %s could not be cancelled", shard_id, level=logging.WARNING)
            elif error:
                raise error

    async def _turn(self) -> None:
        """Read the state of what is under way and of what is next; start what has nothing of it under way."""
        state, next_ones = self._state, self._next_to_start()
        followed = [*state.alive]
        shards = await self._read([*followed, *next_ones])
        for shard in shards[: len(followed)]:
            self._on_followed(shard)
        state.on_attention((shard.attention for shard in shards[: len(followed)]), self._context.now)
        found = [shard for shard in shards[len(followed) :] if not self._on_found(shard)]
        if state.stopped is not None:  # A batch is taken up all the same.
            for shard in found:
                if shard.status is not ShardStatus.BATCH_LEFT:
                    self._forget(shard.number)
            found = [shard for shard in found if shard.status is ShardStatus.BATCH_LEFT]
        if not state.paused:
            free = max(0, self._request.concurrency - len(state.alive))
            await finished_first(*map(self._start_one, found[:free]))

    def _next_to_start(self) -> list[int]:
        """Return the shards to start as far as there are places; those whose run is known to be over leave theirs."""
        state = self._state
        if state.paused:
            return []
        due = [each.failure.number for each in state.held if each.due and each.due <= self._context.now]
        free = max(0, self._request.concurrency - len({*state.alive} - self._ended))
        more = 0 if state.stopped is not None else max(0, min(free, MAX_HELD - len(state.held)))
        return [*due, *state.left, *state.waiting[:more]][:free]

    def _on_followed(self, shard: ShardState) -> None:
        """Take in the state of a shard that was under way."""
        state, number = self._state, shard.number
        # Also of one whose run was reset after it had ended.
        self._ended.discard(number)
        if shard.status is ShardStatus.RUNNING:
            return
        del state.alive[number]
        if shard.status is ShardStatus.LANDED:
            state.on_landed(shard)
        elif shard.status is ShardStatus.NEW:
            state.waiting.insert(0, number)  # Its run was deleted before it could send anything.
        else:
            self._on_failed(shard)

    def _on_found(self, shard: ShardState) -> bool:
        """Take in the state of a shard that is not started yet; return whether there is nothing to start."""
        if shard.status in _STARTABLE:
            return False
        self._forget(shard.number)
        if shard.status is ShardStatus.RUNNING:
            self._state.alive[shard.number] = shard.workflow_id
        elif shard.status is ShardStatus.LANDED:
            self._state.on_landed(shard)
        else:
            self._state.add_failed([failed_shard(self._state.wave.number, shard)])
        return True

    def _on_failed(self, shard: ShardState) -> None:
        """Decide on a shard whose run has ended without results while the job followed it."""
        state, now = self._state, self._context.now
        failed = failed_shard(state.wave.number, shard)
        self._context.log("Shard %s has ended: %s", shard.workflow_id, failed.type, level=logging.WARNING)
        consequence = consequence_of(shard)
        since = state.failing_since.setdefault(shard.number, now)
        if consequence is Consequence.AGAIN and now - since >= LONGEST_HOLD:
            consequence = Consequence.GIVE_UP
        if shard.status is ShardStatus.FAILED and (state.stopping or failed.type == DEADLINE_PASSED):
            state.stop(PAST_DEADLINE, now)
            return  # Stopped before anything was sent: its requests are unfinished.
        if consequence is Consequence.GIVE_UP or state.stopped is not None:
            state.add_failed([failed])
            return
        due = None
        if consequence is Consequence.AGAIN:
            due = now + again_after(self._request.poll.transient.retry_after)
        elif not state.paused:
            state.paused, state.paused_since = f"{failed.type}: {failed.message}", now
            self._context.log("The job is paused: %s", failed.type, level=logging.WARNING)
        state.held.append(HeldShard(failure=failed, due=due))

    def _forget(self, number: int) -> None:
        """Take a shard out of those that are to be started."""
        state = self._state
        if number in state.waiting:
            state.waiting.remove(number)
        state.left = [each for each in state.left if each != number]
        state.held = [each for each in state.held if each.failure.number != number]

    async def _start_one(self, shard: ShardState) -> None:
        """Start a shard's run, or one that attaches to its batch; one that is running already is followed."""
        number = shard.number
        try:
            run = await workflow.start_child_workflow(
                WORKFLOW_TYPE,
                self._input_of(shard),
                id=shard.workflow_id,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                id_reuse_policy=self._reuse_policy(shard),
                static_summary=self._summary_of(shard),
            )
        except WorkflowAlreadyStartedError:
            self._refused.add(number)
            self._context.log("Shard %s has a run already", shard.workflow_id)
        else:
            run.add_done_callback(lambda ended: self._on_run_over(number, ended))
        self._forget(number)
        self._state.alive[number] = shard.workflow_id

    def _reuse_policy(self, shard: ShardState) -> WorkflowIDReusePolicy:
        """Return the policy with which no run is started beside one that has come since the state was read.

        A job that is reset starts its shards by the states that it had read before.
        """
        if shard.status is ShardStatus.BATCH_LEFT or shard.number in self._refused:
            return WorkflowIDReusePolicy.ALLOW_DUPLICATE
        if shard.status is ShardStatus.NEW:
            return WorkflowIDReusePolicy.REJECT_DUPLICATE
        return WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY

    def _on_run_over(self, number: int, ended: "asyncio.Future[Any]") -> None:
        """End the timer; how the run has ended is read like that of any other shard."""
        if not ended.cancelled():
            ended.exception()
            self._ended.add(number)
            self._context.wake()

    def _input_of(self, shard: ShardState) -> BatchInput:
        return self._request.of_shard(
            shard.requests_uri,
            self._state.store_id,
            batch_id=shard.batch_id if shard.status is ShardStatus.BATCH_LEFT else None,
            api_key=shard.api_key,
            summary=self._summary_of(shard),
        )

    def _summary_of(self, shard: ShardState) -> str:
        wave, requests = self._state.wave, plural(shard.requests, "request")
        text = f"shard {shard.number + 1} of {wave.shards} in wave {wave.number} of {self._context.job_id}, {requests}"
        return truncate_payload(text, SUMMARY_BYTES)

    async def _read(self, numbers: Sequence[int]) -> list[ShardState]:
        """Return the states of shards of the current wave, in the order of their numbers here."""
        if not numbers:
            return []
        reading = workflow.execute_activity_method(
            ShardActivities.read_shards,
            ReadShardsInput(
                job_id=self._context.job_id,
                profile=self._request.profile,
                store_id=self._state.store_id,
                folder=self._state.folder,
                wave=self._state.wave.number,
                numbers=tuple(numbers),
            ),
            **activity_options.READ_SHARDS,
            summary=f"look at {plural(len(numbers), 'shard')} of wave {self._state.wave.number}",
        )
        return await self._context.settled(reading)

    async def _stop_if_asked(self) -> None:
        """Ask each shard that is under way to cancel its batch, once the job was asked to stop."""
        state = self._state
        ask = {number: run for number, run in state.alive.items() if number not in state.asked_to_stop}
        if not state.stopping or not ask:
            return
        try:
            unanswered = await workflow.execute_activity_method(
                ShardActivities.stop_shards,
                StopShardsInput(workflow_ids=tuple(ask.values())),
                **activity_options.STOP_SHARDS,
                summary=f"stop {plural(len(ask), 'shard')}",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._context.log("The shards could not be stopped: %s", error_name_of(error), level=logging.ERROR)
            return
        state.asked_to_stop += [number for number, run in ask.items() if run not in unanswered]

    async def _wait(self) -> None:
        """Wait for the next look: a run that ends, an operator, the interval of polls, or a shard that is due."""
        state, now = self._state, self._context.now
        due = [each.due for each in state.held if each.due and each.due > now and not state.paused]
        times = [*due]
        if state.alive:
            times.append(now + self._request.poll.retry_after)
        if state.paused_since:
            times.append(state.paused_since + LONGEST_HOLD)
        if self._request.deadline and now < self._request.deadline:
            times.append(self._request.deadline)
        if due:
            held = plural(len(due), "shard")
            state.waiting_for = f"{held} that the API refuses for now, until {format_time(min(due))}"
        self._context.publish_status()
        await self._context.wait_until(min(times), truncate_payload(self._reason(), SUMMARY_BYTES))
        state.waiting_for = None
        if state.paused and state.paused_since and self._context.now >= state.paused_since + LONGEST_HOLD:
            state.stop(f"it was paused for {LONGEST_HOLD.days} days: {state.paused}", self._context.now)

    def _reason(self) -> str:
        state = self._state
        if state.paused:
            return f"paused: {state.paused}"
        return state.waiting_for or f"{plural(len(state.alive), 'shard')} of wave {state.wave.number}"
