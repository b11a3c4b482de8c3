"""What `from message_batches import ...` gives a Python program that is no workflow: runs and jobs to start and follow.

Nothing here prints or names a command: an error carries the next step as data (`message_batches.errors.RunError`).
"""

from message_batches.jobs.describe import JobView
from message_batches.library.batch_run import BatchRun
from message_batches.library.batch_runs import BatchRuns, NotComparable
from message_batches.library.connections import TemporalFailed
from message_batches.library.outcomes import RunFailed
from message_batches.library.results import BatchResult
from message_batches.requests.reader import UnreadableFile
from message_batches.results.reader import ResultsChanged, ResultsNotFound
from message_batches.runs.control import NoAnswer, Refused
from message_batches.runs.describe import RunNotFound, RunView

__all__ = [
    "BatchResult",
    "BatchRun",
    "BatchRuns",
    "JobView",
    "NoAnswer",
    "NotComparable",
    "Refused",
    "ResultsChanged",
    "ResultsNotFound",
    "RunFailed",
    "RunNotFound",
    "RunView",
    "TemporalFailed",
    "UnreadableFile",
]
