"""What a caller of the workflow imports: its name, its queue, its models; nothing that runs it."""

from message_batches.models import (
    WORKFLOW_TYPE,
    BatchInput,
    BatchOutput,
    PollSchedule,
    RetrySchedule,
    SubmissionSchedule,
)
from message_batches.progress import Phase, Progress, Resolution
from message_batches.wire import MessageBatch

DEFAULT_TASK_QUEUE = "message-batches"
PROGRESS = "progress"
POLL_NOW = "pollNow"
CANCEL_BATCH = "cancelBatch"
RESOLVE_SUBMISSION = "resolveSubmission"


def landing_queue(task_queue: str) -> str:
    """The queue of the activities that read a whole batch's results, one at a time on each worker."""
    return f"{task_queue}-landing"


__all__ = [
    "CANCEL_BATCH",
    "DEFAULT_TASK_QUEUE",
    "POLL_NOW",
    "PROGRESS",
    "RESOLVE_SUBMISSION",
    "WORKFLOW_TYPE",
    "BatchInput",
    "BatchOutput",
    "MessageBatch",
    "Phase",
    "PollSchedule",
    "Progress",
    "Resolution",
    "RetrySchedule",
    "SubmissionSchedule",
    "landing_queue",
]
