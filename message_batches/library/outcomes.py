"""The outcomes of a run or a job for a program: what has landed, why nothing has, what a decision has done."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from temporalio.client import Client

from message_batches.api.models import MessageBatch
from message_batches.errors import RunError
from message_batches.job_models import MergedResults
from message_batches.jobs.describe import JobView, find_job
from message_batches.models import BatchOutput
from message_batches.result_models import LandedResults
from message_batches.results.reader import ResultsNotFound
from message_batches.runs.control import find_stored_results
from message_batches.runs.describe import RunStatus, RunView
from message_batches.storage.interface import Store

Landed = BatchOutput | LandedResults | MergedResults
"""What is known of landed results: the output of a run or of a job (`JobOutput`), or what the store has of them."""


class RunFailed(RunError):
    """A run or a job has ended without results.

    Attributes:
        kind: the type of the failure, such as `BatchNotEnded`; the run's status where it has none.
    """

    def __init__(self, view: RunView | JobView) -> None:
        failure = view.failure
        why = f": {failure.message}" if failure else ""
        super().__init__(
            f"{view.workflow_id} {view.status}{why}",
            failure.action if failure else None,
            workflow_id=view.workflow_id,
            batch_id=failure.batch_id if failure else None,
            candidates=failure.candidates if failure else (),
            api_key=failure.api_key if failure else None,
        )
        self.kind = failure.kind if failure else view.status.value


@dataclass(frozen=True)
class Stopped:
    """A run or a job that is being stopped.

    Attributes:
        job: whether it is a job.
        batch_id: of a run, where its batch is known.
        batch: as the API describes it; None while the API has not confirmed the cancellation.
    """

    workflow_id: str
    job: bool
    batch_id: str | None = None
    batch: MessageBatch | None = None


@dataclass(frozen=True)
class Resolved:
    """A run for which it was decided which batch is its own.

    Attributes:
        job_id: the job that takes the results up once it is resumed, after its own run has ended; None for a run that
            is under way, or of no job.
    """

    workflow_id: str
    job_id: str | None = None


_STOPPED = (RunStatus.TERMINATED, RunStatus.CANCELED, RunStatus.TIMED_OUT)


async def landed_before(store: Store, view: RunView) -> LandedResults | None:
    """Return the results of a run that was stopped from outside, such as one that had landed them before a reset."""
    found = await find_stored_results(store, view.workflow_id, view.batch_id) if view.status in _STOPPED else None
    return found.landed if found else None


async def merged_before(store: Store, view: JobView, connect: Callable[[], Awaitable[Client]]) -> MergedResults | None:
    """Return what an earlier run of a job has merged of its requests, where the last one was stopped from outside."""
    with suppress(ResultsNotFound):
        found = await find_job(store, view.workflow_id, connect) if view.status in _STOPPED else None
        return found.merged if found else None
    return None
