import asyncio
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import pytest

from message_batches.errors import RequestsNotFound, StoreUnavailable
from message_batches.requests.manifest import write_inline_manifest
from message_batches.settings import Settings
from message_batches.storage.failures import first_line
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.storage.scratch import scratch_file
from message_batches.storage.urls import InvalidStoreUrl
from tests.harness import local_s3
from tests.harness.processes import lasting_port
from tests.harness.stack import ACCOUNT

UUID = "5f0a7b0e-6f0e-4a53-9a5e-0d5a3c7d1c55"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with local_s3.buckets("bucket") as client:
        yield client


def s3_store(client: Any, url: str, **options: Any) -> ObjectStore:
    return open_store(url, endpoint=client.meta.endpoint_url, **local_s3.KEYS, **options)


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return (tmp_path / "a store, 100% new").as_uri()
    return f"s3://bucket/{uuid4()}/prefix"


@pytest.fixture
def store(url: str, s3: Any) -> ObjectStore:
    return open_store(url) if url.startswith("file:") else s3_store(s3, url)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def test_a_written_object_is_read_back(store: ObjectStore) -> None:
    await store.write("a/b.jsonl", pieces(b"one\n", b"", b"two\n"))
    assert await store.read("a/b.jsonl") == b"one\ntwo\n"
    assert await store.read("a/none") is None
    await store.write("a/b.jsonl", pieces(b"three"))
    assert await store.read("a/b.jsonl") == b"three"


async def test_an_empty_object_exists(store: ObjectStore) -> None:
    await store.write("empty", pieces())
    assert await store.read("empty") == b""
    assert [chunk async for chunk in store.stream("empty")] == []


async def test_a_large_object_streams_in_chunks(store: ObjectStore) -> None:
    block = os.urandom(1_000_000)
    await store.write("large", pieces(*[block] * 20))
    chunks = [chunk async for chunk in store.stream("large")]
    assert b"".join(chunks) == block * 20
    assert max(map(len, chunks)) < 8_000_000
    assert all(type(chunk) is bytes for chunk in chunks)


async def test_streaming_a_missing_object_is_file_not_found(store: ObjectStore) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        [chunk async for chunk in store.stream("none")]


async def test_one_of_many_concurrent_creates_succeeds(store: ObjectStore) -> None:
    won = await asyncio.gather(*(store.create("claims/x", str(n).encode()) for n in range(12)))
    assert won.count(True) == 1
    assert await store.read("claims/x") == str(won.index(True)).encode()


async def test_names_lists_a_folder_and_not_its_neighbours(store: ObjectStore) -> None:
    for name in ("a/2", "a/1", "a/deep/3", "ab/4", "b"):
        await store.create(name, b"")
    assert await store.names("a/") == ["a/1", "a/2", "a/deep/3"]
    assert await store.names("none/") == []


async def test_identity_is_written_once_and_shared(store: ObjectStore, url: str, s3: Any) -> None:
    twins = [store, open_store(url) if url.startswith("file:") else s3_store(s3, url)]
    ids = await asyncio.gather(*(twin.identity() for twin in twins * 5))
    assert len(set(ids)) == 1
    assert await store.identity() == ids[0]


class _FirstAnswerIsLate(ObjectStore):
    """A store whose first read answers only once another call has had the identity."""

    late = True

    async def _read(self, name: str) -> bytes | None:
        answer = await super()._read(name)
        if self.late:
            self.late = False
            await self.identity()
        return answer


async def test_an_identity_that_is_written_during_a_read_is_not_a_lost_one(tmp_path: Path) -> None:
    store = _FirstAnswerIsLate(None, tmp_path.as_uri(), tmp_path)

    assert await store.identity() == await open_store(tmp_path.as_uri()).identity()


async def test_a_store_that_lost_its_identity_is_unavailable(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    await store.identity()
    (tmp_path / "store.json").unlink()
    with pytest.raises(StoreUnavailable, match="mounted"):
        await store.identity()


RECORDS = (
    f"submissions/default/1-{'a' * 64}/a-run-{UUID}-1.json",
    f"claims/{ACCOUNT.part}/msgbatch_1.json",
    f"results/{ACCOUNT.part}/msgbatch_1/{UUID}.jsonl",
    f"manifests/{'a' * 64}.ids",
    f"namespaces/{UUID}.json",
)


@pytest.mark.parametrize("record", RECORDS)
async def test_a_store_with_records_is_never_given_another_identity(
    store: ObjectStore, url: str, s3: Any, record: str
) -> None:
    store_id = await store.identity()
    await store.create(record, b"{}")
    await store.remove("store.json")

    next_process = open_store(url) if url.startswith("file:") else s3_store(s3, url)
    with pytest.raises(StoreUnavailable, match=r"store\.json is gone.*Restore it from a backup, or write"):
        await next_process.identity()
    with pytest.raises(StoreUnavailable, match="is gone"):
        await next_process.identity()

    await store.create("store.json", f'{{"id": "{store_id}"}}'.encode())
    assert await next_process.identity() == store_id


async def test_a_new_store_with_files_of_others_gets_an_identity(store: ObjectStore) -> None:
    for name in ("manifests/mine.jsonl", "requests.jsonl", "results/notes.txt"):
        await store.create(name, b"")

    assert await store.identity()


async def test_of_many_first_starts_all_find_one_identity(url: str, s3: Any) -> None:
    stores = [open_store(url) if url.startswith("file:") else s3_store(s3, url) for _ in range(8)]

    manifests = await asyncio.gather(
        *(write_inline_manifest(each, [{"custom_id": f"{n}", "params": {}}]) for n, each in enumerate(stores))
    )

    assert len({manifest.store_id for manifest in manifests}) == 1


async def test_a_store_that_is_not_there_is_no_store_without_objects(store: ObjectStore, url: str, s3: Any) -> None:
    await store.identity()
    await store.create("manifests/a", b"1")
    assert await store.read("none") is None
    assert await store.names("claims/") == []

    for name in await store.names("manifests/"):
        await store.remove(name)
    if url.startswith("file:"):
        folder = unquote(url.removeprefix("file://"))
        os.rename(folder, f"{folder}-moved")
    else:
        await store.remove("store.json")

    with pytest.raises(StoreUnavailable, match="is gone"):
        await store.read("manifests/a")
    with pytest.raises(StoreUnavailable, match="is gone"):
        [chunk async for chunk in store.stream("manifests/a")]
    with pytest.raises(StoreUnavailable, match="is gone"):
        await store.names("manifests/")


async def test_another_store_in_its_place_is_no_store_without_objects(store: ObjectStore) -> None:
    await store.identity()
    await store.remove("store.json")
    await store.create("store.json", b'{"id": "another"}')

    with pytest.raises(StoreUnavailable, match="another store"):
        await store.read("manifests/a")


@pytest.mark.parametrize("content", ["{}", '{"id": null}', '{"id": ""}', '{"id": 7}', "[", "[" * 100_000, '["id"]'])
async def test_a_damaged_identity_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreUnavailable, match=r"store\.json"):
        await open_store(tmp_path.as_uri()).identity()


@pytest.mark.parametrize("name", ["a", "a/b.json", "with space/x y", "100%/a%20b", "a?b", "ü/é", "a#b", "a+b=c@d:e"])
async def test_uri_and_name_round_trip(store: ObjectStore, name: str) -> None:
    assert store.name(store.uri(name)) == name
    await store.create(name, b"x")
    assert await store.read(name) == b"x"


async def test_the_uri_of_a_file_leads_to_it(tmp_path: Path) -> None:
    root = tmp_path / "a b%20c#d"
    store = open_store(root.as_uri())
    await store.create("x y/z%.json", b"here")
    assert (root / "x y" / "z%.json").read_bytes() == b"here"
    assert store.uri("x y/z%.json") == (root / "x y" / "z%.json").as_uri()
    assert store.name(f"file://localhost{quote(str(root))}/n") == "n"


BAD_NAMES = ["/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a\nb", "a\\b", "a#1", "x" * 241]


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_an_invalid_name_is_refused(store: ObjectStore, name: str) -> None:
    for use in (store.read, lambda n: store.create(n, b""), lambda n: store.write(n, pieces())):
        with pytest.raises(ValueError, match="not a name"):
            await use(name)


async def test_addresses_outside_the_store_are_refused_naming_both(store: ObjectStore) -> None:
    root = store.uri("")
    outside = ["", "a", "/etc/passwd", "file:///etc/passwd", "s3://other/x", root, f"{root}/", f"{root}x/y"]
    outside += [f"{root}/../x", f"{root}/a/../../x", f"{root}//x"]
    if root.startswith("file:"):
        outside += [f"{root}/%2e%2e/x", f"{root}/a%2f..%2fx", f"{root}/x?y", f"{root}/x#y", f"{root}/a%00"]
    for uri in outside:
        with pytest.raises(RequestsNotFound) as caught:
            store.name(uri)
        assert root in str(caught.value)
        assert uri in str(caught.value)


async def failing(error: Exception) -> AsyncIterator[bytes]:
    for _ in range(12):
        yield b"x" * 1_000_000
    raise error


async def stalling(reached: asyncio.Event) -> AsyncIterator[bytes]:
    for _ in range(12):
        yield b"x" * 1_000_000
    reached.set()
    await asyncio.Event().wait()


def litter(store: ObjectStore, s3: Any) -> list[str]:
    root = store.uri("")
    if root.startswith("s3:"):
        keys = [found["Key"] for found in s3.list_objects_v2(Bucket="bucket").get("Contents", ())]
        uploads = [found["Key"] for found in s3.list_multipart_uploads(Bucket="bucket").get("Uploads", ())]
        return [key for key in keys + uploads if key.endswith("broken")]
    assert store._folder
    return [str(path) for path in store._folder.rglob("*") if path.is_file()]


async def test_a_write_whose_source_fails_leaves_nothing(store: ObjectStore, s3: Any) -> None:
    with pytest.raises(ZeroDivisionError, match="source"):
        await store.write("broken", failing(ZeroDivisionError("source")))
    assert litter(store, s3) == []


async def test_a_write_takes_plain_chunks_too(store: ObjectStore) -> None:
    await store.write("a/b.jsonl", (b"x" * 1_000_000 for _ in range(20)))
    assert await store.read("a/b.jsonl") == b"x" * 20_000_000


async def test_a_write_of_plain_chunks_that_fail_leaves_nothing(store: ObjectStore, s3: Any) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * 10_000_000
        raise ZeroDivisionError("source")

    with pytest.raises(ZeroDivisionError, match="source"):
        await store.write("broken", chunks())
    assert litter(store, s3) == []


async def test_a_cancelled_write_of_plain_chunks_waits_for_its_thread_and_leaves_nothing(
    store: ObjectStore, s3: Any
) -> None:
    started, released, done = threading.Event(), threading.Event(), threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"x" * 10_000_000
        started.set()
        released.wait()
        done.set()
        yield b"y"

    writing = asyncio.create_task(store.write("broken", chunks()))
    await asyncio.to_thread(started.wait)
    writing.cancel()
    asyncio.get_running_loop().call_later(0.1, released.set)
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert done.is_set()
    assert litter(store, s3) == []


async def test_a_cancelled_write_leaves_nothing(store: ObjectStore, s3: Any) -> None:
    reached = asyncio.Event()
    writing = asyncio.create_task(store.write("broken", stalling(reached)))
    await reached.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert litter(store, s3) == []


async def test_stalled_writes_do_not_block_other_calls(store: ObjectStore) -> None:
    await store.create("small", b"1")
    marks = [asyncio.Event() for _ in range(8)]
    writing = [asyncio.create_task(store.write(f"stalled/{n}", stalling(mark))) for n, mark in enumerate(marks)]
    await asyncio.gather(*(mark.wait() for mark in marks))
    async with asyncio.timeout(20):
        assert await store.read("small") == b"1"
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)


async def test_a_missing_bucket_is_unavailable_and_not_empty(s3: Any) -> None:
    store = s3_store(s3, "s3://no-such-bucket/x")
    for call in (store.read("a"), store.create("a", b""), store.names("a/"), store.write("a", pieces(b"x"))):
        with pytest.raises(StoreUnavailable, match="s3://no-such-bucket/x/a"):
            await call
    with pytest.raises(StoreUnavailable):
        [chunk async for chunk in store.stream("a")]


async def test_a_store_that_does_not_answer_is_unavailable_within_seconds() -> None:
    store = open_store("s3://bucket/x", endpoint="http://127.0.0.1:9", **local_s3.KEYS)
    async with asyncio.timeout(20):
        for call in (store.read("a"), store.create("a", b""), store.write("a", failing(RuntimeError("not reached")))):
            with pytest.raises(StoreUnavailable, match="s3://bucket/x/a"):
                await call


async def test_s3_is_configured_by_the_usual_environment(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.meta.endpoint_url)
    for key, value in local_s3.KEYS.items():
        monkeypatch.setenv(f"AWS_{key.upper()}", value)
    store = open_store(f"s3://bucket/{uuid4()}")
    assert await store.identity() == await store.identity()


async def test_a_bucket_is_reached_through_the_proxy_of_the_settings_and_loopback_directly(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = f"http://me:hidden@127.0.0.1:{lasting_port()}"
    for variable in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, dead)
    name = f"bucket-{uuid4()}"
    s3.create_bucket(Bucket=name)
    endpoint = s3.meta.endpoint_url

    def options(**environment: str) -> dict[str, Any]:
        return Settings.from_environment(environment).network.store_options

    direct = open_store(f"s3://{name}", endpoint=endpoint, client_options=options(ALL_PROXY=dead), **local_s3.KEYS)
    unproxied = open_store(f"s3://{name}", endpoint=endpoint, client_options=options(HTTP_PROXY=dead), **local_s3.KEYS)
    proxied = open_store(
        f"s3://{name}", endpoint="http://s3.example", client_options=options(ALL_PROXY=dead), **local_s3.KEYS
    )

    assert await direct.create("a", b"1")
    assert await unproxied.read("a") == b"1"
    with pytest.raises(StoreUnavailable, match=r"through the proxy http://127\.0\.0\.1:\d+$") as caught:
        await proxied.read("a")
    assert "hidden" not in str(caught.value)


async def test_nothing_is_written_read_or_removed_behind_a_link(tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "theirs").write_bytes(b"theirs")
    store = open_store((tmp_path / "store").as_uri())
    await store.create("results/batch/ours", b"ours")
    (tmp_path / "store" / "results" / "batch").rename(tmp_path / "moved")
    (tmp_path / "store" / "results" / "batch").symlink_to(elsewhere)
    (tmp_path / "store" / "claims").mkdir()
    (tmp_path / "store" / "claims" / "linked").symlink_to(elsewhere / "theirs")

    for use in (
        store.create("results/batch/new", b"x"),
        store.write("results/batch/theirs", pieces(b"x")),
        store.remove("results/batch/theirs"),
    ):
        with pytest.raises(StoreUnavailable):
            await use
    assert await store.read("results/batch/theirs") is None
    assert await store.read("claims/linked") is None
    assert not await store.create("claims/linked", b"x")
    await store.write("claims/linked", pieces(b"ours now"))

    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == {"theirs": b"theirs"}
    assert await store.read("claims/linked") == b"ours now"


async def test_a_folder_at_an_objects_path_is_unavailable(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    await store.create("a", b"")
    with pytest.raises(StoreUnavailable, match="/a/b"):
        await store.create("a/b", b"")


FILL = """
import asyncio, sys
from message_batches.errors import StoreUnavailable
from message_batches.storage.object_store import open_store

async def large():
    for _ in range(40):
        yield b"x" * 1_000_000

async def main():
    store = open_store("file://" + sys.argv[1])
    try:
        await store.write("large", large())
    except StoreUnavailable as error:
        print(error)
    print(await store.names("a/"), await store.create("a/small", b"1"))

asyncio.run(main())
"""


def test_a_full_disk_is_reported_and_the_partial_file_is_removed(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=4m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    inside = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        subprocess.run([*inside, str(tmp_path), "true", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system of one's own cannot be mounted here")
    done = subprocess.run(
        [*inside, str(tmp_path), sys.executable, FILL], check=True, capture_output=True, text=True, timeout=60
    )
    assert " full " in done.stdout
    assert done.stdout.endswith("[] True\n")


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "relative/path", "ftp://x/y", "https://x/y", "memory:///", "file://host/x", "file:x", "s3://"],
)
def test_an_invalid_store_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidStoreUrl):
        open_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "sk-ant-SECRET",
        "s3://AKIA:SECRET@bucket/prefix",
        "s3://SECRET@bucket/prefix",
        "s3://AKIA:SECRET/with/slashes@bucket/prefix",
        "az://container/prefix?sv=2026&sig=SECRET",
        "gs://bucket/prefix#SECRET",
        "https://account.blob.core.windows.net/container?sig=SECRET",
        "file://user:SECRET@host/path",
        "s3://[SECRET",
    ],
)
def test_a_store_url_with_a_secret_in_it_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidStoreUrl, match="MESSAGE_BATCHES_STORE") as caught:
        open_store(url)

    assert "SECRET" not in str(caught.value)


def test_a_failure_message_has_neither_signature_nor_password() -> None:
    text = "GET http://user:SECRET@minio:9000/b?X-Amz-Signature=SECRET, then https://SECRET@proxy/\nuri: SECRET"

    assert first_line(text) == "GET http://minio:9000/b then https://proxy/"


async def test_a_created_directory_is_private_and_an_existing_one_is_unchanged(tmp_path: Path) -> None:
    (there := tmp_path / "there").mkdir()
    there.chmod(0o755)
    new = open_store((tmp_path / "new" / "store").as_uri())
    assert await new.known_identity() is None
    assert await new.names("results/") == []
    assert not (tmp_path / "new").exists()

    await new.identity()
    await open_store(there.as_uri()).identity()

    assert (tmp_path / "new" / "store").stat().st_mode & 0o777 == 0o700
    assert there.stat().st_mode & 0o777 == 0o755


def modes_in(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


async def test_what_is_put_into_an_existing_store_is_private_and_what_is_there_is_unchanged(tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a prompt"

    (old := tmp_path / "results" / "old").mkdir(parents=True)
    for folder in (tmp_path, old.parent, old):
        folder.chmod(0o755)
    before = os.umask(0)
    try:
        store = open_store(tmp_path.as_uri())
        await store.identity()
        await store.create("claims/a", b"{}")
        await store.write("results/old/b", chunks())
        await store.write("results/new/deep/c", chunks())
        with scratch_file(tmp_path / "scratch"):
            pass
    finally:
        os.umask(before)

    assert modes_in(tmp_path) == {
        "store.json": 0o600,
        "claims": 0o700,
        "claims/a": 0o600,
        "results": 0o755,
        "results/old": 0o755,
        "results/old/b": 0o600,
        "results/new": 0o700,
        "results/new/deep": 0o700,
        "results/new/deep/c": 0o600,
        "scratch": 0o700,
    }


@pytest.mark.parametrize("where", ["file/store", "file", "locked/store"])
async def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "locked").symlink_to("/proc/self")
    uri = (tmp_path / where).as_uri()
    with pytest.raises(StoreUnavailable, match=re.escape(uri)):
        await open_store(uri).identity()


def test_a_process_that_used_the_store_ends_cleanly(tmp_path: Path) -> None:
    """The reason why obstore is called in threads: awaited, it aborts some of these runs."""
    use = (
        "import asyncio, sys\nfrom message_batches.storage.object_store import open_store\n"
        "async def main():\n    store = open_store(sys.argv[1])\n    await store.create('a', b'1')\n"
        "    async for _ in store.stream('a'):\n        break\n"
        "asyncio.run(main())"
    )
    for _ in range(8):
        subprocess.run([sys.executable, "-c", use, tmp_path.as_uri()], check=True, timeout=60)
