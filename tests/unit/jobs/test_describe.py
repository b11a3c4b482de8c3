"""A job as the store alone shows it: its progress, its expected end, its results; and the place of a shard."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from message_batches.job_models import JobPhase, JobProgress, JobWave, ShardPlace, shard_place, shard_workflow_id
from message_batches.jobs.describe import expected_end, find_stored_job
from message_batches.jobs.merge import merge
from tests.harness.jobs import JOB, StoredJob
from tests.harness.landed import reply
from tests.harness.requests import request

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def planned(folder: Path, shards: int, landed: dict[int, timedelta]) -> StoredJob:
    """A job of shards of one request each, of which some have landed, so long after they were planned."""
    job = StoredJob.new(folder)
    await job.plan(0, *([request(f"r-{number}")] for number in range(shards)))
    for number in landed:
        await job.land(0, number, reply(f"r-{number}"))
    of_job = folder / "store" / job.records.folder
    for name, after in {
        "0.plan": timedelta(0),
        **{f"0-{number}.json": after for number, after in landed.items()},
    }.items():
        moment = (START + after).timestamp()
        os.utime(of_job / name, (moment, moment))
    return job


def progress(shards: int, landed: int, alive: int, **more: str) -> JobProgress:
    return JobProgress(
        phase=JobPhase.RUNNING,
        waves=(JobWave(number=0, shards=shards, sent=shards, landed=landed),),
        alive=tuple(f"{JOB}-0-{number}" for number in range(alive)),
        paused=more.get("paused"),
    )


@pytest.mark.parametrize(
    ("landed", "alive", "end"),
    [
        ({0: HOUR, 1: HOUR}, 2, START + 2 * HOUR),
        ({0: HOUR, 1: HOUR, 2: 2 * HOUR}, 1, START + 2 * HOUR + 2 * HOUR / 3),
        # The first of several that are under way would make the rest seem slow.
        ({0: HOUR}, 3, None),
        ({}, 4, None),
    ],
)
async def test_the_end_is_expected_by_the_pace_of_the_shards_that_have_landed(
    tmp_path: Path, landed: dict[int, timedelta], alive: int, end: datetime | None
) -> None:
    job = await planned(tmp_path, 4, landed)

    found = await expected_end(job.store, job.records.folder, progress(4, len(landed), alive))

    assert found == end


async def test_no_end_is_expected_of_a_job_that_is_paused_or_whose_wave_has_landed(tmp_path: Path) -> None:
    job = await planned(tmp_path, 2, {0: HOUR, 1: HOUR})

    assert await expected_end(job.store, job.records.folder, progress(2, 2, 0)) is None
    assert await expected_end(job.store, job.records.folder, progress(3, 2, 1, paused="SpendLimitReached: x")) is None


async def test_the_results_of_a_job_are_found_by_its_id_alone_those_of_most_requests_first(tmp_path: Path) -> None:
    job = await planned(tmp_path, 2, {0: HOUR})
    part = await merge(job.store, job.records, 1)
    await job.land(0, 1, reply("r-1"))
    both = await merge(job.store, job.records, 1)

    found = await find_stored_job(job.store, JOB)
    assert found
    assert found.records.folder == job.records.folder
    assert found.merged == both != part
    await job.store.remove(job.store.name(both.results_file.uri))
    without = await find_stored_job(job.store, JOB)
    assert without
    assert without.merged == part
    assert await find_stored_job(job.store, "job") is None
    assert await find_stored_job(job.store, f"{JOB}-0-0") is None


@pytest.mark.parametrize("job_id", ["job-1", "a-1-2", "nightly: all of it", "-", "1", "a\nb"])
def test_a_shard_is_placed_by_the_id_of_its_run(job_id: str) -> None:
    assert shard_place(shard_workflow_id(job_id, 2, 17)) == ShardPlace(job_id, 2, 17)


@pytest.mark.parametrize(
    "workflow_id", ["", "job-1", "job-a-1", "job-1-", "job-1-b", "job--1", "job-1-²", "job-1-" + "9" * 5000]
)
def test_another_id_is_no_shards(workflow_id: str) -> None:
    assert shard_place(workflow_id) is None
