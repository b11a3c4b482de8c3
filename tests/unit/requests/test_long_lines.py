"""Requests of megabytes on a line: checked and stored without memory beyond a few copies of the line."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable

import pytest

from message_batches.errors import InvalidRequests
from message_batches.jsonl import LONG_LINE
from message_batches.requests import forms
from message_batches.requests.content import ContentHash
from message_batches.requests.manifest import read_ids, write_manifest
from message_batches.requests.validation import RequestCheck
from message_batches.results.contradictions import ANY
from message_batches.results.expectations import read_expected
from message_batches.storage.object_store import ObjectStore

SIZE = 4 * LONG_LINE
REQUEST = '{"custom_id":"a","params":{"model":"claude-haiku-4-5","max_tokens":1'
ESCAPED = '{"custom\\u005fid":"a","params":{"model":"claude-haiku-4-5","max_tokens":1'


Made = Callable[[], bytes]
"""Makes a line when it is used: each process of the tests would keep it."""


def filled(start: str, unit: str, end: str) -> Made:
    """Describe a line of about `SIZE` bytes: a unit repeated between a start and an end."""
    return lambda: (start + unit * (SIZE // len(unit.encode())) + end).encode()


VALID = {
    "many values": filled(REQUEST + ',"x":[{}', ",{}", "]}}"),
    "an escaped name": filled(ESCAPED + ',"x":[{}', ",{}", "]}}"),
    "names": filled(REQUEST + ',"x":1', ',"a":1', "}}"),
    "a wide text": filled(REQUEST + ',"x":"😀', "a", '"}}'),
    "numbers": filled(REQUEST + ',"x":[0', ",1e9", "]}}"),
    "tools": filled(REQUEST + ',"tools":[{"name":""}', ',{"name":""}', "]}}"),
    "a container": filled(REQUEST + ',"container":[{}', ",{}", "]}}"),
    "stop sequences": filled(REQUEST + ',"stop_sequences":[""', ',""', "]}}"),
    "blanks around": filled(" \ufeff"[1:] + "  " + REQUEST + ',"x":[{}', ",{}", "]}}  \r"),
    "params first": filled('{"params":{"x":[{}', ",{}", ']},"custom_id":"a"}'),
}
INVALID: dict[str, tuple[Made, str]] = {
    "a wide custom_id": (filled('{"custom_id":"😀', "a", '","params":{}}'), "custom_id: '😀a"),
    "a wide name": (filled('{"custom_id":"a","params":{},"😀', "a", '":1}'), ""),
    "more fields": (filled('{"custom_id":"a","params":{},"x":1', ',"a":1', "}"), ""),
    "params again and again": (filled('{"custom_id":"a","params":{}', ',"params":{}', "}"), ""),
    "no params": (filled('{"custom_id":"a","x":[{}', ",{}", "]}"), "params: missing"),
    "params that is a list": (
        filled('{"custom_id":"a","params":[{}', ",{}", "]}"),
        "params: not an object but an array",
    ),
    "a custom_id that is a list": (filled('{"custom_id":[{}', ",{}", '],"params":{}}'), "custom_id: not a string"),
    "an array": (filled("[{}", ",{}", "]"), ": not an object but an array"),
    "a text": (filled('"', "a", '"'), ": not an object but a string"),
    "a number": (filled("", "1", ""), ""),
    "never closed": (filled('{"custom_id":"a","params":{"x":[{}', ",{}", ""), ": not JSON"),
    "a text never closed": (filled('{"custom_id":"a","params":{"x":"', '\\"', ""), ": not JSON"),
    "nested without end": (filled('{"custom_id":"a","params":', "[", ""), ": nested too deeply"),
    "not UTF-8": (lambda: REQUEST.encode() + b',"x":"' + b"a" * SIZE + b'\xff"}}', ": not UTF-8"),
    "half a surrogate pair": (filled(REQUEST + ',"x":"\\ud83d', "a", '"}}'), ": not JSON"),
    "of another API": (filled('{"custom_id":"a","method":"POST","body":{"x":[{}', ",{}", "]}}"), forms.OTHER_API),
    "a result": (filled('{"custom_id":"a","result":{"x":[{}', ",{}", "]}}"), forms.RESULT),
    "something behind it": (filled(REQUEST + ',"x":[{}', ",{}", "]}} 1"), ": not JSON"),
}


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), LONG_LINE):
        yield data[at : at + LONG_LINE]


@pytest.mark.parametrize("made", VALID.values(), ids=VALID.keys())
async def test_a_long_request_is_stored_in_a_few_copies_of_it(store: ObjectStore, made: Made) -> None:
    line = made()
    await store.identity()
    tracemalloc.start()
    try:
        manifest = await write_manifest(store, pieces(line))
        expected = await read_expected(store, manifest)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A wide text of four megabytes is built: it is one value, of four bytes a character.
    assert most < (12 if "😀".encode() in line else 4) * len(line)
    assert await read_ids(store, manifest) == ["a"]
    assert expected.keys() == {"a"}
    assert store.read is not None
    assert (
        b"".join([chunk async for chunk in store.stream(store.name(manifest.uri))])
        == line.removeprefix(b"\xef\xbb\xbf").strip() + b"\n"
    )


@pytest.mark.parametrize(("made", "problem"), INVALID.values(), ids=INVALID.keys())
async def test_a_long_request_is_refused_in_a_few_copies_of_it(store: ObjectStore, made: Made, problem: str) -> None:
    line = made()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequests) as refused:
            await write_manifest(store, pieces(line))
        assert tracemalloc.get_traced_memory()[1] < 4 * len(line)
    finally:
        tracemalloc.stop()
    assert problem in refused.value.problems[0]
    assert refused.value.problems[0].startswith("line 1")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"custom_id":"a","params":{PARAMS},"metadata":{}}', "metadata: not a field"),
        ('{"custom_id":"a","betas":[],"params":{PARAMS}}', "betas: not a field"),
        ('{"custom_id":"a","params":{PARAMS},"params":{}}', ": more than one custom_id and one params"),
        ('{"custom_id":"a","params":{},"params":{PARAMS}}', ": more than one custom_id and one params"),
        ('{"custom_id":"b","custom_id":"a","params":{PARAMS}}', ": more than one custom_id and one params"),
        ('{"custom_id":"b","params":{PARAMS},"custom\\u005fid":"a"}', ": more than one custom_id and one params"),
        ('{"params":{PARAMS},"custom_id":"b","custom_id":"a"}', ": more than one custom_id and one params"),
        ('{"params":{},"custom_id":"b","params":{PARAMS}}', ": more than one custom_id and one params"),
        ('{"custom_id" : "a" , "params" : {PARAMS} }', ""),
        ('{ "params" : {PARAMS}, "custom\\u005fid":"a" }', ""),
        ('{"custom_id":"a b","params":{PARAMS}}', "custom_id: 'a b' is not"),
        ('{"params":{PARAMS}}', "custom_id: missing"),
    ],
)
def test_the_fields_of_a_long_request_are_checked(line: str, problem: str) -> None:
    params = json.dumps({"messages": [{"role": "user", "content": '", "params": {}, \\"' + "x" * LONG_LINE}]})
    check = RequestCheck()
    check.lines([line.replace("{PARAMS}", params).encode()])
    if not problem:
        check.finish()
        assert check.ids == ["a"]
        return
    with pytest.raises(InvalidRequests) as refused:
        check.finish()
    assert problem in refused.value.problems[0]


def test_the_content_of_an_image_is_the_same_however_it_is_written() -> None:
    def content(line: str) -> str:
        found = ContentHash()
        found.add(line.encode())
        return found.hexdigest()

    image = "A" * (3 * LONG_LINE)
    assert content(f'{{"custom_id":"a","params":{{"n":1,"i":"{image}"}}}}') == content(
        f'{{"params": {{"i": "{image}", "n": 1.0}}, "custom_id": "a"}}'
    )


def test_a_line_of_too_many_values_counts_by_its_bytes() -> None:
    found, again, other = ContentHash(), ContentHash(), ContentHash()
    line = VALID["many values"]()
    assert found.add(line) is None
    again.add(memoryview(line))
    other.add(line.replace(b"[{}", b"[ {}", 1))
    assert found.hexdigest() == again.hexdigest() != other.hexdigest()


async def test_parameters_of_too_many_values_admit_any_answer(store: ObjectStore) -> None:
    manifest = await write_manifest(store, pieces(VALID["tools"]()))
    assert await read_expected(store, manifest) == {"a": ANY}


async def test_large_requests_take_turns_and_small_ones_do_not(store: ObjectStore) -> None:
    turns = asyncio.Semaphore(1)
    small, large = b'{"custom_id":"a","params":{}}', VALID["many values"]()
    async with turns:
        await write_manifest(store, pieces(small), turns=turns)
        waiting = asyncio.create_task(write_manifest(store, pieces(large), turns=turns))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
    assert (await waiting).count == 1
    with pytest.raises(InvalidRequests):
        await write_manifest(store, pieces(INVALID["never closed"][0]()), turns=turns)
    assert not turns.locked()
