"""A day of polls at the contract's cadence, on a server that skips the waiting."""

from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.testing import WorkflowEnvironment

from message_batches.contract import WORKFLOW_TYPE
from message_batches.models import BatchInput, BatchOutput
from message_batches.storage.object_store import open_store
from tests.exhaustive.counting_api import ApiByCount
from tests.harness.requests import requests
from tests.harness.stack import QUICK_SUBMISSION
from worker import build_worker


@pytest.mark.timeout(1800)
async def test_a_day_of_polls_at_the_contracts_cadence_ends_with_the_results(
    skipping: WorkflowEnvironment, tmp_path: Path
) -> None:
    # A first poll and 2,880 retries: the last that the contract allows.
    api = ApiByCount(ends_at_poll=2_881)
    queue = f"day-{uuid4()}"
    async with build_worker(skipping.client, api, open_store((tmp_path / "store").as_uri()), task_queue=queue):
        output = await skipping.client.execute_workflow(
            WORKFLOW_TYPE,
            BatchInput(requests=requests(2), submission=QUICK_SUBMISSION),
            id=f"day-{uuid4()}",
            task_queue=queue,
            result_type=BatchOutput,
        )

    assert output.verified
    assert (api.posts, api.polls) == (1, 2_881)
