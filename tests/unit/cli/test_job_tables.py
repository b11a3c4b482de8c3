"""A job at a terminal: bars of shards, ids that are never cut, and texts from elsewhere."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from message_batches.cli.jobs.tables import job_lines, job_rows
from message_batches.cli.next_steps import decide_job
from message_batches.cli.screen import screen
from message_batches.cli.tables import obstacles
from message_batches.contract import NextAction
from message_batches.job_models import FailedShard, JobPhase, JobProgress, JobWave
from message_batches.jobs.attention import JobAttention
from message_batches.jobs.describe import JobView
from message_batches.runs.describe import RunStatus
from message_batches.runs.obstacles import Cause, Obstacle

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LONG = "nightly-" + "x" * 120


def view(progress: JobProgress, workflow_id: str = "job-1") -> JobView:
    return JobView(
        workflow_id=workflow_id,
        run_id="run",
        first_run_id="run",
        status=RunStatus.RUNNING,
        task_queue="queue",
        started=NOW - timedelta(hours=1),
        progress=progress,
        answered=True,
        worker=True,
    )


def shown(job: JobView, width: int = 80) -> str:
    console = screen()
    console.file, console.width = io.StringIO(), width
    console.print(job_rows(job, NOW), crop=False)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("landed", "shards", "bar", "percent"),
    [(0, 3, 0, 0), (1, 3, 4, 33), (2, 3, 8, 66), (3, 3, 12, 100), (9_999, 10_000, 11, 99), (0, 0, 0, 0)],
)
def test_a_bar_is_full_only_once_all_shards_have_landed(landed: int, shards: int, bar: int, percent: int) -> None:
    wave = JobWave(number=0, shards=shards, sent=3_000_010, landed=landed, usable=3_000_004)

    text = shown(view(JobProgress(phase=JobPhase.RUNNING, waves=(wave,))))

    assert f"[{'#' * bar}{'.' * (12 - bar)}]" in text
    assert f"{landed:,} of {shards:,} ({percent}%)" in text
    # How many have failed is known once all have landed.
    assert text.rstrip().endswith("6") is (landed == shards)


def test_ids_and_commands_are_whole_on_a_narrow_terminal_and_texts_cannot_steer_it() -> None:
    failed = FailedShard(
        wave=0,
        number=3,
        workflow_id=f"{LONG}-0-3",
        type="SubmissionUnknown",
        message="\x1b[2J what\u202ewas said",
        action=NextAction.CHECK_BATCHES,
        candidates=("msgbatch_1",),
    )
    progress = JobProgress(phase=JobPhase.RUNNING, failed_shards=(failed,), failed_shard_count=25)

    text = shown(view(progress, LONG))

    assert f"resolve {LONG}-0-3 --adopt msgbatch_1 | --submit-again" in text
    assert f"resume {LONG}" in text
    assert "25 shards without results" in text
    assert "and 24 more" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("cause", [Cause.WORKFLOW_TASK_FAILING, Cause.ACTIVITY_FAILING])
def test_workers_without_the_key_are_to_be_given_it_whatever_they_have_failed_at(cause: Cause) -> None:
    obstacle = Obstacle(cause, attempt=2, failure="A payload is encrypted", failed_as="CannotDecrypt")
    job = replace(view(JobProgress(phase=JobPhase.RUNNING)), obstacles=(obstacle,))

    assert obstacles(job, NOW)[-1].endswith("To mend it, give the workers that key")
    assert decide_job(JobAttention(job, obstacle)) == "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE=FILE python worker.py"


def test_elsewhere_than_at_a_terminal_a_line_says_what_has_changed() -> None:
    waves = (JobWave(number=0, shards=3, sent=3, landed=3, usable=2), JobWave(number=1, shards=1, sent=1))
    progress = JobProgress(phase=JobPhase.PAUSED, waves=waves, paused="SpendLimitReached: no credit", paused_since=NOW)

    lines = job_lines(view(progress), NOW)

    assert lines[0] == "job-1: paused: nothing new is started, wave 1: 0 of 1 shard landed"
    assert lines[1] == "Paused since 2026-11-22 12:00:00 UTC, for SpendLimitReached: no credit"
    assert lines[2].endswith("resume job-1")
