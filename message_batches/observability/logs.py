"""What a worker logs, as lines of text or of JSON: each with the run, the batch and the API's call that it is about.

No line holds a key, a prompt or a result, nor what the API or a caller has written.
"""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any

from temporalio import activity, workflow

from message_batches.errors import ApiError
from message_batches.formatting import visible
from message_batches.observability.log_context import context

FIELDS = {
    "workflow_id": "workflowId",
    "run_id": "runId",
    "batch_id": "batchId",
    "request_id": "requestId",
    "activity": "activity",
    "attempt": "attempt",
    "status": "status",
}
"""What a line may be about, by the name in a logging call's `extra`, and as it is written."""

_OURS = ("temporalio.workflow", "temporalio.activity", "message_batches")

_STANDARD = logging.Formatter()


class LogFormat(StrEnum):
    """How a log is written."""

    TEXT = "text"
    JSON = "json"


class TextFormatter(logging.Formatter):
    """Time, level, logger and message, then `name=value`; a traceback follows on indented lines of its own.

    Control characters are spelled out: a message may hold the id of somebody else's run, a traceback any text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        parts = [f"{self.formatTime(record)} {record.levelname} {record.name} {_message(record)}"]
        parts += [f"{name}={_word(value)}" for name, value in fields_of(record).items()]
        # An error's own text may have lines too, and none of them shall look like one of the log.
        trace = (f"  {line}" for line in _traceback(record).split("\n") if line)
        return "\n".join(map(visible, (" ".join(parts), *trace)))


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            **fields_of(record),
        }
        if traceback := _traceback(record):
            said["exception"] = traceback
        return json.dumps(said, default=str)


@dataclass(frozen=True)
class StatusLines:
    """What a worker says of itself whatever the level: printed, or lines of the log where all of it is to be JSON."""

    say: Callable[[str], None]
    fail: Callable[[str], None]


def start_logging(form: LogFormat, level: str) -> StatusLines:
    """Log to standard error: of ours from that level on, of all others warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form is LogFormat.JSON else TextFormatter())
    handler.addFilter(_not_said_before)
    # At DEBUG the SDK's own loggers write whole payloads.
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    # They are in fields of their own.
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    if form is LogFormat.TEXT:
        return StatusLines(partial(print, flush=True), partial(print, file=sys.stderr, flush=True))
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: logging.critical("The worker fails", exc_info=(kind, error, trace))
    own = logging.getLogger("message_batches.worker")
    own.setLevel(logging.INFO)
    return StatusLines(own.info, own.error)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The run, the batch and the call that a record is about, as far as is known."""
    found = {**_run_of(record), **vars(record)}
    for name, value in context().items():
        found.setdefault(name, value)
    return {written: value for name, written in FIELDS.items() if (value := found.get(name)) is not None}


def _run_of(record: logging.LogRecord) -> dict[str, Any]:
    given = vars(record)
    if run := given.get("temporal_workflow"):
        # Its `attempt` is of the run, which is never retried.
        return {"workflow_id": run.get("workflow_id"), "run_id": run.get("run_id")}
    if core := given.get("temporal_log"):
        return {name: core.fields[name] for name in ("workflow_id", "run_id") if name in core.fields}
    if not activity.in_activity():
        return {}
    info = activity.info()
    return {
        "workflow_id": info.workflow_id,
        "run_id": info.workflow_run_id,
        "activity": info.activity_type,
        "attempt": info.attempt,
    }


def error_fields(error: BaseException) -> dict[str, Any]:
    """The fields for an error's line: the API's answer, where there was one."""
    return {"request_id": error.request_id, "status": error.status} if isinstance(error, ApiError) else {}


def _not_said_before(record: logging.LogRecord) -> bool:
    """Whether a record tells more than our own of the same failure, which leaves out what the API has written."""
    return record.levelno > logging.DEBUG or "__temporal_error_identifier" not in vars(record)


def _message(record: logging.LogRecord) -> str:
    """The message; of the SDK's core with its fields, except a failure's, which has its text and stack in it."""
    core = vars(record).get("temporal_log")
    fields = {name: value for name, value in core.fields.items() if name not in ("failure", *FIELDS)} if core else {}
    return " ".join([record.getMessage(), *(f"{name}={_word(value)}" for name, value in fields.items())])


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and not record.exc_text:
        record.exc_text = _STANDARD.formatException(record.exc_info)
    return record.exc_text or ""


def _word(value: Any) -> str:
    """A value that stays one word on one line: the id of a run is its caller's."""
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text)
