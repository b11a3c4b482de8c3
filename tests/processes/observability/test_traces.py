"""Traces of real processes: a starter, and workers of which one is killed."""

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.otlp import Receiver
from tests.harness.processes import WorkerProcess, lasting_port, refused_worker, settings
from tests.harness.requests import fresh
from tests.harness.stack import Stack
from tests.harness.waiting import eventually

RUN = "batch-process-and-retrieve-results"


@pytest.mark.slow
async def test_a_run_whose_worker_is_killed_is_one_trace_from_the_starter_on(
    temporal: DevServer, tmp_path: Path
) -> None:
    async with (
        Receiver() as receiver,
        Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as emulator,
    ):
        configured = settings(
            temporal=temporal.address,
            api=emulator.url,
            key="sk-ant-emulated-0001",
            store=(tmp_path / "store").as_uri(),
            task_queue=f"killed-{uuid4()}",
            **receiver.environment,
        )
        starter = CommandLine(tmp_path, configured)
        workers = [await WorkerProcess.begin(configured, tmp_path / "first.log", tmp_path, "--otel")]
        try:
            started = await starter("start", starter.file(fresh(3), "some.jsonl"), *QUICK)
            assert started.code == 0, started.err
            await receiver.saw("recordOutcome")
            polls = [call for call in emulator.calls if call.operation == "retrieve"]
            await eventually(lambda: len(emulator.calls) > len(polls) + 5, "some polls")
            await workers[0].kill()
            before = len([call for call in emulator.calls if call.operation == "retrieve"])
            workers.append(await WorkerProcess.begin(configured, tmp_path / "second.log", tmp_path, "--otel"))
            emulator.clock.advance(timedelta(minutes=10))
            [run] = await receiver.saw(RUN)
            assert await workers[1].terminate() == 0
        finally:
            for worker in workers:
                await worker.kill()

    spans = receiver.of_run(str(run.attributes["temporalWorkflowID"]))
    assert len({span.trace_id for span in spans}) == 1
    assert len({span.span_id for span in spans}) == len(spans)
    assert {span.service for span in spans} == {"message-batches-starter", "message-batches-worker"}
    names = [span.name for span in spans]
    for name in (f"start {RUN}", RUN, "submitBatch", "pollBatchStatus", "retrieveResults", "publish"):
        assert names.count(name) == 1, name
    [polling] = [span for span in spans if span.name == "pollBatchStatus"]
    assert polling.attributes["message_batches.calls"] >= before > 3


@pytest.mark.slow
async def test_the_standard_variables_are_followed(temporal: DevServer, emulator: Emulator, tmp_path: Path) -> None:
    async with Receiver() as receiver:
        configured = settings(
            temporal=temporal.address,
            api=emulator.url,
            key="sk-ant-emulated-0001",
            store=(tmp_path / "store").as_uri(),
            task_queue=f"named-{uuid4()}",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{receiver.url}/v1/traces",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_SERVICE_NAME="nightly",
            OTEL_BSP_SCHEDULE_DELAY="100",
        )
        worker = await WorkerProcess.begin(configured, tmp_path / "worker.log", tmp_path, "--otel")
        try:
            starter = CommandLine(tmp_path, {**configured, "OTEL_SDK_DISABLED": "true"})
            done = await starter("start", starter.file(fresh(2), "some.jsonl"), *QUICK, "--wait")
            assert done.code == 0, done.err
            [run] = await receiver.saw(RUN)
        finally:
            await worker.kill()

    assert {span.service for span in receiver.spans} == {"nightly"}
    assert (run.parent_id, receiver.named(f"start {RUN}")) == ("", [])


@pytest.mark.slow
async def test_a_receiver_that_is_not_there_is_said_once_and_the_starter_says_nothing(
    temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    configured = settings(
        temporal=temporal.address,
        api=emulator.url,
        key="sk-ant-emulated-0001",
        store=(tmp_path / "store").as_uri(),
        task_queue=f"nobody-{uuid4()}",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{lasting_port()}",
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20nobody-may-see",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
        OTEL_BSP_SCHEDULE_DELAY="100",
    )
    worker = await WorkerProcess.begin(configured, tmp_path / "worker.log", tmp_path, "--otel")
    try:
        starter = CommandLine(tmp_path, configured)
        for count in (2, 3):
            done = await starter("start", starter.file(fresh(count), f"{count}.jsonl"), *QUICK, "--wait")
            assert done.code == 0, done.err
            assert "OTEL" not in done.err + done.out
        await eventually(lambda: "No spans can be sent" in worker.output, "a line of the log")
        assert await worker.terminate() == 0
    finally:
        await worker.kill()

    assert worker.output.count("No spans can be sent") == 1
    assert "nobody-may-see" not in worker.output
    assert "Traceback" not in worker.output


@pytest.mark.parametrize("variables", [{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_BSP_SCHEDULE_DELAY": "-5"}])
async def test_a_starter_that_cannot_send_as_it_is_told_sends_no_traces(
    live: Stack, tmp_path: Path, variables: dict[str, str]
) -> None:
    async with Receiver() as receiver:
        configured = settings(
            temporal=live.client.service_client.config.target_host, store=live.store_url, task_queue=live.task_queue
        )
        starter = CommandLine(tmp_path, {**configured, **receiver.environment, **variables})
        done = await starter("start", starter.file(fresh(2), "some.jsonl"), *QUICK, "--wait")

    assert done.code == 0, done.err
    assert receiver.spans == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is not http/protobuf, the one protocol by which traces are sent",
        ),
        ({"OTEL_BSP_SCHEDULE_DELAY": "-5"}, "A variable OTEL_* is not valid (ValueError)"),
    ],
)
async def test_a_worker_that_cannot_send_as_it_is_told_does_not_start(
    temporal: DevServer, tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    code, output = await refused_worker(
        tmp_path,
        temporal.address,
        "--otel",
        MESSAGE_BATCHES_STORE=(tmp_path / "store").as_uri(),
        ANTHROPIC_API_KEY="sk-ant-emulated-0001",
        **variables,
    )

    assert code == 2
    assert said in output
    assert "Traceback" not in output
