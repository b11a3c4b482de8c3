"""Landed results found in the store: by batch, by output, by a run that Temporal no longer knows."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from message_batches.api.keys import Account
from message_batches.api.models import RequestCounts
from message_batches.contract import NextAction
from message_batches.models import Anchor, BatchOutput
from message_batches.result_models import LandedResults, ResultsFile, Summary
from message_batches.results import reader
from message_batches.results.reader import ResultsNotFound
from message_batches.runs.control import Runs, find_results, find_stored_results
from message_batches.storage.accounts import AccountRecords
from message_batches.storage.object_store import ObjectStore
from message_batches.storage.paths import publication_path, requests_path, results_folder
from message_batches.storage.submission_records import (
    BatchClaim,
    SubmissionIntent,
    SubmissionOutcome,
    SubmissionRecords,
    Submitter,
)
from tests.harness.stack import ACCOUNT

BATCH = "msgbatch_1"
SHA = "ab" * 32
UUID = "00000000-0000-0000-0000-00000000000"


async def publish(
    store: ObjectStore, number: int, manifest: str | None = None, *, file: bool = True, account: Account = ACCOUNT
) -> LandedResults:
    """Publish results, with their file or without it."""
    await AccountRecords(store).record(account)
    name = f"{results_folder(account.part, BATCH)}/{UUID}{number}.jsonl"
    landed = LandedResults(
        batch_id=BATCH,
        results_file=ResultsFile(uri=store.uri(name), bytes=1, lines=1, sha256=""),
        verified=manifest is not None,
        summary=Summary(),
    )
    if file:
        await store.create(name, b"\n")
    await store.create(publication_path(account.part, BATCH, manifest), landed.model_dump_json().encode())
    return landed


def output_of(landed: LandedResults) -> BatchOutput:
    return BatchOutput(request_counts=RequestCounts(), results_url=None, **dict(landed))


async def test_of_two_publications_the_one_whose_file_is_there_goes_before_the_verified_one(store: ObjectStore) -> None:
    await publish(store, 1, SHA, file=False)
    alone = await publish(store, 2)

    found = await reader.landed_of_batch(store, BATCH)

    assert found
    assert found.landed == alone


async def test_verified_results_go_before_others_and_those_of_the_run_s_requests_before_all(store: ObjectStore) -> None:
    alone, verified, others = await publish(store, 1), await publish(store, 2, SHA), await publish(store, 3, "cd" * 32)

    any_of_them = await reader.landed_of_batch(store, BATCH)
    of_the_run = await reader.landed_of_batch(store, BATCH, manifest_sha256="cd" * 32)

    assert any_of_them
    assert any_of_them.landed in (verified, others)
    assert any_of_them.landed != alone
    assert of_the_run
    assert of_the_run.landed == others


async def test_a_file_that_is_gone_comes_with_the_step_that_lands_it_again(store: ObjectStore) -> None:
    gone = await publish(store, 1, SHA, file=False)

    for looked_for in (reader.landed_of_batch(store, BATCH), reader.of_output(store, output_of(gone))):
        with pytest.raises(ResultsNotFound) as caught:
            await looked_for
        assert (caught.value.action, caught.value.batch_id) == (NextAction.LAND_AGAIN, BATCH)
        assert gone.results_file.uri in str(caught.value)


@pytest.mark.parametrize("there", [True, False])
async def test_that_step_names_the_key_and_the_requests_in_the_store(store: ObjectStore, there: bool) -> None:
    gone = await publish(store, 1, SHA, file=False, account=Account(api_key="team-a", base_url="http://a"))
    if there:
        await store.create(requests_path(SHA), b"")

    for looked_for in (reader.landed_of_batch(store, BATCH), reader.of_output(store, output_of(gone))):
        with pytest.raises(ResultsNotFound) as caught:
            await looked_for
        assert caught.value.api_key == "team-a"
        assert caught.value.requests_uri == (store.uri(requests_path(SHA)) if there else None)


async def test_results_whose_batch_was_deleted_are_not_to_be_landed_again(store: ObjectStore) -> None:
    gone = output_of(await publish(store, 1, SHA, file=False))

    with pytest.raises(ResultsNotFound) as caught:
        await reader.of_output(store, gone.model_copy(update={"deleted": True}))

    assert caught.value.action is None


async def test_a_missing_publication_is_no_missing_file(store: ObjectStore) -> None:
    landed = await publish(store, 1, SHA)
    await store.remove(publication_path(ACCOUNT.part, BATCH, SHA))

    found = await reader.of_output(store, output_of(landed))

    assert found.landed == landed
    assert found.manifest_name is None


async def test_what_was_landed_since_stands_for_a_file_that_is_gone(store: ObjectStore) -> None:
    gone = await publish(store, 1, SHA, file=False)
    await store.remove(publication_path(ACCOUNT.part, BATCH, SHA))
    again = await publish(store, 2, SHA)

    assert (await reader.of_output(store, output_of(gone))).landed == again


async def test_the_results_of_a_forgotten_run_are_found_by_its_records_and_by_its_claims(store: ObjectStore) -> None:
    landed = await publish(store, 1, SHA)
    records = SubmissionRecords(store)
    submitter = Submitter(api_key="default", count=1, ids_sha256="cd" * 32, workflow_id="sent", first_run_id="r")
    now = datetime.now(UTC)
    intent = SubmissionIntent(
        workflow_id="sent",
        first_run_id="r",
        number=1,
        anchor=Anchor(created_at=now),
        sha256=SHA,
        time=now,
        timeout=timedelta(seconds=1),
        nonce="n",
    )
    await records.record_intent(submitter, intent)
    await records.record_outcome(submitter, 1, SubmissionOutcome(batch_id=BATCH))
    await records.claim(ACCOUNT, BATCH, BatchClaim(owner="attached", first_run_id="s", attached=True))

    for workflow_id in ("sent", "attached"):
        found = await reader.of_past_run(store, workflow_id)
        assert found
        assert found.landed == landed
    assert await reader.of_past_run(store, "another") is None


async def test_results_of_a_version_without_accounts_are_found_by_their_run_alone(store: ObjectStore) -> None:
    name = f"results/{BATCH}/{UUID}1.jsonl"
    file = ResultsFile(uri=store.uri(name), bytes=1, lines=1, sha256="")
    earlier = LandedResults(batch_id=BATCH, results_file=file, verified=True, summary=Summary())
    await store.create(name, b"\n")
    await store.create(f"results/{BATCH}/{SHA}.json", earlier.model_dump_json().encode())
    other_size = file.model_copy(update={"bytes": 2})

    found = await reader.of_output(store, output_of(earlier))

    assert (found.landed, found.manifest_name, found.file_there) == (earlier, None, True)
    assert reader.account_of(store, earlier) is None
    assert await reader.has_file(store, earlier.results_file)
    assert not await reader.has_file(store, other_size)
    assert await reader.landed_of_batch(store, BATCH) is None


async def test_a_batch_id_of_several_keys_is_refused_without_the_key(store: ObjectStore) -> None:
    ours = await publish(store, 1, SHA)
    theirs = Account(api_key="team-a", base_url="https://gateway.example")
    await AccountRecords(store).record(theirs)
    forged = ours.model_copy(update={"verified": False})
    await store.create(publication_path(theirs.part, BATCH, None), forged.model_dump_json().encode())

    with pytest.raises(ResultsNotFound, match="default and team-a"):
        await reader.landed_of_batch(store, BATCH)
    found = await reader.landed_of_batch(store, BATCH, "default")
    assert found
    assert found.landed == ours
    assert (await reader.of_output(store, output_of(ours))).landed == ours


async def test_results_of_another_key_are_not_those_of_a_batch_that_a_run_follows(store: ObjectStore) -> None:
    theirs = Account(api_key="team-a", base_url="https://gateway.example")
    await publish(store, 1, None, account=theirs)
    await SubmissionRecords(store).claim(ACCOUNT, BATCH, BatchClaim(owner="ours", first_run_id="r"))

    async def nobody() -> Runs:
        raise AssertionError("the store has the answer")

    with pytest.raises(ResultsNotFound, match=r"keys default and team-a, .* with results under team-a: name the run"):
        await find_results(store, BATCH, nobody)
    assert await find_stored_results(store, "ours") is None
    assert await find_stored_results(store, "another run of ours", BATCH, "default") is None
    assert await reader.landed_of_batch(store, BATCH, "team-a")


async def test_a_damaged_publication_is_named(store: ObjectStore) -> None:
    await store.create(publication_path(ACCOUNT.part, BATCH, None), msgspec.json.encode({"batchId": 7}))

    with pytest.raises(Exception, match=r"unverified\.json") as caught:
        await reader.of_batch(store, BATCH, [ACCOUNT.part])

    assert type(caught.value).__name__ == "StoreUnavailable"
