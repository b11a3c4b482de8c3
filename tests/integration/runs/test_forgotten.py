"""Submissions that the store knows and Temporal does not: they are listed, with the command that takes them up."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

from message_batches.api.keys import Account
from message_batches.contract import NextAction
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import Anchor, RetrySchedule
from message_batches.requests.manifest import write_inline_manifest
from message_batches.runs.control import Refused, Runs
from message_batches.runs.describe import RunNotFound, run_exists
from message_batches.runs.forgotten import list_forgotten
from message_batches.storage.object_store import open_store
from message_batches.storage.submission_records import (
    BatchClaim,
    SubmissionIntent,
    SubmissionOutcome,
    SubmissionRecords,
    Submitter,
)
from message_batches.temporal.dev_server import DevServer, dev_server
from message_batches.temporal.namespaces import NamespaceRecord
from tests.harness.command_line import command_line
from tests.harness.requests import fresh
from tests.harness.stack import QUICK_POLL, Stack, progress_when
from tests.harness.waiting import eventually


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as running:
        yield running


async def forget(stack: Stack, workflow_id: str) -> None:
    """Remove a run from Temporal, as a database does that is set back to before its start."""
    client = stack.client
    await client.get_workflow_handle(workflow_id).terminate()
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
    )
    await client.workflow_service.delete_workflow_execution(request)

    async def gone() -> bool:
        return not await run_exists(client, workflow_id)

    await eventually(gone, f"{workflow_id} to be deleted")


def manifests_of(stack: Stack) -> list[str]:
    return [path.as_uri() for path in stack.store_folder.glob("manifests/*.jsonl")]


@pytest.mark.slow
async def test_a_forgotten_run_is_listed_and_its_batch_is_taken_up(
    live: Stack, temporal: DevServer, tmp_path: Path
) -> None:
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    started = await starter("start", starter.file(fresh()), "--json", "--poll-interval", "0.1s")
    workflow_id = started.json["workflowId"]
    await live.saw("retrieve")
    (batch,) = live.emulator.batches
    before = await starter("list", "--needs-attention", "--json")
    await forget(live, workflow_id)

    needing = await starter("list", "--needs-attention", "--json")
    status = await starter("status", batch.id, "--json")

    assert [each for each in before.json if each["batchId"] == batch.id] == []
    (document,) = [each for each in needing.json if each["batchId"] == batch.id]
    assert document["workflowId"] == workflow_id
    assert (status.code, f"attach {batch.id}" in status.err) == (2, True)
    with pytest.raises(RunNotFound) as caught:
        await Runs(live.client, open_store(live.store_url)).describe(batch.id)
    assert (caught.value.action, caught.value.batch_id) == (NextAction.ATTACH, batch.id)

    words = document["command"].split(" attach ")[1].split()
    live.emulator.clock.advance(timedelta(minutes=10))
    taken = await starter("attach", *words, "--wait", "--json", "--poll-interval", "0.1s")
    after = await starter("list", "--needs-attention", "--json")
    assert taken.code == 0
    assert taken.json["output"]["verified"] is True
    assert [each for each in after.json if each["batchId"] == batch.id] == []


@pytest.mark.slow
async def test_the_command_for_a_forgotten_run_names_its_key(live: Stack, temporal: DevServer, tmp_path: Path) -> None:
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    run = await live.start(fresh(), api_key="team-a")
    await live.saw("retrieve")
    (batch,) = live.emulator.batches
    await forget(live, run.id)

    needing = await starter("list", "--needs-attention", "--json")
    by_batch = await starter("status", batch.id)
    by_run = [await starter(command, run.id) for command in ("status", "results", "watch")]

    (document,) = [each for each in needing.json if each["batchId"] == batch.id]
    for shown in (by_batch, *by_run):
        assert (shown.code, document["command"] in shown.err) == (2, True), shown.err
        assert "no results of it have landed" in shown.err
    words = document["command"].split(" attach ")[1].split()
    assert (words[0], words[-2:]) == (batch.id, ["--key", "team-a"])
    with pytest.raises(RunNotFound) as caught:
        await Runs(live.client, open_store(live.store_url)).describe(batch.id)
    assert (caught.value.api_key, caught.value.requests_uri) == ("team-a", manifests_of(live)[0])
    live.emulator.clock.advance(timedelta(minutes=10))
    taken = await starter("attach", *words, "--wait", "--json", "--poll-interval", "0.1s")
    assert taken.json["output"]["verified"] is True


@pytest.mark.parametrize(
    ("outcome", "claimed", "action"),
    [
        (None, False, NextAction.CHECK_BATCHES),
        (SubmissionOutcome(), False, NextAction.CHECK_BATCHES),
        (SubmissionOutcome(created=False), False, NextAction.REPEAT_START),
        (SubmissionOutcome(batch_id="msgbatch_1"), False, NextAction.ATTACH),
        (SubmissionOutcome(batch_id="msgbatch_1"), True, NextAction.ATTACH),
        ("no submission", True, NextAction.ATTACH),
        ("no submission", False, NextAction.LIST_RUNS),
    ],
)
async def test_what_the_store_knows_of_a_run_is_said_where_temporal_knows_nothing(
    temporal: DevServer,
    tmp_path: Path,
    outcome: SubmissionOutcome | str | None,
    claimed: bool,
    action: NextAction,
) -> None:
    store = open_store(tmp_path.as_uri())
    records, now, run = SubmissionRecords(store), datetime.now(UTC), f"gone-{uuid4()}"
    manifest = await write_inline_manifest(store, fresh())
    submitter = Submitter.of(manifest, api_key="team-a", workflow_id=run, first_run_id=str(uuid4()))
    if not isinstance(outcome, str):
        intent = SubmissionIntent(
            workflow_id=run,
            first_run_id=submitter.first_run_id,
            number=1,
            anchor=Anchor(created_at=now),
            sha256=manifest.sha256,
            time=now,
            timeout=timedelta(seconds=1),
            nonce="n",
        )
        await records.record_intent(submitter, intent)
        if outcome:
            await records.record_outcome(submitter, 1, outcome)
    if claimed:
        account = Account(api_key="team-a", base_url="https://api.anthropic.com")
        await records.claim(account, "msgbatch_1", submitter.claim)

    with pytest.raises(RunNotFound, match=run) as caught:
        await Runs(temporal.client, store).describe(run)

    error = caught.value
    assert error.action is action
    assert error.batch_id == ("msgbatch_1" if action is NextAction.ATTACH else None)
    assert ("msgbatch_1" in str(error)) is (action is NextAction.ATTACH)
    assert error.requests_uri == (None if isinstance(outcome, str) else manifest.uri)
    assert error.api_key == (None if action is NextAction.LIST_RUNS else "team-a")


async def test_a_batch_id_that_one_key_has_at_two_base_urls_names_both_runs(
    temporal: DevServer, tmp_path: Path
) -> None:
    store = open_store(tmp_path.as_uri())
    for run, url in (("run-a", "https://a.example"), ("run-b", "https://b.example")):
        account = Account(api_key="team-a", base_url=url)
        await SubmissionRecords(store).claim(account, "msgbatch_1", BatchClaim(owner=run, first_run_id="1"))

    with pytest.raises(Refused, match=r"run-a \(key team-a\) and run-b \(key team-a\)"):
        await Runs(temporal.client, store).describe("msgbatch_1")


@pytest.mark.slow
async def test_what_a_full_list_leaves_out_is_counted(live: Stack, temporal: DevServer, tmp_path: Path) -> None:
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    live.emulator.faults.add("503", operation="retrieve")
    lasting = QUICK_POLL.model_copy(update={"transient": RetrySchedule(retry_after=timedelta(seconds=1))})
    failing = [await live.start(fresh(), poll=lasting) for _ in range(2)]
    forgotten = [await live.start(fresh(), poll=lasting) for _ in range(2)]
    await live.saw("retrieve", 8)
    for run in forgotten:
        await forget(live, run.id)

    async def all_are_listed() -> bool:
        listed = await starter("list", "--needs-attention", "--json", "--limit", "1000")
        return {run.id for run in (*failing, *forgotten)} <= {each["workflowId"] for each in listed.json}

    await eventually(all_are_listed, "all four to be listed")
    full = await starter("list", "--needs-attention", "--json", "--limit", "1")
    # Other tests of this server may have runs of their own.
    whole = await starter("list", "--needs-attention", "--json", "--limit", "1000")

    assert len(full.json) == 2
    assert full.json[1]["workflowId"] in {run.id for run in forgotten}
    assert f"{len(whole.json) - 3:,} more that need attention, 1 more that no run follows" in full.err
    assert {run.id for run in (*failing, *forgotten)} <= {each["workflowId"] for each in whole.json}
    assert whole.err == ""
    for run in failing:
        await run.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["store.json", "store.json and the submissions"])
async def test_a_store_that_has_lost_its_id_is_named_with_the_way_to_mend_it(
    live: Stack, temporal: DevServer, tmp_path: Path, lost: str
) -> None:
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    run = await live.start(fresh())
    await live.saw("retrieve")
    (live.store_folder / "store.json").unlink()
    if lost != "store.json":
        (live.store_folder / "submissions").rename(tmp_path / "moved-away")

    listed = [await starter("list", "--json"), await starter("list", "--needs-attention", "--json")]

    for shown in listed:
        assert shown.code == 0
        assert "store.json is gone" in shown.err
        assert "Restore it from a backup" in shown.err
    assert not (live.store_folder / "store.json").exists()
    await run.terminate()


@pytest.mark.slow
async def test_a_new_store_is_not_written_to_by_a_list(temporal: DevServer, tmp_path: Path) -> None:
    starter = command_line(tmp_path / "user", temporal, (tmp_path / "store").as_uri(), "nobody-polls")

    listed = [await starter("list", "--json"), await starter("list", "--needs-attention", "--json")]

    assert [shown.err for shown in listed] == ["", ""]
    assert not (tmp_path / "store").exists()


async def test_a_forgotten_batch_that_has_landed_is_shown_by_attach_without_a_run(
    live: Stack, temporal: DevServer, tmp_path: Path
) -> None:
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    given = fresh()
    run = await live.start(given)
    await live.saw("retrieve")
    live.emulator.clock.advance(timedelta(minutes=10))
    batch_id = (await run.result()).batch_id
    await forget_closed(live, run.id)
    calls = len(live.emulator.calls)

    shown = await starter("attach", batch_id, "--json")
    checked = await starter("attach", batch_id, "--requests", starter.file(given), "--json")
    others = await starter("attach", batch_id, "--requests", starter.file(fresh(2), "others.jsonl"), "--json")

    assert [(each.code, each.json["workflowId"], each.json["status"]) for each in (shown, checked)] == [
        (0, run.id, "completed")
    ] * 2
    assert (shown.json["output"]["batchId"], checked.json["output"]["verified"]) == (batch_id, True)
    assert (others.code, others.json["error"]["type"]) == (2, "Refused")
    assert len(live.emulator.calls) == calls
    assert not await run_exists(live.client, f"attach-{batch_id}")


@pytest.mark.slow
async def test_a_batch_landed_unverified_by_a_forgotten_run_is_checked_from_the_store(
    live: Stack, temporal: DevServer, tmp_path: Path
) -> None:
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    given = fresh()
    batch_id = await live.post_by_a_stranger(given)
    live.emulator.clock.advance(timedelta(minutes=10))
    attached = await live.start(batch_id=batch_id, workflow_id=f"attach-{batch_id}")
    assert not (await attached.result()).verified
    await forget_closed(live, attached.id)
    calls = len(live.emulator.calls)

    shown = await starter("attach", batch_id, "--json")
    checked = await starter("attach", batch_id, "--requests", starter.file(given), "--json")

    assert (shown.json["workflowId"], shown.json["output"]["verified"]) == (attached.id, False)
    assert (checked.json["workflowId"], checked.json["output"]["verified"]) == (attached.id, True)
    assert len(live.emulator.calls) == calls


async def test_a_forgotten_run_whose_reply_was_lost_says_that_its_batch_is_not_known(live: Stack) -> None:
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    run = await live.start(fresh(), workflow_id=f"lost-{uuid4()}")
    await progress_when(run, lambda progress: bool(progress.candidates))
    await forget(live, run.id)

    forgotten = await list_forgotten(live.client, open_store(live.store_url))

    (found,) = forgotten.found
    assert found.api_key == "default"
    assert (found.workflow_id, found.batch_id) == (run.id, None)
    assert found.requests_uri


async def test_what_has_landed_was_refused_or_is_old_is_not_missed(live: Stack, tmp_path: Path) -> None:
    store = open_store(live.store_url)
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    refused = await live.start(fresh())
    with pytest.raises(Exception, match="failed"):
        await refused.result()
    landed = await live.start(fresh())
    await live.saw("retrieve")
    live.emulator.clock.advance(timedelta(minutes=10))
    await landed.result()
    await asyncio.gather(*(forget_closed(live, run.id) for run in (refused, landed)))

    assert (await list_forgotten(live.client, store)).found == ()


async def forget_closed(stack: Stack, workflow_id: str) -> None:
    request = DeleteWorkflowExecutionRequest(
        namespace=stack.client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
    )
    await stack.client.workflow_service.delete_workflow_execution(request)

    async def gone() -> bool:
        return not await run_exists(stack.client, workflow_id)

    await eventually(gone, f"{workflow_id} to be deleted")


async def test_a_run_of_a_namespace_that_cannot_be_asked_does_not_count_as_forgotten(live: Stack) -> None:
    store = open_store(live.store_url)
    run = await live.start(fresh())
    await live.saw("retrieve")
    other = NamespaceRecord(name="elsewhere", address="temporal.elsewhere:7233")
    await store.create(f"namespaces/{uuid4()}.json", other.model_dump_json().encode())
    await forget(live, run.id)

    forgotten = await list_forgotten(live.client, store)

    assert (forgotten.found, len(forgotten.unasked)) == ((), 1)


@pytest.mark.slow
async def test_a_new_database_under_the_old_address_forgets_its_runs(live: Stack) -> None:
    store = open_store(live.store_url)
    run = await live.start(fresh())
    await live.saw("retrieve")
    async with dev_server() as another:
        await replace_namespaces(live, another)
        forgotten = await list_forgotten(another.client, store)

    assert [each.workflow_id for each in forgotten.found] == [run.id]
    assert forgotten.found[0].sent > datetime.now(UTC) - timedelta(minutes=5)
    await live.client.get_workflow_handle(run.id).terminate()


async def replace_namespaces(stack: Stack, server: DevServer) -> None:
    """Let the records of the namespaces name the address of another server, as if it had taken the place of theirs."""
    for record in (stack.store_folder / "namespaces").glob("*.json"):
        known = NamespaceRecord.model_validate_json(record.read_bytes())
        record.write_text(known.model_copy(update={"address": server.address}).model_dump_json())
