"""The documents that `--json` prints, for each command what it prints in every scene: its file is in `tests/golden`.

The demo's is in `test_demo`, which has one running.
"""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, CommandLine, Ended
from tests.harness.golden import assert_golden
from tests.harness.namespaces import new_namespace
from tests.harness.requests import fresh, mixed
from tests.harness.stack import Stack, progress_when
from tests.integration.cli.conftest import command_line
from tests.integration.cli.test_purge import make_old, works_only_in
from tests.integration.cli.test_same_content import after_retention
from tests.integration.test_lost_reply import post_by_a_stranger

WAIT = ("--wait", "--json", *QUICK)
RARELY = ("--poll-interval", "1h", "--quiet-period", "1h", "--submission-timeout", "8s")


def scene(ended: Ended) -> dict[str, Any]:
    return {"exitCode": ended.code, "document": ended.json}


async def landed(starter: CommandLine) -> str:
    """The workflow id of a run that has landed two replies and two errors."""
    return str((await starter("start", starter.file(mixed()), *WAIT)).json["workflowId"])


async def failed(starter: CommandLine, live: Stack) -> str:
    """The workflow id of a run whose POST was refused."""
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    return str((await starter("start", starter.file(fresh()), *WAIT)).json["workflowId"])


async def polling(starter: CommandLine, live: Stack, *options: str) -> str:
    """The workflow id of a run that waits for its batch."""
    started = await starter("start", starter.file(mixed()), "--json", *(options or RARELY))
    workflow_id = str(started.json["workflowId"])
    await progress_when(live.client.get_workflow_handle(workflow_id), lambda seen: bool(seen.polls and seen.next_poll))
    return workflow_id


async def undecided(starter: CommandLine, live: Stack) -> str:
    """The workflow id of a run whose POST got no reply and made a batch."""
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    workflow_id = str((await starter("start", starter.file(fresh()), "--json", *RARELY)).json["workflowId"])
    await progress_when(
        live.client.get_workflow_handle(workflow_id), lambda seen: bool(seen.candidates and seen.next_poll)
    )
    return workflow_id


async def test_start(starter: CommandLine, live: Stack, tmp_path: Path) -> None:
    file = starter.file(mixed())
    bad = starter.folder / "bad.jsonl"
    bad.write_text("no json\n", encoding="utf-8")
    live.emulator.faults.add("spend-limit", operation="create", times=1)

    scenes = {
        "failed": scene(await starter("start", starter.file(fresh(), "fails.jsonl"), *WAIT)),
        "landed": scene(await starter("start", file, *WAIT)),
        "landed before": scene(await starter("start", file, *WAIT)),
        "detached": scene(await starter("start", starter.file(fresh()), "--json", *QUICK)),
        "invalid requests": scene(await starter("start", bad, "--json")),
        "refused": scene(await starter("start", file, "--key", "Not A Name", "--json")),
    }

    assert_golden("start", scenes, tmp_path)


async def test_check(alone: CommandLine, tmp_path: Path) -> None:
    valid = scene(await alone("check", alone.file(mixed()), "--json"))
    invalid = scene(await alone("check", alone.file([*fresh(1), *fresh(1)]), "--json"))

    assert_golden("check", {"valid": valid, "invalid": invalid}, tmp_path)


async def test_status(patient: CommandLine, pending: Stack, tmp_path: Path) -> None:
    runs = {
        "landed": await polling(patient, pending, *QUICK),
        "running": await polling(patient, pending),
        "undecided": await undecided(patient, pending),
        "failed": await failed(patient, pending),
    }
    pending.emulator.clock.advance(timedelta(minutes=11))
    await pending.client.get_workflow_handle(runs["landed"]).result()
    scenes = {name: scene(await patient("status", workflow_id, "--json")) for name, workflow_id in runs.items()}
    pending.emulator.faults.add("529", operation="retrieve")
    runs["retrying"] = (await patient("start", patient.file(fresh()), "--json", *RARELY)).json["workflowId"]

    scenes["retrying"] = scene(await retrying(patient, runs["retrying"]))
    scenes["unknown"] = scene(await patient("status", "no-such-run", "--json"))

    assert_golden("status", scenes, tmp_path)
    for name in ("running", "undecided", "retrying"):
        await pending.client.get_workflow_handle(runs[name]).terminate()


async def retrying(starter: CommandLine, workflow_id: str) -> Ended:
    """The status of a run as soon as one of its activities waits to be tried again."""
    async with asyncio.timeout(60):
        while True:
            status = await starter("status", workflow_id, "--json")
            if any(trouble["nextAttempt"] for trouble in status.json["retrying"]):
                return status


async def test_watch(starter: CommandLine, live: Stack, tmp_path: Path) -> None:
    scenes = {
        "landed": scene(await starter("watch", await landed(starter), "--json")),
        "failed": scene(await starter("watch", await failed(starter, live), "--json")),
    }

    assert_golden("watch", scenes, tmp_path)


async def test_results(patient: CommandLine, pending: Stack, tmp_path: Path) -> None:
    workflow_id = await polling(patient, pending, *QUICK)
    none_yet = scene(await patient("results", workflow_id, "--json"))
    pending.emulator.clock.advance(timedelta(minutes=11))
    await patient("watch", workflow_id)
    retry = patient.folder / "retry.jsonl"

    scenes = {
        "results": scene(await patient("results", workflow_id, "--json")),
        "to a file": scene(await patient("results", workflow_id, "-o", patient.folder / "all.jsonl", "--json")),
        "failed": scene(await patient("results", workflow_id, "--failed", "--json")),
        "failed, to files": scene(await patient("results", workflow_id, "--failed", "-o", retry, "--json")),
        "none yet": none_yet,
    }

    assert_golden("results", scenes, tmp_path)


async def test_cancel(patient: CommandLine, pending: Stack, tmp_path: Path) -> None:
    first, second = await polling(patient, pending), await polling(patient, pending)

    scenes = {
        "cancelled": scene(await patient("cancel", first, "--json")),
        "abandoned": scene(await patient("cancel", second, "--abandon", "--json")),
        "unknown": scene(await patient("cancel", "no-such-run", "--json")),
    }

    assert_golden("cancel", scenes, tmp_path)
    await pending.client.get_workflow_handle(first).terminate()


async def test_resolve(patient: CommandLine, pending: Stack, tmp_path: Path) -> None:
    first = await undecided(patient, pending)
    (batch,) = pending.emulator.batches
    adopted = scene(await patient("resolve", first, "--adopt", batch.id, "--json"))
    second = await undecided(patient, pending)

    scenes = {
        "adopted": adopted,
        "submitted again": scene(await patient("resolve", second, "--submit-again", "--json")),
        "not undecided": scene(await patient("resolve", first, "--submit-again", "--json")),
    }

    assert_golden("resolve", scenes, tmp_path)
    for workflow_id in (first, second):
        await pending.client.get_workflow_handle(workflow_id).terminate()


async def test_attach(patient: CommandLine, pending: Stack, tmp_path: Path) -> None:
    given = fresh()
    another_id, batch_id = await post_by_a_stranger(pending, fresh()), await post_by_a_stranger(pending, given)
    detached = scene(await patient("attach", another_id, "--json", *QUICK[:2]))
    pending.emulator.clock.advance(timedelta(minutes=11))

    scenes = {
        "detached": detached,
        "without its requests": scene(await patient("attach", batch_id, *WAIT[:4])),
        "with its requests": scene(await patient("attach", batch_id, "--requests", patient.file(given), *WAIT[:4])),
        "landed before": scene(await patient("attach", batch_id, "--json")),
        "no batch id": scene(await patient("attach", "sk-ant-api03-secret-AAAA", "--json")),
    }

    assert_golden("attach", scenes, tmp_path)


async def test_list(patient: CommandLine, pending: Stack, tmp_path: Path) -> None:
    ours = {
        "failed": await failed(patient, pending),
        "running": await polling(patient, pending),
        "undecided": await undecided(patient, pending),
    }
    async with asyncio.timeout(60):
        while len(found := await listed(patient, ours)) < len(ours) or "<none>" in states(found):
            pass
        while not (needing := await listed(patient, ours, "--needs-attention")):
            pass
    refused = scene(await patient("list", "--status", "stuck", "--json"))

    assert_golden("list", {"newest": found, "needing attention": needing, "no such status": refused}, tmp_path)
    for name in ("running", "undecided"):
        await pending.client.get_workflow_handle(ours[name]).terminate()


def states(found: dict[str, Any]) -> list[str]:
    """Where runs stand by Temporal's index, which lags behind."""
    return [run["batchStatus"] or "<none>" for name, run in found.items() if name != "failed"]


async def listed(starter: CommandLine, ours: dict[str, str], *options: str) -> dict[str, Any]:
    """What the list says of our runs; others have theirs on the same server."""
    documents = (await starter("list", "--json", "--limit", "1000", *options)).json
    by_id = {document["workflowId"]: document for document in documents}
    return {name: by_id[workflow_id] for name, workflow_id in ours.items() if workflow_id in by_id}


async def test_setup(temporal: DevServer, tmp_path: Path) -> None:
    client = await new_namespace(temporal, {})
    made = command_line(tmp_path / "user", temporal, (tmp_path / "store").as_uri(), "nobody-polls")
    starter = CommandLine(made.folder, {**made.environment, "TEMPORAL_NAMESPACE": client.namespace})
    nowhere = CommandLine(made.folder, {**made.environment, "TEMPORAL_NAMESPACE": "no-such-namespace"})

    scenes = {
        "registered": scene(await starter("setup", "--json")),
        "there before": scene(await starter("setup", "--json")),
        "refused": scene(await nowhere("setup", "--json")),
    }

    assert_golden("setup", json.loads(json.dumps(scenes).replace(client.namespace, "<namespace>")), tmp_path)


async def test_purge(starter: CommandLine, live: Stack, forgetful: DevServer, tmp_path: Path) -> None:
    await starter("start", starter.file(fresh()), *WAIT)
    await works_only_in(forgetful.client, live.store_folder)
    make_old(live.store_folder)
    (live.store_folder / "results" / "mine.jsonl").write_text("x")

    async with after_retention(forgetful, starter, live) as later:
        scenes = {
            "shown": scene(await later("purge", "--older-than", "40d", "--json")),
            "deleted": scene(await later("purge", "--older-than", "40d", "--delete", "--json")),
            "too young": scene(await later("purge", "--older-than", "29d", "--json")),
        }

    assert_golden("purge", scenes, tmp_path)
