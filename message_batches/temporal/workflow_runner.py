"""The runner of the workflow in a worker: a run that was started with several arguments fails, and does not stall."""

from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import Info

from message_batches.serialization import SEVERAL_ARGUMENTS


class OneArgumentRunner(SandboxedWorkflowRunner):
    """A runner that shows several arguments to the workflow as one, which its check of the input refuses.

    The SDK decodes arguments by their types only where there are as many as the method has; any other number, or a
    value that is not JSON among them, would fail the workflow task again and again.
    """

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Create the instance of a run."""
        return _OneArgument(super().create_instance(det))


class _OneArgument(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        for job in act.jobs:
            arguments = job.initialize_workflow.arguments
            if job.HasField("initialize_workflow") and len(arguments) > 1:
                count = str(len(arguments)).encode()
                del arguments[:]
                arguments.append(Payload(metadata={"encoding": SEVERAL_ARGUMENTS}, data=count))
        return self._instance.activate(act)

    # The rest of the interface is the instance's own; its types are the SDK's, not all of them public.
    def get_serialization_context(self, command_info: object) -> SerializationContext | None:
        return self._instance.get_serialization_context(command_info)  # type: ignore[arg-type]

    def get_external_store_context(self, command_info: object) -> StorageDriverStoreContext:
        return self._instance.get_external_store_context(command_info)  # type: ignore[arg-type]

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()
