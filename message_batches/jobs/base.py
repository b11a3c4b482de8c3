"""The base of a job: a run or another job, whose requests and landed results are those of the job's first waves.

Nothing of it is sent: what has failed there is sent again by the waves that follow.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from temporalio.client import Client

from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE
from message_batches.errors import BaseUnusable, RequestsNotFound
from message_batches.formatting import plural
from message_batches.job_models import ShardRecord, shard_workflow_id
from message_batches.jobs.answers import Wave, read_waves
from message_batches.jobs.describe import find_stored_job
from message_batches.jobs.plan import JobPlan
from message_batches.jobs.records import JobRecords
from message_batches.models import Manifest
from message_batches.requests.manifest import load_manifest
from message_batches.result_models import ResultsFile
from message_batches.results import reader
from message_batches.results.reader import ResultsNotFound
from message_batches.runs.control import Runs, find_results
from message_batches.runs.describe import RunNotFound, RunStatus, describe_execution
from message_batches.storage import job_paths, paths
from message_batches.storage.groups import account_of_results
from message_batches.storage.interface import Store


async def plan_from_base(
    client: Client,
    store: Store,
    job_id: str,
    base: str,
    *,
    account: str,
    folder: str | None = None,
    scratch: Path | None = None,
    turns: asyncio.Semaphore | None = None,
) -> JobPlan:
    """Record the requests and the landed results of a base as the first waves of a job; return the first of them.

    Raises `BaseUnusable` where the base has not landed completely, where its results are gone or of another account,
    or where its requests are not those that the job is given.

    Args:
        client: of the base's namespace.
        store: of the base, and of the job.
        job_id: the workflow id of the job.
        base: that of a run or of another job.
        account: that of the job's key, as a part of a path.
        folder: of the requests that the job is given, from `records.given_folder()`; None if it is given none.
        scratch: a folder for unnamed files; by default the system's.
        turns: the turns that large checks of the process take.
    """
    if (earlier := await _job_folder(client, store, base)) is not None:
        waves = await read_waves(JobRecords(store, earlier))
        own = job_paths.folder_like(earlier, job_id)
        missing = [
            shard_workflow_id(base, wave, number)
            for wave, planned in enumerate(waves)
            for number in range(len(planned.manifests))
            if number not in planned.landed
        ]
        if missing:
            raise _unusable(base, f"has {plural(len(missing), 'shard')} without results, such as {missing[0]}")
    else:
        manifest, record = await _landed_run(client, store, base, scratch, turns)
        waves = [Wave((manifest,), {0: record})]
        own = job_paths.job_folder(job_id, manifest.content)
    if folder not in (None, own):
        raise _unusable(base, "has other requests than those that are given: leave them out, or the base")
    await _check_files(store, base, account, (record.results_file for wave in waves for record in wave.landed.values()))
    return await _record(store, JobRecords(store, own), base, waves)


async def _record(store: Store, records: JobRecords, base: str, waves: Iterable[Wave]) -> JobPlan:
    first: tuple[Manifest, ...] = ()
    for number, wave in enumerate(waves):
        recorded = await records.record_plan(number, wave.manifests)
        if [each.content for each in recorded] != [each.content for each in wave.manifests]:
            if number:
                break  # The job has gone on from its base with a wave of its own.
            raise _unusable(base, "has its requests in other batches than the job that is to begin with it")
        first = first or recorded
        for record in wave.landed.values():
            await records.record_landed(record)
    return JobPlan(records.folder, first, before=True)


async def _job_folder(client: Client, store: Store, base: str) -> str | None:
    """Return the folder of a base that is a job and has ended; None for a run."""
    try:
        described = await describe_execution(client, base, WORKFLOW_TYPE, JOB_WORKFLOW_TYPE)
    except RunNotFound:
        found = await find_stored_job(store, base)
        return found.records.folder if found else None
    info = described.workflow_execution_info
    if info.type.name == WORKFLOW_TYPE:
        return None
    if RunStatus.of(info).running:
        raise _unusable(base, "is under way: wait for its end")
    found = await find_stored_job(store, base)
    if found is None:
        raise _unusable(base, "has no plan in this store")
    return found.records.folder


async def _landed_run(
    client: Client, store: Store, base: str, scratch: Path | None, turns: asyncio.Semaphore | None
) -> tuple[Manifest, ShardRecord]:
    async def runs() -> Runs:
        return Runs(client, store)

    try:
        publication = await find_results(store, base, runs)
    except (ResultsNotFound, RunNotFound) as error:
        raise _unusable(base, f"has no results to begin with: {error}") from error
    if publication.manifest_name is None:
        raise _unusable(base, "was landed without its requests: attach to its batch with them")
    try:
        manifest = await load_manifest(store, store.uri(publication.manifest_name), scratch=scratch, turns=turns)
    except RequestsNotFound as error:
        raise _unusable(base, "has no requests any more: they are gone from the store") from error
    landed = publication.landed
    return manifest, ShardRecord(
        wave=0,
        number=0,
        workflow_id=base,
        batch_id=landed.batch_id,
        requests=manifest.count,
        results_file=landed.results_file,
        summary=landed.summary,
        cost=landed.cost,
    )


async def _check_files(store: Store, base: str, account: str, files: Iterable[ResultsFile]) -> None:
    for file in files:
        if not await reader.has_file(store, file):
            raise _unusable(base, f"has results that are gone from this store: {file.uri}")
        landed_for = account_of_results(store.name(file.uri))
        if landed_for not in (None, account):
            raise _unusable(
                base,
                f"is of the key {paths.key_of(landed_for)!r} where the workers used it then, and the job's is "
                f"{paths.key_of(account)!r}, of another account: give the job the key of its base",
            )


def _unusable(base: str, why: str) -> BaseUnusable:
    return BaseUnusable(f"The base {base} {why}. Nothing was sent")
