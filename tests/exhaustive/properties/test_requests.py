"""Reading of requests: split, checked and sent as they are in the file, or refused with the reason."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from message_batches.errors import InvalidRequests, RequestsNotFound
from message_batches.jsonl import Splitter
from message_batches.models import Manifest
from message_batches.requests.content import ContentHash
from message_batches.requests.manifest import (
    load_manifest,
    read_ids,
    request_body,
    write_inline_manifest,
    write_manifest,
)
from message_batches.requests.reader import UnreadableFile, read_requests
from message_batches.storage.object_store import ObjectStore, open_store
from tests.exhaustive.properties.lines import BLANKS, IDS, TEXT, VALUES, pieces, requests

BOM = b"\xef\xbb\xbf"
DEEP = "[" * 10_000 + "]" * 10_000

MANY = st.lists(IDS, min_size=1, max_size=5, unique=True).flatmap(lambda ids: st.tuples(*map(requests, ids)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("requests")


@pytest.fixture(scope="module")
def store(folder: Path) -> ObjectStore:
    return open_store((folder / "store").as_uri())


@st.composite
def jsonl(draw: st.DrawFn, items: tuple[dict[str, Any], ...]) -> tuple[bytes, list[bytes]]:
    """Generate requests as lines with blanks and empty lines around them; and the same lines without."""
    lines = [json.dumps(item, ensure_ascii=draw(st.booleans())).encode() for item in items]
    ends = [draw(st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \r\n"])) for _ in lines]
    ends[-1] = draw(st.sampled_from([b"", ends[-1]]))
    padded = [draw(BLANKS) + line + draw(BLANKS) + end for line, end in zip(lines, ends, strict=True)]
    return draw(st.sampled_from([b"", BOM])) + b"".join(padded), lines


@st.composite
def arrays(draw: st.DrawFn, items: tuple[dict[str, Any], ...]) -> bytes:
    """Generate requests as an array, or as an object that holds one."""
    whole = draw(st.sampled_from([list(items), {"requests": list(items)}]))
    text = json.dumps(whole, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 2, "\t"])))
    return draw(st.sampled_from([b"", BOM])) + draw(BLANKS) + text.encode() + draw(BLANKS)


async def chunks(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def sent(store: ObjectStore, manifest: Manifest) -> bytes:
    return b"".join([chunk async for chunk in request_body(store, manifest)])


@given(data=st.data(), content=st.binary(max_size=200) | st.text("\n\r\u2028\x85a", max_size=60).map(str.encode))
def test_bytes_in_any_pieces_give_the_lines_between_the_newline_bytes(data: st.DataObject, content: bytes) -> None:
    splitter = Splitter()

    lines = [bytes(line) for piece in data.draw(pieces(content)) for line in splitter.feed(piece)]

    *whole, rest = content.split(b"\n")
    assert lines == whole
    assert splitter.end() == ([rest] if rest else [])


@given(data=st.data(), items=MANY)
def test_lines_are_stored_and_sent_byte_for_byte(
    data: st.DataObject, items: tuple[dict[str, Any], ...], folder: Path, store: ObjectStore
) -> None:
    content, lines = data.draw(jsonl(items))
    (folder / "requests").write_bytes(content)

    with read_requests(str(folder / "requests")) as read:
        manifest = asyncio.run(write_manifest(store, chunks(data.draw(pieces(content)))))
        assert read.sha256 == manifest.sha256 == hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()
        assert (read.count, read.body_bytes) == (manifest.count, manifest.body_bytes)

    whole = asyncio.run(sent(store, manifest))
    assert whole == b'{"requests":[' + b",".join(lines) + b"]}"
    assert len(whole) == manifest.body_bytes
    assert json.loads(whole) == {"requests": list(items)}
    assert asyncio.run(read_ids(store, manifest)) == [item["custom_id"] for item in items]


@given(data=st.data(), items=MANY)
def test_an_array_holds_the_same_requests_as_lines_do(
    data: st.DataObject, items: tuple[dict[str, Any], ...], folder: Path
) -> None:
    (folder / "requests").write_bytes(data.draw(arrays(items)))

    with read_requests(str(folder / "requests")) as read:
        lines = read.lines.read(0, read.lines.size).split(b"\n")[:-1]

    assert [json.loads(line) for line in lines] == list(items)


@given(value=st.dictionaries(TEXT, VALUES, min_size=1), other=st.dictionaries(TEXT, VALUES, min_size=1))
@example(value={"a": 1}, other={"a": True})
@example(value={"a": 2**53}, other={"a": 2**53 + 1})
@example(value={"a": "1"}, other={"a": 1})
def test_a_value_has_one_content_in_every_spelling_and_no_other_value_has_it(
    value: dict[str, Any], other: dict[str, Any]
) -> None:
    turned = dict(reversed(value.items()))
    spellings: list[dict[str, Any]] = [{"ensure_ascii": False}, {"separators": (", ", " :\t")}, {"indent": 1}]
    contents = {content_of_text(json.dumps(each, **how)) for each in (value, turned) for how in spellings}

    assert len(contents) == 1
    assert (content_of_text(json.dumps(other)) in contents) == (by_value(value) == by_value(other))


def by_value(value: Any) -> Any:
    """Return a value in which what is equal in Python is equal in JSON."""
    if isinstance(value, dict):
        return {name: by_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [by_value(inner) for inner in value]
    if isinstance(value, bool):
        return str(value), bool
    return Decimal(repr(value)) if isinstance(value, float) else value


def content_of_text(text: str) -> str:
    content = ContentHash()
    content.add(text.encode("utf-8", "surrogatepass"))
    return content.hexdigest()


@given(data=st.data(), items=MANY)
def test_only_valid_requests_of_any_file_pass_the_check(
    data: st.DataObject, items: tuple[dict[str, Any], ...], folder: Path
) -> None:
    content, _ = data.draw(jsonl(items))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content)))
        put = data.draw(
            st.binary(max_size=4) | st.sampled_from([b'"', b"}", b"\\ud83d", b',"custom_id":"x"', b"1e400"])
        )
        content = content[:at] + put + content[at + data.draw(st.integers(0, 5)) :]

    check(folder / "requests", content)


@given(content=st.binary(max_size=200))
@example(content=b'{"custom_id":"a","custom_id":"b","params":{}}')
@example(content=b'{"custom_id":"a","params":{"custom_id":"b","params":{}},"params":{"x":1}}')
@example(content=b'{"custom_id":"a\\n","params":{}}')
@example(content=b'{"custom_id":"\xd0\xb0","params":{}}')  # A Cyrillic letter that looks like an a.
@example(content=b'{"custom_id":"a\\u200b","params":{}}')
@example(content=b'{"custom_id":"%s","params":{}}' % (b"a" * 65))
@example(content=b'{"custom_id":"a","params":{"x":%s}}' % DEEP.encode())
@example(content=b'[{"custom_id":"a","params":{"x":%s}}]' % DEEP.encode())
@example(content=b'{"requests":%s' % DEEP.encode())
@example(content=b'{"custom_id":"a","params":{"x":"\\ud83d"}}')
@example(content=b'{"custom_id":"a","params":{"x":NaN}}')
@example(content=b'{"custom_id":"a","params":{"x":"\0"}}')
def test_any_bytes_are_refused_with_a_message(content: bytes, folder: Path) -> None:
    assert not check(folder / "requests", content)


def check(file: Path, content: bytes) -> bool:
    """Read the file; return whether its requests may be sent, and then check them against the API's rules."""
    file.write_bytes(content)
    try:
        with read_requests(str(file)) as read:
            lines = read.lines.read(0, read.lines.size).split(b"\n")[:-1]
    except (InvalidRequests, UnreadableFile):
        return False
    items = [json.loads(line.decode(), object_pairs_hook=list, parse_int=str) for line in lines]
    ids = [dict(item)["custom_id"] for item in items]
    assert len(ids) == len(set(ids)) == read.count > 0
    for item, custom_id in zip(items, ids, strict=True):
        assert [name for name, _ in item].count("custom_id") == [name for name, _ in item].count("params") == 1
        assert custom_id.isascii()
        assert custom_id.replace("_", "a").replace("-", "a").isalnum()
        assert 1 <= len(custom_id) <= 64
    return True


@given(items=MANY, at=st.integers(0), changed=st.binary(max_size=3))
def test_requests_that_changed_after_they_were_checked_are_never_sent_whole(
    items: tuple[dict[str, Any], ...], at: int, changed: bytes, store: ObjectStore, folder: Path
) -> None:
    manifest = asyncio.run(write_inline_manifest(store, list(items)))
    file = folder / "store" / store.name(manifest.uri)
    original = file.read_bytes()
    at %= len(original)
    other = original[:at] + changed + original[at + 1 :]
    assume(other != original)
    file.write_bytes(other)
    out: list[bytes] = []

    async def send() -> None:
        async for chunk in request_body(store, manifest):
            out.append(chunk)

    try:
        with pytest.raises(RequestsNotFound, match="changed since it was checked"):
            asyncio.run(send())
    finally:
        file.write_bytes(original)
    with pytest.raises(ValueError, match=r".*"):
        json.loads(b"".join(out))


ANYTHING = st.recursive(
    VALUES | st.floats() | st.text(max_size=5) | st.binary(max_size=3), lambda inner: st.lists(inner, max_size=2)
)


@given(
    items=MANY.map(list) | st.lists(ANYTHING, max_size=3),
    more=st.lists(st.fixed_dictionaries({"custom_id": IDS, "params": st.dictionaries(TEXT, ANYTHING)}), max_size=2),
)
@example(items=[{"custom_id": "a", "params": {"x": float("inf")}}], more=[])
@example(items=[{"custom_id": "a", "params": {"x": float("nan")}}], more=[])
@example(items=[{"custom_id": "a", "params": {"x": "\ud83d"}}], more=[])
def test_inline_requests_are_sent_as_they_are_or_not_at_all(
    items: list[Any], more: list[Any], store: ObjectStore
) -> None:
    try:
        manifest = asyncio.run(write_inline_manifest(store, items + more))
    except InvalidRequests:
        return

    assert json.loads(asyncio.run(sent(store, manifest))) == {"requests": items + more}


@given(content=st.binary(max_size=100) | MANY.flatmap(jsonl).map(lambda both: both[0]))
def test_a_file_in_the_store_becomes_a_manifest_or_is_refused(content: bytes, store: ObjectStore, folder: Path) -> None:
    file = folder / "store" / "uploads" / "requests.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    lines = [line.strip(b" \t\r\n") for line in content.removeprefix(BOM).split(b"\n")]
    try:
        manifest = asyncio.run(load_manifest(store, store.uri("uploads/requests.jsonl")))
    except InvalidRequests:
        return

    assert asyncio.run(sent(store, manifest)) == b'{"requests":[' + b",".join(filter(None, lines)) + b"]}"
