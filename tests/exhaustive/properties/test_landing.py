"""Landing of results: complete, each once, in the order of the requests, byte for byte; or the defects are reported."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from message_batches.errors import ResultsIncomplete
from message_batches.requests.manifest import write_inline_manifest
from message_batches.result_models import LandedResults
from message_batches.results.contradictions import ANY
from message_batches.results.landing import land
from message_batches.results.ownership import FOREIGN_LIMIT, are_ours
from message_batches.results.parser import MAX_TOKEN_COUNT, read_result
from message_batches.results.validation import ResultCollector
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.storage.scratch import scratch_file
from tests.exhaustive.properties.lines import IDS, TEXT, VALUES, pieces, results
from tests.harness.stack import ACCOUNT

BATCHES = st.lists(IDS, min_size=1, max_size=8, unique=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return open_store((tmp_path_factory.mktemp("landing") / "store").as_uri())


@st.composite
def streams(draw: st.DrawFn, ids: Sequence[str]) -> tuple[dict[str, bytes], list[bytes]]:
    """Generate result lines by id, and a stream of them in pieces, in any order, with empty lines between them."""
    lines = {custom_id: draw(results(custom_id)) for custom_id in ids}
    ends = [draw(st.sampled_from([b"\n", b"\n\n"])) for _ in ids]
    ends[-1] = draw(st.sampled_from([b"", b"\n"]))
    stream = b"".join(lines[key] + end for key, end in zip(draw(st.permutations(ids)), ends, strict=True))
    return lines, draw(pieces(stream))


@asynccontextmanager
async def download(parts: list[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    yield chunks(parts)


async def chunks(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@given(data=st.data(), ids=BATCHES)
def test_any_order_of_results_is_landed_in_the_order_of_the_requests_byte_for_byte(
    data: st.DataObject, ids: list[str], store: ObjectStore
) -> None:
    lines, parts = data.draw(streams(ids))

    async def landed() -> tuple[LandedResults, bytes | None]:
        manifest = await write_inline_manifest(store, [{"custom_id": custom_id, "params": {}} for custom_id in ids])
        batch_id = f"msgbatch_{hashlib.sha256(repr(parts).encode()).hexdigest()}"
        done = await land(
            store, download(parts), account=ACCOUNT.part, batch_id=batch_id, manifest=manifest, expected_count=len(ids)
        )
        return done, await store.read(store.name(done.results_file.uri))

    done, content = asyncio.run(landed())

    assert content == b"".join(lines[custom_id] + b"\n" for custom_id in ids)
    assert done.verified
    assert (done.results_file.lines, done.results_file.bytes) == (len(ids), len(content))
    assert done.results_file.sha256 == hashlib.sha256(content).hexdigest()
    assert sum(dict(done.summary.counts).values()) == len(ids)
    assert LandedResults.model_validate_json(done.model_dump_json()) == done
    if done.results is not None:
        assert [result["custom_id"] for result in done.results] == ids
    else:
        assert done.results_omitted


@st.composite
def damaged(draw: st.DrawFn) -> tuple[list[str], list[str], list[bytes]]:
    """Generate the requested ids, the ids that arrive in their order, and the stream."""
    ids = draw(BATCHES)
    foreign = draw(st.lists(IDS.filter(lambda each: each not in ids), max_size=3, unique=True))
    arriving = draw(st.lists(st.sampled_from([*ids, *foreign]), max_size=10))
    assume(sorted(arriving) != sorted(ids))
    return ids, arriving, draw(pieces(b"".join(draw(results(custom_id)) + b"\n" for custom_id in arriving)))


@given(damage=damaged())
def test_missing_repeated_and_foreign_lines_are_named_and_nothing_is_landed(
    damage: tuple[list[str], list[str], list[bytes]], store: ObjectStore
) -> None:
    ids, arriving, parts = damage
    expected = {
        "missing": [each for each in ids if each not in arriving],
        "duplicate": [each for n, each in enumerate(arriving) if each in ids and each in arriving[:n]],
        "foreign": [each for each in arriving if each not in ids],
    }

    async def landed() -> None:
        manifest = await write_inline_manifest(store, [{"custom_id": custom_id, "params": {}} for custom_id in ids])
        await land(
            store,
            download(parts),
            account=ACCOUNT.part,
            batch_id="msgbatch_x",
            manifest=manifest,
            expected_count=len(ids),
        )

    with pytest.raises(ResultsIncomplete) as caught:
        asyncio.run(landed())
    said = str(caught.value)
    for kind, named in expected.items():
        found = re.search(rf"(\d+) {kind}.*?\(([^()]*)\)(?:;|$)", said)
        assert (int(found[1]) if found else 0) == len(named)
        assert not found or found[2].split(", ") == named[:10]
    assert asyncio.run(store.names(f"results/{ACCOUNT.part}/msgbatch_x/")) == []


@given(data=st.data(), ids=BATCHES)
def test_without_requests_the_order_of_the_provider_stays(data: st.DataObject, ids: list[str]) -> None:
    lines, parts = data.draw(streams(ids))
    with scratch_file(None) as file:
        arrivals = ResultCollector(file, None, len(ids))
        for part in parts:
            arrivals.feed(part)
        arrivals.finish()

        assert arrivals.defects() == ""
        assert b"".join(arrivals.ordered()) == b"".join(line + b"\n" for line in b"".join(parts).split(b"\n") if line)
    assert arrivals.lines == len(lines)


@given(data=st.data(), ids=BATCHES)
def test_a_batch_is_proved_ours_in_any_order_of_its_results(data: st.DataObject, ids: list[str]) -> None:
    _, parts = data.draw(streams(ids))

    assert asyncio.run(are_ours(chunks(parts), dict.fromkeys(ids, ANY))) is True


@given(damage=damaged())
def test_a_batch_with_other_results_is_never_proved_ours(damage: tuple[list[str], list[str], list[bytes]]) -> None:
    ids, arriving, parts = damage
    try:
        ours = asyncio.run(are_ours(chunks(parts), dict.fromkeys(ids, ANY)))
    except ResultsIncomplete:
        return

    assert ours is False
    assert len(arriving) == len(ids) or len(arriving) >= FOREIGN_LIMIT
    assert len(set(arriving) - set(ids)) > 1 or len(ids) == 1


@given(line=st.binary(max_size=80) | VALUES.map(lambda value: json.dumps(value).encode()) | IDS.flatmap(results))
@example(line=b'{"custom_id":"a","result":' + b"[" * 10_000)
@example(
    line=b'{"custom_id":"a","result":{"type":"succeeded","message":{"usage":{"input_tokens":1' + b"0" * 5000 + b"}}}}"
)
@example(
    line=b'{"custom_id":"a","result":{"type":"succeeded","message":{"usage":{"input_tokens":-1,"output_tokens":1e400}}}}'
)
@example(line=b'{"custom_id":"a","custom_id":"b","result":{"type":"expired"}}')
def test_any_line_is_read_or_refused(line: bytes) -> None:
    try:
        result = read_result(line)
    except ValueError:
        return

    assert all(0 <= count <= MAX_TOKEN_COUNT for count in result.usage)
    for text in (result.custom_id, result.type, result.model, *(result.error or ())):
        text.encode()


@given(custom_id=IDS, depth=st.integers(0, 3000), text=TEXT, tokens=st.integers(0, MAX_TOKEN_COUNT), model=TEXT)
def test_the_fields_that_are_read_are_the_same_for_any_depth_of_the_line(
    custom_id: str, depth: int, text: str, tokens: int, model: str
) -> None:
    deep = "[" * depth + json.dumps({text: text}) + "]" * depth
    usage = f'{{"x":{deep},"input_tokens":{tokens}}}'
    message = f'{{"content":{deep},"model":{json.dumps(model)},"usage":{usage},"y":{deep}}}'
    line = f'{{"z":{deep},"custom_id":"{custom_id}","result":{{"type":"succeeded","message":{message}}}}}'

    result = read_result(line.encode())

    assert (result.custom_id, result.type, result.model) == (custom_id, "succeeded", model)
    assert result.usage == (tokens, 0, 0, 0, 0, 0, 0)
