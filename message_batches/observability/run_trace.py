"""The spans that a run makes of itself: the run, at its end, and each of the steps that it has repeated.

Their ids are computed from Temporal's ids, and they are sent only while the run is not replayed: no replay sends one
again, and one that is sent twice, because a worker was killed, is the same span.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pydantic import BaseModel, Field, ValidationError
from temporalio import worker, workflow
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter
from temporalio.exceptions import is_cancelled_exception

from message_batches.contract import ActivityType
from message_batches.observability.tracing import RUN_ID, WORKFLOW_ID, TraceContext, batch_attributes, id_of
from message_batches.spans import Span, error_name

if TYPE_CHECKING:
    from message_batches.observability.otlp import Tracing

CARRIED = "message-batches-trace"
"""The header in which a run hands to the one that continues it what its spans need."""

MAX_CALLS = 10
"""Calls of one activity that have spans of their own; of a run that repeats one more often, the rest is a count."""

_REPEATED: Mapping[str, str] = {
    ActivityType.POLL_BATCH_STATUS: "pollBatchStatus",
    ActivityType.FIND_CANDIDATES: "reconcile",
    ActivityType.VERIFY_CANDIDATE: "reconcile",
    ActivityType.READ_SHARDS: "readShards",
}
"""The activities that a run repeats, and the one span of all their calls."""


_Time = Annotated[int, Field(ge=0, lt=2**63)]


class Step(BaseModel):
    """The calls of an activity: how many, how many failed, and from when to when, in nanoseconds since 1970."""

    began: _Time
    ended: _Time
    calls: int = 0
    failed: int = 0


class Carried(BaseModel):
    """What a run carries over continue-as-new: its beginning, and its steps by the name of their span."""

    began: _Time
    steps: dict[str, Step] = Field(default_factory=dict)


class _Run:
    """The trace of one run of a workflow."""

    def __init__(self, tracing: "Tracing") -> None:
        info = workflow.info()
        self._tracing = tracing
        self._info = info
        self._above = TraceContext.of_headers(info.headers)
        # Only of a run that continues another one is it known who has made it.
        carried = _carried(info.headers) if info.continued_run_id else None
        self._carried = carried or Carried(began=_nanoseconds(info.start_time))
        first = info.first_execution_run_id
        trace_id = self._above.trace_id if self._above else id_of(first, bits=128)
        sampled = self._above.sampled if self._above else tracing.samples(trace_id, info.workflow_type)
        self.place = TraceContext(trace_id, self._id_of(first, trace_id), sampled)

    def headers_of_activity(self, kind: str) -> tuple[Mapping[str, Payload], Callable[[Any], None]]:
        """Count a call of an activity; return its headers, and what is to be called at its end."""
        name = self._name_of(kind)
        now = workflow.time_ns()
        step = self._carried.steps.setdefault(name, Step(began=now, ended=now))
        step.calls += 1

        def on_end(task: asyncio.Task[Any]) -> None:
            step.ended = workflow.time_ns()
            step.failed += not task.cancelled() and task.exception() is not None

        return {} if self._is_one_span(kind, step) else self.place.headers(), on_end

    def headers_of_next(self) -> dict[str, Payload]:
        """Return the headers of the run that continues this one."""
        above = self._above.headers() if self._above else {}
        return {**above, CARRIED: PayloadConverter.default.to_payload(self._carried.model_dump())}

    def end(self, result: object, error: BaseException | None) -> None:
        """Send the run's own spans, unless this is a replay of its end."""
        if workflow.unsafe.is_replaying_history_events():
            return
        # One whose activity was cancelled with it has the activity's error.
        kind = "CancelledError" if error and is_cancelled_exception(error) else error and error_name(error)
        run = Span(
            self._info.workflow_type,
            self._above.span_id if self._above else None,
            span_id=self.place.span_id,
            started=self._carried.began,
            ended=workflow.time_ns(),
            attributes={WORKFLOW_ID: self._info.workflow_id, RUN_ID: self._info.run_id, **batch_attributes(result)},
            error=kind or None,
        )
        with workflow.unsafe.sandbox_unrestricted():
            self._tracing.emit(self.place, *self._steps(), run)

    def _steps(self) -> list[Span]:
        return [
            Span(
                name,
                self.place.span_id,
                span_id=self._id_of(self.place.span_id, name),
                started=step.began,
                ended=step.ended,
                attributes={"message_batches.calls": step.calls, "message_batches.failed_calls": step.failed},
            )
            for name, step in self._carried.steps.items()
            if self._is_one_span(name, step)
        ]

    def _name_of(self, kind: str) -> str:
        name = _REPEATED.get(kind, kind)
        polled = _REPEATED[ActivityType.POLL_BATCH_STATUS] in self._carried.steps
        return "findDuplicates" if name == "reconcile" and polled else name

    def _is_one_span(self, kind: str, step: Step) -> bool:
        return kind in (*_REPEATED, *_REPEATED.values(), "findDuplicates") or step.calls > MAX_CALLS

    def _id_of(self, *parts: object) -> int:
        return id_of(*parts, self._carried.began, bits=64)


class TracedWorkflow(worker.WorkflowInboundInterceptor):
    """Makes the spans of a run; a subclass names where they are sent."""

    tracing: "Tracing"

    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        """Take in the way out, on which the trace is handed on."""
        self._run: _Run | None = None
        super().init(_Outbound(outbound, self))

    @property
    def run(self) -> _Run:
        """The run's trace; an update's handler may begin before the run itself."""
        self._run = self._run or _Run(self.tracing)
        return self._run

    async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:
        """Run to the end, and send the run's spans; where it continues as a new run, that sends them."""
        run = self.run
        try:
            result = await super().execute_workflow(input)
        except (Exception, asyncio.CancelledError) as error:
            # Any other error fails only the workflow task, which is tried again.
            if isinstance(error, asyncio.CancelledError) or workflow.is_failure_exception(error):
                run.end(None, error)
            raise
        run.end(result, None)
        return result


class _Outbound(worker.WorkflowOutboundInterceptor):
    def __init__(self, next: worker.WorkflowOutboundInterceptor, inbound: TracedWorkflow) -> None:
        super().__init__(next)
        self._inbound = inbound

    def start_activity(self, input: worker.StartActivityInput) -> workflow.ActivityHandle[Any]:
        headers, on_end = self._inbound.run.headers_of_activity(input.activity)
        input.headers = {**input.headers, **headers}
        handle = super().start_activity(input)
        handle.add_done_callback(on_end)
        return handle

    async def start_child_workflow(
        self, input: worker.StartChildWorkflowInput
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        input.headers = {**input.headers, **self._inbound.run.place.headers()}
        return await super().start_child_workflow(input)

    def continue_as_new(self, input: worker.ContinueAsNewInput) -> NoReturn:
        input.headers = {**input.headers, **self._inbound.run.headers_of_next()}
        super().continue_as_new(input)


def _carried(headers: Mapping[str, Payload]) -> Carried | None:
    """Return what the run before has handed on; nothing where a caller has put nonsense there."""
    try:
        return Carried.model_validate_json(headers[CARRIED].data) if CARRIED in headers else None
    except ValidationError:
        return None


def _nanoseconds(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000) * 1_000
