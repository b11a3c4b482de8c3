"""The workflow's names: its type, its task queues, its query, signal and updates."""

DEFAULT_TASK_QUEUE = "message-batches"

PROGRESS = "progress"

POLL_NOW = "pollNow"

CANCEL_BATCH = "cancelBatch"

RESOLVE_SUBMISSION = "resolveSubmission"


def landing_queue(task_queue: str) -> str:
    """The queue of the activities that read a whole batch's results, one at a time on each worker."""
    return f"{task_queue}-landing"


WORKFLOW_TYPE = "batch-process-and-retrieve-results"
