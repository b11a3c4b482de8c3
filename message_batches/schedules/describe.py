"""Schedules as Temporal has them: one, all of them, and the requests in the store that they need."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleListActionStartWorkflow,
    ScheduleListDescription,
    ScheduleSpec,
)
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE
from message_batches.errors import CannotDecrypt, RunError
from message_batches.job_models import JobInput
from message_batches.models import BatchInput, RequestsInput
from message_batches.runs.describe import RunNotFound, RunStatus, describe_execution
from message_batches.schedules.models import NEXT_TIMES, ScheduledRun, ScheduleNote, ScheduleView, overlap_of
from message_batches.temporal.diagnosis import read_again
from message_batches.uri_template import UTC_NAME

NOTE = "messageBatches"
"""The field of a schedule's memo that is ours."""

_INPUTS: dict[str, type[RequestsInput]] = {WORKFLOW_TYPE: BatchInput, JOB_WORKFLOW_TYPE: JobInput}


class ScheduleNotFound(RunError):
    """There is no schedule of that name, or it starts neither runs nor jobs of ours."""


async def describe_schedule(client: Client, name: str) -> ScheduleView:
    """Describe a schedule, with the state of its last runs; `ScheduleNotFound` if there is none of ours."""
    found = await read_description(client, name)
    view = await _view(client, found)
    statuses = await asyncio.gather(*(_status(client, run) for run in view.runs))
    runs = tuple(
        ScheduledRun(run.workflow_id, run.due, status) for run, status in zip(view.runs, statuses, strict=True)
    )
    return replace(view, runs=runs)


async def read_description(client: Client, name: str) -> ScheduleDescription:
    """Read Temporal's own description of a schedule; `ScheduleNotFound` if there is none of ours."""
    handle = client.get_schedule_handle(name)
    try:
        found = await read_again(lambda timeout: handle.describe(rpc_timeout=timeout))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise ScheduleNotFound(f"There is no schedule {name!r} in namespace {client.namespace!r}") from error
        raise
    if _workflow_type(found) is None:
        raise ScheduleNotFound(f"The schedule {name!r} starts neither runs nor jobs of message batches")
    return found


async def list_schedules(client: Client) -> list[ScheduleView]:
    """List the schedules that start our runs and jobs, by name; one that was just created may come a moment later."""
    found = [each async for each in await client.list_schedules()]
    return sorted([view for each in found if (view := await _listed(each))], key=lambda view: view.name)


async def scheduled_requests(client: Client) -> set[str]:
    """Return the addresses of the requests that the schedules of a namespace need, paused ones too.

    An error of the data converter passes through.
    """
    listed = [each async for each in await client.list_schedules()]
    found = set()
    for name in [each.id for each in listed if _may_be_ours(each)]:
        try:
            given = await _given(client, await read_description(client, name), RequestsInput)
        except ScheduleNotFound:
            continue
        if given and given.requests_uri:
            found.add(given.requests_uri)
    return found


def _may_be_ours(found: ScheduleListDescription) -> bool:
    """Return whether a schedule starts our workflows, or a server that lists them without their action has it."""
    action = found.schedule.action if found.schedule else None
    return not isinstance(action, ScheduleListActionStartWorkflow) or action.workflow in _INPUTS


def _workflow_type(found: ScheduleDescription) -> str | None:
    action = found.schedule.action
    known = isinstance(action, ScheduleActionStartWorkflow) and action.workflow in _INPUTS
    return str(action.workflow) if known else None  # type: ignore[attr-defined]  # By `known`.


async def _view(client: Client, found: ScheduleDescription) -> ScheduleView:
    schedule, info = found.schedule, found.info
    workflow_type = _workflow_type(found) or WORKFLOW_TYPE
    try:
        given = await _given(client, found, _INPUTS[workflow_type])
    except CannotDecrypt:
        raise
    except Exception:
        # Whoever created it has given it another input: its runs say what is wrong with it.
        given = None
    return ScheduleView(
        name=found.id,
        job=workflow_type == JOB_WORKFLOW_TYPE,
        **_times(schedule.spec),
        note=await found.memo_value(NOTE, ScheduleNote(), type_hint=ScheduleNote),
        paused=schedule.state.paused,
        reason=schedule.state.note or "",
        next_times=tuple(info.next_action_times[:NEXT_TIMES]),
        runs=_runs(info.recent_actions),
        given=given,
        overlap=overlap_of(schedule.policy.overlap),
        pause_on_failure=schedule.policy.pause_on_failure,
        fired=info.num_actions,
        skipped=info.num_actions_skipped_overlap,
        missed=info.num_actions_missed_catchup_window,
    )


async def _listed(found: ScheduleListDescription) -> ScheduleView | None:
    schedule, info = found.schedule, found.info
    if schedule is None or info is None:
        return None
    action = schedule.action
    if not isinstance(action, ScheduleListActionStartWorkflow) or action.workflow not in _INPUTS:
        return None
    return ScheduleView(
        name=found.id,
        job=action.workflow == JOB_WORKFLOW_TYPE,
        **_times(schedule.spec),
        note=await found.memo_value(NOTE, ScheduleNote(), type_hint=ScheduleNote),
        paused=schedule.state.paused,
        reason=schedule.state.note or "",
        next_times=tuple(info.next_action_times[:NEXT_TIMES]),
        runs=_runs(info.recent_actions),
    )


def _times(spec: ScheduleSpec) -> dict[str, Any]:
    every = spec.intervals[0].every if spec.intervals else None
    return {"every": every, "time_zone": spec.time_zone_name or UTC_NAME}


def _runs(actions: Sequence[ScheduleActionResult]) -> tuple[ScheduledRun, ...]:
    """Return the runs that were started, the newest first."""
    return tuple(
        ScheduledRun(each.action.workflow_id, each.scheduled_at)
        for each in reversed(actions)
        if isinstance(each.action, ScheduleActionExecutionStartWorkflow)
    )


async def _given(client: Client, found: ScheduleDescription, model: type[RequestsInput]) -> RequestsInput | None:
    """Return the input of the runs of a schedule; None where it gives them none, or several."""
    action = found.schedule.action
    if not isinstance(action, ScheduleActionStartWorkflow) or len(action.args) != 1:
        return None
    payloads = [each for each in action.args if isinstance(each, Payload)]
    [given] = await client.data_converter.decode(payloads, [model])
    return given if isinstance(given, RequestsInput) else None


async def _status(client: Client, run: ScheduledRun) -> RunStatus | None:
    try:
        described = await describe_execution(client, run.workflow_id, WORKFLOW_TYPE, JOB_WORKFLOW_TYPE)
    except RunNotFound:
        return None
    return RunStatus.of(described.workflow_execution_info)
