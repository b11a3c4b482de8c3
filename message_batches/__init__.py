"""Message batches as durable Temporal workflows; the public names are loaded when they are first used."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from message_batches.api.models import MessageBatch
    from message_batches.contract import (
        CANCEL_BATCH,
        CANCEL_JOB,
        DEFAULT_TASK_QUEUE,
        JOB_WORKFLOW_TYPE,
        POLL_NOW,
        PROGRESS,
        RESOLVE_SUBMISSION,
        RESUME_JOB,
        WORKFLOW_TYPE,
    )
    from message_batches.errors import (
        CostLimitExceeded,
        ExtraMissing,
        InvalidRequests,
        MessageBatchesError,
        StoreUnavailable,
    )
    from message_batches.job_models import (
        JobInput,
        JobOutput,
        JobPhase,
        JobProgress,
        Retries,
        RetryKind,
        ShardLimits,
    )
    from message_batches.library import (
        BatchResult,
        BatchRun,
        BatchRuns,
        JobView,
        NoAnswer,
        NotComparable,
        Refused,
        ResultsChanged,
        ResultsNotFound,
        RunFailed,
        RunNotFound,
        RunView,
        TemporalFailed,
        UnreadableFile,
    )
    from message_batches.models import (
        BatchInput,
        BatchOutput,
        Phase,
        PollSchedule,
        Progress,
        Resolution,
        RetrySchedule,
        SubmissionSchedule,
    )
    from message_batches.temporal.connection import TemporalUnreachable, connect, leave

__all__ = [
    "CANCEL_BATCH",
    "CANCEL_JOB",
    "DEFAULT_TASK_QUEUE",
    "JOB_WORKFLOW_TYPE",
    "POLL_NOW",
    "PROGRESS",
    "RESOLVE_SUBMISSION",
    "RESUME_JOB",
    "WORKFLOW_TYPE",
    "BatchInput",
    "BatchOutput",
    "BatchResult",
    "BatchRun",
    "BatchRuns",
    "CostLimitExceeded",
    "ExtraMissing",
    "InvalidRequests",
    "JobInput",
    "JobOutput",
    "JobPhase",
    "JobProgress",
    "JobView",
    "MessageBatch",
    "MessageBatchesError",
    "NoAnswer",
    "NotComparable",
    "Phase",
    "PollSchedule",
    "Progress",
    "Refused",
    "Resolution",
    "ResultsChanged",
    "ResultsNotFound",
    "Retries",
    "RetryKind",
    "RetrySchedule",
    "RunFailed",
    "RunNotFound",
    "RunView",
    "ShardLimits",
    "StoreUnavailable",
    "SubmissionSchedule",
    "TemporalFailed",
    "TemporalUnreachable",
    "UnreadableFile",
    "connect",
    "leave",
]

_HOMES = ("contract", "models", "job_models", "errors", "api.models", "temporal.connection")
"""The modules of the public names, the light ones first: a name is searched for in their order."""

_LIBRARY = ("msgspec", "obstore", "genai_prices")
"""What the rest of the names needs, besides."""


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in (*_HOMES, "library"):
            if home == "library" and (missing := [each for each in _LIBRARY if find_spec(each) is None]):
                from message_batches.errors import ExtraMissing

                raise ExtraMissing(
                    f"{name} needs {' and '.join(missing)}, which this Python does not have: "
                    "pip install 'message-batches[library]'"
                )
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                value: object = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
