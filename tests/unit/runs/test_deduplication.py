"""The ids of runs that take over a batch."""

from itertools import product

import pytest

from message_batches.api.models import ApiProfile
from message_batches.runs.deduplication import attach_id_of, attached_batch, workflow_id_of

KEYS = ["default", "team-a", "team", "a", "-", "a-msgbatch", "default-a", "x" * 32]
BATCHES = [
    "msgbatch_01Hk",
    "a-msgbatch_01Hk",
    "team-a-msgbatch_01Hk",
    "-msgbatch_01Hk",
    "batch-1",
    "1",
    "_",
    "-",
    "x" * 128,
]


def test_each_batch_of_each_key_has_a_run_of_its_own_that_names_both() -> None:
    ids = {attach_id_of(batch_id, api_key): (batch_id, api_key) for api_key, batch_id in product(KEYS, BATCHES)}

    assert len(ids) == len(KEYS) * len(BATCHES)
    assert {workflow_id: attached_batch(workflow_id) for workflow_id in ids} == ids
    assert attach_id_of("msgbatch_1", "default") == "attach-msgbatch_1"


@pytest.mark.parametrize(
    "workflow_id", [workflow_id_of("0" * 64, ApiProfile()), "run-1", "msgbatch_1", "my-attach-msgbatch_1"]
)
def test_other_runs_take_over_no_batch(workflow_id: str) -> None:
    assert attached_batch(workflow_id) is None
