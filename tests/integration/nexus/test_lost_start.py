"""A start of an operation that is asked for again is the same run, while that runs and when it has ended."""

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from temporalio.api.operatorservice.v1 import ListNexusEndpointsRequest

from message_batches.contract import NEXUS_SERVICE, WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchOutput, PollSchedule
from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import PROMPT_TIMERS, DevServer, dev_server, free_port
from message_batches.temporal.nexus_endpoints import ensure_endpoint
from tests.harness.namespaces import new_namespace
from tests.harness.nexus import callers, run_of
from tests.harness.requests import fresh
from tests.harness.stack import progress_when, running_stack
from tests.harness.temporal_proxy import AnswerFault, temporal_proxy

PATIENT = EmulatorOptions(processing_time=timedelta(minutes=10))


@pytest.mark.slow  # Temporal waits ten seconds for the answer of a handler.
async def test_a_start_whose_answer_is_lost_is_asked_for_again_and_is_the_same_run(
    temporal: DevServer, tmp_path: Path
) -> None:
    async with Emulator(PATIENT) as emulator, temporal_proxy(temporal.address) as proxy:
        through = await connect(address=proxy.address)
        async with (
            running_stack(through, emulator, (tmp_path / "store").as_uri()) as stack,
            callers(await new_namespace(temporal, {}), temporal.client, stack.task_queue) as there,
        ):
            proxy.add(AnswerFault.HANG, "StartWorkflowExecution")
            # It has continued as new when the start is asked for again: the server knows the request of a first run.
            caller = await there.batch(fresh(), poll=PollSchedule(retry_after=timedelta(seconds=0.1)))
            run = await run_of(temporal.client, caller)
            await progress_when(run, lambda progress: progress.polls > 0)
            emulator.clock.advance(PATIENT.processing_time)
            output = await caller.result()

    assert proxy.struck == ["StartWorkflowExecution"]
    assert [batch.id for batch in emulator.batches] == [output.batch_id]


async def test_a_request_that_comes_again_is_the_run_of_the_first(tmp_path: Path) -> None:
    port, request_id = free_port(), str(uuid4())
    async with (
        Emulator(PATIENT) as emulator,
        dev_server(extra_args=(*PROMPT_TIMERS, "--http-port", str(port))) as server,
        running_stack(server.client, emulator, (tmp_path / "store").as_uri()) as stack,
        httpx.AsyncClient() as http,
    ):
        await ensure_endpoint(server.client, "batches", stack.task_queue)
        found = await server.client.operator_service.list_nexus_endpoints(ListNexusEndpointsRequest(name="batches"))
        url = f"http://127.0.0.1:{port}{found.endpoints[0].url_prefix}/{NEXUS_SERVICE}/{WORKFLOW_TYPE}"
        given = {"requests": fresh(), "poll": {"retryAfter": 0.1}}

        async def ask() -> tuple[int, str]:
            answer = await http.post(url, json=given, headers={"nexus-request-id": request_id}, timeout=30)
            return answer.status_code, answer.headers["nexus-link"]

        asked = [await ask(), await ask()]
        run = server.client.get_workflow_handle(f"nexus-{request_id}", result_type=BatchOutput)
        await progress_when(run, lambda progress: progress.polls > 0)
        emulator.clock.advance(PATIENT.processing_time)
        await run.result()
        asked.append(await ask())
        first = (await run.describe()).run_id

    assert asked == [asked[0]] * 3
    assert (asked[0][0], first in asked[0][1]) == (201, True)
    assert len(emulator.batches) == 1
