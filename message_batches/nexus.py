"""The Nexus service: what a caller in another namespace, cluster or language calls. Importing it loads no Temporal.

In a workflow in Python, whose namespace has an endpoint `message-batches`:

    batches = workflow.create_nexus_client(service=MessageBatches, endpoint="message-batches")
    output = await batches.execute_operation(MessageBatches.batch, BatchInput(requests=requests))
"""

import nexusrpc

from message_batches.contract import JOB_WORKFLOW_TYPE, NEXUS_SERVICE, WORKFLOW_TYPE
from message_batches.job_models import JobInput, JobOutput
from message_batches.models import BatchInput, BatchOutput


@nexusrpc.service(name=NEXUS_SERVICE)
class MessageBatches:
    """Asynchronous operations, each a run of its own: a start that is tried again is the same run.

    Attributes:
        batch: one batch, `batch-process-and-retrieve-results`.
        job: requests of any number, `message-batch-job`.
    """

    batch: nexusrpc.Operation[BatchInput, BatchOutput] = nexusrpc.Operation(name=WORKFLOW_TYPE)
    job: nexusrpc.Operation[JobInput, JobOutput] = nexusrpc.Operation(name=JOB_WORKFLOW_TYPE)
