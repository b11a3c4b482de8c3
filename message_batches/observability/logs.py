"""A worker's log, as lines of text or JSON, each with its run, batch and API call.

No line contains a key, a prompt, a result, or text written by the API or a caller.
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
from message_batches.formatting import escape_unprintable
from message_batches.log_context import context

FIELDS = {
    "workflow_id": "workflowId",
    "run_id": "runId",
    "batch_id": "batchId",
    "request_id": "requestId",
    "activity": "activity",
    "attempt": "attempt",
    "status": "status",
}
"""Fields of a line: the name in a logging call's `extra`, and the name as written."""

_OURS = ("temporalio.workflow", "temporalio.activity", "message_batches")
_STANDARD = logging.Formatter()


class LogFormat(StrEnum):
    """The form of the log."""

    TEXT = "text"
    JSON = "json"


class TextFormatter(logging.Formatter):
    """Time, level, logger and message, then `name=value`; a traceback follows on indented lines of its own.

    Control characters are escaped: a message may contain the id of another caller's run, a traceback any text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        parts = [f"{self.formatTime(record)} {record.levelname} {record.name} {_message(record)}"]
        parts += [f"{name}={_word(value)}" for name, value in fields_of(record).items()]
        # An error's text may have lines of its own; none of them may look like a line of the log.
        trace = (f"  {line}" for line in _traceback(record).split("\n") if line)
        return "\n".join(map(escape_unprintable, (" ".join(parts), *trace)))


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
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
    """A worker's own status lines, shown at every log level: printed, or logged where all output must be JSON."""

    say: Callable[[str], None]
    fail: Callable[[str], None]


def start_logging(form: LogFormat, level: str) -> StatusLines:
    """Log to standard error: our own loggers from this level on, all others from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form is LogFormat.JSON else TextFormatter())
    handler.addFilter(_not_said_before)
    # At DEBUG the SDK's own loggers write whole payloads.
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    # These details are separate fields already.
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
    """Return the known fields of a record: its run, batch and API call."""
    found = {**_run_of(record), **vars(record)}
    for name, value in context().items():
        found.setdefault(name, value)
    return {written: value for name, written in FIELDS.items() if (value := found.get(name)) is not None}


def _run_of(record: logging.LogRecord) -> dict[str, Any]:
    given = vars(record)
    if run := given.get("temporal_workflow"):
        # `attempt` there belongs to the run, which is never retried.
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
    """Return the fields of an error: the API's request id and status, if it answered."""
    return {"request_id": error.request_id, "status": error.status} if isinstance(error, ApiError) else {}


def _not_said_before(record: logging.LogRecord) -> bool:
    """Return False for the SDK's repetition of a failure that we log without the API's text."""
    return record.levelno > logging.DEBUG or "__temporal_error_identifier" not in vars(record)


def _message(record: logging.LogRecord) -> str:
    """Return the message; for the SDK core with its fields, except `failure`, which contains text and stack."""
    core = vars(record).get("temporal_log")
    fields = {name: value for name, value in core.fields.items() if name not in ("failure", *FIELDS)} if core else {}
    return " ".join([record.getMessage(), *(f"{name}={_word(value)}" for name, value in fields.items())])


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and not record.exc_text:
        record.exc_text = _STANDARD.formatException(record.exc_info)
    return record.exc_text or ""


def _word(value: Any) -> str:
    """Return a value as one word on one line: a run's id is chosen by its caller."""
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text)
