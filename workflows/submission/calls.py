"""The activities of a submission, as the submitBatch step calls them for its run."""

from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.batch import MessageBatchActivities
from activities.models import (
    AdoptInput,
    FindCandidatesInput,
    FindCandidatesResult,
    RecordOutcomeInput,
    SubmitInput,
    Submitted,
    VerifyCandidateInput,
)
from activities.submission import SubmissionActivities
from message_batches.api.models import MessageBatch
from message_batches.errors import OwnerUndecided
from message_batches.formatting import format_size, plural
from message_batches.models import Anchor, Manifest
from message_batches.storage.submission_records import Submitter
from workflows import activity_options
from workflows.activity_options import ActivityOptions
from workflows.context import RunContext
from workflows.failures import error_name_of, error_type_of, from_activity

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
"""A time before any run: what was created since then under the run's workflow id is its own."""

MAX_REASON = 500
"""Characters of a failure that a run's state keeps."""


@dataclass(frozen=True)
class Untold:
    """Results that do not tell whose they are, and why; `final` if they are whole, and will not tell any more."""

    why: str
    final: bool


class SubmissionCalls:
    """Calls on behalf of one run: its profile, its requests, its records."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._request = context.request

    @property
    def manifest(self) -> Manifest:
        """The run's requests."""
        manifest = self._context.state.manifest
        assert manifest is not None, "only a batch that was submitted elsewhere has none"
        return manifest

    async def find_anchor(self) -> Anchor | None:
        """Return the account's newest batch before ours; None if the deadline comes first."""
        finding = workflow.execute_activity_method(
            SubmissionActivities.find_anchor,
            self._request.profile,
            task_queue=self._context.calls_queue,
            **activity_options.find_anchor(self._request.poll),
            summary="the newest batch before ours",
        )
        return await self._context.before_deadline(finding)

    async def post(self, number: int, anchor: Anchor) -> Submitted:
        """Send the requests."""
        timeout = self._request.submission.timeout
        return await workflow.execute_activity_method(
            MessageBatchActivities.submit_batch,
            SubmitInput(
                profile=self._request.profile,
                manifest=self.manifest,
                submitter=self._submitter,
                number=number,
                anchor=anchor,
                timeout=timeout,
                began=_FIRST if self._request.take_over else self._context.state.started,
                deadline=self._request.deadline,
            ),
            task_queue=self._context.calls_queue,
            **activity_options.submit(timeout),
            summary=f"POST {plural(self.manifest.count, 'request')}, {format_size(self.manifest.body_bytes)}",
        )

    async def find_candidates(
        self, anchor: Anchor, *, number: int, options: ActivityOptions, summary: str
    ) -> FindCandidatesResult:
        """Return the batch that the store names for POST `number`, or else the batches that may be ours."""
        began = self._context.state.submission.safe_at or self._context.now
        found = await workflow.execute_activity_method(
            SubmissionActivities.find_candidates,
            FindCandidatesInput(
                profile=self._request.profile,
                manifest=self.manifest,
                submitter=self._submitter,
                number=number,
                anchor=anchor,
                until=began + self._request.submission.quiet_period,
                windows=tuple(self._context.state.submission.windows) if number else (),
            ),
            task_queue=self._context.calls_queue,
            **options,
            summary=summary,
        )
        self._context.state.server = found.server
        return found

    async def is_ours(self, batch_id: str) -> bool | Untold:
        """Return whether the results are answers to our requests, or why they do not tell."""
        try:
            return await workflow.execute_activity_method(
                SubmissionActivities.verify_candidate,
                VerifyCandidateInput(profile=self._request.profile, manifest=self.manifest, batch_id=batch_id),
                task_queue=self._context.landing_queue,
                **activity_options.VERIFY,
                summary=f"whose results are in {batch_id}",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            reason = error_name_of(error)
            workflow.logger.warning("A candidate could not be verified: %s", reason, extra={"batch_id": batch_id})
            return Untold(from_activity(error).message[:MAX_REASON], final=error_type_of(error) is OwnerUndecided)

    async def record_outcome(self, numbers: tuple[int, ...], batch_id: str | None, *, certain: bool = False) -> bool:
        """Record the outcome of POSTs, and claim the batch; return whether the claim is ours."""
        attached = self._request.batch_id is not None
        return await workflow.execute_activity_method(
            SubmissionActivities.record_outcome,
            RecordOutcomeInput(
                profile=self._request.profile,
                submitter=None if attached else self._submitter,
                claim=self._context.claim,
                store_id=self._context.state.store_id or "",
                numbers=numbers,
                batch_id=batch_id,
                certain=certain,
            ),
            **activity_options.RECORD,
            summary=f"record {batch_id}" if batch_id else "no batch found",
        )

    async def find_batch_to_adopt(self, batch_id: str, anchor: Anchor | None) -> MessageBatch:
        """Return the batch named by an operator, who waits for it, if it may be ours."""
        return await workflow.execute_activity_method(
            SubmissionActivities.find_batch_to_adopt,
            AdoptInput(
                profile=self._request.profile,
                batch_id=batch_id,
                claim=self._context.claim,
                store_id=self._context.state.store_id,
                anchor=anchor,
            ),
            task_queue=self._context.calls_queue,
            **activity_options.OPERATOR_LOOKUP,
            summary=f"may {batch_id} be ours",
        )

    @property
    def _submitter(self) -> Submitter:
        info = workflow.info()
        return Submitter.of(
            self.manifest,
            api_key=self._request.api_key,
            workflow_id=info.workflow_id,
            first_run_id=info.first_execution_run_id,
        )
