"""The runner of the workflows in a worker: at little cost, and a run that was started with several arguments fails.

It has no sandbox: that took 13 ms of CPU for each run that a worker takes over, and 0.09 MB of memory. What a sandbox
refuses is found before a release: the replay test runs every recorded history in one.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowInstanceDetails
from temporalio.workflow import Info

from message_batches.serialization import SEVERAL_ARGUMENTS

_CGROUPS = Path("/sys/fs/cgroup")
_BYTES_OF_WORKER, _BYTES_A_RUN = 150_000_000, 200_000
"""The memory of a worker without runs, and of each one that waits for its batch, as the benchmark of a fleet has it."""


def cached_runs() -> int:
    """Return the number of runs that fit in half of the memory that the process has left, at least 100.

    A worker replays a run that it has not in memory at every step.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(100, (min(memory, *memory_limits()) - _BYTES_OF_WORKER) // 2 // _BYTES_A_RUN)


def memory_limits(groups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> Sequence[int]:
    """Return the limits of the control groups that the process is in, of either version; a container has its own.

    Args:
        groups: where they are mounted.
        own: the file that names those of the process.
    """
    found = [sys.maxsize]
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            root, name = (groups / "memory", "memory.limit_in_bytes") if "memory" in kinds else (groups, "memory.max")
            for each in (root / path.strip("/"), *(root / path.strip("/")).parents):
                # Where there is none, it is a word, or a number that no machine has.
                with suppress(OSError, ValueError):
                    found.append(int((each / name).read_text()))
    return found


class OneArgumentRunner(UnsandboxedWorkflowRunner):
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

    # A payload of ours is the same in any context; to make one for each took an eighth of a worker's CPU for a poll.
    def get_serialization_context(self, command_info: object) -> SerializationContext | None:
        return None

    def get_external_store_context(self, command_info: object) -> StorageDriverStoreContext:
        return StorageDriverStoreContext(target=None)

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()
