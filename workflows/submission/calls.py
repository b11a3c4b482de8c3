"""The activities of a submission, as the submitBatch step calls them for its run."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.batch import MessageBatchActivities
from activities.models import AdoptInput, BatchRef, ExamineInput, Looked, LookInput, SettleInput, SubmitInput, Submitted
from activities.submission import SubmissionActivities
from message_batches.api.models import MessageBatch
from message_batches.formatting import plural, size
from message_batches.models import Anchor, Manifest
from message_batches.storage.submission_records import Submitter
from workflows import activity_options
from workflows.context import Chain
from workflows.failures import name_of


class SubmissionCalls:
    """Calls on behalf of one run: its account, its requests, its records."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._request = chain.request

    @property
    def manifest(self) -> Manifest:
        """The run's requests."""
        manifest = self._chain.state.manifest
        assert manifest is not None, "only a batch that is taken over has none"
        return manifest

    async def find_anchor(self) -> Anchor:
        """The account's newest batch before ours."""
        return await workflow.execute_activity_method(
            SubmissionActivities.find_anchor,
            self._request.account,
            **activity_options.anchor(self._request.poll),
            summary="the newest batch before ours",
        )

    async def post(self, number: int, anchor: Anchor) -> Submitted:
        """Send the requests."""
        timeout = self._request.submission.timeout
        return await workflow.execute_activity_method(
            MessageBatchActivities.submit_batch,
            SubmitInput(
                account=self._request.account,
                manifest=self.manifest,
                submitter=self._submitter,
                number=number,
                anchor=anchor,
                timeout=timeout,
            ),
            **activity_options.submit(timeout),
            summary=f"POST {plural(self.manifest.count, 'request')}, {size(self.manifest.body_bytes)}",
        )

    async def look(self, anchor: Anchor, *, number: int, policy: activity_options.Policy, summary: str) -> Looked:
        """The batches that may be ours; what the store knows of POST `number` goes before them."""
        began = self._chain.state.submission.safe_at or self._chain.now
        return await workflow.execute_activity_method(
            SubmissionActivities.find_candidates,
            LookInput(
                account=self._request.account,
                manifest=self.manifest,
                submitter=self._submitter,
                number=number,
                anchor=anchor,
                until=began + self._request.submission.quiet_period,
            ),
            **policy,
            summary=summary,
        )

    async def is_ours(self, batch_id: str) -> bool | None:
        """Whether the results are for exactly our custom_ids; None if they cannot be read now."""
        try:
            return await workflow.execute_activity_method(
                SubmissionActivities.examine_candidate,
                ExamineInput(account=self._request.account, manifest=self.manifest, batch_id=batch_id),
                task_queue=self._chain.landing_queue,
                **activity_options.EXAMINE,
                summary=f"whose results are in {batch_id}",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            what = name_of(error)
            workflow.logger.warning("Results could not be examined: %s", what, extra={"batch_id": batch_id})
            return None

    async def settle(self, numbers: tuple[int, ...], batch_id: str | None, *, certain: bool = False) -> bool:
        """Record what came of POSTs, and claim the batch; whether the claim is ours."""
        taken_over = self._request.batch_id is not None
        return await workflow.execute_activity_method(
            SubmissionActivities.settle_submission,
            SettleInput(
                submitter=None if taken_over else self._submitter,
                claim=self._chain.claim,
                store_id=self._chain.state.store_id or "",
                numbers=numbers,
                batch_id=batch_id,
                certain=certain,
            ),
            **activity_options.RECORD,
            summary=f"record {batch_id}" if batch_id else "no batch found",
        )

    async def batch_to_adopt(self, batch_id: str) -> MessageBatch:
        """The batch that a person named, asked for while the person waits; `NotOurs` if another run has claimed it."""
        if workflow.patched("adopting-asks-whose-it-is"):
            return await workflow.execute_activity_method(
                SubmissionActivities.find_batch_to_adopt,
                AdoptInput(account=self._request.account, batch_id=batch_id, claim=self._chain.claim),
                **activity_options.ASK,
                summary=f"may {batch_id} be ours",
            )
        return await workflow.execute_activity_method(
            MessageBatchActivities.poll_batch_status,
            BatchRef(account=self._request.account, batch_id=batch_id),
            **activity_options.ASK,
            summary=f"does {batch_id} exist",
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
