"""The output of the commands that show a run and its results: in every scene, as `tests/golden` has it."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from message_batches.contract import WORKFLOW_TYPE
from tests.harness.command_line import QUICK, CommandLine, Ended
from tests.harness.golden import Scenes, assert_golden
from tests.harness.requests import TOO_LARGE, fresh
from tests.harness.stack import Stack, failure_of
from tests.integration.cli.output.runs import (
    WAIT,
    failed,
    file_of,
    in_both_forms,
    in_environment,
    landed,
    polling,
    retrying,
    terminate,
    undecided,
    when,
    while_waiting_to_retry,
)


@pytest.mark.slow
async def test_status(patient: CommandLine, alone: CommandLine, pending: Stack, tmp_path: Path) -> None:
    runs = {
        "landed": await polling(patient, pending, *QUICK),
        "running": await polling(patient, pending),
        "undecided": await undecided(patient, pending),
        "failed": await failed(patient, pending),
    }
    pending.emulator.clock.advance(timedelta(minutes=11))
    await pending.client.get_workflow_handle(runs["landed"]).result()
    scenes: dict[str, Sequence[Ended] | Ended] = {
        name: await in_both_forms(patient, "status", workflow_id) for name, workflow_id in runs.items()
    }
    waits = (await alone("start", file_of(alone, fresh()), "--json")).json["workflowId"]
    another = await pending.client.start_workflow("another", id=f"another-{uuid4()}", task_queue="nobody-polls")
    tries = await retrying(patient, pending)
    ours = (runs["running"], runs["undecided"], waits, another.id)

    scenes |= {
        "retrying": [
            await while_waiting_to_retry(patient, "status", tries, "--json"),
            await while_waiting_to_retry(patient, "status", tries),
        ],
        "without a worker": await alone("status", waits),
        "requests too large": await patient("status", await too_large(pending)),
        "submission unknown": await patient("status", await unknown(patient, pending)),
        "unknown": await in_both_forms(patient, "status", "no-such-run"),
        "unknown batch": await patient("status", "msgbatch_none"),
        "another workflow": await patient("status", another.id),
    }
    await terminate(pending, *ours, tries, reason="an operator's mistake")
    scenes["terminated"] = await patient("status", tries)

    assert_golden("status", scenes, tmp_path)


async def too_large(live: Stack) -> str:
    """The workflow id of a run with more requests in its input than fit."""
    run = await live.client.start_workflow(
        WORKFLOW_TYPE, {"requests": TOO_LARGE}, id=f"large-{uuid4()}", task_queue=live.task_queue
    )
    await failure_of(run)
    return run.id


async def unknown(starter: CommandLine, live: Stack) -> str:
    """The workflow id of a run that has given up the search for its batch."""
    live.emulator.faults.add("refuse-then-5xx", operation="create")
    quick = ("--poll-interval", "0.1s", "--quiet-period", "0.1s", "--submission-timeout", "2s")
    ended = await starter("start", file_of(starter, fresh()), "--wait", "--json", *quick)
    return str(ended.json["workflowId"])


@pytest.mark.slow
async def test_watch(starter: CommandLine, live: Stack, tmp_path: Path) -> None:
    scenes: Scenes = {
        "landed": await in_both_forms(starter, "watch", await landed(starter)),
        "failed": await in_both_forms(starter, "watch", await failed(starter, live)),
        "unknown": await starter("watch", "no-such-run"),
    }

    assert_golden("watch", scenes, tmp_path)


@pytest.mark.slow
async def test_results(patient: CommandLine, pending: Stack, tmp_path: Path) -> None:
    workflow_id, fails = await polling(patient, pending, *QUICK), await failed(patient, pending)
    good = (await patient("start", file_of(patient, fresh()), "--json", *QUICK)).json["workflowId"]
    await when(pending, good, lambda seen: bool(seen.polls))
    strangers = await pending.post_by_a_stranger(fresh())
    none_yet = await in_both_forms(patient, "results", workflow_id)
    stopped = await polling(patient, pending, *QUICK)
    await patient("cancel", stopped)
    pending.emulator.clock.advance(timedelta(minutes=11))
    await patient("attach", strangers, *WAIT[:3])
    for each in (workflow_id, good, stopped):
        await pending.client.get_workflow_handle(each).result()

    scenes: dict[str, Sequence[Ended] | Ended] = {
        "results": await patient("results", workflow_id, "--json"),
        "texts": await patient("results", workflow_id, "--text"),
        "to a file": [
            await patient("results", workflow_id, "-o", patient.folder / "all.jsonl", "--json"),
            await patient("results", workflow_id, "-o", "more.jsonl"),
        ],
        "a file that exists": await patient("results", workflow_id, "-o", "more.jsonl"),
        "a folder": await patient("results", workflow_id, "-o", "."),
        "a file in no folder": await patient("results", workflow_id, "-o", "none/all.jsonl"),
        "failed": await in_both_forms(patient, "results", workflow_id, "--failed"),
        "failed, to files": [
            await patient("results", workflow_id, "--failed", "-o", patient.folder / "retry.jsonl", "--json"),
            await patient("results", workflow_id, "--failed", "-o", "again.jsonl"),
        ],
        "canceled": await patient("results", stopped, "--failed", "-o", "canceled.jsonl"),
        "none failed": await patient("results", good, "--failed"),
        "none yet": none_yet,
        "of a run that failed": await patient("results", fails),
        "requests not known": await patient("results", strangers, "--failed"),
        "unknown": await patient("results", "no-such-run"),
        "in another store": await in_environment(patient, MESSAGE_BATCHES_STORE=(tmp_path / "another").as_uri())(
            "results", workflow_id
        ),
    }
    for file in (pending.store_folder / "results").rglob("*.json*"):
        file.unlink()
    scenes["gone"] = await patient("results", workflow_id)

    assert_golden("results", scenes, tmp_path)


async def test_report(patient: CommandLine, pending: Stack, tmp_path: Path) -> None:
    workflow_id, later = await polling(patient, pending, *QUICK), await polling(patient, pending)
    pending.emulator.clock.advance(timedelta(minutes=11))
    await pending.client.get_workflow_handle(workflow_id).result()
    batch_id = (await patient("status", workflow_id, "--json")).json["batchId"]
    without_temporal = in_environment(patient, TEMPORAL_ADDRESS="127.0.0.1:1")

    scenes: Scenes = {
        "written": [
            await patient("report", workflow_id, "-o", "page.html", "--json"),
            await patient("report", workflow_id),
        ],
        "a file that exists": await patient("report", workflow_id),
        "without Temporal": await without_temporal("report", batch_id),
        "none yet": await patient("report", later),
    }

    assert_golden("report", scenes, tmp_path)
    await terminate(pending, later)
