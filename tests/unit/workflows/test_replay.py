"""Replay of every recorded shape of run: a worker with today's code can continue the runs of a released version."""

import gzip
import json
import re
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from message_batches.temporal.connection import DATA_CONVERTER
from message_batches.temporal.workflow_runner import OneArgumentRunner
from tests.harness.project import HISTORIES, ROOT
from tests.histories.record import SHAPES
from workflows.job import MessageBatchJobWorkflow
from workflows.message_batch import MessageBatchWorkflow
from workflows.notifications.workflow import NotificationWorkflow

RECORDED = sorted(HISTORIES.glob("*.json.gz"))
PATCHES = {
    found
    for path in (ROOT / "workflows").rglob("*.py")
    for found in re.findall(r'\bpatched\(\s*"([\w-]+)"', path.read_text())
}
"""The ids of the patches in the workflow's code."""


def recorded(path: Path) -> WorkflowHistory:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return WorkflowHistory.from_json(path.name, file.read())


def patches_of(history: WorkflowHistory) -> list[str]:
    markers = (event.marker_recorded_event_attributes for event in history.events)
    return [
        json.loads(marker.details["patch-data"].payloads[0].data)["id"]
        for marker in markers
        if marker.marker_name == "core_patch"
    ]


def test_every_shape_has_a_history() -> None:
    assert {path.name.partition("-")[0] for path in RECORDED} >= {shape.__name__ for shape in SHAPES}
    assert any(path.name.startswith("continued-2") for path in RECORDED)


@pytest.mark.parametrize("runner", [SandboxedWorkflowRunner(), OneArgumentRunner()], ids=["sandbox", "worker"])
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
async def test_a_recorded_history_replays(path: Path, runner: WorkflowRunner) -> None:
    workflows = [MessageBatchWorkflow, MessageBatchJobWorkflow, NotificationWorkflow]
    replayer = Replayer(workflows=workflows, data_converter=DATA_CONVERTER, workflow_runner=runner)

    await replayer.replay_workflow(recorded(path))


def test_no_patch_is_without_a_history_that_contains_it() -> None:
    assert RECORDED
    assert {patch for path in RECORDED for patch in patches_of(recorded(path))} >= PATCHES
