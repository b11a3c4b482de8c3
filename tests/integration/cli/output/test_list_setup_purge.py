"""The output of the commands for all runs and the whole store: in every scene, as `tests/golden` has it."""

from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType

from message_batches.contract import POLL_NOW
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import CommandLine, command_line
from tests.harness.golden import Scenes, assert_golden
from tests.harness.namespaces import new_namespace
from tests.harness.requests import fresh
from tests.harness.retention import after_retention, make_old, works_only_in
from tests.harness.stack import Stack
from tests.harness.waiting import eventually
from tests.integration.cli.output.runs import (
    WAIT,
    failed,
    in_both_forms,
    in_environment,
    named,
    polling,
    terminate,
    undecided,
    when,
)


@pytest.mark.slow
async def test_list(forgetful: DevServer, temporal: DevServer, own: Stack, tmp_path: Path) -> None:
    starter = named(command_line(tmp_path / "user", forgetful, own.store_url, own.task_queue))
    bare = await in_namespace(temporal, starter, {})
    nothing = {
        "none yet": await starter("list"),
        "none needs attention": await starter("list", "--needs-attention"),
        "none of that status": await starter("list", "--status", "failed", "--status", "canceled"),
    }
    runs = [
        await failed(starter, own),
        await polling(starter, own),
        await undecided(starter, own),
        await soon_expired(starter, own),
        await landing_fails(starter, own),
    ]

    states = ["landing-failing", "expiring", "undecided", "polling", "failed"]

    async def indexed() -> bool:
        return [run["batchStatus"] for run in (await starter("list", "--json")).json] == states

    await eventually(indexed, "the states of the runs in Temporal's index, which lags behind")

    scenes: Scenes = {
        **nothing,
        "newest": await in_both_forms(starter, "list"),
        "needing attention": await in_both_forms(starter, "list", "--needs-attention"),
        "no such status": await in_both_forms(starter, "list", "--status", "stuck"),
        "two questions": await starter("list", "--status", "failed", "--needs-attention"),
        "no search attribute": await bare("list", "--status", "undecided"),
    }

    assert_golden("list", scenes, tmp_path)
    await terminate(own, *runs[1:])


async def soon_expired(starter: CommandLine, live: Stack) -> str:
    """The workflow id of a run whose batch has an hour and a half left."""
    passed = timedelta(hours=22, minutes=30)
    live.emulator.clock.advance(-passed)
    workflow_id = await polling(starter, live)
    live.emulator.clock.advance(passed)
    return workflow_id


async def landing_fails(starter: CommandLine, live: Stack) -> str:
    """The workflow id of a run whose batch has ended, and whose results never have a line."""
    workflow_id = await polling(starter, live, requests=fresh(1))
    live.emulator.faults.add("missing-line", operation="results", line=0)
    live.emulator.clock.advance(timedelta(minutes=11))
    await live.client.get_workflow_handle(workflow_id).signal(POLL_NOW)
    await when(live, workflow_id, lambda seen: bool(seen.waiting_for))
    return workflow_id


async def in_namespace(
    temporal: DevServer, starter: CommandLine, there: dict[str, "IndexedValueType.ValueType"]
) -> CommandLine:
    """The same command line in a new namespace that has these search attributes."""
    client = await new_namespace(temporal, there)
    return in_environment(starter, TEMPORAL_ADDRESS=temporal.address, TEMPORAL_NAMESPACE=client.namespace)


async def test_setup(alone: CommandLine, temporal: DevServer, tmp_path: Path) -> None:
    starter, another = await in_namespace(temporal, alone, {}), await in_namespace(temporal, alone, {})
    text = IndexedValueType.INDEXED_VALUE_TYPE_TEXT
    taken = await in_namespace(temporal, alone, {"BatchStatus": text})
    nowhere = in_environment(alone, TEMPORAL_NAMESPACE="no-such-namespace")

    scenes: Scenes = {
        "registered": [await starter("setup", "--json"), await another("setup")],
        "there before": await in_both_forms(starter, "setup"),
        "in the way": await taken("setup"),
        "refused": await in_both_forms(nowhere, "setup"),
        "an endpoint": [
            await starter("setup", "--nexus-endpoint", "message-batches-golden", "--json"),
            await starter("setup", "--nexus-endpoint", "message-batches-golden"),
        ],
        "an endpoint that leads elsewhere": await another("setup", "--nexus-endpoint", "message-batches-golden"),
    }

    assert_golden("setup", scenes, tmp_path)


async def test_purge(starter: CommandLine, live: Stack, forgetful: DevServer, tmp_path: Path) -> None:
    await starter("start", starter.file(fresh()), *WAIT)
    no_store = in_environment(starter, MESSAGE_BATCHES_STORE=(tmp_path / "another").as_uri())
    never = await in_environment(starter, TEMPORAL_ADDRESS=forgetful.address)("purge", "--older-than", "40d")
    for record in (live.store_folder / "namespaces").iterdir():
        record.unlink()
    unrecorded = await starter("purge", "--older-than", "40d")
    await works_only_in(forgetful.client, live.store_folder)
    make_old(live.store_folder)
    (live.store_folder / "results" / "mine.jsonl").write_text("x")

    async with after_retention(forgetful, starter, live) as later:
        scenes: Scenes = {
            "shown": await in_both_forms(later, "purge", "--older-than", "40d"),
            "deleted": await later("purge", "--older-than", "40d", "--delete", "--json"),
            "nothing left": await later("purge", "--older-than", "40d", "--delete"),
            "too young": await in_both_forms(later, "purge", "--older-than", "29d"),
            "another namespace's": never,
            "no namespace recorded": unrecorded,
            "no store": await no_store("purge", "--older-than", "40d"),
            "no age": await later("purge"),
        }

    assert_golden("purge", scenes, tmp_path)
