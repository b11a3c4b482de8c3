"""Message batches as durable Temporal workflows; the public names are loaded when they are first used."""

from importlib import import_module
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
    from message_batches.errors import MessageBatchesError
    from message_batches.job_models import (
        JobInput,
        JobOutput,
        JobPhase,
        JobProgress,
        Retries,
        RetryKind,
        ShardLimits,
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
    "JobInput",
    "JobOutput",
    "JobPhase",
    "JobProgress",
    "MessageBatch",
    "MessageBatchesError",
    "Phase",
    "PollSchedule",
    "Progress",
    "Resolution",
    "Retries",
    "RetryKind",
    "RetrySchedule",
    "ShardLimits",
    "SubmissionSchedule",
    "TemporalUnreachable",
    "connect",
    "leave",
]

_HOMES = ("contract", "models", "job_models", "errors", "api.models", "temporal.connection")
"""The modules of the public names, the light ones first: a name is searched for in their order."""


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                value: object = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
