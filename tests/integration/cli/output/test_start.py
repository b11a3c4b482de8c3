"""The output of the commands that start a run, and of `check`: in every scene, as `tests/golden` has it."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.command_line import QUICK, CommandLine, Ended
from tests.harness.golden import Scenes, assert_golden
from tests.harness.requests import fresh, mixed
from tests.harness.stack import Stack
from tests.integration.cli.output.runs import (
    RARELY,
    WAIT,
    file_of,
    in_both_forms,
    in_environment,
    polling,
    terminate,
    undecided,
    when,
)

LIMIT = ("--max-cost", "0.001")
KEY = "sk-ant-api03-secret-AAAA"


@pytest.mark.slow
async def test_start(
    starter: CommandLine, live: Stack, patient: CommandLine, pending: Stack, alone: CommandLine, tmp_path: Path
) -> None:
    file, anew = file_of(starter, mixed()), file_of(starter, fresh(), "anew.jsonl")
    live.emulator.faults.add("spend-limit", operation="create", times=2)

    scenes: dict[str, Sequence[Ended] | Ended] = {
        "failed": [
            await starter("start", file_of(starter, fresh(), "fails.jsonl"), *WAIT, "--json"),
            await starter("start", anew, *WAIT),
        ],
        "started anew": await starter("start", anew, *QUICK),
        "landed": [
            await starter("start", file, *WAIT, "--json"),
            await starter("start", file_of(starter, mixed(), "more.jsonl"), *WAIT),
        ],
        "landed before": await in_both_forms(starter, "start", file, *WAIT),
        "detached": [
            await starter("start", file_of(starter, fresh(), name), *options, *QUICK)
            for name, options in (("one.jsonl", ("--json",)), ("two.jsonl", ()))
        ],
        "without a worker": await alone("start", file_of(alone, fresh(), "waits.jsonl")),
        **await started_before(patient, pending),
        **await refused_starts(starter, file),
    }
    for record in (live.store_folder / "namespaces").iterdir():
        record.write_text(json.dumps(json.loads(record.read_text()) | {"encrypted": True}))
    scenes["no key for payloads"] = await starter("start", file_of(starter, fresh(1), "clear.jsonl"))

    assert_golden("start", scenes, tmp_path)


async def started_before(patient: CommandLine, pending: Stack) -> Scenes:
    """A second start, by the state of the first."""
    file, lost = file_of(patient, fresh(), "known.jsonl"), file_of(patient, fresh(), "lost.jsonl")
    workflow_id = (await patient("start", file, "--json", *RARELY)).json["workflowId"]
    await when(pending, workflow_id, lambda seen: bool(seen.polls))
    running = await patient("start", file, *RARELY)
    await terminate(pending, workflow_id, reason="an operator's mistake")
    known = await patient("start", file, *RARELY)
    await terminate(pending, f"attach-{pending.emulator.batches[0].id}")
    await terminate(pending, await undecided(patient, pending, lost), reason="an operator's mistake")
    return {
        "under way": running,
        "over, its batch known": known,
        "over, its outcome unknown": await patient("start", lost, *RARELY),
    }


async def refused_starts(starter: CommandLine, file: str) -> Scenes:
    (starter.folder / "bad.jsonl").write_text("no json\n", encoding="utf-8")
    (starter.folder / "broken.yml").write_text("arazzo: 1.0.1\nworkflows: 3\n", encoding="utf-8")
    nowhere = in_environment(starter, TEMPORAL_ADDRESS="127.0.0.1:1")
    no_store = in_environment(starter, MESSAGE_BATCHES_STORE="ftp://nowhere/x")
    return {
        "invalid requests": await in_both_forms(starter, "start", "bad.jsonl"),
        "refused": await in_both_forms(starter, "start", file, "--key", "Not A Name"),
        "no file": await starter("start"),
        "no such file": await starter("start", "there-is-none.jsonl"),
        "no version": await starter("start", file, "--anthropic-version", "a b"),
        "no beta": await starter("start", file, "--beta", KEY),
        "above the limit": await in_both_forms(starter, "start", file_of(starter, fresh(), "dear.jsonl"), *LIMIT),
        "no price under a limit": await starter("start", file_of(starter, mixed(), "unknown.jsonl"), *LIMIT),
        "no amount": await starter("start", file, "--max-cost", "-1"),
        "no duration": await starter("start", file, "--poll-interval", "30"),
        "no document": await starter("start", file, "--document", "broken.yml"),
        "no store": await no_store("start", file),
        "no server": await nowhere("start", file),
    }


async def test_check(tmp_path: Path) -> None:
    nowhere = CommandLine(tmp_path, {"TEMPORAL_ADDRESS": "127.0.0.1:1"})

    scenes: Scenes = {
        "valid": await in_both_forms(nowhere, "check", file_of(nowhere, mixed())),
        "invalid": await in_both_forms(nowhere, "check", file_of(nowhere, [*fresh(1), *fresh(1)], "invalid.jsonl")),
        "another form": await in_both_forms(nowhere, "check", betas_beside(nowhere)),
        "without a warning": await nowhere("check", file_of(nowhere, fresh(1), "good.jsonl")),
        "no such file": await nowhere("check", "there-is-none.jsonl"),
    }

    assert_golden("check", scenes, tmp_path)


def betas_beside(starter: CommandLine) -> str:
    """Write the body of a create with a field that belongs into a header; return its name."""
    body = {"requests": fresh(1), "betas": ["output-300k-2026-03-24"]}
    (starter.folder / "body.json").write_text(json.dumps(body), encoding="utf-8")
    return "body.json"


@pytest.mark.slow
async def test_attach(patient: CommandLine, pending: Stack, tmp_path: Path) -> None:
    given = fresh()
    # Without the requests their order is not known: one has only one.
    one, two, short = [await pending.post_by_a_stranger(fresh(1)) for _ in range(3)]
    batch_id = await pending.post_by_a_stranger(given)
    followed = await polling(patient, pending)
    detached = [await patient("attach", one, "--json", *QUICK[:2]), await patient("attach", two, *QUICK[:2])]
    unread = await patient("attach", two, "--requests", file_of(patient, fresh(1), "two.jsonl"))
    again = await patient("attach", pending.emulator.batches[-1].id)
    limited = await patient("attach", short, "--wait", *QUICK[:2], "--poll-limit", "1")
    pending.emulator.clock.advance(timedelta(minutes=11))

    scenes: Scenes = {
        "detached": detached,
        "followed already": again,
        "followed without requests": unread,
        "not ended within the limit": limited,
        "without its requests": [
            await patient("attach", batch_id, "--wait", "--json", *QUICK[:2]),
            await patient("attach", one, "--wait", *QUICK[:2]),
        ],
        "with its requests": await patient(
            "attach", batch_id, "--requests", file_of(patient, given), "--wait", "--json", *QUICK[:2]
        ),
        "landed before": await in_both_forms(patient, "attach", batch_id),
        "with other requests": await in_both_forms(
            patient, "attach", batch_id, "--requests", file_of(patient, given[1:], "other.jsonl")
        ),
        "no batch id": await in_both_forms(patient, "attach", KEY),
        "a run's id": await patient("attach", "batch_1"),
    }

    assert_golden("attach", scenes, tmp_path)
    await terminate(pending, followed)
