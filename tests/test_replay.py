"""Every recorded shape of run replays: a worker with today's code can take over the runs of yesterday's."""

import gzip
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from message_batches.connection import DATA_CONVERTER
from tests.record_histories import SHAPES
from workflows.message_batch import MessageBatchWorkflow

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json.gz"))


def test_every_shape_has_a_history() -> None:
    assert {path.name.partition("-")[0] for path in HISTORIES} >= {shape.__name__ for shape in SHAPES}
    assert any(path.name.startswith("continued-2") for path in HISTORIES)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.name)
async def test_a_recorded_history_replays(path: Path) -> None:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        history = WorkflowHistory.from_json(path.name, file.read())

    await Replayer(workflows=[MessageBatchWorkflow], data_converter=DATA_CONVERTER).replay_workflow(history)
