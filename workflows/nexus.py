"""The handler of the Nexus service: each operation starts a run of its own in the worker's namespace.

The run's id is that of the caller's operation request, so that Temporal starts one run however often it asks. Two
callers never share one: cancelling an operation cancels its run.
"""

from typing import TypeVar

from nexusrpc.handler import service_handler
from temporalio import nexus
from temporalio.common import RawValue, WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from message_batches.contract import JOB_WORKFLOW_TYPE, NEXUS_SERVICE, WORKFLOW_TYPE
from message_batches.formatting import DETAILS_BYTES, SUMMARY_BYTES, truncate_payload
from message_batches.job_models import JobOutput
from message_batches.models import BatchOutput
from workflows.input_validation import parse_input
from workflows.jobs.state import JobRun
from workflows.state import BatchRun, GivenInput

_Output = TypeVar("_Output")


@service_handler(name=NEXUS_SERVICE)
class MessageBatchesHandler:
    """The operations of `message_batches.nexus.MessageBatches`.

    The input is passed on as it came: the run checks it, and fails with a sentence on what is wrong, where a handler
    could only refuse it.
    """

    @nexus.workflow_run_operation(name=WORKFLOW_TYPE)
    async def batch(
        self, context: nexus.WorkflowRunOperationContext, given: RawValue
    ) -> nexus.WorkflowHandle[BatchOutput]:
        """Start the run of a batch."""
        return await _start(context, given, BatchRun, WORKFLOW_TYPE, BatchOutput)

    @nexus.workflow_run_operation(name=JOB_WORKFLOW_TYPE)
    async def job(self, context: nexus.WorkflowRunOperationContext, given: RawValue) -> nexus.WorkflowHandle[JobOutput]:
        """Start a job."""
        return await _start(context, given, JobRun, JOB_WORKFLOW_TYPE, JobOutput)


async def _start(
    context: nexus.WorkflowRunOperationContext,
    given: RawValue,
    model: type[GivenInput],
    workflow_type: str,
    output: type[_Output],
) -> nexus.WorkflowHandle[_Output]:
    read = parse_input(given.payload, nexus.client().data_converter.payload_converter, model)
    return await context.start_workflow(
        workflow_type,
        given,
        id=f"nexus-{context.request_id}",
        # A start that is asked for again: Temporal knows it as that of the first run, not of those it continues as.
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        # When the run has ended, it must not submit its requests again.
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        result_type=output,
        static_summary=truncate_payload(read.static_summary or "", SUMMARY_BYTES) or None,
        static_details=truncate_payload(read.static_details or "", DETAILS_BYTES) or None,
    )
