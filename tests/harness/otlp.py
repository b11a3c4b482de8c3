"""A receiver of traces: OTLP over HTTP, decoded by OpenTelemetry's own protobuf messages."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler

from message_batches.observability.otlp import Tracing
from message_batches.observability.trace_interceptor import TracingInterceptor
from tests.harness.waiting import eventually


@dataclass(frozen=True)
class Seen:
    """A span as it came."""

    service: str
    span: Span

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def attributes(self) -> dict[str, Any]:
        return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in self.span.attributes}

    @property
    def failed(self) -> bool:
        return self.span.status.code == Status.STATUS_CODE_ERROR

    @property
    def seconds(self) -> float:
        return (self.span.end_time_unix_nano - self.span.start_time_unix_nano) / 1e9


@dataclass
class Receiver:
    """The spans that have come, and the bytes that brought them."""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.post("/v1/traces", self._take)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._runner
        await self._runner.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that sends here, often."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def interceptor(self, *, sampler: Sampler | None = None) -> TracingInterceptor:
        """Return an interceptor of this process that sends here, often."""
        exporter = OTLPSpanExporter(f"{self.url}/v1/traces")
        provider = TracerProvider(sampler, Resource({"service.name": "here"}), shutdown_on_exit=False)
        return TracingInterceptor(Tracing(provider, BatchSpanProcessor(exporter, schedule_delay_millis=50)))

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def of_run(self, workflow_id: str) -> list[Seen]:
        """The spans of the traces of a run."""
        traces = {span.trace_id for span in self.spans if span.attributes.get("temporalWorkflowID") == workflow_id}
        return [span for span in self.spans if span.trace_id in traces]

    async def saw(self, name: str, times: int = 1) -> list[Seen]:
        """Wait until so many spans of that name have come."""
        await eventually(lambda: len(self.named(name)) >= times, f"{times} x the span {name}")
        return self.named(name)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("content-encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.bodies.append(body)
        exported = ExportTraceServiceRequest.FromString(body)
        for of_resource in exported.resource_spans:
            named = {each.key: each.value.string_value for each in of_resource.resource.attributes}
            for scope in of_resource.scope_spans:
                self.spans += [Seen(named["service.name"], span) for span in scope.spans]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


def tree(spans: Sequence[Seen]) -> list[str]:
    """Return the names of a trace's spans by depth, in the order of their beginning."""
    ids = {span.span_id for span in spans}

    def below(parent: Seen | None, depth: int) -> list[str]:
        there = [s for s in spans if (s.parent_id == parent.span_id if parent else s.parent_id not in ids)]
        lines = []
        for span in sorted(there, key=lambda each: each.span.start_time_unix_nano):
            lines += [f"{'  ' * depth}{span.name}", *below(span, depth + 1)]
        return lines

    return below(None, 0)
