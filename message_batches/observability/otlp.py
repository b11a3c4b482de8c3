"""The sending of spans to a receiver of OpenTelemetry's protocol over HTTP.

They are sent by a thread of their own. What cannot be sent is dropped: no run waits for a receiver.
"""

import logging
from collections.abc import Sequence
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span

from message_batches import __version__
from message_batches.observability.tracing import TraceContext
from message_batches.spans import Span

FLUSH_SECONDS = 1.0
"""The time for which a process waits at its end for spans to be sent."""

_SCOPE = InstrumentationScope("message_batches", __version__)
_logger = logging.getLogger(__name__)


class Tracing:
    """The sending of a process's spans."""

    def __init__(self, provider: TracerProvider, processor: SpanProcessor) -> None:
        self._provider = provider
        self._processor = processor

    def samples(self, trace_id: int, name: str) -> bool:
        """Return whether a trace that begins here is recorded, as `OTEL_TRACES_SAMPLER` says."""
        return self._provider.sampler.should_sample(None, trace_id, name).decision is Decision.RECORD_AND_SAMPLE

    def current(self) -> TraceContext | None:
        """Return the place of the span that the calling program is in, where it uses OpenTelemetry itself."""
        found = get_current_span().get_span_context()
        return TraceContext(found.trace_id, found.span_id, found.trace_flags.sampled) if found.is_valid else None

    def emit(self, trace: TraceContext, *spans: Span) -> None:
        """Send spans of a trace, later; whatever goes wrong with them concerns nobody else."""
        if not trace.sampled:
            return
        try:
            for span in spans:
                self._processor.on_end(self._finished(trace.trace_id, span))
        except Exception:
            _logger.warning("A span cannot be sent", exc_info=True)

    def stop(self) -> None:
        """Send what is left, as far as that takes no longer than a second."""
        sending = Thread(target=self._processor.shutdown, daemon=True)
        sending.start()
        sending.join(FLUSH_SECONDS)

    def _finished(self, trace_id: int, span: Span) -> ReadableSpan:
        sampled = TraceFlags(TraceFlags.SAMPLED)
        parent = SpanContext(trace_id, span.parent_id, is_remote=True, trace_flags=sampled) if span.parent_id else None
        return ReadableSpan(
            span.name,
            context=SpanContext(trace_id, span.span_id, is_remote=False, trace_flags=sampled),
            parent=parent,
            resource=self._provider.resource,
            attributes={**span.attributes, **({"error.type": span.error} if span.error else {})},
            kind=SpanKind.CLIENT if span.calls_out else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR if span.error else StatusCode.UNSET),
            start_time=span.started,
            end_time=max(span.started, span.ended),
            instrumentation_scope=_SCOPE,
        )


def open_tracing(service: str) -> Tracing:
    """Begin to send spans, as the environment has it; `service` is the name where it has none."""
    given = Resource.create()
    named = not str(given.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    defaults = Resource({SERVICE_NAME: service, SERVICE_VERSION: __version__})
    resource = defaults.merge(given) if named else given.merge(defaults)
    # Loads the implementation of contexts, which the sandbox of workflows would forbid.
    get_current_span()
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # At each attempt it would log a line of its own, with what the receiver has answered.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    return Tracing(provider, BatchSpanProcessor(ReportingExporter(OTLPSpanExporter())))


class ReportingExporter(SpanExporter):
    """An exporter that logs when a receiver begins to take no spans, and when it takes some again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._dropped = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.FAILURE:
            if not self._dropped:
                _logger.warning("No spans can be sent: check OTEL_EXPORTER_OTLP_ENDPOINT and its receiver")
            self._dropped += len(spans)
        elif self._dropped:
            _logger.warning("Spans can be sent again; %d were dropped", self._dropped)
            self._dropped = 0
        return result

    def shutdown(self) -> None:
        """Stop to try again."""
        self._exporter.shutdown()
