"""Traces: the place of a span in one, how it is handed on, and whether a process makes any.

They are configured by the standard variables `OTEL_*`. OpenTelemetry's packages are loaded only where traces are made.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

from message_batches.errors import MessageBatchesError
from message_batches.spans import Attributes

if TYPE_CHECKING:
    from message_batches.observability.otlp import Tracing

HEADER = "_tracer-data"
"""The Temporal header of the SDKs' own interceptors: a caller's trace goes on in ours."""

WORKFLOW_ID, RUN_ID = "temporalWorkflowID", "temporalRunID"
"""Attributes, as the SDKs' own interceptors name them."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OURS = "http/protobuf"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class TracingNotPossible(MessageBatchesError):
    """Traces cannot be sent as they are configured; the message says what to install or to set."""


@dataclass(frozen=True)
class TraceContext:
    """The place of a span in a trace, as W3C Trace Context has it."""

    trace_id: int
    span_id: int
    sampled: bool

    @classmethod
    def of_headers(cls, headers: Mapping[str, Payload]) -> "TraceContext | None":
        """Return the place that a caller names; None where it names none, or nonsense, which must fail no run."""
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            return cls.of_traceparent(json.loads(headers[HEADER].data)["traceparent"])
        return None

    @classmethod
    def of_traceparent(cls, traceparent: object) -> "TraceContext | None":
        """Return the place that a `traceparent` names; None for nonsense."""
        found = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
        trace_id, span_id, flags = (int(part, 16) for part in found.groups()) if found else (0, 0, 0)
        return cls(trace_id, span_id, bool(flags & 1)) if trace_id and span_id else None

    def headers(self) -> dict[str, Payload]:
        """Return the headers that hand the place on."""
        traceparent = f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"
        return {HEADER: PayloadConverter.default.to_payload({"traceparent": traceparent})}


def id_of(*parts: object, bits: int) -> int:
    """Return an id that is the same for the same parts, in any process and at each replay."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[: bits // 8]) or 1


def batch_attributes(*objects: object) -> Attributes:
    """Return the batch that an input or a result is about, and what has landed of it."""
    found: Attributes = {}
    for each in objects:
        batch_id = getattr(each, "batch_id", None) or getattr(getattr(each, "batch", None), "id", None)
        if isinstance(batch_id, str):
            found["message_batches.batch_id"] = batch_id
        if file := getattr(each, "results_file", None):
            found |= {"message_batches.results": file.lines, "message_batches.bytes": file.bytes}
    return found


def names_a_receiver(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment names a receiver of traces."""
    return any(environment.get(name) for name in _ENDPOINTS)


def start_tracing(
    service: str, *, quiet: bool = False, environment: Mapping[str, str] = os.environ
) -> "Tracing | None":
    """Begin to send spans; None where `OTEL_*` has switched that off, `TracingNotPossible` where it is not valid.

    Args:
        service: the name of the service where `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` have none.
        quiet: whether nothing is logged of a receiver that does not answer: a command has its own output.
        environment: that of the process.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    for name in _PROTOCOLS:
        if environment.get(name, _OURS) not in ("", _OURS):
            raise TracingNotPossible(f"{name} is not {_OURS}, the one protocol by which traces are sent")
    try:
        from message_batches.observability.otlp import open_tracing
    except ModuleNotFoundError as error:
        raise TracingNotPossible("Traces need the extra `otel`: pip install 'message-batches[otel]'") from error
    if quiet:
        logging.getLogger(open_tracing.__module__).setLevel(logging.CRITICAL + 1)
    try:
        return open_tracing(service)
    except (ValueError, OSError) as error:
        # Without its text: there may be a key in a variable.
        why = type(error).__name__
        raise TracingNotPossible(f"A variable OTEL_* is not valid ({why}): docs/observability.md names them") from None
