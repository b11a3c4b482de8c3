"""Every path in the store: written by its writer, compared with a literal, and parsed back to the same group.

A change of one of the literals would lose the paid results of users of an earlier version.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from message_batches.api.keys import Account
from message_batches.errors import ResultsIncomplete, StoreUnavailable
from message_batches.job_models import ShardRecord
from message_batches.jobs.records import JobRecords
from message_batches.models import Anchor, Manifest
from message_batches.requests.first_read import FirstRead
from message_batches.requests.manifest import load_manifest, read_ids, write_inline_manifest
from message_batches.result_models import ResultsFile, Summary
from message_batches.results.landing import find_landed, land
from message_batches.results.reader import account_of, of_batch
from message_batches.storage import groups, job_paths, paths
from message_batches.storage.accounts import AccountRecords
from message_batches.storage.groups import (
    GroupKey,
    ObjectCategory,
    ParsedPath,
    PathKind,
    batch_at,
    batch_of,
    manifest_at,
    parse_path,
)
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.storage.submission_records import (
    BatchClaim,
    SubmissionIntent,
    SubmissionOutcome,
    SubmissionRecords,
    Submitter,
)
from message_batches.temporal.dev_server import DevServer
from message_batches.temporal.namespaces import NamespaceRecord, NamespaceRecords, id_of

RUN = "0199a1b2-c3d4-7000-8000-000000000001"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RESULT = b'{"custom_id":"r-0","result":{"type":"canceled"}}\n'
IDS_SHA256 = "0" * 64

UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ATTEMPT = "<attempt>"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "store").as_uri())


def names_in(store: ObjectStore) -> list[str]:
    """Return every file of a store."""
    root = Path(store.uri("").removeprefix("file://"))
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def without_attempts(names: list[str]) -> list[str]:
    return sorted(UUID.sub(ATTEMPT, name) if name.startswith("results/") else name for name in names)


def hashed(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()


@asynccontextmanager
async def arriving(data: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    yield chunks()


WORKFLOW_IDS = {
    "run-1": "run-1",
    "nightly.2026-11-22_a~b": "nightly.2026-11-22_a~b",
    "..": "..",
    "a/b": f"a_2Fb-{hashed('a/b')}",
    "a%2Fb": f"a_252Fb-{hashed('a%2Fb')}",
    "two words": f"two_20words-{hashed('two words')}",
    "für-ß": f"f_C3_BCr-_C3_9F-{hashed('für-ß')}",
    "批": f"_E6_89_B9-{hashed('批')}",
    "a\nb\0": f"a_0Ab_00-{hashed(chr(97) + chr(10) + 'b' + chr(0))}",
    "batch#1": f"batch_231-{hashed('batch#1')}",
    "\\..\\x": f"_5C.._5Cx-{hashed(chr(92) + '..' + chr(92) + 'x')}",
    "x" * 100: "x" * 100,
    "x" * 101: f"{'x' * 60}-{hashed('x' * 101)}",
    "ü" * 1000: f"{'_C3_BC' * 10}-{hashed('ü' * 1000)}",
}
"""Ids of workflows, which a caller chooses, and the part of a path that each is encoded as."""


def submitter(workflow_id: str, api_key: str = "default") -> Submitter:
    return Submitter(api_key=api_key, count=3, ids_sha256=IDS_SHA256, workflow_id=workflow_id, first_run_id=RUN)


def intent_of(who: Submitter, number: int) -> SubmissionIntent:
    return SubmissionIntent(
        workflow_id=who.workflow_id,
        first_run_id=who.first_run_id,
        number=number,
        anchor=Anchor(created_at=NOW),
        sha256="1" * 64,
        time=NOW,
        timeout=timedelta(seconds=10),
        nonce="n",
    )


@pytest.mark.parametrize(("workflow_id", "part"), WORKFLOW_IDS.items(), ids=range(len(WORKFLOW_IDS)))
async def test_an_intent_and_its_outcome_belong_to_their_run(store: ObjectStore, workflow_id: str, part: str) -> None:
    records = SubmissionRecords(store)
    who = submitter(workflow_id, "team-a")

    assert await records.record_intent(who, intent_of(who, 12)) is None
    await records.record_outcome(who, 12, SubmissionOutcome(batch_id="msgbatch_1"))

    written = names_in(store)
    assert written == [
        f"submissions/team-a/3-{IDS_SHA256}/{part}-{RUN}-12.json",
        f"submissions/team-a/3-{IDS_SHA256}/{part}-{RUN}-12.outcome.json",
    ]
    run = GroupKey.of_run(workflow_id, RUN)
    assert run == ("run", f"{part}-{RUN}")
    kinds = (PathKind.INTENT, PathKind.OUTCOME)
    assert [parse_path(name) for name in written] == [ParsedPath(run, kind) for kind in kinds]
    found = (await records.records_of_workflows({workflow_id}))[workflow_id]
    assert found == [await records.read_record(written[0])]
    assert (found[0].intent, found[0].outcome) == (intent_of(who, 12), SubmissionOutcome(batch_id="msgbatch_1"))
    assert (await records.own_and_other_posts(who))[0] == found
    assert await records.outcome(who, 12) == found[0].outcome


async def test_runs_with_similar_ids_have_separate_records(store: ObjectStore) -> None:
    records = SubmissionRecords(store)
    for workflow_id in WORKFLOW_IDS:
        who = submitter(workflow_id)
        await records.record_intent(who, intent_of(who, 1))

    assert len(names_in(store)) == len(WORKFLOW_IDS)
    assert {parse_path(name) for name in names_in(store)} == {
        ParsedPath(GroupKey.of_run(workflow_id, RUN), PathKind.INTENT) for workflow_id in WORKFLOW_IDS
    }
    assert set(await records.records_of_workflows(WORKFLOW_IDS.keys())) == set(WORKFLOW_IDS)


TEAM = Account(api_key="team-a", base_url="https://gateway.example/a", workspace_id="wrkspc_1")
TEAM_PART = f"team-a-{hashed('https://gateway.example/a' + chr(10) + 'wrkspc_1')[:12]}"

BATCH_IDS = {
    "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d": "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d",
    "_": "_",
    "-": "-",
    "x" * 100: "x" * 100,
    "x" * 101: f"{'x' * 60}-{hashed('x' * 101)}",
    "x" * 128: f"{'x' * 60}-{hashed('x' * 128)}",
    # No provider uses any of these, and an input with one is refused; still, they stay inside their folder.
    "a/b": f"a_2Fb-{hashed('a/b')}",
    "a%2Fb": f"a_252Fb-{hashed('a%2Fb')}",
    "two words": f"two_20words-{hashed('two words')}",
    "für": f"f_C3_BCr-{hashed('für')}",
    "msg.batch": "msg.batch",
}
"""Ids of batches, and the part of a path that each is encoded as: the same for a claim and for results."""


@pytest.mark.parametrize(("batch_id", "part"), BATCH_IDS.items(), ids=range(len(BATCH_IDS)))
async def test_a_claim_belongs_to_its_batch(store: ObjectStore, batch_id: str, part: str) -> None:
    claim = BatchClaim(owner="run-1", first_run_id=RUN)

    assert await SubmissionRecords(store).claim(TEAM, batch_id, claim) == claim

    account, written = names_in(store)
    assert account == f"accounts/{TEAM_PART}.json"
    assert written == f"claims/{TEAM_PART}/{part}.json"
    assert parse_path(written) == ParsedPath(GroupKey.of_batch("team-a", batch_id), PathKind.CLAIM)
    assert await SubmissionRecords(store).claim_of(TEAM, batch_id) == claim
    assert await SubmissionRecords(store).owners_of(batch_id) == [("team-a", "run-1")]
    assert await SubmissionRecords(store).claimed_by("run-1") == {part: "team-a"}


@pytest.mark.parametrize(("batch_id", "part"), BATCH_IDS.items(), ids=range(len(BATCH_IDS)))
async def test_complete_and_partial_results_belong_to_their_batch(store: ObjectStore, batch_id: str, part: str) -> None:
    folder = f"results/{TEAM_PART}/{part}"
    two = await manifest_of(store, 2)
    unverified = await land(
        store, arriving(RESULT), account=TEAM_PART, batch_id=batch_id, manifest=None, expected_count=1
    )
    with pytest.raises(ResultsIncomplete):
        await land(
            store,
            arriving(RESULT),
            account=TEAM_PART,
            batch_id=batch_id,
            manifest=two,
            expected_count=2,
            keep_partial=True,
        )
    manifest = await manifest_of(store, 1)
    verified = await land(
        store, arriving(RESULT), account=TEAM_PART, batch_id=batch_id, manifest=manifest, expected_count=1
    )

    written = [name for name in names_in(store) if name.startswith("results/")]
    assert without_attempts(written) == sorted(
        [
            f"{folder}/{ATTEMPT}.jsonl",
            f"{folder}/{ATTEMPT}.jsonl",
            f"{folder}/incomplete-{ATTEMPT}.jsonl",
            f"{folder}/unverified.json",
            f"{folder}/{manifest.sha256}.json",
        ]
    )
    batch, checked_against = GroupKey.of_batch("team-a", batch_id), GroupKey.of_manifest(manifest.sha256)
    parsed = {name: parse_path(name) for name in written}
    assert parsed.pop(f"{folder}/unverified.json") == ParsedPath(batch, PathKind.PUBLICATION)
    assert parsed.pop(f"{folder}/{manifest.sha256}.json") == ParsedPath(batch, PathKind.PUBLICATION, checked_against)
    assert set(parsed.values()) == {ParsedPath(batch, PathKind.RESULTS)}
    assert await find_landed(store, TEAM_PART, batch_id, None) == unverified
    assert await find_landed(store, TEAM_PART, batch_id, manifest) == verified
    assert {store.name(landed.results_file.uri) for landed in (unverified, verified)} < set(parsed)
    assert {account_of(store, landed) for landed in (unverified, verified)} == {TEAM_PART}
    published = await of_batch(store, batch_id, [TEAM_PART])
    assert [(found.landed, found.manifest_name) for found in published] == [
        (verified, f"manifests/{manifest.sha256}.jsonl"),
        (unverified, None),
    ]


@pytest.mark.parametrize("batch_id", ["", ".", ".."])
async def test_an_id_that_cannot_be_a_folder_is_not_a_batch(store: ObjectStore, batch_id: str) -> None:
    with pytest.raises(ValueError, match="not a name in the store"):
        await land(store, arriving(RESULT), account=TEAM_PART, batch_id=batch_id, manifest=None, expected_count=1)

    assert names_in(store) == []


@pytest.mark.parametrize("workspace_id", [None, "wrkspc_1"])
@pytest.mark.parametrize("api_key", ["default", "a", "0123456789ab", "a-0123456789ab", "-", "x" * 32])
async def test_an_account_is_recorded_once_found_by_its_key_and_never_purged(
    store: ObjectStore, api_key: str, workspace_id: str | None
) -> None:
    account = Account(api_key=api_key, base_url="https://gateway.example/a", workspace_id=workspace_id)
    part = f"{api_key}-{hashed('https://gateway.example/a' + chr(10) + (workspace_id or ''))[:12]}"

    for _ in range(2):
        assert await AccountRecords(store).record(account) == account.part == part

    assert names_in(store) == [f"accounts/{part}.json"]
    assert json.loads(await store.read(f"accounts/{part}.json") or b"") == {
        "apiKey": api_key,
        "baseUrl": "https://gateway.example/a",
        "workspaceId": workspace_id,
    }
    assert parse_path(f"accounts/{part}.json") is None
    assert await AccountRecords(store).all() == await AccountRecords(store).all(api_key) == [account]
    assert await AccountRecords(store).all("another") == []
    of = GroupKey.of_batch(api_key, "msgbatch_1")
    assert parse_path(f"claims/{part}/msgbatch_1.json") == ParsedPath(of, PathKind.CLAIM)
    assert parse_path(f"results/{part}/msgbatch_1/{RUN}.jsonl") == ParsedPath(of, PathKind.RESULTS)


async def test_a_damaged_record_of_an_account_is_named_and_foreign_files_beside_it_are_not_read(
    store: ObjectStore,
) -> None:
    await AccountRecords(store).record(TEAM)
    for foreign in ("accounts/notes.txt", "accounts/2026.json", f"accounts/{TEAM_PART}/x.json"):
        await store.create(foreign, b"mine")
    assert await AccountRecords(store).all() == [TEAM]

    damaged = "accounts/default-0123456789ab.json"
    await store.create(damaged, b"{}")

    with pytest.raises(StoreUnavailable, match=f"{damaged} is damaged"):
        await AccountRecords(store).all()


def test_accounts_that_differ_have_folders_that_differ() -> None:
    keys, urls = ["a", "a-b", "default"], ["https://a.example", "https://a.example/b", "https://b.example"]
    accounts = [
        Account(api_key=api_key, base_url=url, workspace_id=workspace_id)
        for api_key in keys
        for url in urls
        for workspace_id in (None, "wrkspc_1", "wrkspc_2")
    ]

    assert len({account.part for account in accounts}) == len(accounts)


OF_AN_EARLIER_VERSION = [
    "claims/msgbatch_1.json",
    f"results/msgbatch_1/{RUN}.jsonl",
    f"results/msgbatch_1/incomplete-{RUN}.jsonl",
    f"results/msgbatch_1/{'0' * 64}.json",
    "results/msgbatch_1/unverified.json",
    f"results/default-0123456789ab/{RUN}.jsonl",
]


@pytest.mark.parametrize("name", OF_AN_EARLIER_VERSION)
def test_what_an_earlier_version_put_there_without_an_account_is_foreign(name: str) -> None:
    assert parse_path(name) is None
    assert groups.account_of_results(name) is None


async def manifest_of(store: ObjectStore, count: int) -> Manifest:
    return await write_inline_manifest(store, [{"custom_id": f"r-{n}", "params": {}} for n in range(count)])


async def test_requests_and_their_ids_are_named_by_the_hash_of_the_requests(store: ObjectStore) -> None:
    line = b'{"custom_id":"r-0","params":{}}\n'
    sha256 = hashlib.sha256(line).hexdigest()

    manifest = await write_inline_manifest(store, [json.loads(line)])

    written = [name for name in names_in(store) if name != paths.STORE_ID]
    assert sha256 == "4f320492c52de47d87a5593423a16af39571eecddf204eb30317b6c1e9a95caa"
    assert written == [f"manifests/{sha256}.ids", f"manifests/{sha256}.jsonl"]
    assert [parse_path(name) for name in written] == [
        ParsedPath(GroupKey.of_manifest(sha256), PathKind.IDS),
        ParsedPath(GroupKey.of_manifest(sha256), PathKind.REQUESTS),
    ]
    assert manifest_at(manifest.uri) == GroupKey.of_manifest(manifest.sha256) == ("manifest", sha256)
    assert manifest_at(manifest.ids_uri) is None
    assert await store.read(store.name(manifest.uri)) == line
    assert await read_ids(store, manifest) == ["r-0"]
    assert await load_manifest(store, manifest.uri) == manifest


@pytest.mark.parametrize(("workflow_id", "part"), WORKFLOW_IDS.items(), ids=range(len(WORKFLOW_IDS)))
async def test_the_record_of_a_first_read_belongs_to_its_run(store: ObjectStore, workflow_id: str, part: str) -> None:
    read = store.uri(f"manifests/{'1' * 64}.jsonl")

    await FirstRead(store, workflow_id, RUN).record(store.uri("incoming/daily.jsonl"), read)

    name = f"manifests/{part}-{RUN}.json"
    assert names_in(store) == [name]
    assert json.loads(await store.read(name) or b"") == {"requests": f"manifests/{'1' * 64}.jsonl"}
    assert parse_path(name) == ParsedPath(GroupKey.of_run(workflow_id, RUN), PathKind.FIRST_READ)
    assert await FirstRead(store, workflow_id, RUN).found() == read


def shard_of(results_uri: str, wave: int, number: int) -> ShardRecord:
    return ShardRecord(
        wave=wave,
        number=number,
        workflow_id=f"job-1-{wave}-{number}",
        batch_id="msgbatch_1",
        requests=1,
        results_file=ResultsFile(uri=results_uri, bytes=len(RESULT), lines=1, sha256="0" * 64),
        summary=Summary(),
    )


@pytest.mark.parametrize(("workflow_id", "part"), WORKFLOW_IDS.items(), ids=range(len(WORKFLOW_IDS)))
async def test_what_a_job_records_belongs_to_it_whatever_its_requests(
    store: ObjectStore, workflow_id: str, part: str
) -> None:
    folder = job_paths.job_folder(workflow_id, "0123456789abcdef" + "f" * 48)
    records, job = JobRecords(store, folder), GroupKey.of_job(workflow_id)
    landed = await land(
        store, arriving(RESULT), account=TEAM_PART, batch_id="msgbatch_1", manifest=None, expected_count=1
    )
    await records.record_plan(1, [])
    await records.record_landed(shard_of(landed.results_file.uri, 1, 12))
    merged = job_paths.new_merged_path(folder)

    assert folder == f"jobs/{part}-0123456789abcdef"
    assert [name for name in names_in(store) if name.startswith("jobs/")] == [
        f"{folder}/1-12.json",
        f"{folder}/1.plan",
    ]
    assert job == ("job", part)
    assert parse_path(f"{folder}/1.plan") == ParsedPath(job, PathKind.PLAN)
    assert parse_path(f"{folder}/1-12.json") == ParsedPath(job, PathKind.SHARD)
    assert parse_path(job_paths.merged_publication_path(folder, "0" * 64)) == ParsedPath(job, PathKind.PUBLICATION)
    assert parse_path(merged) == ParsedPath(job, PathKind.RESULTS)
    assert parse_path(job_paths.shard_list_path(merged)) == ParsedPath(job, PathKind.RESULTS)
    assert batch_at(landed.results_file.uri) == GroupKey.of_batch("team-a", "msgbatch_1")
    assert batch_at(store.uri(merged)) is None


async def test_the_stores_id_belongs_to_no_group_and_is_never_purged(store: ObjectStore) -> None:
    store_id = await store.identity()

    assert paths.STORE_ID == "store.json"
    assert names_in(store) == ["store.json"]
    assert json.loads(await store.read("store.json") or b"") == {"id": store_id}
    assert await open_store(store.uri("")).identity() == store_id
    assert parse_path("store.json") is None


@pytest.mark.parametrize(
    "namespace_id", ["7f6a5c1e-0000-4000-8000-000000000001", "default", "team-a.a1b2c", "x" * 200, "two words", "für"]
)
async def test_a_namespace_is_found_by_its_id_and_never_purged(store: ObjectStore, namespace_id: str) -> None:
    record = NamespaceRecord(name="default", address="127.0.0.1:7233", encrypted=True)
    namespaces = NamespaceRecords(store)

    name = store.name(namespaces.uri(namespace_id))
    await store.create(name, record.model_dump_json().encode())

    assert names_in(store) == [name] == [f"namespaces/{namespace_id}.json"]
    assert await namespaces.all() == {namespace_id: record}
    assert await namespaces.encrypted("default") == namespaces.uri(namespace_id)
    assert parse_path(name) is None


async def test_a_worker_records_its_namespace_under_the_servers_id(store: ObjectStore, temporal: DevServer) -> None:
    await NamespaceRecords(store).record_once(temporal.client)

    namespace_id = await id_of(temporal.client)
    assert UUID.fullmatch(namespace_id)
    assert names_in(store) == [f"namespaces/{namespace_id}.json"]
    assert list(await NamespaceRecords(store).all()) == [namespace_id]


@pytest.mark.parametrize(
    ("name", "of"),
    [
        (f"submissions/default/1-{'0' * 64}/run-1-{RUN}-1.json", None),
        (f"submissions/default/1-{'0' * 64}/run-1-{RUN}-1.outcome.json", None),
        (f"claims/{TEAM_PART}/msgbatch_1.json", GroupKey.of_batch("team-a", "msgbatch_1")),
        (f"claims/{TEAM_PART}/{'x' * 60}-{hashed('x' * 128)}.json", GroupKey.of_batch("team-a", "x" * 128)),
        (f"results/{TEAM_PART}/msgbatch_1/{RUN}.jsonl", GroupKey.of_batch("team-a", "msgbatch_1")),
        (
            f"results/{TEAM_PART}/{'x' * 60}-{hashed('x' * 128)}/incomplete-{RUN}.jsonl",
            GroupKey.of_batch("team-a", "x" * 128),
        ),
        (f"results/{TEAM_PART}/msgbatch_1/{'0' * 64}.json", GroupKey.of_batch("team-a", "msgbatch_1")),
        (f"results/{TEAM_PART}/msgbatch_1/unverified.json", GroupKey.of_batch("team-a", "msgbatch_1")),
        (f"manifests/{'0' * 64}.jsonl", None),
        (f"manifests/{'0' * 64}.ids", None),
        (f"manifests/run-1-{RUN}.json", None),
        (f"jobs/job-1-{'0' * 16}/0.plan", None),
        (f"jobs/job-1-{'0' * 16}/{RUN}.jsonl", None),
    ],
)
async def test_an_interrupted_upload_is_a_leftover_of_its_object(
    store: ObjectStore, name: str, of: GroupKey | None
) -> None:
    under_way: list[str] = []

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):  # Two chunks are read before anything is written.
            yield b"x"
        async for page in store.listing(name.partition("/")[0]):
            under_way.extend(stored.name for stored in page)

    await store.write(name, chunks())

    assert under_way == [f"{name}#1"]
    leftover = GroupKey("leftover", under_way[0])
    assert parse_path(under_way[0]) == ParsedPath(leftover, PathKind.LEFTOVER)
    assert batch_of(leftover) == of
    whole = parse_path(name)
    assert whole is not None
    assert batch_of(whole.key) == of


def test_every_kind_of_object_that_a_purge_knows_is_written_here() -> None:
    assert [kind.name for kind in PathKind] == [
        *(
            "FIRST_READ",
            "SHARD",
            "PLAN",
            "INTENT",
            "OUTCOME",
            "PUBLICATION",
            "RESULTS",
            "CLAIM",
            "REQUESTS",
            "IDS",
            "LEFTOVER",
        )
    ]
    assert {kind.category for kind in PathKind} == set(ObjectCategory) - {ObjectCategory.OTHER}
