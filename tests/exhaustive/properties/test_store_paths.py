"""Names in the store: each is one object in it, there and back, and none leads out of it."""

import asyncio
import os
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote
from uuid import uuid4

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from message_batches.errors import RequestsNotFound, StoreUnavailable
from message_batches.models import Anchor
from message_batches.storage.groups import GroupKey, PathKind, parse_path
from message_batches.storage.names import UPLOAD_SUFFIX, is_name
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.storage.paths import FOLDERS, claim_path, id_part
from message_batches.storage.submission_records import (
    BatchClaim,
    SubmissionIntent,
    SubmissionOutcome,
    SubmissionRecords,
    Submitter,
)
from tests.harness.stack import ACCOUNT

SECRET = b"what no caller may read"
PARTS = st.sampled_from(
    ["..", ".", "", "a", "b", "x.jsonl", "a#1", "%2e%2e", "%2F", "..%2f", "~", "C:", "\\", "\0", *FOLDERS]
)
NAMES = st.lists(PARTS | st.text(max_size=6), min_size=1, max_size=5).map("/".join)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    (folder / "secret").write_bytes(SECRET)
    (folder / "store-and-more").mkdir()
    (folder / "store-and-more" / "secret").write_bytes(SECRET)
    return folder


@pytest.fixture(scope="module")
def store(world: Path) -> ObjectStore:
    return open_store((world / "store").as_uri())


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


async def whole(store: ObjectStore, name: str) -> bytes:
    return b"".join([chunk async for chunk in store.stream(name)])


@given(name=NAMES, data=st.binary(max_size=20))
def test_a_name_is_one_object_in_the_store_or_is_refused(
    name: str, data: bytes, world: Path, store: ObjectStore
) -> None:
    before = files(world)
    try:
        uri = store.uri(name)
    except ValueError:
        for use in (store.create(name, data), store.read(name), whole(store, name)):
            with pytest.raises(ValueError, match="not a name"):
                asyncio.run(use)
        if not UPLOAD_SUFFIX.search(name):  # The remains of an interrupted upload may be removed.
            with pytest.raises(ValueError, match="not a name"):
                asyncio.run(store.remove(name))
        assert files(world) == before
        return
    assume(name)
    assert store.name(uri) == name
    assert asyncio.run(store.create(name, data))
    assert not asyncio.run(store.create(name, b"another"))
    assert files(world) == before | {f"store/{name}"}
    assert (world / "store" / name).read_bytes() == data
    assert asyncio.run(store.read(name)) == asyncio.run(whole(store, name)) == data
    asyncio.run(store.remove(name))
    assert files(world) == before - {f"store/{name}"}
    for left in sorted((world / "store").rglob("*"), reverse=True):
        left.rmdir()


@st.composite
def addresses(draw: st.DrawFn) -> str:
    """Generate values of `requestsUri`: a path from the store's root or next to it, in various spellings."""
    start = draw(
        st.sampled_from(["{root}/", "{root}", "{root}/../", "file://localhost{path}/", "FILE://{path}/", "{path}/"])
    )
    rest = draw(NAMES)
    for _ in range(draw(st.integers(0, 2))):
        rest = quote(rest, safe=draw(st.sampled_from(["/", "", "./%"])), errors="replace")
    end = draw(st.sampled_from(["", "", "?x", "#x", "%00", "/"]))
    return start + rest + end


@given(address=addresses() | st.text())
@example(address="{root}/%2e%2e/secret")
@example(address="{root}/%252e%252e/secret")
@example(address="{root}/a%2f..%2f..%2fsecret")
@example(address="{root}-and-more/secret")
@example(address="file:///etc/passwd")
@example(address="s3://bucket/requests.jsonl")
@example(address="file://elsewhere{path}/x")
@example(address="{root}/x%00")
def test_an_address_leads_into_the_store_or_is_refused(address: str, world: Path, store: ObjectStore) -> None:
    with suppress(KeyError, ValueError, IndexError):
        address = address.format(root=store.uri(""), path=world / "store")
    try:
        name = store.name(address)
    except RequestsNotFound:
        return

    assert is_name(name)
    assert Path(os.path.normpath(world / "store" / name)).is_relative_to(world / "store")
    with pytest.raises((FileNotFoundError, StoreUnavailable)):
        asyncio.run(whole(store, f"{name}/none"))


SPOTS = st.lists(st.sampled_from(["a", "b", "results", "manifests"]), min_size=1, max_size=3).map("/".join)
TARGETS = st.sampled_from(
    ["/", "..", "../..", "../secret", "../../secret", "a", "b", "../a", "results", "{world}/secret", "{world}"]
)


@given(
    links=st.lists(st.tuples(SPOTS, TARGETS), max_size=4),
    files=st.lists(SPOTS, max_size=3),
    name=SPOTS,
    end=st.sampled_from(["", "/secret"]),
)
def test_no_link_in_the_store_gives_access_to_files_outside(
    links: list[tuple[str, str]], files: list[str], name: str, end: str
) -> None:
    with TemporaryDirectory() as folder:
        world = Path(folder)
        (world / "secret").write_bytes(SECRET)
        store = open_store((world / "store").as_uri())
        root = world / "store"
        # Our own folders may be links, which an operator makes: those are not generated here.
        for spot, target in links:
            if spot not in FOLDERS:
                with suppress(OSError):
                    (root / spot).parent.mkdir(parents=True, exist_ok=True)
                    (root / spot).symlink_to(target.format(world=world))
        for spot in files:
            with suppress(OSError):
                (root / spot).parent.mkdir(parents=True, exist_ok=True)
                if not (root / spot).is_symlink():
                    (root / spot).write_bytes(b"fine")
        try:
            content = asyncio.run(whole(store, name + end))
        except FileNotFoundError:
            return

        assert content == b"fine"


IDENTITIES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.sampled_from(
    ["..", ".", "a/b", "a%2Fb", "a-1", "a", "A" * 1000, "ü" * 300, "batch#1", "\0", "a\nb", "a-" + "0" * 64]
)


@given(first=IDENTITIES, second=IDENTITIES)
def test_ids_that_differ_have_names_that_differ(first: str, second: str) -> None:
    assert is_name(f"{id_part(first)}.json")
    assert "/" not in id_part(first)
    assert (id_part(first) == id_part(second)) == (first == second)


@given(workflow_id=IDENTITIES, number=st.integers(1, 10**6), batch_id=st.from_regex(r"\A[A-Za-z0-9_-]{1,128}\Z"))
def test_the_records_of_a_run_are_found_by_its_id(
    workflow_id: str, number: int, batch_id: str, store: ObjectStore
) -> None:
    run = str(uuid4())
    records = SubmissionRecords(store)
    who = Submitter(api_key="default", count=3, ids_sha256="0" * 64, workflow_id=workflow_id, first_run_id=run)
    intent = SubmissionIntent(
        workflow_id=workflow_id,
        first_run_id=run,
        number=number,
        anchor=Anchor(created_at=NOW),
        sha256="1" * 64,
        time=NOW,
        timeout=timedelta(seconds=10),
        nonce="n",
    )

    async def recorded() -> None:
        before = set(await store.names("submissions/"))
        assert await records.record_intent(who, intent) is None
        await records.record_outcome(who, number, SubmissionOutcome(batch_id=batch_id))
        written = set(await store.names("submissions/")) - before
        assert {parse_path(name) for name in written} == {
            (GroupKey.of_run(workflow_id, run), PathKind.INTENT, None),
            (GroupKey.of_run(workflow_id, run), PathKind.OUTCOME, None),
        }
        again = await records.record_intent(who, intent.model_copy(update={"nonce": "another"}))
        assert again is not None
        assert again.intent == intent
        assert again.outcome == SubmissionOutcome(batch_id=batch_id)
        found = await records.records_of_workflows({workflow_id})
        assert again in found[workflow_id]
        owner = await records.claim(ACCOUNT, batch_id, who.claim)
        assert await records.claim(ACCOUNT, batch_id, BatchClaim(owner="somebody else", first_run_id="x")) == owner
        assert (owner == who.claim) or batch_id == "0"
        for name in [*written, f"claims/{ACCOUNT.part}/{id_part(batch_id)}.json"]:
            await store.remove(name)

    asyncio.run(recorded())


@given(name=NAMES | st.text())
def test_every_object_in_a_store_is_ours_or_foreign(name: str) -> None:
    found = parse_path(name)
    assert found is None or found.kind in PathKind


@given(content=st.binary(max_size=40))
@example(content=b"")
def test_a_damaged_record_stops_the_submission_and_is_named(content: bytes, store: ObjectStore) -> None:
    records = SubmissionRecords(store)

    async def damaged() -> None:
        name = claim_path(ACCOUNT.part, "b")
        await store.remove(name)
        await store.create(name, content)
        with pytest.raises(StoreUnavailable, match=rf"{re.escape(name)} is damaged"):
            await records.claim(ACCOUNT, "b", BatchClaim(owner="w", first_run_id="r"))

    asyncio.run(damaged())
