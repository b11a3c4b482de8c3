"""The records of submissions and claims, on a real store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from message_batches.models import Anchor, Manifest
from message_batches.storage.object_store import open_store
from message_batches.storage.submission_records import (
    CLOCK_MARGIN,
    SubmissionIntent,
    SubmissionOutcome,
    SubmissionRecord,
    SubmissionRecords,
    Submitter,
    may_stem_from,
)
from tests.harness.stack import ACCOUNT

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def records(tmp_path: Path) -> SubmissionRecords:
    return SubmissionRecords(open_store(tmp_path.as_uri()))


def submitter(workflow_id: str = "run-a", run: str = "1") -> Submitter:
    return Submitter(api_key="default", count=3, ids_sha256="ab" * 32, workflow_id=workflow_id, first_run_id=run)


def intent(who: Submitter, number: int = 1) -> SubmissionIntent:
    return SubmissionIntent(
        workflow_id=who.workflow_id,
        first_run_id=who.first_run_id,
        number=number,
        anchor=Anchor(batch_id="msgbatch_0", created_at=NOW - timedelta(hours=2)),
        sha256="cd" * 32,
        time=NOW,
        timeout=timedelta(minutes=10),
        nonce="first",
    )


async def test_an_intent_is_new_once_and_then_returns_the_record(records: SubmissionRecords) -> None:
    who = submitter()

    assert await records.record_intent(who, intent(who)) is None
    assert await records.record_intent(who, intent(who)) is None, "its own, put by a call that the store made twice"
    later = intent(who).model_copy(update={"nonce": "later"})
    assert await records.record_intent(who, later) == SubmissionRecord(intent=intent(who))
    await records.record_outcome(who, 1, SubmissionOutcome(batch_id="msgbatch_1"))
    await records.record_outcome(who, 1, SubmissionOutcome(created=False))
    found = await records.record_intent(who, intent(who))

    assert found is not None
    assert found.outcome == SubmissionOutcome(batch_id="msgbatch_1")


def test_intents_are_of_the_same_requests_by_their_bytes_or_by_their_content() -> None:
    older = intent(submitter())
    ours, spelled = (
        older.model_copy(update={"sha256": each * 32, "content_sha256": "ff" * 32}) for each in ("cd", "ef")
    )
    other = spelled.model_copy(update={"content_sha256": "aa" * 32})

    assert all(older.of_same_requests(each) for each in (older, ours))
    assert ours.of_same_requests(spelled)
    assert not any(each.of_same_requests(other) for each in (older, ours))
    assert not older.of_same_requests(older.model_copy(update={"sha256": "ef" * 32}))


async def test_the_first_claim_holds_and_is_returned_to_its_owner(records: SubmissionRecords) -> None:
    first, again = submitter("run-a").claim, submitter("run-a", run="2").claim

    assert await records.claim_of(ACCOUNT, "msgbatch_1") is None
    assert await records.claim(ACCOUNT, "msgbatch_1", first) == first
    assert await records.claim(ACCOUNT, "msgbatch_1", submitter("run-b").claim) == first
    assert await records.claim(ACCOUNT, "msgbatch_1", again) == first
    assert await records.claim(ACCOUNT, "msgbatch_1", first) == first
    elsewhere = ACCOUNT.model_copy(update={"base_url": "https://gateway.example"})
    assert await records.claim(elsewhere, "msgbatch_1", submitter("run-b").claim) == submitter("run-b").claim
    assert sorted(await records.owners_of("msgbatch_1")) == [("default", "run-a"), ("default", "run-b")]


async def test_the_sender_of_a_batch_goes_before_a_run_that_attached_with_another_key_to_the_same_server(
    records: SubmissionRecords,
) -> None:
    other_key = ACCOUNT.model_copy(update={"api_key": "team-a"})
    elsewhere = other_key.model_copy(update={"base_url": "https://gateway.example"})
    attached = submitter("run-a").claim.model_copy(update={"attached": True})
    sent = submitter("run-b").claim
    assert await records.claim(ACCOUNT, "msgbatch_1", attached) == attached

    assert await records.claim(other_key, "msgbatch_1", sent) == sent

    assert await records.claim_of(ACCOUNT, "msgbatch_1") == sent
    assert await records.claim_of(elsewhere, "msgbatch_1") is None
    assert await records.claim(elsewhere, "msgbatch_1", submitter("run-c").claim) == submitter("run-c").claim


async def test_an_intent_that_comes_after_its_outcome_is_not_new(records: SubmissionRecords) -> None:
    who = submitter()
    await records.record_outcome(who, 1, SubmissionOutcome())

    found = await records.record_intent(who, intent(who))

    assert found is not None
    assert found.outcome == SubmissionOutcome()


async def test_rivals_are_others_whose_batch_no_record_names(records: SubmissionRecords) -> None:
    me, decided, refused, absent, open_ = (submitter(f"run-{name}") for name in "abcde")
    for who in (me, decided, refused, absent, open_):
        await records.record_intent(who, intent(who))
    await records.record_outcome(decided, 1, SubmissionOutcome(batch_id="msgbatch_1"))
    await records.record_outcome(refused, 1, SubmissionOutcome(created=False))
    await records.record_outcome(absent, 1, SubmissionOutcome())

    _, others = await records.own_and_other_posts(me)

    assert {record.intent.workflow_id for record in others} == {"run-b", "run-c", "run-d", "run-e"}
    assert {r.intent.workflow_id for r in others if r.may_have_created} == {"run-d", "run-e"}


async def test_workflow_ids_of_any_form_are_distinguished(records: SubmissionRecords) -> None:
    ids = ["a/b", "a%2Fb", "a_2Fb", "ü" * 80, "ü" * 81, "x" * 300, "x" * 301, "../../etc", "a-b", "a"]
    for workflow_id in ids:
        who = submitter(workflow_id)
        assert await records.record_intent(who, intent(who)) is None, workflow_id
        assert await records.claim(ACCOUNT, workflow_id, who.claim) == who.claim

    manifest = Manifest(uri="", ids_uri="", count=3, body_bytes=0, sha256="", ids_sha256="ab" * 32, store_id="")
    for workflow_id in ids:
        (record,) = await records.records_of_workflow(manifest, api_key="default", workflow_id=workflow_id)
        assert record.intent.workflow_id == workflow_id


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [
        (NOW, True),
        (NOW - timedelta(hours=4), False),
        (NOW + timedelta(minutes=10) + CLOCK_MARGIN, True),
        (NOW + timedelta(minutes=11) + CLOCK_MARGIN, False),
    ],
)
def test_a_batch_may_stem_from_a_post_only_near_its_time(created_at: datetime, expected: bool) -> None:
    assert may_stem_from(SubmissionRecord(intent=intent(submitter())), created_at) is expected
