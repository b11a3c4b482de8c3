"""What an operator does with a schedule: fire it now, pause it, resume it, delete it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.client import Client, ScheduleActionExecutionStartWorkflow, ScheduleDescription
from temporalio.service import RPCError, RPCStatusCode

from message_batches.runs.control import NoAnswer, Refused
from message_batches.runs.starter import START_TIMEOUT
from message_batches.schedules.describe import ScheduleNotFound, describe_schedule, read_description
from message_batches.schedules.models import Overlap, ScheduleView, overlap_of
from message_batches.temporal.diagnosis import read_again, unanswered

_FIRED_WITHIN = 10.0
"""Seconds in which a schedule that is fired has started a run, or has skipped it."""

_LOOK_INTERVAL = 0.1

_CLOCKS_DIFFER = timedelta(seconds=10)


@dataclass(frozen=True)
class Fired:
    """What came of a firing.

    Attributes:
        workflow_id: the run that it has started; None where that is not seen yet.
        after: the run that is waited for before the next one is started; None where none is.
    """

    workflow_id: str | None
    after: str | None = None


async def trigger_schedule(client: Client, name: str) -> Fired:
    """Fire a schedule now, also a paused one; `Refused` where the last run is under way and another is skipped.

    `NoAnswer` where Temporal has not answered, and nothing shows that it was fired.
    """
    before = await _after_the_last_second(client, name)
    lost: RPCError | None = None
    try:
        await client.get_schedule_handle(name).trigger(rpc_timeout=START_TIMEOUT)
    except RPCError as error:
        if not unanswered(error):
            raise
        lost = error
    until = time.monotonic() + _FIRED_WITHIN
    while time.monotonic() < until:
        now = await read_description(client, name)
        if new := _new_runs(before, now):
            return Fired(new[-1])
        under_way = _under_way(now)
        if now.info.num_actions_skipped_overlap > before.info.num_actions_skipped_overlap:
            raise Refused(
                f"{under_way or 'The last run'} is still under way, and the schedule starts no other one beside it: "
                "nothing was started"
            )
        buffers = overlap_of(now.schedule.policy.overlap) == Overlap.BUFFER_ONE
        if buffers and under_way and lost is None:
            return Fired(None, under_way)
        await asyncio.sleep(_LOOK_INTERVAL)
    if lost:
        raise NoAnswer(
            f"Temporal did not answer whether {name!r} was fired, and no run of it is seen: look at the schedule "
            "before it is fired again, or the requests may be sent twice"
        ) from lost
    return Fired(None)


async def pause_schedule(client: Client, name: str, reason: str = "") -> ScheduleView:
    """Let a schedule fire no more, until it is resumed; its runs go on."""
    handle = client.get_schedule_handle(name)
    words = reason or "Paused by starter.py"
    return await _carry_out(client, name, lambda timeout: handle.pause(note=words, rpc_timeout=timeout))


async def resume_schedule(client: Client, name: str) -> ScheduleView:
    """Let a paused schedule fire again; what it has missed is not made up for."""
    handle = client.get_schedule_handle(name)
    # Without a note, the SDK writes one of its own.
    return await _carry_out(client, name, lambda timeout: handle.unpause(note=" ", rpc_timeout=timeout))


async def delete_schedule(client: Client, name: str) -> None:
    """Remove a schedule; the runs that it has started go on, and its requests stay in the store."""
    await read_description(client, name)
    handle = client.get_schedule_handle(name)
    try:
        await read_again(lambda timeout: handle.delete(rpc_timeout=timeout))
    except RPCError as error:
        # Somebody else was faster, or the answer to our own call was lost.
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


async def _carry_out(client: Client, name: str, call: Callable[[timedelta], Awaitable[None]]) -> ScheduleView:
    """Make a call that can be made again; return the schedule after it."""
    await read_description(client, name)
    try:
        await read_again(call)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise ScheduleNotFound(f"There is no schedule {name!r} any more") from error
        raise
    return await describe_schedule(client, name)


async def _after_the_last_second(client: Client, name: str) -> ScheduleDescription:
    """Return the schedule once its last firing was in an earlier second.

    A run's id has its second, and one id is one submission.
    """
    found = await read_description(client, name)
    last = found.info.recent_actions[-1].scheduled_at if found.info.recent_actions else None
    # By two clocks, which may differ by some seconds.
    if last and abs(datetime.now(UTC) - last) < _CLOCKS_DIFFER:
        await asyncio.sleep(1)
        return await read_description(client, name)
    return found


def _new_runs(before: ScheduleDescription, now: ScheduleDescription) -> list[str]:
    known = {run.first_execution_run_id for run in _started(before)}
    return [run.workflow_id for run in _started(now) if run.first_execution_run_id not in known]


def _started(found: ScheduleDescription) -> list[ScheduleActionExecutionStartWorkflow]:
    actions = (each.action for each in found.info.recent_actions)
    return [each for each in actions if isinstance(each, ScheduleActionExecutionStartWorkflow)]


def _under_way(found: ScheduleDescription) -> str | None:
    running = (each for each in found.info.running_actions if isinstance(each, ScheduleActionExecutionStartWorkflow))
    return next((each.workflow_id for each in running), None)
