"""Names that are shared: workflow types, task queues, query, signal, updates, service, next actions, activity types.

Short, because it is alone: a caller in another process needs these names and nothing else.
"""

from enum import StrEnum

WORKFLOW_TYPE = "batch-process-and-retrieve-results"
DEFAULT_TASK_QUEUE = "message-batches"
PROGRESS = "progress"
POLL_NOW = "pollNow"
CANCEL_BATCH = "cancelBatch"
RESOLVE_SUBMISSION = "resolveSubmission"

JOB_WORKFLOW_TYPE = "message-batch-job"
CANCEL_JOB = "cancelJob"
RESUME_JOB = "resumeJob"

NOTIFICATION_WORKFLOW_TYPE = "message-batch-notification"
DELIVERY = "delivery"
"""The signal by which a run learns that one of its notifications does not get through."""
NEXUS_SERVICE = "message-batches"


class ActivityType(StrEnum):
    """The activities of a run, of a job, and of a notification.

    Those of the document's steps have the names of their operations.
    """

    PREPARE_REQUESTS = "prepareRequests"
    FIND_ANCHOR = "findAnchor"
    SUBMIT_BATCH = "submitBatch"
    FIND_CANDIDATES = "findCandidates"
    VERIFY_CANDIDATE = "verifyCandidate"
    FIND_BATCH_TO_ADOPT = "findBatchToAdopt"
    RECORD_OUTCOME = "recordOutcome"
    POLL_BATCH_STATUS = "pollBatchStatus"
    CANCEL_BATCH = "cancelBatch"
    RETRIEVE_RESULTS = "retrieveResults"
    DELETE_BATCH = "deleteBatch"
    PLAN_WAVE = "planWave"
    READ_SHARDS = "readShards"
    STOP_SHARDS = "stopShards"
    CANCEL_SHARDS = "cancelShards"
    MERGE_RESULTS = "mergeResults"
    FIND_REQUESTS = "findRequests"
    DELIVER_NOTIFICATION = "deliverNotification"


class NextAction(StrEnum):
    """The next step for an operator after a failure: data, so that each caller can word it for its users.

    The workflow's failures name the first three, errors of `message_batches.runs` any of them.
    """

    ATTACH = "attach"
    """The batch `batchId` is at the provider: a run that attaches to it lands its results."""
    CHECK_BATCHES = "checkBatches"
    """A batch may exist: check `candidates`, or the account's batches, before a new start."""
    STORE_REQUESTS = "storeRequests"
    """The requests are too large for the input: put them into the store and pass `requestsUri`."""
    ATTACH_WITH_REQUESTS = "attachWithRequests"
    """The batch's requests are not known: attach to it again, with them."""
    LAND_AGAIN = "landAgain"
    """The landed results are gone from the store: attach to the batch again, with its requests."""
    START_WORKER = "startWorker"
    """No worker answers: start one, check the run, and try again."""
    CHECK_RUN = "checkRun"
    """It is not known whether the run has done it: look at the run before it is asked for again."""
    REPEAT_START = "repeatStart"
    """It is not known whether the run was started: the same start again finds it, or starts it."""
    REPEAT_AGAIN = "repeatAgain"
    """The same for a run that submits requests again: with its workflow id, the start finds it, or starts it."""
    MERGE_SO_FAR = "mergeSoFar"
    """The job has not ended: what has landed so far can be merged into a file."""
    RETRY = "retry"
    """Its results are there: what has failed of them can be sent again."""
    WATCH = "watch"
    """The run has not ended: follow it to its end."""
    LIST_RUNS = "listRuns"
    """There is no such run: the list shows which there are."""
    REGISTER_SEARCH_ATTRIBUTES = "registerSearchAttributes"
    """The namespace lacks the search attributes: register them, for runs that begin afterwards."""
    GIVE_BETAS = "giveBetas"
    """The file names betas, which are a header of the batch: remove them there, and give them with the run."""


def calls_queue(task_queue: str) -> str:
    """Return the task queue of the activities that each make a call of the API, besides polls and landings.

    Args:
        task_queue: that of the runs.
    """
    return f"{task_queue}-calls"


def landing_queue(task_queue: str, server: str | None = None) -> str:
    """Return the task queue of the activities that read a whole batch's results, one at a time on each worker.

    Args:
        task_queue: that of the runs.
        server: of a key with a base URL of its own, whose results shall not wait for another server's.
    """
    return f"{task_queue}-landing-{server}" if server else f"{task_queue}-landing"
