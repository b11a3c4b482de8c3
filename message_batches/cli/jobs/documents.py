"""The documents that `--json` prints of jobs."""

from typing import Self

from message_batches.cli.json_output import Failure, ObstacleDocument, Time
from message_batches.cli.next_steps import resume, settle
from message_batches.job_models import FailedShard, JobOutput, JobProgress, MergedResults
from message_batches.jobs.describe import JobView
from message_batches.serialization import ContractModel


class FailedShardDocument(FailedShard):
    """A shard without results, and the command that settles it."""

    command: str

    @classmethod
    def of_job(cls, job_id: str, shards: tuple[FailedShard, ...]) -> tuple[Self, ...]:
        """Convert the failed shards of a job."""
        return tuple(cls(**dict(each), command=settle(each) or resume(job_id)) for each in shards)


class JobDocument(ContractModel):
    """A job as it was seen at one moment.

    Attributes:
        progress: its own answer, or what the store has recorded; `answeredByWorker` tells which.
        expected_end: when the current wave will have landed, at the pace of the shards so far.
        failed_shards: up to twenty, each with the command that settles it.
    """

    workflow_id: str
    run_id: str
    status: str
    task_queue: str
    start_time: Time
    close_time: Time | None
    progress: JobProgress | None
    expected_end: Time | None
    answered_by_worker: bool | None
    worker_polls: bool | None
    obstacles: tuple[ObstacleDocument, ...]
    failed_shards: tuple[FailedShardDocument, ...]
    output: JobOutput | MergedResults | None
    failure: Failure | None

    @classmethod
    def of(cls, view: JobView) -> Self:
        """Convert a view."""
        seen = view.output or view.progress
        return cls(
            workflow_id=view.workflow_id,
            run_id=view.run_id,
            status=view.status.value,
            task_queue=view.task_queue,
            start_time=view.started,
            close_time=view.closed,
            progress=view.progress,
            expected_end=view.expected_end,
            answered_by_worker=view.answered if view.running else None,
            worker_polls=view.worker,
            obstacles=tuple(map(ObstacleDocument.of, view.obstacles)),
            failed_shards=FailedShardDocument.of_job(view.workflow_id, seen.failed_shards if seen else ()),
            output=view.output,
            failure=Failure.of(view.failure) if view.failure else None,
        )


class FinishedJob(ContractModel):
    """A job whose results the store has; Temporal may no longer know it."""

    workflow_id: str
    status: str = "completed"
    output: MergedResults
    failure: None = None


class StoppedJob(ContractModel):
    """A job that is being stopped; `abandoned`, one that lands and merges nothing more."""

    workflow_id: str
    abandoned: bool


class ResumedJob(ContractModel):
    """A job that goes on; `startedAgain` if it had ended."""

    workflow_id: str
    started_again: bool


class RetriedJob(ContractModel):
    """A job that sends again what has failed of a run or a job."""

    workflow_id: str
    base: str


class SettledShard(ContractModel):
    """The decision on a shard whose run had ended without one; the job is to be resumed afterwards."""

    workflow_id: str
    job: str
    adopted: str | None
    submit_again: bool
