"""Names that callers and workers share: the workflow type, task queues, query, signal and updates, what to do next."""

from enum import StrEnum

WORKFLOW_TYPE = "batch-process-and-retrieve-results"
DEFAULT_TASK_QUEUE = "message-batches"
PROGRESS = "progress"
POLL_NOW = "pollNow"
CANCEL_BATCH = "cancelBatch"
RESOLVE_SUBMISSION = "resolveSubmission"


class NextAction(StrEnum):
    """The next step for an operator after a failure: data, so that each caller can say it in its own words."""

    ATTACH = "attach"
    """The batch `batchId` is at the provider: a run that attaches to it lands its results."""
    CHECK_BATCHES = "checkBatches"
    """A batch may exist: look at `candidates`, or at the account's batches, before a new start."""
    STORE_REQUESTS = "storeRequests"
    """The requests are too large for the input: put them into the store and pass `requestsUri`."""


def landing_queue(task_queue: str) -> str:
    """Return the task queue of the activities that read a whole batch's results, one at a time on each worker."""
    return f"{task_queue}-landing"
