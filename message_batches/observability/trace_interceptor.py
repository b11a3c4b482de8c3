"""The interceptor that makes traces: one for each run, from its start over continue-as-new to its end.

Spans are the start, each activity with its calls of the API, and what the run makes of itself: see `run_trace`.
"""

import asyncio
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from nexusrpc.handler import StartOperationResultAsync, StartOperationResultSync
from temporalio import activity, client, worker
from temporalio.exceptions import ApplicationError

from message_batches.observability.run_trace import TracedWorkflow
from message_batches.observability.tracing import (
    RUN_ID,
    WORKFLOW_ID,
    TraceContext,
    batch_attributes,
    id_of,
    start_tracing,
)
from message_batches.spans import Span, record

if TYPE_CHECKING:
    from message_batches.observability.otlp import Tracing

_caller: ContextVar[TraceContext | None] = ContextVar("caller", default=None)
"""The place of the Nexus operation that is under way."""


class TracingInterceptor(client.Interceptor, worker.Interceptor):
    """Makes the spans, in a client and in the workers that use it."""

    def __init__(self, tracing: "Tracing") -> None:
        self._tracing = tracing

    @classmethod
    def begin(cls, service: str, *, quiet: bool = False) -> Self | None:
        """Begin to send spans, as `start_tracing` says."""
        tracing = start_tracing(service, quiet=quiet)
        return cls(tracing) if tracing else None

    async def stop(self) -> None:
        """Send what is left, as far as that takes no longer than a second."""
        await asyncio.to_thread(self._tracing.stop)

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        """Make the spans of starts."""
        return _Client(next, self._tracing)

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:
        """Make the spans of activities."""
        return _Activity(next, self._tracing)

    def workflow_interceptor_class(
        self, input: worker.WorkflowInterceptorClassInput
    ) -> type[worker.WorkflowInboundInterceptor]:
        """Make the spans of runs."""

        class Bound(TracedWorkflow):
            tracing = self._tracing

        return Bound

    def intercept_nexus_operation(
        self, next: worker.NexusOperationInboundInterceptor
    ) -> worker.NexusOperationInboundInterceptor:
        """Take in the trace of a caller over Nexus."""
        return _Nexus(next)


class _Nexus(worker.NexusOperationInboundInterceptor):
    async def execute_nexus_operation_start(
        self, input: worker.ExecuteNexusOperationStartInput
    ) -> StartOperationResultSync[Any] | StartOperationResultAsync:
        token = _caller.set(TraceContext.of_traceparent(input.ctx.headers.get("traceparent")))
        try:
            return await super().execute_nexus_operation_start(input)
        finally:
            _caller.reset(token)


class _Client(client.OutboundInterceptor):
    def __init__(self, next: client.OutboundInterceptor, tracing: "Tracing") -> None:
        super().__init__(next)
        self._tracing = tracing

    async def start_workflow(self, input: client.StartWorkflowInput) -> client.WorkflowHandle[Any, Any]:
        name = f"start {input.workflow}"
        above = TraceContext.of_headers(input.headers) or _caller.get() or self._tracing.current()
        start = Span(name, above.span_id if above else None, attributes={WORKFLOW_ID: input.id}, calls_out=True)
        trace_id = above.trace_id if above else id_of(start.span_id, time.time_ns(), bits=128)
        sampled = above.sampled if above else self._tracing.samples(trace_id, name)
        trace = TraceContext(trace_id, start.span_id, sampled)
        input.headers = {**input.headers, **trace.headers()}
        try:
            with record(start):
                return await super().start_workflow(input)
        finally:
            self._tracing.emit(trace, start)


class _Activity(worker.ActivityInboundInterceptor):
    def __init__(self, next: worker.ActivityInboundInterceptor, tracing: "Tracing") -> None:
        super().__init__(next)
        self._tracing = tracing

    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        trace = TraceContext.of_headers(input.headers)
        if trace is None or not trace.sampled:
            return await super().execute_activity(input)
        info = activity.info()
        whole = Span(info.activity_type, trace.span_id)
        whole.attributes = {WORKFLOW_ID: info.workflow_id or "", RUN_ID: info.workflow_run_id or ""}
        whole.attributes |= {"temporalAttempt": info.attempt}
        ended: list[Span] = []
        shown = True
        try:
            with record(whole) as ended:
                result = await super().execute_activity(input)
                whole.attributes |= batch_attributes(*input.args, result)
                return result
        except BaseException as error:
            whole.attributes |= batch_attributes(*input.args)
            # Of an activity that is repeated for hours: the first attempt, and the one that ends it.
            shown = info.attempt == 1 or (isinstance(error, ApplicationError) and error.non_retryable)
            raise
        finally:
            if shown:
                self._tracing.emit(trace, *ended)
