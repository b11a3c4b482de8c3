"""A day of polls at the contract's cadence, on a server that skips the waiting."""

from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from message_batches.contract import WORKFLOW_TYPE
from message_batches.models import BatchInput, BatchOutput
from message_batches.storage.object_store import open_store
from tests.exhaustive.counting_api import ApiByCount
from tests.harness.otlp import Receiver
from tests.harness.requests import requests
from tests.harness.stack import QUICK_SUBMISSION
from worker import build_worker

SPANS = (
    *(f"start {WORKFLOW_TYPE}", WORKFLOW_TYPE, "prepareRequests", "findAnchor", "submitBatch", "recordOutcome"),
    *("pollBatchStatus", "retrieveResults", "download", "check", "publish"),
)


@pytest.mark.timeout(1800)
async def test_a_day_of_polls_at_the_contracts_cadence_ends_with_the_results_and_is_eleven_spans(
    skipping: WorkflowEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server counts what is skipped again in each further run: with twice as many it is soon the year 2276, which
    # no span can have.
    monkeypatch.setattr("workflows.context.CONTINUE_AFTER", 100)
    # A first poll and 2,880 retries: the last that the contract allows.
    api = ApiByCount(ends_at_poll=2_881)
    queue = f"day-{uuid4()}"
    async with Receiver() as receiver:
        tracing = receiver.interceptor()
        given = skipping.client.config()
        client = Client(**{**given, "interceptors": [*given["interceptors"], tracing]})  # type: ignore[arg-type]
        async with build_worker(client, api, open_store((tmp_path / "store").as_uri()), task_queue=queue):
            output = await client.execute_workflow(
                WORKFLOW_TYPE,
                BatchInput(requests=requests(2), submission=QUICK_SUBMISSION),
                id=f"day-{uuid4()}",
                task_queue=queue,
                result_type=BatchOutput,
            )
        await tracing.stop()

    assert output.verified
    assert (api.posts, api.polls) == (1, 2_881)
    assert len({span.trace_id for span in receiver.spans}) == 1
    # This API is no server: its calls are no spans.
    assert sorted(span.name for span in receiver.spans) == sorted(SPANS)
    [polling] = receiver.named("pollBatchStatus")
    assert polling.attributes["message_batches.calls"] == 2_881
