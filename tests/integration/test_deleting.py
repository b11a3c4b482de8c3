"""Deletion of a batch at the provider: only on request, only after landing and verification, without harm to runs."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from message_batches.api.keys import ApiKeys
from message_batches.errors import StoreUnavailable
from message_batches.models import SubmissionSchedule
from message_batches.result_models import ResultsFile
from message_batches.results.landing import verify_landed
from message_batches.storage.object_store import open_store
from message_batches.storage.submission_records import SubmissionRecords
from tests.harness.requests import requests
from tests.harness.stack import Stack


async def test_a_batch_is_deleted_once_its_results_are_landed_and_verified(live: Stack) -> None:
    output = await live.run(requests(), delete_after_landing=True)

    assert (output.deleted, output.not_deleted) == (True, None)
    assert live.operations()[-2:] == ["results", "delete"]
    assert not live.emulator.batches
    assert output.verified


async def test_without_the_option_nothing_is_deleted(live: Stack) -> None:
    output = await live.run(requests())

    assert (output.deleted, output.not_deleted) == (False, None)
    assert "delete" not in live.operations()


async def test_a_batch_with_unverified_results_is_not_deleted(live: Stack) -> None:
    batch_id = (await live.run(requests())).batch_id

    output = await live.run(batch_id=batch_id, delete_after_landing=True)

    assert not output.deleted
    assert output.not_deleted == "its results could not be compared with the requests"
    assert "delete" not in live.operations()


@pytest.mark.slow
async def test_a_batch_that_may_have_been_paid_for_twice_is_kept(live: Stack) -> None:
    live.emulator.faults.add("invisible", operation="create", seconds=4, times=1)
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    # The poll gets a response only when the first batch is visible too.
    live.emulator.faults.add("slow", operation="retrieve", seconds=4, times=1)
    short = SubmissionSchedule(timeout=timedelta(seconds=5), quiet_period=timedelta(seconds=0.5))

    output = await live.run(requests(), submission=short, delete_after_landing=True)

    assert output.possibly_paid_twice
    assert not output.deleted
    assert "delete" not in live.operations()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["taken", "attached again"])
async def test_the_batch_of_an_earlier_run_with_the_same_workflow_id_is_deleted(live: Stack, how: str) -> None:
    earlier = await live.start(requests(), workflow_id=f"same-{uuid4()}")
    batch_id = (await earlier.result()).batch_id
    (record,) = [path for path in live.store_folder.glob("submissions/*/*/*.json") if "outcome" not in path.name]
    # As if the earlier run, which Temporal no longer has, had sent it while this one runs.
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    record.write_text(json.dumps(json.loads(record.read_text()) | {"time": soon}))
    attached = {"batch_id": batch_id} if how == "attached again" else {}

    again = await live.start(requests(), workflow_id=earlier.id, delete_after_landing=True, **attached)
    output = await again.result()

    account = ApiKeys().account("default", live.emulator.url)
    claim = await SubmissionRecords(open_store(live.store_url)).claim_of(account, batch_id)
    assert claim
    assert (claim.owner, claim.first_run_id == again.first_execution_run_id) == (earlier.id, False)
    assert (output.batch_id, output.deleted, output.not_deleted) == (batch_id, True, None)
    assert live.operations().count("create") == 1
    assert not live.emulator.batches


@pytest.mark.slow
async def test_a_single_404_does_not_count_as_deleted(live: Stack) -> None:
    live.emulator.faults.add("404", operation="delete", times=2)

    output = await live.run(requests(), delete_after_landing=True)

    assert output.deleted
    assert not live.emulator.batches


@pytest.mark.slow
async def test_a_delete_whose_reply_was_lost_counts_as_done(live: Stack) -> None:
    live.emulator.faults.add("accept-then-drop", operation="delete", times=1)

    output = await live.run(requests(), delete_after_landing=True)

    assert (output.deleted, output.not_deleted) == (True, None)
    assert live.operations()[-2:] == ["delete", "delete"]


async def test_a_delete_that_is_refused_leaves_the_run_its_results(live: Stack) -> None:
    live.emulator.faults.add("spend-limit", operation="delete")

    output = await live.run(requests(), delete_after_landing=True)

    assert output.request_counts.succeeded == 3
    assert not output.deleted
    assert "429" in (output.not_deleted or "")
    assert live.emulator.batches


async def test_a_changed_landed_file_is_detected(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    await store.create("results/a.jsonl", b"{}\n")
    uri = store.uri("results/a.jsonl")
    landed = ResultsFile(
        uri=uri, bytes=3, lines=1, sha256="ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    )

    await verify_landed(store, landed)

    (tmp_path / "results/a.jsonl").write_bytes(b"[]\n")
    with pytest.raises(StoreUnavailable, match=re.escape(uri)):
        await verify_landed(store, landed)
    (tmp_path / "results/a.jsonl").unlink()
    with pytest.raises(StoreUnavailable, match=re.escape(uri)):
        await verify_landed(store, landed)
