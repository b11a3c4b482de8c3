"""Jobs as seen from outside: status, progress, expected end, obstacles, result or failure, and what the store has."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE, ActivityType, NextAction
from message_batches.errors import RequestsNotFound, StoreUnavailable
from message_batches.job_models import JobOutput, JobPhase, JobProgress, JobWave, MergedResults
from message_batches.jobs.answers import Wave, read_waves
from message_batches.jobs.merge import read_merged
from message_batches.jobs.records import JobRecords, given_folder
from message_batches.jobs.shards import usable_of
from message_batches.jsonl import first_of
from message_batches.models import RequestsInput
from message_batches.prices import total_cost
from message_batches.results.reader import ResultsNotFound, has_file, results_in
from message_batches.runs.control import is_batch_id
from message_batches.runs.describe import QUERY_TIMEOUT, ExecutionView, RunNotFound, describe_execution, look
from message_batches.runs.history import RunFailure, read_end, read_start
from message_batches.storage import job_paths
from message_batches.storage.groups import GroupKey, PathKind, parse_path
from message_batches.storage.interface import Store
from message_batches.storage.paths import JOBS
from message_batches.temporal.connection import TemporalUnreachable
from message_batches.temporal.payloads import first_value, given_value

Input = TypeVar("Input", bound=RequestsInput)


@dataclass(frozen=True)
class JobView(ExecutionView[JobProgress, JobOutput]):
    """A job as it was seen at one moment.

    Attributes:
        folder: that of the job in the store, once its requests are planned.
        expected_end: when the shards of the current wave will have landed, if the rest takes as long as those before;
            None while that cannot be told.
    """

    folder: str | None = None
    expected_end: datetime | None = None


async def workflow_type(client: Client, workflow_id: str) -> str | None:
    """Return the workflow type of a workflow id's latest run, that of a run or of a job; None if there is none."""
    try:
        described = await describe_execution(client, workflow_id, WORKFLOW_TYPE, JOB_WORKFLOW_TYPE)
    except RunNotFound:
        return None
    return described.workflow_execution_info.type.name


async def is_job(client: Client, workflow_id: str) -> bool:
    """Check whether the latest run of a workflow id is a job's; False too where Temporal knows none."""
    return await workflow_type(client, workflow_id) == JOB_WORKFLOW_TYPE


async def describe_job(
    client: Client, store: Store, workflow_id: str, *, query_timeout: timedelta = QUERY_TIMEOUT
) -> JobView:
    """Describe the latest run of a job; `RunNotFound` if there is none.

    Args:
        client: from `connect()`.
        store: that of the workers.
        workflow_id: of the job.
        query_timeout: how long to wait for a worker's answer; without one the progress is read from the store.
    """
    described = await describe_execution(client, workflow_id, JOB_WORKFLOW_TYPE)
    view = await look(client, described, JobView, JobProgress, query_timeout)
    if not view.running:
        end = await read_end(client, workflow_id, view.run_id, JobOutput)
        if not isinstance(end, RunFailure):
            with suppress(RequestsNotFound):  # The results are in another store than this one.
                view = replace(view, folder=store.name(end.shards.uri).rpartition("/")[0])
            return replace(view, output=end)
        view = replace(view, failure=end)
    view = replace(view, folder=await _folder(client, view))
    with suppress(StoreUnavailable):  # Then that is left out which only the store has.
        return await _with_records(store, view)
    return view


async def _with_records(store: Store, view: JobView) -> JobView:
    folder = view.folder
    progress = view.progress or await _recorded_progress(view, JobRecords(store, folder) if folder else None)
    expected = await expected_end(store, folder, progress) if folder and view.running and progress.waves else None
    return replace(view, progress=progress, expected_end=expected)


async def read_input(client: Client, view: ExecutionView[Any, Any], model: type[Input]) -> Input:
    """Read the input that a run or a job was started with; one that continues another carries no requests."""
    handle = client.get_workflow_handle(view.workflow_id, run_id=view.first_run_id)
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            given = event.workflow_execution_started_event_attributes.input
            return model.model_validate(await first_value(client.data_converter, given))
    raise RunNotFound(f"The history of {view.workflow_id} does not begin with its start")


async def _folder(client: Client, view: JobView) -> str | None:
    """Return the job's folder, as its history has it: in what a run carries over, or once the first wave is planned."""
    planning: set[int] = set()
    async for event in client.get_workflow_handle(view.workflow_id, run_id=view.run_id).fetch_history_events():
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                given = event.workflow_execution_started_event_attributes.input
                state = (await given_value(client.data_converter, given)).get("state")
                if isinstance(state, dict) and isinstance(folder := state.get("folder"), str) and folder:
                    return folder
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                if event.activity_task_scheduled_event_attributes.activity_type.name == ActivityType.PLAN_WAVE:
                    planning.add(event.event_id)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                completed = event.activity_task_completed_event_attributes
                if completed.scheduled_event_id in planning:
                    planned = await first_value(client.data_converter, completed.result)
                    return str(planned["folder"]) if planned.get("folder") else None
    return None


async def _recorded_progress(view: JobView, records: JobRecords | None) -> JobProgress:
    """Read the progress of a job from its records in the store: the last known state, not the present one."""
    found = await read_waves(records) if records else []
    waves = tuple(
        JobWave(
            number=number,
            shards=len(wave.manifests),
            sent=sum(shard.count for shard in wave.manifests),
            landed=len(wave.landed),
            usable=sum(usable_of(shard.summary) for shard in wave.landed.values()),
        )
        for number, wave in enumerate(found)
    )
    cost = total_cost(shard.cost for wave in found for shard in wave.landed.values())
    under_way = JobPhase.RUNNING if waves else JobPhase.PLANNING
    return JobProgress(
        phase=under_way if view.running else JobPhase.FAILED,
        requests=waves[0].sent if waves else None,
        waves=waves,
        cost=cost.amount if cost else None,
    )


async def expected_end(store: Store, folder: str, progress: JobProgress) -> datetime | None:
    """Return when a wave will have landed, by the times at which its plan and its landed shards were recorded.

    None before as many have landed as are under way: the first to land would make the rest seem slow.
    """
    wave = progress.waves[-1]
    if progress.paused or not wave.landed or wave.landed < min(len(progress.alive), wave.shards - 1):
        return None
    if wave.landed >= wave.shards:
        return None
    plan, began, landed = job_paths.plan_path(folder, wave.number), None, []
    async for page in store.listing(folder):
        for stored in page:
            if stored.name == plan:
                began = stored.modified
            elif stored.name.startswith(f"{folder}/{wave.number}-"):
                landed.append(stored.modified)
    if began is None or not landed:
        return None
    each = (max(landed) - began) / len(landed)
    return max(landed) + each * (wave.shards - len(landed))


@dataclass(frozen=True)
class StoredJob:
    """A job as the store has it.

    Attributes:
        records: its plans and its landed shards.
        merged: its results; None as long as none are merged.
    """

    job_id: str
    records: JobRecords
    merged: MergedResults | None

    async def waves(self) -> list[Wave]:
        """Return its waves, with what has landed of them so far."""
        return await read_waves(self.records)

    def results(self) -> MergedResults:
        """Return its results; `ResultsNotFound` if none are merged."""
        if self.merged is None:
            raise ResultsNotFound(
                f"The results of {self.job_id} are not merged yet", NextAction.MERGE_SO_FAR, workflow_id=self.job_id
            )
        return self.merged


async def find_job(store: Store, identity: str, connect: Callable[[], Awaitable[Client]]) -> StoredJob | None:
    """Find a job by its workflow id; None for an id that is none of a job, or that only Temporal may know.

    Args:
        store: where plans, records and results are; it keeps them for longer than Temporal keeps histories.
        identity: a workflow id, or the id of a batch.
        connect: connects to Temporal.
    """
    if is_batch_id(identity):
        return None
    try:
        client = await connect()
        kind = await workflow_type(client, identity)
    except TemporalUnreachable:
        return await find_stored_job(store, identity)
    if kind is None:
        return await find_stored_job(store, identity)
    if kind != JOB_WORKFLOW_TYPE:
        return None
    view = await describe_job(client, store, identity, query_timeout=timedelta())
    if view.folder is None:
        # The last run of the job has ended before it came so far; an earlier one of the same requests may have landed.
        if not view.running and (found := await _landed_before(client, store, identity)):
            return found
        failed = f", it {view.status}: {view.failure.message}" if view.failure else ", its requests are not planned yet"
        raise ResultsNotFound(f"{identity} has no results{failed}", NextAction.WATCH, workflow_id=identity)
    records = JobRecords(store, view.folder)
    return StoredJob(identity, records, view.output or await _newest(store, view.folder))


async def _landed_before(client: Client, store: Store, job_id: str) -> StoredJob | None:
    """Return the merged results of the requests that a job was last started with, if the store has them."""
    asked = await read_start(client, job_id)
    try:
        folder = await given_folder(store, job_id, asked.requests, next(iter(asked.requests_uris), None))
    except RequestsNotFound:
        return None
    merged = await _newest(store, folder) if folder else None
    return StoredJob(job_id, JobRecords(store, folder), merged) if folder and merged else None


async def find_stored_job(store: Store, job_id: str) -> StoredJob | None:
    """Find what the store alone knows of a job, whatever Temporal knows; None if it has never planned anything."""
    key = GroupKey.of_job(job_id)
    parsed = {name: parse_path(name) for name in await store.names(f"{JOBS}/")}
    folders = {name.rpartition("/")[0] for name, found in parsed.items() if found and found.key == key}
    jobs = [StoredJob(job_id, JobRecords(store, each), await _newest(store, each)) for each in sorted(folders)]
    # Where a caller has used one id for several contents, those that have results go first.
    return min(jobs, key=lambda job: job.merged is None, default=None)


async def _newest(store: Store, folder: str) -> MergedResults | None:
    """Return the published results of a job of which the most has landed, and whose file is there."""
    found: list[MergedResults] = []
    for name in await store.names(f"{folder}/"):
        parsed = parse_path(name)
        if parsed and parsed.kind is PathKind.PUBLICATION and (merged := await read_merged(store, name)):
            found.append(merged)
    found.sort(key=lambda each: (each.results_file.lines, each.shards.count), reverse=True)
    for merged in found:
        if await has_file(store, merged.results_file):
            return merged
    return None


async def first_lines(store: Store, job_id: str, merged: MergedResults, count: int) -> list[bytes]:
    """Return the first of merged results; all are read, which alone shows that they are what was merged."""
    if not await has_file(store, merged.results_file):
        raise ResultsNotFound(
            f"The merged results of {job_id} are not at {merged.results_file.uri} any more; those of its shards may be",
            NextAction.RETRY,
            workflow_id=job_id,
        )
    return await first_of(results_in(store, merged.results_file), count)
