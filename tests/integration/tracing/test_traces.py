"""The trace of a run, as a receiver gets it: one for each run, whatever happens to the run."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import nexusrpc.handler
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from temporalio import client as temporal_client
from temporalio import nexus, workflow
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import Client, StartWorkflowInput, WorkflowFailureError, WorkflowHandle
from temporalio.contrib.opentelemetry import TracingInterceptor as TemporalsInterceptor
from temporalio.converter import PayloadConverter
from temporalio.worker import Replayer, Worker

from message_batches.contract import WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchInput, BatchOutput
from message_batches.temporal.connection import DATA_CONVERTER, connect
from message_batches.temporal.dev_server import DevServer
from message_batches.temporal.workflow_runner import OneArgumentRunner
from tests.harness.histories import histories
from tests.harness.otlp import Receiver, Seen, tree
from tests.harness.pages import page
from tests.harness.receiver import receiving, webhooks
from tests.harness.requests import requests
from tests.harness.running_jobs import start_job
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION, failure_of, running_stack
from tests.integration.conftest import SHORT_LIFE
from tests.integration.tracing.conftest import Traced
from workflows.job import MessageBatchJobWorkflow
from workflows.message_batch import MessageBatchWorkflow

RUN = "batch-process-and-retrieve-results"
PROMPT = "Nobody may read this prompt"
[WHOLE] = [block.text.rstrip() for block in page("docs/observability.md").blocks if block.language == "text"]
"""The spans of a run, as the page shows them."""


def ids_are_unique(spans: Sequence[Seen]) -> bool:
    return max(Counter(span.span_id for span in spans).values()) == 1


def one(spans: Sequence[Seen], name: str) -> Seen:
    [found] = [span for span in spans if span.name == name]
    return found


async def test_a_run_is_one_trace_from_its_start_to_its_landing(traced: Traced) -> None:
    output = await traced.live.run(requests(3))

    spans = await traced.spans()
    assert "\n".join(sorted(tree(spans), key=str.strip)) == "\n".join(sorted(WHOLE.split("\n"), key=str.strip))
    assert len({span.trace_id for span in spans}) == 1
    assert ids_are_unique(spans)
    assert not any(span.failed for span in spans)
    run, polls = one(spans, RUN), one(spans, "pollBatchStatus")
    assert run.attributes["message_batches.batch_id"] == output.batch_id
    assert run.attributes["message_batches.results"] == 3
    assert polls.attributes["message_batches.calls"] == traced.live.operations().count("retrieve")
    assert polls.seconds < run.seconds
    post = one(spans, "POST /v1/messages/batches")
    [create] = [call for call in traced.live.emulator.calls if call.operation == "create"]
    assert post.attributes["http.response.status_code"] == 200
    assert post.attributes["anthropic.request_id"] == create.request_id


@pytest.mark.slow
async def test_the_trace_goes_on_where_a_run_continues_as_new(
    short_lived: DevServer, receiver: Receiver, tmp_path: Path
) -> None:
    tracing = receiver.interceptor()
    client = await connect(address=short_lived.address, interceptors=[tracing])
    rapid = QUICK_POLL.model_copy(update={"retry_after": timedelta(milliseconds=10)})
    async with (
        Emulator(EmulatorOptions(ends_after_polls=3 * SHORT_LIFE)) as emulator,
        running_stack(client, emulator, (tmp_path / "store").as_uri()) as live,
    ):
        run = await live.start(requests(2), poll=rapid)
        await run.result()
        polls = live.operations().count("retrieve")
        chain = await histories(client, run)
    await tracing.stop()

    assert len(chain) >= 3
    assert len({span.trace_id for span in receiver.spans}) == 1
    assert ids_are_unique(receiver.spans)
    assert one(receiver.spans, "pollBatchStatus").attributes["message_batches.calls"] == polls >= 3 * SHORT_LIFE
    assert len(receiver.spans) == len(WHOLE.split("\n"))
    whole, first = one(receiver.spans, RUN), one(receiver.spans, "prepareRequests")
    assert whole.span.start_time_unix_nano <= first.span.start_time_unix_nano


async def test_a_lost_reply_is_one_span_of_the_search_for_its_batch(traced: Traced) -> None:
    traced.live.emulator.faults.add("invisible", operation="create", seconds=1, times=1)
    traced.live.emulator.faults.add("accept-then-drop", operation="create", times=1)

    await traced.live.run(requests(3))

    spans = await traced.spans()
    search, post = one(spans, "reconcile"), one(spans, "POST /v1/messages/batches")
    assert search.attributes["message_batches.calls"] >= 3
    assert search.parent_id == one(spans, RUN).span_id
    assert (post.failed, post.attributes["error.type"]) == (True, "ReplyLost")
    assert one(spans, "submitBatch").failed
    assert not one(spans, RUN).failed


@pytest.mark.slow
async def test_what_is_repeated_again_and_again_does_not_make_a_span_each_time(traced: Traced) -> None:
    # Each POST of the run is an activity of its own; each landing is one that Temporal repeats.
    traced.live.emulator.faults.add("429", operation="create", times=15)
    traced.live.emulator.faults.add("500", operation="results", times=4)
    quick = QUICK_POLL.model_copy(
        update={"transient": QUICK_POLL.transient.model_copy(update={"retry_after": timedelta(milliseconds=20)})}
    )

    await traced.live.run(requests(3), poll=quick)

    spans = await traced.spans()
    counted = [span for span in spans if span.name == "submitBatch"]
    assert len(counted) == 10 + 1
    [rest] = [span for span in counted if "message_batches.calls" in span.attributes]
    assert rest.attributes["message_batches.calls"] == 16
    assert rest.attributes["message_batches.failed_calls"] == 15
    landings = [span for span in spans if span.name == "retrieveResults"]
    assert [span.failed for span in landings] == [True, False]
    assert [span.attributes["temporalAttempt"] for span in landings] == [1, 5]
    downloads = [span.attributes["http.response.status_code"] for span in spans if span.name.endswith("/results")]
    assert downloads == [500, 200]


async def test_a_failed_run_names_its_failure_and_nothing_that_the_api_has_written(traced: Traced) -> None:
    traced.live.emulator.faults.add("spend-limit", operation="create", times=1)

    failure = await failure_of(await traced.live.start(requests(2, PROMPT)))

    spans = await traced.spans()
    run, post = one(spans, RUN), one(spans, "POST /v1/messages/batches")
    assert (run.failed, run.attributes["error.type"]) == (True, failure.type)
    assert post.failed
    assert post.attributes["http.response.status_code"] >= 400
    assert all(str(span.attributes.get("error.type", "None")).isidentifier() for span in spans)
    assert not any(span.span.events or span.span.status.message for span in spans)
    assert not any(PROMPT.encode() in body or failure.message.encode() in body for body in traced.receiver.bodies)


async def test_a_cancelled_run_ends_its_trace_as_cancelled(traced: Traced) -> None:
    seldom = QUICK_POLL.model_copy(update={"retry_after": timedelta(hours=1)})
    run = await traced.live.start(requests(2), poll=seldom)
    await traced.live.saw("retrieve")

    await run.cancel()
    with pytest.raises(WorkflowFailureError):
        await run.result()

    spans = await traced.spans()
    assert one(spans, RUN).attributes["error.type"] == "CancelledError"
    assert one(spans, "cancelBatch").parent_id == one(spans, RUN).span_id


@pytest.mark.parametrize("with_traces", [True, False], ids=["with traces", "without"])
async def test_a_replay_sends_no_span_and_decides_the_same(traced: Traced, with_traces: bool) -> None:
    run = await traced.live.start(requests(2))
    await run.result()
    [history] = await histories(traced.live.client, run)
    await traced.receiver.saw(RUN)
    again = Receiver()

    async with again:
        tracing = again.interceptor()
        replayer = Replayer(
            workflows=[MessageBatchWorkflow, MessageBatchJobWorkflow],
            workflow_runner=OneArgumentRunner(),
            data_converter=DATA_CONVERTER,
            interceptors=[tracing] if with_traces else [],
        )
        await replayer.replay_workflow(history)
        await tracing.stop()

    assert again.spans == []


@pytest.mark.slow
async def test_the_shards_of_a_job_are_in_its_trace(traced: Traced) -> None:
    job = await start_job(traced.live, requests(6), shard=2)
    await job.result()

    spans = await traced.spans()
    whole = one(spans, "message-batch-job")
    shards = [span for span in spans if span.name == RUN]
    assert {span.trace_id for span in spans} == {whole.trace_id}
    assert [span.parent_id for span in shards] == [whole.span_id] * 3
    assert {"planWave", "mergeResults"} < {span.name for span in spans if span.parent_id == whole.span_id}
    assert len([span for span in spans if span.name == "readShards"]) <= 1
    assert ids_are_unique(spans)


async def test_what_a_run_tells_is_in_its_trace_without_the_address(
    temporal: DevServer, emulator: Emulator, receiver: Receiver, tmp_path: Path
) -> None:
    tracing = receiver.interceptor()
    client = await connect(address=temporal.address, interceptors=[tracing])
    async with receiving() as told:
        hooks = webhooks({"ops": f"{told.url}/nobody-may-see"})
        async with running_stack(client, emulator, (tmp_path / "store").as_uri(), webhooks=hooks) as live:
            await live.run(requests(2), notify=("ops",))
            await receiver.saw("deliverNotification", 2)
            await receiver.saw("message-batch-notification", 2)
    await tracing.stop()

    assert [got.event["type"] for got in told.got] == ["batch.submitted", "batch.landed"]
    run, spans = one(receiver.spans, RUN), receiver.spans
    notifications = receiver.named("message-batch-notification")
    assert {span.trace_id for span in spans} == {run.trace_id}
    assert {span.parent_id for span in notifications} == {run.span_id}
    delivered = {span.parent_id for span in receiver.named("deliverNotification")}
    assert delivered == {span.span_id for span in notifications}
    assert not any(b"nobody-may-see" in body for body in receiver.bodies)


class Header(temporal_client.Interceptor):
    """Sends a header with each start."""

    def __init__(self, name: str, value: object) -> None:
        self.name = name
        self.value = value

    def intercept_client(self, next: temporal_client.OutboundInterceptor) -> temporal_client.OutboundInterceptor:
        header = {self.name: PayloadConverter.default.to_payload(self.value)}

        class Sends(temporal_client.OutboundInterceptor):
            async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
                input.headers = {**input.headers, **header}
                return await super().start_workflow(input)

        return Sends(next)


async def started_with(traced: Traced, temporal: DevServer, name: str, value: object) -> list[Seen]:
    """Return the spans of a run that a client without traces of its own has started with that header."""
    traced.live.client = await connect(address=temporal.address, interceptors=[Header(name, value)])
    await traced.live.run(requests(2))
    return await traced.spans()


async def test_a_run_is_a_part_of_the_trace_of_its_caller(traced: Traced, temporal: DevServer) -> None:
    trace, parent = uuid4().hex, uuid4().hex[:16]

    spans = await started_with(traced, temporal, "_tracer-data", {"traceparent": f"00-{trace}-{parent}-01"})

    assert {span.trace_id for span in spans} == {trace}
    assert one(spans, RUN).parent_id == parent


async def test_a_run_is_a_part_of_the_trace_of_a_client_with_temporals_own_interceptor(
    traced: Traced, temporal: DevServer
) -> None:
    theirs, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    own = TemporalsInterceptor(provider.get_tracer("caller"))
    traced.live.client = await connect(address=temporal.address, interceptors=[own])
    run = await traced.live.start(requests(2))
    await run.result()

    spans = await traced.spans()
    [start] = [span for span in theirs.get_finished_spans() if span.name == f"StartWorkflow:{RUN}"]
    assert start.context
    assert {span.span.trace_id for span in spans} == {start.context.trace_id.to_bytes(16)}
    assert one(spans, RUN).parent_id == start.context.span_id.to_bytes(8).hex()


async def test_a_run_that_its_caller_does_not_sample_sends_nothing(traced: Traced, temporal: DevServer) -> None:
    header = {"traceparent": f"00-{uuid4().hex}-{uuid4().hex[:16]}-00"}

    assert await started_with(traced, temporal, "_tracer-data", header) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_tracer-data", {"traceparent": "00-zz-01"}),
        ("_tracer-data", {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01"}),
        ("_tracer-data", {"traceparent": 7}),
        ("_tracer-data", ["x"]),
        ("_tracer-data", None),
        ("message-batches-trace", {"began": "x"}),
        ("message-batches-trace", None),
        ("message-batches-trace", {"began": 7, "steps": {PROMPT: {"began": 1, "ended": 2, "calls": 99}}}),
    ],
)
@pytest.mark.slow
async def test_a_header_that_is_nonsense_fails_no_run(
    traced: Traced, temporal: DevServer, name: str, value: object
) -> None:
    spans = await started_with(traced, temporal, name, value)

    assert one(spans, RUN).parent_id == ""
    assert PROMPT not in {span.name for span in spans}
    assert len({span.trace_id for span in spans}) == 1


async def test_a_sampler_that_takes_nothing_sends_nothing(
    temporal: DevServer, emulator: Emulator, receiver: Receiver, tmp_path: Path
) -> None:
    tracing = receiver.interceptor(sampler=ALWAYS_OFF)
    client = await connect(address=temporal.address, interceptors=[tracing])
    async with running_stack(client, emulator, (tmp_path / "store").as_uri()) as live:
        await live.run(requests(2))
    await tracing.stop()

    assert receiver.spans == []


@pytest.mark.parametrize("harm", ["refuses", "hangs", "answers 500"])
@pytest.mark.slow
async def test_a_receiver_that_takes_nothing_neither_slows_nor_fails_a_run(
    temporal: DevServer, emulator: Emulator, tmp_path: Path, harm: str
) -> None:
    opened = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        if harm == "answers 500":
            writer.write(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if harm == "refuses":
        server.close()
    tracing = Receiver(url=f"http://127.0.0.1:{port}").interceptor()
    client: Client = await connect(address=temporal.address, interceptors=[tracing])
    loop = asyncio.get_running_loop()
    async with running_stack(client, emulator, (tmp_path / "store").as_uri()) as live:
        began = loop.time()
        output = await live.run(requests(2))
        took = loop.time() - began
    began = loop.time()
    await tracing.stop()
    stopped = loop.time() - began
    server.close()
    for writer in opened:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    assert output.verified
    assert took < 10
    assert stopped < 3


TRACEPARENT = f"00-{uuid4().hex}-{uuid4().hex[:16]}-01"


@nexusrpc.handler.service_handler(name="traced")
class Handler:
    """A service over Nexus that starts runs."""

    @nexus.workflow_run_operation
    async def start(
        self, context: nexus.WorkflowRunOperationContext, given: BatchInput
    ) -> nexus.WorkflowHandle[BatchOutput]:
        queue = nexus.info().task_queue.removesuffix("-nexus")
        name, run_id = WORKFLOW_TYPE, f"nexus-{context.request_id}"
        return await context.start_workflow(name, given, id=run_id, task_queue=queue, result_type=BatchOutput)


@workflow.defn(sandboxed=False)
class Caller:
    """A workflow that has a run started over Nexus, with the header of Temporal's own interceptors."""

    @workflow.run
    async def run(self, endpoint: str, given: BatchInput) -> BatchOutput:
        client = workflow.create_nexus_client(service=Handler, endpoint=endpoint)
        return await client.execute_operation(Handler.start, given, headers={"traceparent": TRACEPARENT})


@pytest.mark.slow
async def test_a_run_that_is_started_over_nexus_is_a_part_of_the_trace_of_its_caller(traced: Traced) -> None:
    live = traced.live
    queue, endpoint = f"{live.task_queue}-nexus", f"traced-{uuid4()}"
    target = EndpointTarget(worker=EndpointTarget.Worker(namespace=live.client.namespace, task_queue=queue))
    spec = EndpointSpec(name=endpoint, target=target)
    await live.client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
    given = BatchInput(requests=requests(2), poll=QUICK_POLL, submission=QUICK_SUBMISSION)
    async with Worker(live.client, task_queue=queue, workflows=[Caller], nexus_service_handlers=[Handler()]):
        await live.client.execute_workflow(
            "Caller", args=[endpoint, given], id=f"caller-{uuid4()}", task_queue=queue, result_type=BatchOutput
        )

    spans = await traced.spans()
    _, trace, parent, _ = TRACEPARENT.split("-")
    start, run = one(spans, f"start {RUN}"), one(spans, RUN)
    assert (start.trace_id, start.parent_id) == (trace, parent)
    assert (run.trace_id, run.parent_id) == (trace, start.span_id)
