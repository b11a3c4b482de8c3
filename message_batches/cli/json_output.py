"""The documents that `--json` prints: models in camelCase, fields in the order in which they are printed."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import PlainSerializer

from message_batches.cli.next_steps import failure_text
from message_batches.models import BatchOutput, Progress
from message_batches.result_models import CostEstimate, LandedResults
from message_batches.results.failed import FailedRequests
from message_batches.runs.describe import RunView
from message_batches.runs.history import RunFailure
from message_batches.runs.list import ListedRun
from message_batches.runs.obstacles import Obstacle
from message_batches.serialization import ContractModel
from message_batches.temporal.nexus_endpoints import NexusEndpoint

Time = Annotated[datetime, PlainSerializer(datetime.isoformat, return_type=str)]


def _without_results(landed: BatchOutput | LandedResults) -> dict[str, Any]:
    return landed.model_dump(mode="json", exclude={"results"})


# The parsed results are left to `results --json`.
_Output = Annotated[BatchOutput | LandedResults, PlainSerializer(_without_results)]


class RetryingActivity(ContractModel):
    """An activity that has failed and is tried again."""

    activity: str
    attempt: int
    failure: str
    next_attempt: Time | None

    @classmethod
    def of(cls, failing: Obstacle) -> Self:
        """Convert an activity."""
        return cls(
            activity=failing.activity,
            attempt=failing.attempt,
            failure=failing.failure,
            next_attempt=failing.next_attempt,
        )


class ObstacleDocument(ContractModel):
    """A reason why a run does not move."""

    cause: str
    activity: str | None
    attempt: int | None
    failure: str | None
    build: str | None

    @classmethod
    def of(cls, obstacle: Obstacle) -> Self:
        """Convert an obstacle."""
        return cls(
            cause=obstacle.cause.value,
            activity=obstacle.activity or None,
            attempt=obstacle.attempt or None,
            failure=obstacle.failure or None,
            build=obstacle.build or None,
        )


class Failure(ContractModel):
    """The reason why a run ended without a result; the message ends with the next step."""

    type: str
    message: str
    batch_id: str | None
    candidates: tuple[str, ...]

    @classmethod
    def of(cls, failure: RunFailure) -> Self:
        """Convert a failure."""
        return cls(
            type=failure.kind,
            message=failure_text(failure),
            batch_id=failure.batch_id,
            candidates=failure.candidates,
        )


class RunDocument(ContractModel):
    """A run as it was seen at one moment."""

    workflow_id: str
    run_id: str
    status: str
    task_queue: str
    start_time: Time
    close_time: Time | None
    batch_id: str | None
    progress: Progress | None
    answered_by_worker: bool | None
    worker_polls: bool | None
    retrying: tuple[RetryingActivity, ...]
    obstacles: tuple[ObstacleDocument, ...]
    output: _Output | None
    failure: Failure | None

    @classmethod
    def of(cls, view: RunView) -> Self:
        """Convert a view."""
        return cls(
            workflow_id=view.workflow_id,
            run_id=view.run_id,
            status=view.status.value,
            task_queue=view.task_queue,
            start_time=view.started,
            close_time=view.closed,
            batch_id=view.batch_id,
            progress=view.progress,
            answered_by_worker=view.answered if view.running else None,
            worker_polls=view.worker,
            retrying=tuple(map(RetryingActivity.of, view.failing_activities)),
            obstacles=tuple(map(ObstacleDocument.of, view.obstacles)),
            output=view.output,
            failure=Failure.of(view.failure) if view.failure else None,
        )


class FinishedRun(ContractModel):
    """A run whose results had landed before; Temporal may no longer know it."""

    workflow_id: str
    status: str = "completed"
    batch_id: str
    output: _Output
    failure: None = None


class DetachedRun(ContractModel):
    """A run that was left to itself; `estimate` is there if its requests are newly sent."""

    workflow_id: str
    status: str = "running"
    detached: bool = True
    estimate: CostEstimate | None = None


class ListedRunDocument(ContractModel):
    """A run or a job in the list."""

    workflow_id: str
    run_id: str
    status: str
    start_time: Time
    close_time: Time | None
    batch_id: str | None
    batch_status: str | None
    batch_outcome: str | None
    batch_requests: int | None
    job: bool = False

    @classmethod
    def of(cls, run: ListedRun) -> Self:
        """Convert a listed run."""
        return cls(
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            status=run.status.value,
            start_time=run.started,
            close_time=run.closed,
            batch_id=run.batch_id,
            batch_status=run.batch_status,
            batch_outcome=run.outcome,
            batch_requests=run.requests,
            job=run.job,
        )


class AttentionDocument(ContractModel):
    """A run that needs an operator: the reason, and the command that helps."""

    workflow_id: str
    batch_id: str | None
    why: str
    command: str


class SavedResults(ContractModel):
    """Results that were written to a file: of a batch, or of a job, merged."""

    batch_id: str | None
    job: str | None = None
    file: str
    lines: int


class FailedRequestsDocument(ContractModel):
    """The numbers of requests to send again and to correct first, and the files that have them.

    Attributes:
        raised: those to send again with a higher `max_tokens`.
        reasons: those to correct first whose reply is not usable, by its stop reason.
        mismatched: those to send again whose answer does not match its schema; `not_compared` could not be compared.
    """

    batch_id: str | None
    job: str | None = None
    again: int
    invalid: int
    raised: int
    reasons: dict[str, int]
    mismatched: int
    not_compared: int
    files: dict[str, str]

    @classmethod
    def of(cls, ids: Mapping[str, str | None], failed: FailedRequests, files: Mapping[str, object]) -> Self:
        """Count the requests."""
        return cls(
            **ids,
            again=len(failed.retryable),
            invalid=len(failed.invalid),
            raised=len(failed.raised),
            reasons=dict(failed.reasons),
            mismatched=failed.mismatched,
            not_compared=failed.not_compared,
            files={kind: str(file) for kind, file in files.items()},
        )


class CancelledBatch(ContractModel):
    """A batch that is being stopped."""

    workflow_id: str
    batch_id: str | None
    processing_status: str


class AbandonedRun(ContractModel):
    """A run that is being cancelled."""

    workflow_id: str
    batch_id: str | None
    abandoned: bool = True


class ResolvedRun(ContractModel):
    """The decision on a run's submission."""

    workflow_id: str
    adopted: str | None
    submit_again: bool


class SearchAttribute(ContractModel):
    """A search attribute, and whether this call has registered it."""

    name: str
    type: str
    registered: bool


class SetupDocument(ContractModel):
    """The search attributes of a namespace, and the endpoint that was asked for."""

    namespace: str
    address: str
    search_attributes: tuple[SearchAttribute, ...]
    nexus_endpoint: NexusEndpoint | None = None


class ErrorDetails(ContractModel):
    """The reason why a command was not carried out; the message ends with the next step."""

    type: str
    message: str


class InvalidRequestsDetails(ErrorDetails):
    """The problems of a file of requests."""

    problems: tuple[str, ...]


class CostLimitDetails(ErrorDetails):
    """What requests may cost, and the limit, both in US dollars; `estimate` is null where it is not known."""

    estimate: Decimal | None
    limit: Decimal


class ErrorDocument(ContractModel):
    """The document of a command that was not carried out."""

    error: InvalidRequestsDetails | CostLimitDetails | ErrorDetails
