import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from message_batches.errors import InvalidRequests, RequestsNotFound
from message_batches.models import Manifest
from message_batches.requests import forms
from message_batches.requests.manifest import (
    content_of,
    content_of_items,
    load_manifest,
    read_ids,
    request_body,
    store_manifest,
    write_inline_manifest,
    write_manifest,
)
from message_batches.requests.reader import read_requests
from message_batches.storage.object_store import ObjectStore


def requests(count: int) -> list[dict[str, Any]]:
    text = "line\u2028 \u0085 'ü' \"quoted\"\n"
    return [
        {"custom_id": f"r-{n * 7919 % count}", "params": {"model": "m", "n": n, "text": text}} for n in range(count)
    ]


def jsonl(items: list[Any], *, end: bytes = b"\n", last: bool = True) -> bytes:
    data = end.join(json.dumps(item, ensure_ascii=False).encode() for item in items)
    return data + end if last else data


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def whole(store: ObjectStore, manifest: Manifest) -> bytes:
    chunks = [chunk async for chunk in request_body(store, manifest)]
    assert chunks[-1] == b"]}"
    data = b"".join(chunks)
    assert len(data) == manifest.body_bytes
    return data


@pytest.mark.parametrize("size", [1, 17, 100_000])
@pytest.mark.parametrize("count", [1, 2, 100])
@pytest.mark.parametrize("last", [True, False])
async def test_the_body_holds_the_requests_unchanged(store: ObjectStore, size: int, count: int, last: bool) -> None:
    items = requests(count)
    data = jsonl(items, last=last)
    manifest = await write_manifest(store, pieces(data, size))
    assert manifest.count == count
    assert await whole(store, manifest) == b'{"requests":[' + b",".join(data.removesuffix(b"\n").split(b"\n")) + b"]}"
    assert json.loads(await whole(store, manifest)) == {"requests": items}


async def test_the_manifest_is_named_by_its_content(store: ObjectStore) -> None:
    data = jsonl(requests(50))
    manifest = await write_manifest(store, pieces(data))
    assert manifest.sha256 == hashlib.sha256(data).hexdigest()
    assert manifest.uri == store.uri(f"manifests/{manifest.sha256}.jsonl")
    assert await store.read(store.name(manifest.uri)) == data
    assert manifest.store_id == await store.identity()
    messy = b"\xef\xbb\xbf\n" + jsonl(requests(50), end=b" \r\n\n\t", last=False)
    assert await write_manifest(store, pieces(messy)) == manifest


async def test_the_content_is_the_same_however_the_requests_are_written_and_wherever_they_come_from(
    store: ObjectStore, tmp_path: Path
) -> None:
    items = requests(50)
    manifest = await write_manifest(store, pieces(jsonl(items)))
    turned = [{"params": dict(reversed(item["params"].items())), "custom_id": item["custom_id"]} for item in items]
    spelled = "\n".join(json.dumps(item, indent=None, separators=(" ,  ", " : ")) for item in turned).encode()
    (tmp_path / "requests.json").write_text(json.dumps({"requests": turned}, indent=3))
    with read_requests(str(tmp_path / "requests.json")) as read:
        known = await store_manifest(store, read)
    others = [
        await write_manifest(store, pieces(spelled, 7)),
        await write_inline_manifest(store, items),
        await load_manifest(store, manifest.uri),
        known,
    ]

    assert {other.content for other in others} == {manifest.content} == {manifest.content_sha256}
    assert await content_of(store, manifest.uri) == content_of_items(items) == manifest.content
    assert (await write_manifest(store, pieces(jsonl(items[::-1])))).content != manifest.content
    assert len({other.sha256 for other in others}) > 2


async def test_the_manifest_of_an_older_version_has_the_identity_of_its_bytes(store: ObjectStore) -> None:
    manifest = await write_manifest(store, pieces(jsonl(requests(2))))
    older = manifest.model_dump(mode="json", exclude={"content_sha256"})

    assert "contentSha256" not in older
    assert Manifest.model_validate(older).content == manifest.sha256


async def test_the_ids_are_stored_in_the_same_order(store: ObjectStore) -> None:
    items = requests(100)
    manifest = await write_manifest(store, pieces(jsonl(items)))
    ids = [item["custom_id"] for item in items]
    assert await read_ids(store, manifest) == ids
    assert manifest.ids_sha256 == hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    turned = await write_manifest(store, pieces(jsonl(items[::-1])))
    assert turned.ids_sha256 == manifest.ids_sha256
    assert turned.sha256 != manifest.sha256


async def test_a_manifest_of_several_chunks(store: ObjectStore) -> None:
    items = requests(30_000)
    manifest = await write_manifest(store, pieces(jsonl(items), 300_000))
    assert manifest.body_bytes > 2_500_000
    assert json.loads(await whole(store, manifest)) == {"requests": items}


def file_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def replace(uri: str, data: bytes | None) -> None:
    if data is None:
        file_of(uri).unlink()
    else:
        file_of(uri).write_bytes(data)


async def test_an_existing_manifest_is_not_written_again(store: ObjectStore) -> None:
    manifest = await write_manifest(store, pieces(jsonl(requests(5))))
    before = file_of(manifest.uri).stat().st_ino
    assert await load_manifest(store, manifest.uri) == manifest
    assert await write_manifest(store, pieces(jsonl(requests(5)))) == manifest
    assert file_of(manifest.uri).stat().st_ino == before


async def test_a_missing_half_is_written_again(store: ObjectStore) -> None:
    data = jsonl(requests(5))
    manifest = await write_manifest(store, pieces(data))
    for uri in (manifest.uri, manifest.ids_uri):
        replace(uri, None)
        assert await write_manifest(store, pieces(data)) == manifest
        assert json.loads(await whole(store, manifest))
        assert len(await read_ids(store, manifest)) == 5


async def test_a_file_in_the_store_is_checked_whatever_its_name(store: ObjectStore) -> None:
    name = f"manifests/{'0' * 64}.jsonl"
    await store.create(name, jsonl(requests(3)) + b"{}")
    with pytest.raises(InvalidRequests, match="line 4, custom_id: missing"):
        await load_manifest(store, store.uri(name))
    assert await store.names("manifests/") == [name]


async def test_a_requests_uri_that_leads_nowhere_is_refused(store: ObjectStore) -> None:
    for uri in (store.uri("none.jsonl"), "file:///etc/passwd"):
        with pytest.raises(RequestsNotFound) as caught:
            await load_manifest(store, uri)
        assert uri in str(caught.value)
        assert store.uri("") in str(caught.value)


async def test_bad_requests_leave_nothing_in_the_store(store: ObjectStore) -> None:
    with pytest.raises(InvalidRequests):
        await write_manifest(store, pieces(b"x\n" * 1000))
    with pytest.raises(InvalidRequests, match="no requests"):
        await write_manifest(store, pieces(b""))
    with pytest.raises(InvalidRequests, match="no requests"):
        await write_inline_manifest(store, [])
    assert await store.names("manifests/") == []


async def test_a_file_of_another_form_in_the_store_is_named_once(store: ObjectStore) -> None:
    items = requests(5)
    other = b"\n".join(json.dumps({"custom_id": item["custom_id"], "body": {}}).encode() for item in items)
    files = {
        forms.SEVERAL_LINES: b"\n".join(json.dumps(item, indent=2).encode() for item in items),
        forms.BODY: json.dumps({"requests": items}).encode(),
        forms.OTHER_API: other,
    }
    for form, data in files.items():
        with pytest.raises(InvalidRequests) as caught:
            await write_manifest(store, pieces(data))
        assert caught.value.problems == (f"line 1: {form}",)


async def test_inline_requests_become_a_manifest(store: ObjectStore) -> None:
    items = requests(20)
    manifest = await write_inline_manifest(store, items)
    assert json.loads(await whole(store, manifest)) == {"requests": items}
    assert await read_ids(store, manifest) == [item["custom_id"] for item in items]


async def test_problems_of_inline_requests_are_named_by_position(store: ObjectStore) -> None:
    good = {"custom_id": "a", "params": {}}
    with pytest.raises(InvalidRequests) as caught:
        await write_inline_manifest(store, [good, {}, 7, good, {"custom_id": "b", "params": {"x": "\ud83d", "y": 1}}])
    assert caught.value.problems[:4] == (
        "requests[1].custom_id: missing",
        "requests[1].params: missing",
        "requests[2]: not an object but a number",
        "requests[3].custom_id: 'a' is also the custom_id of requests[0]",
    )
    assert caught.value.problems[4].startswith("requests[4]: cannot be written as JSON")
    with pytest.raises(InvalidRequests, match=r"requests\[0\]: "):
        await write_inline_manifest(store, [{"custom_id": "a", "params": {"x": float("nan")}}])


async def send(store: ObjectStore, manifest: Manifest, sent: list[bytes]) -> None:
    async for chunk in request_body(store, manifest):
        sent.append(chunk)


async def test_a_changed_manifest_never_makes_a_complete_body(store: ObjectStore) -> None:
    manifest = await write_manifest(store, pieces(jsonl(requests(5))))
    for change in (b"", jsonl(requests(5))[:-1], jsonl(requests(4)), jsonl(requests(5)).replace(b"r-1", b"r-9")):
        replace(manifest.uri, change)
        sent: list[bytes] = []
        with pytest.raises(RequestsNotFound, match=re.escape(manifest.uri)):
            await send(store, manifest, sent)
        assert not b"".join(sent).endswith(b"]}")
    replace(manifest.uri, None)
    with pytest.raises(RequestsNotFound, match=re.escape(manifest.uri)):
        [chunk async for chunk in request_body(store, manifest)]


async def test_changed_ids_are_refused(store: ObjectStore) -> None:
    manifest = await write_manifest(store, pieces(jsonl(requests(5))))
    replace(manifest.ids_uri, b"r-1\n")
    with pytest.raises(RequestsNotFound, match=re.escape(manifest.ids_uri)):
        await read_ids(store, manifest)
    replace(manifest.ids_uri, None)
    with pytest.raises(RequestsNotFound, match=re.escape(manifest.ids_uri)):
        await read_ids(store, manifest)


async def test_a_source_failure_is_passed_on(store: ObjectStore) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" \n" * 1_000_000
        raise ZeroDivisionError("source")

    with pytest.raises(ZeroDivisionError, match="source"):
        await write_manifest(store, breaking())
