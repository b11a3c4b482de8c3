"""The plan of a purge, tried exhaustively without a store; then its execution in a directory and a local S3."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from message_batches.errors import MessageBatchesError
from message_batches.job_models import ShardRecord
from message_batches.models import Anchor, Manifest
from message_batches.requests.first_read import FirstReadRecord
from message_batches.requests.manifest import write_manifest
from message_batches.result_models import ResultsFile, Summary
from message_batches.results import reader
from message_batches.results.landing import land
from message_batches.retention.inventory import Inventory, StoredRecord, scan
from message_batches.retention.purge import KeepReason, PurgePlan, PurgeResult, execute_purge, plan_purge
from message_batches.storage.groups import GroupKey, ObjectCategory, PathKind
from message_batches.storage.interface import StoredObject
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.storage.paths import (
    ACCOUNTS,
    FOLDERS,
    JOBS,
    STORE_ID,
    account_path,
    claim_path,
    first_read_path,
    results_folder,
)
from message_batches.storage.submission_records import (
    BatchClaim,
    SubmissionIntent,
    SubmissionOutcome,
    SubmissionRecords,
    Submitter,
)
from tests.harness import local_s3
from tests.harness.stack import ACCOUNT

NOW = datetime(2026, 11, 22, tzinfo=UTC)
BEFORE = NOW - timedelta(days=40)
OLD, YOUNG = NOW - timedelta(days=41), NOW - timedelta(days=39)
SHA, OTHER_SHA = "a" * 64, "b" * 64
UUID = "3afffdb9-0000-4000-8000-000000000000"
FOLDER = f"submissions/default/3-{'c' * 64}"
KNOWN = account_path(ACCOUNT.part)
RUN, BATCH, MANIFEST = (
    GroupKey.of_run("flow", "first"),
    GroupKey.of_batch("default", "msgbatch_1"),
    GroupKey.of_manifest(SHA),
)


def intent(time: datetime, **changes: Any) -> SubmissionIntent:
    """Return the intent of a POST of the run `flow`."""
    known: dict[str, Any] = {
        "workflow_id": "flow",
        "first_run_id": "first",
        "number": 1,
        "anchor": Anchor(created_at=time),
        "sha256": SHA,
        "time": time,
        "timeout": timedelta(minutes=10),
        "nonce": "n",
    }
    return SubmissionIntent(**(known | changes))


def add_run(
    holdings: Inventory,
    time: datetime,
    outcome: SubmissionOutcome | None,
    *,
    written: datetime | None = None,
    name: str = "flow-first-1",
    **changes: Any,
) -> None:
    holdings.add(StoredObject(f"{FOLDER}/{name}.json", 10, written or time), intent(time, **changes))
    if outcome:
        holdings.add(StoredObject(f"{FOLDER}/{name}.outcome.json", 10, written or time), outcome)


def going(plan: PurgePlan) -> list[str]:
    return [stored.name for removal in plan.removals for _, stored in removal.objects]


def decided(holdings: Inventory, *in_use: GroupKey) -> list[str]:
    return going(plan_purge(holdings, set(in_use)))


PARTS = [
    f"{FOLDER}/flow-first-1.json",
    f"{FOLDER}/flow-first-1.outcome.json",
    f"results/{ACCOUNT.part}/msgbatch_1/{SHA}.json",
    f"results/{ACCOUNT.part}/msgbatch_1/{UUID}.jsonl",
    f"claims/{ACCOUNT.part}/msgbatch_1.json",
    f"manifests/{SHA}.jsonl",
    f"manifests/{SHA}.ids",
]
CLAIM = BatchClaim(owner="flow", first_run_id="first")


def add_part(holdings: Inventory, name: str, age: datetime) -> None:
    """Add an object of the run `flow`, as the store has it."""
    records: dict[str, StoredRecord] = {
        PARTS[0]: intent(age),
        PARTS[1]: SubmissionOutcome(batch_id="msgbatch_1"),
        PARTS[4]: CLAIM,
    }
    holdings.add(StoredObject(name, 1, age), records.get(name))


def test_a_run_is_removed_completely_and_in_order_or_kept_if_any_part_is_recent_or_in_use() -> None:
    keys = [RUN, BATCH, MANIFEST]
    for ages in product((OLD, YOUNG), repeat=len(PARTS)):
        holdings = Inventory(BEFORE)
        for name, age in reversed(list(zip(PARTS, ages, strict=True))):
            add_part(holdings, name, age)
        for used in product((False, True), repeat=len(keys)):
            in_use = {key for key, is_used in zip(keys, used, strict=True) if is_used}

            plan = plan_purge(holdings, in_use)

            family_stays = YOUNG in ages[:5] or bool(in_use & {RUN, BATCH})
            requests_stay = family_stays or YOUNG in ages[5:] or MANIFEST in in_use
            expected = ([] if family_stays else PARTS[:5]) + ([] if requests_stay else PARTS[5:])
            assert going(plan) == expected, (ages, in_use)
            assert sum(totals.objects for totals in plan.kept.values()) == len(PARTS) - len(expected)


@pytest.mark.parametrize(
    "outcome",
    [None, SubmissionOutcome(created=False), SubmissionOutcome(), SubmissionOutcome(batch_id="msgbatch_1")],
    ids=str,
)
def test_a_record_is_kept_for_the_lifetime_of_its_batch(outcome: SubmissionOutcome | None) -> None:
    for time, written, goes in [(OLD, OLD, True), (YOUNG, YOUNG, False), (YOUNG, OLD, False)]:
        holdings = Inventory(BEFORE)
        add_run(holdings, time, outcome, written=written)
        assert bool(decided(holdings)) is goes


def test_the_age_of_an_intent_counts_from_its_timeout() -> None:
    holdings = Inventory(BEFORE)
    add_run(holdings, OLD, None, timeout=timedelta(days=2))
    assert decided(holdings) == []


def test_the_age_of_an_intent_survives_a_copy_of_the_store() -> None:
    holdings = Inventory(BEFORE)
    add_run(holdings, OLD, None, written=NOW)
    assert decided(holdings) == [f"{FOLDER}/flow-first-1.json"]


def test_the_posts_of_one_run_are_removed_together_and_in_order() -> None:
    for last, goes in [(OLD, True), (YOUNG, False)]:
        holdings = Inventory(BEFORE)
        for number in range(1, 12):
            outcome = SubmissionOutcome(created=False) if number < 11 else SubmissionOutcome(batch_id="msgbatch_1")
            add_run(holdings, OLD if number < 11 else last, outcome, name=f"flow-first-{number}")
        names = [f"{FOLDER}/flow-first-{number}" for number in range(1, 12)]
        expected = [f"{name}.json" for name in names] + [f"{name}.outcome.json" for name in names]
        assert decided(holdings) == (expected if goes else [])


def test_runs_that_name_one_batch_are_kept_together_without_any_object_of_the_batch() -> None:
    holdings = Inventory(BEFORE)
    add_run(holdings, OLD, SubmissionOutcome(batch_id="msgbatch_1"))
    add_run(holdings, YOUNG, SubmissionOutcome(batch_id="msgbatch_1"), name="later-first-1", workflow_id="later")

    plan = plan_purge(holdings, set())

    assert going(plan) == []
    assert {why: totals.objects for (_, why), totals in plan.kept.items()} == {
        KeepReason.RECENT: 2,
        KeepReason.BELONGS: 2,
    }


def test_a_run_is_kept_while_another_run_uses_its_batch() -> None:
    holdings = Inventory(BEFORE)
    add_run(holdings, OLD, SubmissionOutcome(batch_id="msgbatch_1"))
    assert decided(holdings, BATCH) == []


def test_old_requests_are_kept_while_a_kept_run_or_result_refers_to_them() -> None:
    requests = [StoredObject(f"manifests/{SHA}.{end}", 1, OLD) for end in ("jsonl", "ids")]
    by_run, by_results, by_none = Inventory(BEFORE), Inventory(BEFORE), Inventory(BEFORE)
    for holdings in (by_run, by_results, by_none):
        for stored in requests:
            holdings.add(stored)
        add_run(holdings, OLD, SubmissionOutcome(created=False))
    add_run(by_run, YOUNG, SubmissionOutcome(created=False), name="again-first-1", workflow_id="again")
    by_results.add(StoredObject(f"results/{ACCOUNT.part}/msgbatch_9/{SHA}.json", 1, YOUNG))

    for holdings in (by_run, by_results):
        assert decided(holdings) == [f"{FOLDER}/flow-first-1.json", f"{FOLDER}/flow-first-1.outcome.json"]
    assert decided(by_none)[-2:] == [f"manifests/{SHA}.jsonl", f"manifests/{SHA}.ids"]


@pytest.mark.parametrize("read", [f"manifests/{SHA}.jsonl", f"jobs/job-{'d' * 16}/0.plan"])
def test_the_record_of_a_first_read_keeps_its_requests_and_goes_with_its_run(read: str) -> None:
    record, reader = first_read_path("flow", UUID), GroupKey.of_run("flow", UUID)
    parts = [record, f"{FOLDER}/flow-{UUID}-1.json", f"manifests/{SHA}.jsonl", f"manifests/{SHA}.ids"]
    holdings, unreadable = Inventory(BEFORE), Inventory(BEFORE)
    for stored in [StoredObject(name, 1, OLD) for name in reversed(parts)]:
        if stored.name == parts[1]:
            holdings.add(stored, intent(OLD, first_run_id=UUID, sha256=OTHER_SHA))
        else:
            holdings.add(stored, FirstReadRecord(requests=read) if stored.name == record else None)
    unreadable.add(StoredObject(record, 1, OLD))

    assert decided(holdings) == parts
    assert decided(holdings, reader) == ([] if read.startswith("manifests") else parts[2:])
    assert decided(unreadable) == []


JOB = GroupKey.of_job("job")
JOB_FOLDER = f"jobs/job-{'d' * 16}"
JOB_PARTS = [
    f"{JOB_FOLDER}/0-0.json",
    f"{JOB_FOLDER}/0.plan",
    *PARTS[:2],
    f"{JOB_FOLDER}/{SHA}.json",
    PARTS[2],
    f"{JOB_FOLDER}/{UUID}.jsonl",
    f"{JOB_FOLDER}/{UUID}.shards",
    *PARTS[3:],
]
"""The objects of a job of one shard, whose run is `flow`, in the order in which they go."""


def planned(sha256: str) -> Manifest:
    return Manifest(
        uri=f"file:///s/manifests/{sha256}.jsonl",
        ids_uri=f"file:///s/manifests/{sha256}.ids",
        count=1,
        body_bytes=1,
        sha256=sha256,
        ids_sha256="c" * 64,
        store_id="s",
    )


def add_job_part(holdings: Inventory, name: str, age: datetime) -> None:
    """Add an object of the job, as the store has it."""
    if name == JOB_PARTS[0]:
        uri = f"s3://b/p/results/{ACCOUNT.part}/msgbatch_1/{UUID}.jsonl"
        file = ResultsFile(uri=uri, bytes=1, lines=1, sha256=SHA)
        record = ShardRecord(
            wave=0,
            number=0,
            workflow_id="flow",
            batch_id="msgbatch_1",
            requests=1,
            results_file=file,
            summary=Summary(),
        )
        holdings.add(StoredObject(name, 1, age), record)
    elif name == JOB_PARTS[1]:
        holdings.add(StoredObject(name, 1, age), (planned(SHA),))
    else:
        add_part(holdings, name, age)


def test_a_job_is_removed_with_its_shards_and_in_order_or_all_are_kept() -> None:
    for young in (None, *JOB_PARTS):
        holdings = Inventory(BEFORE)
        for name in reversed(JOB_PARTS):
            add_job_part(holdings, name, YOUNG if name == young else OLD)
        for used in (None, JOB, RUN, BATCH, MANIFEST):
            shards_stay = young in JOB_PARTS[:-2] or used in (JOB, RUN, BATCH)
            requests_stay = shards_stay or young is not None or used == MANIFEST

            plan = plan_purge(holdings, {used} if used else set())

            going_now = ([] if shards_stay else JOB_PARTS[:-2]) + ([] if requests_stay else JOB_PARTS[-2:])
            assert sorted(going(plan)) == sorted(going_now), (young, used)
            assert going(plan)[: len(JOB_PARTS) - 2] == going_now[: len(JOB_PARTS) - 2]


def test_the_remains_of_an_interrupted_purge_of_a_job_are_purged() -> None:
    for first in range(len(JOB_PARTS)):
        holdings = Inventory(BEFORE)
        for name in JOB_PARTS[first:]:
            add_job_part(holdings, name, OLD)
        holdings.drop_foreign()
        assert sorted(decided(holdings)) == sorted(JOB_PARTS[first:])


def test_the_requests_of_shards_that_have_not_landed_stay_with_their_plan() -> None:
    holdings = Inventory(BEFORE)
    holdings.add(StoredObject(JOB_PARTS[1], 1, OLD), (planned(SHA), planned(OTHER_SHA)))
    for sha256 in (SHA, OTHER_SHA):
        holdings.add(StoredObject(f"manifests/{sha256}.jsonl", 1, OLD))
    assert decided(holdings, JOB) == []
    assert len(decided(holdings)) == 3


@pytest.mark.parametrize("name", JOB_PARTS[:2])
def test_a_job_with_a_record_that_cannot_be_read_is_kept(name: str) -> None:
    holdings = Inventory(BEFORE)
    holdings.add(StoredObject(name, 1, OLD))
    assert [why for _, why in plan_purge(holdings, set()).kept] == [KeepReason.UNREADABLE]


def test_unreadable_records_are_kept() -> None:
    holdings = Inventory(BEFORE)
    holdings.add(StoredObject(f"{FOLDER}/flow-first-1.json", 1, OLD))
    assert [why for _, why in plan_purge(holdings, set()).kept] == [KeepReason.UNREADABLE]


def test_objects_of_a_run_with_an_unreadable_outcome_are_kept() -> None:
    holdings = Inventory(BEFORE)
    for name in PARTS:
        if name == PARTS[1]:
            holdings.add(StoredObject(name, 1, OLD))
        else:
            add_part(holdings, name, OLD)

    plan = plan_purge(holdings, set())

    assert going(plan) == []
    assert {(kind, why) for kind, why in plan.kept} == {
        (ObjectCategory.RECORDS, KeepReason.UNREADABLE),
        (ObjectCategory.RECORDS, KeepReason.BELONGS),
        (ObjectCategory.RESULTS, KeepReason.BELONGS),
        (ObjectCategory.REQUESTS, KeepReason.BELONGS),
    }


def test_a_claimed_batch_is_kept_with_its_run() -> None:
    holdings = Inventory(BEFORE)
    for name in PARTS[2:5]:
        add_part(holdings, name, OLD)
    assert decided(holdings, RUN) == []
    add_run(holdings, YOUNG, None)
    assert decided(holdings) == []


def test_the_remains_of_an_interrupted_purge_are_purged() -> None:
    for first in range(len(PARTS)):
        rest = PARTS[first:]
        holdings = Inventory(BEFORE)
        for name in rest:
            add_part(holdings, name, OLD)
        holdings.drop_foreign()
        assert sorted(decided(holdings)) == sorted(rest)


FOREIGN = [
    "input.jsonl",
    "manifests/mine.jsonl",
    f"manifests/{SHA}.csv",
    f"manifests/old/{SHA}.jsonl",
    "results/msgbatch_1/notes.txt",
    "results/msgbatch_1/retry.json",
    f"backup/{PARTS[0]}",
    "submissions/default/readme.json",
    "claims/msgbatch_1.txt",
    "input.jsonl#1",
    "store.json.bak",
    "claims/2025-0001.json",
    "claims/contact form.json",
    "claims/2025-0001.json#1",
    f"claims/{ACCOUNT.part}/2025-0001.json",
    f"claims/{ACCOUNT.part}/2025-0001.json#1",
    f"claims/{ACCOUNT.part}/msgbatch_1.txt",
    f"results/{ACCOUNT.part}/msgbatch_1/notes.txt",
    f"results/{ACCOUNT.part}/msgbatch_1/retry.json",
    f"results/{ACCOUNT.part}/nightly/unverified.json",
    f"results/{ACCOUNT.part}/nightly/{UUID}.jsonl",
    f"results/{ACCOUNT.part}/nightly/incomplete-{UUID}.jsonl#2",
    f"results/no-account/msgbatch_1/{UUID}.jsonl",
    # Of a version that did not tell accounts apart.
    "claims/msgbatch_1.json",
    f"results/msgbatch_1/{SHA}.json",
    "results/msgbatch_1/unverified.json",
    f"results/msgbatch_1/{UUID}.jsonl",
    f"results/msgbatch_1/incomplete-{UUID}.jsonl#2",
    KNOWN,
    f"{KNOWN}#1",
    f"{JOB_FOLDER}/notes.txt",
    f"{JOB_FOLDER}/0.json",
    f"jobs/{UUID}.jsonl",
    f"jobs/nightly/{UUID}.jsonl",
    "claims/odd\\name.json",
    "claims/a\tb.json",
    "claims/\udcff.json",
    f"claims/{'a' * 245}.json",
    f"{FOLDER}/foo\x01bar-1.json",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_objects_are_never_removed(name: str) -> None:
    holdings = Inventory(BEFORE)
    holdings.add(StoredObject(name, 5, OLD))
    holdings.drop_foreign()

    plan = plan_purge(holdings, set())

    assert plan.removals == []
    assert [(key, totals.objects, totals.bytes) for key, totals in plan.kept.items()] == [
        ((ObjectCategory.OTHER, KeepReason.FOREIGN), 1, 5)
    ]


def test_an_interrupted_upload_is_purged_by_its_own_age() -> None:
    holdings = Inventory(BEFORE)
    for name, age in [(PARTS[3], YOUNG), (f"{PARTS[3]}#1", OLD), (f"manifests/{SHA}.jsonl#2", YOUNG)]:
        holdings.add(StoredObject(name, 1, age))
    assert decided(holdings) == [f"{PARTS[3]}#1"]


def test_long_and_unusual_ids_are_found_under_their_encoded_names() -> None:
    batch_id = "msgbatch_" + "x" * 110
    holdings = Inventory(BEFORE)
    add_run(holdings, OLD, SubmissionOutcome(batch_id=batch_id), workflow_id="a/b c")
    holdings.add(StoredObject(f"{results_folder(ACCOUNT.part, batch_id)}/{UUID}.jsonl", 1, YOUNG))
    holdings.add(StoredObject(claim_path(ACCOUNT.part, batch_id), 1, OLD), CLAIM)
    assert decided(holdings) == []
    assert {key.group for key in holdings.groups} == {"run", "batch"}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with local_s3.buckets("bucket") as client:
        yield client.meta.endpoint_url


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3: str) -> ObjectStore:
    if request.param == "file":
        return open_store((tmp_path / "a store").as_uri())
    return open_store(f"s3://bucket/{uuid4()}", endpoint=s3, **local_s3.KEYS)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


def now_old() -> datetime:
    """Return a time at which everything written so far is old enough: the store's clock cannot be set back."""
    return datetime.now(UTC) + timedelta(days=1)


async def landed_run(store: ObjectStore, batch_id: str, *, workflow_id: str = "flow") -> Manifest:
    """Create a run with a POST that created nothing, and one whose batch landed."""
    await store.identity()
    line = b'{"custom_id":"a","params":{"model":"m","max_tokens":1,"messages":[]}}\n'
    manifest = await write_manifest(store, pieces(line))
    records = SubmissionRecords(store)
    who = Submitter.of(manifest, api_key="default", workflow_id=workflow_id, first_run_id=str(uuid4()))
    for number, outcome in enumerate([SubmissionOutcome(created=False), SubmissionOutcome(batch_id=batch_id)], 1):
        changes = {"workflow_id": workflow_id, "number": number, "sha256": manifest.sha256, "nonce": uuid4().hex}
        await records.record_intent(who, intent(OLD, **changes))
        await records.record_outcome(who, number, outcome)
    await records.claim(ACCOUNT, batch_id, who.claim)

    @asynccontextmanager
    async def results() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces(b'{"custom_id":"a","result":{"type":"canceled"}}\n')

    await land(store, results(), account=ACCOUNT.part, batch_id=batch_id, manifest=manifest, expected_count=1)
    return manifest


async def names(store: ObjectStore) -> list[str]:
    found = [
        stored.name
        for folder in (*FOLDERS, ACCOUNTS, "mine")
        async for page in store.listing(folder)
        for stored in page
    ]
    return sorted([*found, *([STORE_ID] if await store.read(STORE_ID) else [])])


async def nobody() -> set[GroupKey]:
    return set()


async def purged(store: ObjectStore) -> PurgeResult:
    return await execute_purge(store, plan_purge(await scan(store, now_old()), set()), nobody)


async def test_a_purged_store_keeps_its_id_and_foreign_objects(store: ObjectStore) -> None:
    for number in range(3):
        await landed_run(store, f"msgbatch_{number}", workflow_id=f"flow {number}")
    await store.create("mine/input.jsonl", b"x")
    found = len(await names(store))

    done = await purged(store)

    assert await names(store) == [KNOWN, "mine/input.jsonl", "store.json"]
    assert {kind: totals.objects for kind, totals in done.removed.items()} == {
        ObjectCategory.RECORDS: 15,
        ObjectCategory.RESULTS: 6,
        ObjectCategory.REQUESTS: 2,
    }
    assert sum(totals.objects for totals in done.removed.values()) == found - 3
    assert (await purged(store)).removed == {}


async def test_objects_of_today_are_kept(store: ObjectStore) -> None:
    await landed_run(store, "msgbatch_1")
    before = await names(store)

    holdings = await scan(store, datetime.now(UTC) - timedelta(days=30))

    # The intents are old by their own time; the results that landed today keep them.
    assert plan_purge(holdings, set()).removals == []
    assert await names(store) == before


async def test_a_directory_of_more_than_one_page_is_listed_completely(tmp_path: Path) -> None:
    (tmp_path / "claims").mkdir()
    for number in range(2100):
        (tmp_path / "claims" / str(number)).touch()
    assert (await scan(open_store(tmp_path.as_uri()), BEFORE)).foreign.objects == 2100


async def test_a_run_that_begins_during_a_purge_keeps_its_objects(store: ObjectStore) -> None:
    manifest = await landed_run(store, "msgbatch_1")
    plan = plan_purge(await scan(store, now_old()), set())

    async def begun() -> set[GroupKey]:
        return {GroupKey.of_manifest(manifest.sha256)}

    done = await execute_purge(store, plan, begun)

    assert done.needed_again.objects == 2
    assert await names(store) == [
        KNOWN,
        f"manifests/{manifest.sha256}.ids",
        f"manifests/{manifest.sha256}.jsonl",
        "store.json",
    ]


def in_the_way(path: Path) -> None:
    """Create an object that cannot be removed, not even by root."""
    if path.is_file():
        path.unlink()
        (path / "full").mkdir(parents=True)


def left_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


async def test_a_purge_interrupted_anywhere_misleads_no_run_and_the_next_one_completes_it(tmp_path: Path) -> None:
    steps = 9
    for broken in range(steps):
        folder = tmp_path / str(broken)
        store = open_store(folder.as_uri())
        manifest = await landed_run(store, "msgbatch_1")
        plan = plan_purge(await scan(store, now_old()), set())
        objects = going(plan)
        assert len(objects) == steps
        place = folder / objects[broken]
        content = place.read_bytes()

        async def break_off(place: Path = place) -> set[GroupKey]:
            in_the_way(place)
            return set()

        done = await execute_purge(store, plan, break_off)

        assert list(done.failures) == [objects[broken]]
        (place / "full").rmdir()
        place.rmdir()
        place.write_bytes(content)
        records = await SubmissionRecords(store).records_of_workflow(manifest, api_key="default", workflow_id="flow")
        assert not any(left.may_have_created for left in records)
        for publication in await reader.of_batch(store, "msgbatch_1", [ACCOUNT.part]):
            assert await store.read(store.name(publication.landed.results_file.uri))
        if records:
            assert await reader.of_batch(store, "msgbatch_1", [ACCOUNT.part])
            assert records[-1].outcome == SubmissionOutcome(batch_id="msgbatch_1")
        assert (await purged(store)).failures == {}
        assert await names(store) == [KNOWN, "store.json"]


async def test_a_failed_removal_does_not_stop_the_others(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    for number in range(3):
        await landed_run(store, f"msgbatch_{number}", workflow_id=f"flow-{number}")
    plan = plan_purge(await scan(store, now_old()), set())
    (broken,) = [name for name in going(plan) if "msgbatch_1/" in name and name.endswith(".json")]

    async def break_one() -> set[GroupKey]:
        in_the_way(tmp_path / broken)
        return set()

    done = await execute_purge(store, plan, break_one)

    assert list(done.failures) == [broken]
    assert store.uri(broken) in done.failures[broken]
    left = [name for name in await names(store) if "full" not in name]
    assert [name.split("/")[:3] for name in left if name != KNOWN] == [
        ["claims", ACCOUNT.part, "msgbatch_1.json"],
        ["results", ACCOUNT.part, "msgbatch_1"],
        [STORE_ID],
    ]


async def test_a_purge_stops_if_nothing_can_be_removed(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    await landed_run(store, "msgbatch_1")
    plan = plan_purge(await scan(store, now_old()), set())
    in_the_way(tmp_path / going(plan)[0])

    done = await execute_purge(store, plan, nobody, at_once=1)

    assert (done.removed, list(done.failures), done.not_attempted) == ({}, going(plan)[:1], 2)
    assert done.stop_reason


async def test_the_groups_in_use_are_read_again_before_each_chunk(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    manifest = await landed_run(store, "msgbatch_1")
    plan = plan_purge(await scan(store, now_old()), set())
    answers = [set(), {GroupKey.of_manifest(manifest.sha256)}]

    async def in_use() -> set[GroupKey]:
        return answers.pop(0)

    done = await execute_purge(store, plan, in_use, at_once=1)

    assert (answers, done.needed_again.objects) == ([], 2)


async def test_a_purge_stops_if_the_groups_in_use_become_unknown_and_reports_the_removed_objects(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path.as_uri())
    await landed_run(store, "msgbatch_1")
    plan = plan_purge(await scan(store, now_old()), set())
    asked = 0

    async def in_use() -> set[GroupKey]:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise MessageBatchesError("Temporal went away")
        return set()

    done = await execute_purge(store, plan, in_use, at_once=1)

    assert {kind: totals.objects for kind, totals in done.removed.items()} == {
        ObjectCategory.RECORDS: 5,
        ObjectCategory.RESULTS: 2,
    }
    assert (done.stop_reason, done.not_attempted) == ("Temporal went away", 2)
    assert len(await names(store)) == 4


async def put_old(store: ObjectStore, name: str, content: str) -> None:
    assert await store.create(name, content.encode())


async def test_foreign_objects_with_similar_names_are_recognized_by_their_content(store: ObjectStore) -> None:
    await landed_run(store, "msgbatch_1")
    kept = {
        "claims/2025-0001.json": '{"insured": "ACME"}',
        f"claims/{ACCOUNT.part}/2025-0001.json": '{"insured": "ACME"}',
        "claims/contact form.json": "x",
        f"results/nightly/{UUID}.jsonl": "mine",
        f"results/{ACCOUNT.part}/nightly/{UUID}.jsonl": "mine",
        f"results/{ACCOUNT.part}/nightly/unverified.json": '["mine"]',
        f"results/{ACCOUNT.part}/other/{SHA}.json": "copied here from elsewhere",
        # Of a version that did not tell accounts apart.
        "claims/msgbatch_1.json": CLAIM.model_dump_json(),
        f"results/msgbatch_1/{UUID}.jsonl": "{}",
        f"results/msgbatch_1/{SHA}.json": "its publication",
    }
    (publication,) = [name for name in await names(store) if name.startswith("results/") and name.endswith(".json")]
    for copy in (f"results/{ACCOUNT.part}/other/{SHA}.json", f"results/msgbatch_1/{SHA}.json"):
        kept[copy] = (await store.read(publication) or b"").decode()
    for name, content in kept.items():
        await put_old(store, name, content)

    done = await purged(store)

    assert sum(totals.objects for totals in done.removed.values()) == 9
    assert await names(store) == sorted([*kept, KNOWN, STORE_ID])


async def test_results_without_a_claim_are_recognized_by_their_publication(store: ObjectStore) -> None:
    await landed_run(store, "msgbatch_1")
    for name in await names(store):
        if not name.startswith(("results/", STORE_ID)):
            await store.remove(name)

    done = await purged(store)

    assert {kind: totals.objects for kind, totals in done.removed.items()} == {ObjectCategory.RESULTS: 2}


@pytest.mark.parametrize(
    "changes",
    [{"time": "2026-01-01T00:00:00"}, {"time": "9999-12-31T23:59:59Z"}, {"number": "first"}],
    ids=["without a zone", "at the end of time", "of another kind"],
)
async def test_an_unreadable_intent_is_kept_and_the_rest_is_removed(
    store: ObjectStore, changes: dict[str, str]
) -> None:
    await landed_run(store, "msgbatch_1")
    damaged = f"submissions/default/1-{SHA}/other-{UUID}-1.json"
    await put_old(store, damaged, json.dumps(intent(OLD).model_dump(mode="json") | changes))

    plan = plan_purge(await scan(store, now_old()), set())
    await execute_purge(store, plan, nobody)

    assert plan.kept[ObjectCategory.RECORDS, KeepReason.UNREADABLE].objects == 1
    assert await names(store) == [KNOWN, STORE_ID, damaged]


async def test_an_unusual_file_name_does_not_stop_a_purge(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    await landed_run(store, "msgbatch_1")
    claims = [tmp_path / "claims", tmp_path / "claims" / ACCOUNT.part]
    odd = [b"odd\\name.json", b"a\tb.json", b"\xff.json", b"a" * 245 + b".json"]
    for name in odd:
        for folder in claims:
            (folder / os.fsdecode(name)).write_text(CLAIM.model_dump_json())

    plan = plan_purge(await scan(store, now_old()), set())
    done = await execute_purge(store, plan, nobody)

    assert plan.kept[ObjectCategory.OTHER, KeepReason.FOREIGN].objects == 2 * len(odd)
    assert (sum(totals.objects for totals in done.removed.values()), done.failures) == (9, {})
    left = [sorted(os.fsencode(name) for name in os.listdir(folder)) for folder in claims]
    assert left == [sorted([*odd, ACCOUNT.part.encode()]), sorted(odd)]


async def test_only_the_folders_of_runs_are_walked_and_no_link_in_them(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "store"
    store = open_store(root.as_uri())
    await store.identity()
    foreign = elsewhere / ACCOUNT.part / "msgbatch_9"
    foreign.mkdir(parents=True)
    (foreign / f"{UUID}.jsonl").touch()
    (root / "claims").mkdir()
    (root / "results").symlink_to(elsewhere)
    await landed_run(store, "msgbatch_1")
    for link, target in [
        ("loop", root),
        ("all", "/"),
        ("self", root / "self"),
        ("claims/loop", root),
        ("claims/all", "/"),
        ("claims/self.json", root / "claims/self.json"),
        ("results/loop", elsewhere),
    ]:
        (root / link).symlink_to(str(target))

    async with asyncio.timeout(30):
        plan = plan_purge(await scan(store, now_old()), set())
        done = await execute_purge(store, plan, nobody)

    assert {kind: totals.objects for kind, totals in done.removed.items()} == {
        ObjectCategory.RECORDS: 5,
        ObjectCategory.RESULTS: 2,
        ObjectCategory.REQUESTS: 2,
    }
    assert plan.kept[ObjectCategory.OTHER, KeepReason.FOREIGN].objects == 1
    assert sorted(path.name for path in elsewhere.iterdir()) == [ACCOUNT.part, "loop"]
    assert list(foreign.parent.iterdir()) == [foreign]


async def test_empty_folders_are_removed_without_losing_a_concurrent_put(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    await landed_run(store, "msgbatch_1")
    await purged(store)
    of_the_account = ["accounts", KNOWN, f"results/{ACCOUNT.part}"]
    empty = sorted([*of_the_account, *({*FOLDERS} - {JOBS}), "store.json", "submissions/default"])
    assert left_in(tmp_path) == empty

    async def come_and_go(who: str) -> None:
        for turn in range(100):
            small, large = f"claims/x/{who}-{turn}.json", f"claims/x/{who}-{turn}.jsonl"
            assert await store.create(small, b"x")
            await store.write(large, pieces(b"y"))
            assert await store.read(large) == b"y"
            await store.remove(small)
            await store.remove(large)

    await asyncio.gather(*map(come_and_go, "abcd"))
    assert left_in(tmp_path) == empty


async def test_the_file_of_an_interrupted_upload_is_removed(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    await landed_run(store, "msgbatch_1")
    (left,) = [tmp_path / f"{name}#1" for name in await names(store) if name.startswith("manifests") and "ids" in name]
    left.write_bytes(b"half")
    old = (datetime.now(UTC) - timedelta(days=50)).timestamp()
    os.utime(left, (old, old))

    plan = plan_purge(await scan(store, datetime.now(UTC) - timedelta(days=40)), set())
    await execute_purge(store, plan, nobody)

    assert [step for removal in plan.removals for step, _ in removal.objects] == [PathKind.LEFTOVER]
    assert not left.exists()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a//b#1"])
async def test_an_invalid_name_is_not_removed(store: ObjectStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        await store.remove(name)
