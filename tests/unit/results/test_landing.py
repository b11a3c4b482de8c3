import asyncio
import hashlib
import json
import random
import re
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from message_batches.concurrency import LARGE_CHUNK, process_in_thread
from message_batches.errors import ReplyLost, ResultsIncomplete, StoreUnavailable
from message_batches.models import Manifest
from message_batches.requests.manifest import write_inline_manifest
from message_batches.result_models import LandedResults, ModelUsage, ResultCounts
from message_batches.results.contradictions import ANY
from message_batches.results.landing import MAX_INLINE_RESULTS_BYTES, find_landed, land
from message_batches.results.ownership import are_ours
from message_batches.storage.object_store import ObjectStore, open_store
from tests.harness.stack import ACCOUNT

BATCH = "msgbatch_1"


async def manifest_of(store: ObjectStore, count: int) -> Manifest:
    return await write_inline_manifest(store, [{"custom_id": f"r-{n}", "params": {}} for n in range(count)])


def dump(item: Any) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode()


def succeeded(custom_id: str, text: str = "hello", model: str = "claude-a", **usage: Any) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 3, "service_tier": "batch", **usage}
    message = {"id": "msg_1", "model": model, "content": [{"type": "text", "text": text}], "usage": usage}
    return dump({"custom_id": custom_id, "result": {"type": "succeeded", "message": message}})


def errored(custom_id: str, kind: str, message: str = "bad") -> bytes:
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}
    return dump({"custom_id": custom_id, "result": {"type": "errored", "error": error}})


def ended(custom_id: str, kind: str) -> bytes:
    return dump({"custom_id": custom_id, "result": {"type": kind}})


@asynccontextmanager
async def arriving(
    lines: Iterable[bytes], size: int = 100, cut: int | None = None, error: Exception | None = None
) -> AsyncIterator[AsyncIterator[bytes]]:
    data = b"".join(line + b"\n" for line in lines)[:cut]

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), size):
            yield data[at : at + size]
        if error:
            raise error

    yield chunks()


async def landing(
    store: ObjectStore,
    results: AbstractAsyncContextManager[AsyncIterator[bytes]],
    manifest: Manifest | None,
    count: int,
    **options: Any,
) -> LandedResults:
    return await land(
        store, results, account=ACCOUNT.part, batch_id=BATCH, manifest=manifest, expected_count=count, **options
    )


async def stored(store: ObjectStore, landed: LandedResults) -> list[bytes]:
    data = await store.read(store.name(landed.results_file.uri)) or b""
    assert len(data) == landed.results_file.bytes
    assert hashlib.sha256(data).hexdigest() == landed.results_file.sha256
    assert data.count(b"\n") == landed.results_file.lines
    return data.split(b"\n")[:-1]


@pytest.mark.parametrize("size", [1, 1_000, 10_000_000])
async def test_lines_land_in_the_order_of_the_requests_byte_for_byte(store: ObjectStore, size: int) -> None:
    lines = [succeeded(f"r-{n}", f"\u2028\u0085 {n} ü\n") for n in range(100)]
    lines[7] = b' {"result" : {"type":"canceled", "x":1.0e2} ,"custom_id":"r-7"}\t\r'
    shuffled = random.Random(1).sample(lines, 100)
    landed = await landing(store, arriving(shuffled, size), await manifest_of(store, 100), 100)
    assert await stored(store, landed) == lines
    assert landed.verified
    assert landed.results == [json.loads(line) for line in lines]


@pytest.mark.parametrize("run", [1, 7, 400])
async def test_lines_land_in_order_also_where_some_have_come_in_order(store: ObjectStore, run: int) -> None:
    lines = [succeeded(f"r-{n}", "x" * (n % 9) * 1_000) for n in range(400)]
    lines[30] = succeeded("r-30", "x" * 3_000_000)
    runs = [lines[start : start + run] for start in range(0, 400, run)]
    arrived = [line for each in random.Random(1).sample(runs, len(runs)) for line in (*each, b"")]
    landed = await landing(store, arriving(arrived, 100_000), await manifest_of(store, 400), 400)
    assert await stored(store, landed) == lines


async def test_a_last_line_without_newline_and_blank_lines_are_accepted(store: ObjectStore) -> None:
    lines = [succeeded("r-1"), b"", b" \r", succeeded("r-0")]
    cut = sum(len(line) + 1 for line in lines) - 1
    landed = await landing(store, arriving(lines, cut=cut), await manifest_of(store, 2), 2)
    assert await stored(store, landed) == [succeeded("r-0"), succeeded("r-1")]
    assert landed.results_file.lines == 2


async def test_without_requests_the_provider_s_order_stays(store: ObjectStore) -> None:
    lines = [succeeded(f"x-{n}") for n in (3, 1, 2)]
    landed = await landing(store, arriving(lines), None, 3)
    assert await stored(store, landed) == lines
    assert not landed.verified


async def test_the_summary_adds_up_the_results(store: ObjectStore) -> None:
    lines = [
        succeeded("r-0", cache_creation_input_tokens=5, cache_read_input_tokens=7),
        succeeded("r-1", model="claude-b"),
        succeeded("r-2", cache_creation_input_tokens=None),
        ended("r-3", "canceled"),
        ended("r-4", "expired"),
        *[errored(f"r-{n}", "invalid_request_error", f"message of {n}") for n in range(5, 10)],
        errored("r-10", "overloaded_error", "x" * 5_000),
        ended("r-11", "invented"),
    ]
    landed = await landing(store, arriving(lines[::-1]), await manifest_of(store, 12), 12)
    assert landed.summary.counts == ResultCounts(succeeded=3, errored=7, canceled=1, expired=1)
    first, *rest = landed.summary.errors
    assert (first.type, first.count, first.message) == ("invalid_request_error", 5, "message of 5")
    assert first.custom_ids == ("r-5", "r-6", "r-7")
    assert (rest[0].type, len(rest[0].message)) == ("overloaded_error", 300)
    assert rest[1].type == "result type 'invented'"
    assert landed.summary.usage == (
        ModelUsage(model="claude-a", requests=2, input=20, output=6, cache_write_5m=5, cache_read=7),
        ModelUsage(model="claude-b", requests=1, input=10, output=3),
    )


async def errors_of(store: ObjectStore, *lines: bytes) -> list[tuple[int, str, tuple[str, ...]]]:
    landed = await landing(store, arriving(lines, 10**6), None, len(lines))
    return [(group.count, group.message, group.custom_ids) for group in landed.summary.errors]


SECRET = "sk-ant-api03-Qx7_Zr2Kb9-Tm4Wc8Lh1Vd6Np3Ys5Jg0"


@pytest.mark.parametrize(
    "line",
    [
        succeeded("r-1", model=SECRET),
        succeeded("r-1", f"your key is {SECRET}"),
        succeeded("r-1", SECRET.encode().hex()),
        succeeded("r-1").replace(b"hello", "".join(f"\\u{ord(each):04x}" for each in SECRET).encode()),
        succeeded("r-1").replace(b'"id"', dump(SECRET)),
        succeeded("r-1", model="x" * 60 + "".join(f"&#{ord(each)};" for each in SECRET)),
        errored("r-1", "".join(f"\\u{ord(each):04x}" for each in SECRET)),
        errored("r-1", "error", "x" * 250 + "".join(f"%{ord(each):02x}" for each in SECRET)),
        errored("r-1", SECRET),
        errored("r-1", "invalid_request_error", f"no {SECRET[:30]}"),
        ended("r-1", SECRET),
        ended(SECRET, "expired"),
        ended(SECRET.swapcase(), "expired"),
        dump({"custom_id": "r-1", SECRET: 1}),
        dump(SECRET),
    ],
)
async def test_a_key_in_a_line_is_in_the_file_and_in_nothing_that_is_said_of_it(
    store: ObjectStore, line: bytes
) -> None:
    lines, options = [succeeded("r-0"), line], {"hidden": (SECRET,)}
    said = []
    for manifest in (None, await manifest_of(store, 2)):
        try:
            landed = await landing(store, arriving(lines), manifest, 2, **options)
        except ResultsIncomplete as error:
            said.append(str(error))
        else:
            assert await stored(store, landed) == lines
            assert landed.results is None
            said.append(landed.model_dump_json())

    assert not [text for text in said if re.search("qx7_?zr2kb9|517837|u0073|&#115|%73%6b", text.lower())]


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("max_tokens: 99999 > 64000, for claude-a", "max_tokens: 70000 > 64000, for claude-a", True),
        ("max_tokens: 99999 > 64000, for claude-a", "max_tokens: 99999 > 64000, for claude-b-4", False),
        ("messages.0.content.3.text: Field required", "messages.12.content.0.text: Field required", True),
        ("messages.0.content: Field required", "messages.0.role: Field required", False),
        ("File not found: file_011CNha8iCJcU1wXNR6q4V8w", "File not found: file_011CPMxVD3fHLUhvTqtsQA5w", True),
        ("no result for toolu_01A09q90qw90lq917835lq9", "no result for toolu_2", True),
        ("the tag 'bash_20250124' is unknown", "the tag 'bash_20241022' is unknown", False),
        ("r-0: refused", "r-1: refused", True),
        ("prompt is too long: 1,203,456 tokens", "prompt is too long: 999 tokens", True),
        (
            "You will regain access on 2026-04-01 at 00:00 UTC",
            "You will regain access on 2026-12-01 at 09:30 UTC",
            True,
        ),
        ("req 6f8c1247-b44f-478b-b12b-ad61437594f0", "req 00000000-b44f-478b-b12b-ad61437594f0", True),
        ("", "why", False),
    ],
)
async def test_errors_are_grouped_by_message_but_for_numbers_and_ids(
    store: ObjectStore, first: str, second: str, together: bool
) -> None:
    kind = "invalid_request_error"
    groups = await errors_of(store, errored("r-0", kind, first), errored("r-1", kind, second))
    apart = [(1, first, ("r-0",)), (1, second, ("r-1",))]
    assert groups == ([(2, first, ("r-0", "r-1"))] if together else apart)


@pytest.mark.parametrize(
    ("message", "ids"),
    [
        ("{}: Field required", ("temperature", "top_p")),
        ("model: {}", ("claude-next-1", "claude-other-2")),
        ("model: {}", ("gpt-4o", "gpt-5")),
        ("max_tokens: 99999 > 64000, for {}", ("claude-next-1", "claude-other-2")),
    ],
)
async def test_an_id_that_is_a_word_of_the_message_keeps_its_own_message(
    store: ObjectStore, message: str, ids: tuple[str, str]
) -> None:
    groups = await errors_of(store, *(errored(each, "not_found_error", message.format(each)) for each in ids))
    assert groups == [(1, message.format(each), (each,)) for each in ids]


async def test_the_same_message_under_another_type_is_another_group(store: ObjectStore) -> None:
    lines = [errored("r-0", "api_error", "why"), errored("r-1", "invalid_request_error", "why")]
    assert [ids for _, _, ids in await errors_of(store, *lines)] == [("r-0",), ("r-1",)]


async def test_past_twenty_groups_the_further_messages_of_a_type_share_one(store: ObjectStore) -> None:
    words = [f"{one}{two}" for one in "abcdefgh" for two in "abcdefgh"]
    lines = [errored(f"r-{n}", "invalid_request_error", f"field {word}") for n, word in enumerate(words)]
    lines += [errored("late-0", "api_error", "Internal server error"), errored("late-1", "api_error", "Overloaded")]
    groups = await errors_of(store, *lines)
    assert groups[0] == (44, "other messages, such as: field ce", ("r-20",))
    assert groups[1] == (2, "other messages, such as: Internal server error", ("late-0",))
    assert len(groups) == 22
    assert sum(count for count, _, _ in groups) == len(lines)


async def test_a_further_message_that_is_alone_is_shown_as_it_is(store: ObjectStore) -> None:
    lines = [errored(f"r-{n}", "invalid_request_error", f"field {'ab' * n}") for n in range(1, 21)]
    groups = await errors_of(store, *lines, errored("late-1", "api_error", "Overloaded"))
    assert (1, "Overloaded", ("late-1",)) in groups


async def test_the_summary_stays_small_for_any_results(store: ObjectStore) -> None:
    lines = [errored(f"r-{n}", f"{n:04}" + "t" * 2_000, "m" * 9_000) for n in range(400)]
    lines += [succeeded(f"r-{n}", model=f"{n:04}" + "m" * 2_000) for n in range(400, 800)]
    landed = await landing(store, arriving(lines, 100_000), await manifest_of(store, 800), 800)
    assert len(landed.model_dump_json()) < 50_000
    assert sum(group.count for group in landed.summary.errors) == 400
    assert landed.summary.errors[0].type == "other"
    assert sum(used.input for used in landed.summary.usage) == 4_000


ODD = [
    b'{"custom_id":"r-0","result":{"type":"succeeded","message":{"content":"\\ud83d","model":"m","usage":{"input_tokens":4}}}}',
    b'{"custom_id":"r-0","result":{"type":"succeeded","message":{"content":NaN,"model":"m","usage":{"input_tokens":4}}}}',
    b'{"custom_id":"r-0","result":{"type":"succeeded","message":{"content":1e999,"model":"m","usage":{"input_tokens":4}}}}',
]


@pytest.mark.parametrize("line", ODD)
async def test_a_line_that_strict_json_refuses_lands_but_is_not_parsed(store: ObjectStore, line: bytes) -> None:
    landed = await landing(store, arriving([line]), await manifest_of(store, 1), 1)
    assert await stored(store, landed) == [line]
    assert landed.results is None
    assert landed.results_omitted
    assert landed.results_omitted.startswith("line 1 does not parse")
    assert landed.summary.counts.succeeded == 1
    assert landed.summary.usage == (ModelUsage(model="m", requests=1, input=4),)
    assert LandedResults.model_validate_json(landed.model_dump_json()) == landed


NOT_UTF8 = {
    "UTF-16 inside a text": b'"content":"\xff\xfe"',
    "a sequence cut short": b'"content":"caf\xc3"',
    "a sequence cut short at the end of the line": b'"content":"x"}}}\xe2\x82',
    "an overlong form": b'"content":"\xc0\x80"',
    "an encoded surrogate": b'"content":"\xed\xa0\xbd"',
    "beyond Unicode": b'"content":"\xf4\x90\x80\x80"',
    "latin-1": '"content":"Größe"'.encode("latin-1"),
    "a key": b'"con\xfftent":1',
    "a value that is not read": b'"stop_sequence":"\x80"',
    "deep": b'"content":' + b"[" * 20 + b'"\xff"' + b"]" * 20,
    "deeper than decoders accept": b'"content":' + b"[" * 3000 + b'"\xff"' + b"]" * 3000,
    "past the first MiB": b'"content":"' + b"x" * 2**20 + b'\xff"',
    "over the end of a MiB": b'"content":"' + b"x" * (2**20 - 70) + "€".encode() * 30 + b'\xe2"',
}


@pytest.mark.parametrize("text", NOT_UTF8.values(), ids=NOT_UTF8)
async def test_a_line_that_is_not_utf8_is_a_defect(store: ObjectStore, text: bytes) -> None:
    line = b'{"custom_id":"r-1","result":{"type":"succeeded","message":{"model":"m",%s}}}' % text
    arrived = [succeeded("r-0"), line, succeeded("r-2")]
    with pytest.raises(ResultsIncomplete, match=r"1 missing \(r-1\); 1 lines that are not results \(line 2: not UTF-8"):
        await landing(store, arriving(arrived, 10_000), await manifest_of(store, 3), 3)
    assert await store.names("results/") == []
    with pytest.raises(ResultsIncomplete):
        async with arriving(arrived, 10_000) as chunks:
            await are_ours(chunks, dict.fromkeys(["r-0", "r-1", "r-2"], ANY))


async def test_text_of_every_width_over_the_end_of_a_piece_lands(store: ObjectStore) -> None:
    lines = [succeeded(f"r-{n}", "x" * (2**20 - 120 + n) + "é€😀" * 20) for n in range(4)]
    landed = await landing(store, arriving(lines, 10_000), await manifest_of(store, 4), 4)
    assert await stored(store, landed) == lines


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("size", [1, 2, 1000], ids=["in three chunks", "in two chunks", "in one chunk"])
@pytest.mark.parametrize(
    "arrived",
    [
        [BOM + succeeded("r-1"), succeeded("r-0")],
        [BOM, succeeded("r-1"), succeeded("r-0")],
        [BOM + succeeded("r-1"), BOM + succeeded("r-0")],
        [BOM + b" " + succeeded("r-1"), succeeded("r-0")],
    ],
    ids=["before the first line", "in a line of its own", "before each line", "before a blank"],
)
async def test_a_bom_is_no_part_of_a_line(store: ObjectStore, arrived: list[bytes], size: int) -> None:
    landed = await landing(store, arriving(arrived, size), await manifest_of(store, 2), 2)
    assert [line.strip() for line in await stored(store, landed)] == [succeeded("r-0"), succeeded("r-1")]
    assert landed.results
    async with arriving(arrived, size) as chunks:
        assert await are_ours(chunks, dict.fromkeys(["r-0", "r-1"], ANY))


async def test_a_bom_inside_a_line_stays(store: ObjectStore) -> None:
    line = succeeded("r-0", "\ufeffhello")
    landed = await landing(store, arriving([line]), await manifest_of(store, 1), 1)
    assert await stored(store, landed) == [line]


@pytest.mark.parametrize(
    "result",
    [
        7,
        [],
        {},
        {"type": 7},
        {"type": "errored"},
        {"type": "errored", "error": "x"},
        {"type": "errored", "error": {}},
    ],
)
async def test_an_unknown_result_type_counts_as_errored(store: ObjectStore, result: Any) -> None:
    line = dump({"custom_id": "r-0", "result": result})
    landed = await landing(store, arriving([line]), await manifest_of(store, 1), 1)
    assert landed.summary.counts == ResultCounts(errored=1)
    assert len(landed.summary.errors) == 1
    assert landed.results == [json.loads(line)]


async def test_results_are_parsed_up_to_256_kib(store: ObjectStore) -> None:
    room = MAX_INLINE_RESULTS_BYTES - len(succeeded("r-0", "")) - 1
    manifest = await manifest_of(store, 1)
    landed = await landing(store, arriving([succeeded("r-0", "x" * room)], 10_000), manifest, 1)
    assert landed.results_file.bytes == MAX_INLINE_RESULTS_BYTES
    assert landed.results is not None
    other = open_store(store.uri("other"))
    manifest = await manifest_of(other, 1)
    landed = await landing(other, arriving([succeeded("r-0", "x" * (room + 1))], 10_000), manifest, 1)
    assert landed.results is None
    assert landed.results_omitted == "262,145 bytes are more than 262,144: read the results file"


GOOD = [succeeded(f"r-{n}") for n in range(20)]


@pytest.mark.parametrize(
    ("lines", "expected", "whole"),
    [
        ([succeeded(f"o-{n}") for n in range(20)], 20, True),
        ([*GOOD[:19], succeeded("x")], 20, True),
        (GOOD[:5], 5, True),
        ([*GOOD, succeeded("x")], 21, True),
        (GOOD[:5], 20, False),
        ([*GOOD[:18], succeeded("x"), b"{}"], 20, False),
        ([*GOOD[:19], GOOD[0]], 20, False),
    ],
)
async def test_the_whole_results_of_other_requests_are_not_called_incomplete(
    store: ObjectStore, lines: list[bytes], expected: int, whole: bool
) -> None:
    with pytest.raises(ResultsIncomplete) as caught:
        await landing(store, arriving(lines), await manifest_of(store, 20), expected)
    assert ("not those of these requests" in str(caught.value)) is whole
    assert ("are incomplete" in str(caught.value)) is not whole


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (GOOD[:5] + GOOD[6:], "1 missing (r-5)"),
        (GOOD[:3], "17 missing (r-3, r-4, r-5, r-6, r-7, r-8, r-9, r-10, r-11, r-12, ...)"),
        ([], "20 missing (r-0, "),
        ([*GOOD, GOOD[4]], "1 duplicate (r-4)"),
        ([*GOOD, succeeded("r-4", "other")], "1 duplicate (r-4)"),
        ([*GOOD, succeeded("r-20")], "1 foreign (not among the requests) (r-20)"),
        ([*GOOD[:19], succeeded("x")], "1 missing (r-19); 1 foreign (not among the requests) (x)"),
        ([*GOOD, b"<html>"], "1 lines that are not results (line 21: "),
        ([*GOOD[:19], GOOD[19][:30]], "1 missing (r-19); 1 lines that are not results (line 20: "),
        ([*GOOD[:19], b'{"custom_id":"r-19"}'], "1 missing (r-19); 1 lines that are not results (line 20: no result)"),
        ([*GOOD[:19], b'{"custom_id":"r-19","result":null}'], "1 missing (r-19); 1 lines that are not results"),
        ([*GOOD, b'{"custom_id":7}', b"[]", b"{}"], "3 lines that are not results (line 21: no custom_id"),
    ],
)
async def test_defects_are_named(store: ObjectStore, lines: list[bytes], says: str) -> None:
    with pytest.raises(ResultsIncomplete, match=re.escape(says)) as caught:
        await landing(store, arriving(lines), await manifest_of(store, 20), 20)
    assert BATCH in str(caught.value)
    assert store.uri("results") not in str(caught.value)
    assert await store.names("results/") == []


@pytest.mark.parametrize(
    ("lines", "says"),
    [(GOOD[:19], "19 of 20 results arrived"), ([*GOOD[:19], GOOD[0]], "19 of 20 results arrived; 1 duplicate (r-0)")],
)
async def test_without_requests_count_and_uniqueness_are_checked(
    store: ObjectStore, lines: list[bytes], says: str
) -> None:
    with pytest.raises(ResultsIncomplete, match=re.escape(says)):
        await landing(store, arriving(lines), None, 20)


async def kept(store: ObjectStore, error: ResultsIncomplete) -> bytes:
    (name,) = await store.names("results/")
    assert name.startswith(f"results/{ACCOUNT.part}/{BATCH}/incomplete-")
    assert str(error).endswith(store.uri(name))
    return await store.read(name) or b""


async def test_partial_results_are_kept_on_request(store: ObjectStore) -> None:
    with pytest.raises(ResultsIncomplete) as caught:
        await landing(store, arriving([*GOOD[3:], GOOD[9]]), await manifest_of(store, 20), 20, keep_partial=True)
    assert await kept(store, caught.value) == b"".join(line + b"\n" for line in [*GOOD[3:], GOOD[9]])


async def test_partial_results_of_far_too_many_lines_are_kept(store: ObjectStore) -> None:
    line = succeeded("r-0", "x" * 5_000)
    with pytest.raises(ResultsIncomplete, match=BATCH) as caught:
        await landing(store, arriving([line] * 3_000), await manifest_of(store, 1), 1, keep_partial=True)
    assert (await kept(store, caught.value)).startswith(line)


async def test_a_line_cut_short_is_not_kept(store: ObjectStore) -> None:
    cut = sum(len(line) + 1 for line in GOOD[:17]) + 40
    with pytest.raises(ResultsIncomplete, match="3 missing") as caught:
        await landing(store, arriving(GOOD, cut=cut), await manifest_of(store, 20), 20, keep_partial=True)
    assert await kept(store, caught.value) == b"".join(line + b"\n" for line in GOOD[:17])


async def test_a_broken_download_is_passed_on_or_kept(store: ObjectStore) -> None:
    manifest = await manifest_of(store, 20)
    lost = ReplyLost("the connection broke")
    with pytest.raises(ReplyLost):
        await landing(store, arriving(GOOD, cut=1_000, error=lost), manifest, 20)
    with pytest.raises(ReplyLost):
        await landing(store, arriving([], error=lost), manifest, 20, keep_partial=True)
    assert await store.names("results/") == []
    with pytest.raises(ResultsIncomplete, match="the connection broke") as caught:
        await landing(store, arriving(GOOD, cut=1_000, error=lost), manifest, 20, keep_partial=True)
    arrived = b"".join(line + b"\n" for line in GOOD)[:1_000]
    assert await kept(store, caught.value) == arrived[: arrived.rindex(b"\n") + 1]


def never() -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    return arriving([], error=AssertionError("downloaded again"))


async def test_a_late_second_attempt_gets_the_results_of_the_first(store: ObjectStore) -> None:
    manifest = await manifest_of(store, 20)
    assert await find_landed(store, ACCOUNT.part, BATCH, manifest) is None
    first = await landing(store, arriving(GOOD), manifest, 20)
    assert await landing(store, never(), manifest, 20) == first
    assert await find_landed(store, ACCOUNT.part, BATCH, manifest) == first


async def lose(store: ObjectStore, landed: LandedResults) -> None:
    await store.remove(store.name(landed.results_file.uri))


async def damage(store: ObjectStore, landed: LandedResults) -> None:
    async def less() -> AsyncIterator[bytes]:
        yield GOOD[0]

    await store.write(store.name(landed.results_file.uri), less())


@pytest.mark.parametrize("harm", [lose, damage])
async def test_results_whose_file_is_gone_are_landed_again(store: ObjectStore, harm: Any) -> None:
    manifest = await manifest_of(store, 20)
    first = await landing(store, arriving(GOOD), manifest, 20)
    await harm(store, first)
    again = await landing(store, arriving(GOOD[::-1]), manifest, 20)
    assert again.results_file.uri != first.results_file.uri
    assert await stored(store, again) == GOOD
    assert await landing(store, never(), manifest, 20) == again
    assert await find_landed(store, ACCOUNT.part, BATCH, manifest) == again


async def test_of_several_that_land_again_one_is_published_and_the_files_of_all_are_there(store: ObjectStore) -> None:
    first = await landing(store, arriving(GOOD), None, 20)
    await lose(store, first)
    landed = await asyncio.gather(
        *[landing(store, arriving(random.Random(n).sample(GOOD, 20)), None, 20) for n in "abc"]
    )
    published = await find_landed(store, ACCOUNT.part, BATCH, None)
    assert published in landed
    for each in landed:
        assert len(await stored(store, each)) == 20


async def test_results_that_cannot_be_landed_again_leave_the_publication_as_it_was(store: ObjectStore) -> None:
    first = await landing(store, arriving(GOOD), None, 20)
    await lose(store, first)
    with pytest.raises(ResultsIncomplete):
        await landing(store, arriving(GOOD[1:]), None, 20)
    assert await find_landed(store, ACCOUNT.part, BATCH, None) == first


async def test_a_damaged_record_is_reported(store: ObjectStore) -> None:
    await store.create(f"results/{ACCOUNT.part}/{BATCH}/unverified.json", b"{}")
    with pytest.raises(StoreUnavailable, match=r"unverified\.json"):
        await landing(store, never(), None, 20)


async def test_of_two_simultaneous_attempts_one_is_published(store: ObjectStore) -> None:
    manifest = await manifest_of(store, 20)
    twins = [landing(store, arriving(random.Random(n).sample(GOOD, 20)), manifest, 20) for n in range(6)]
    landed = await asyncio.gather(*twins)
    assert all(one == landed[0] for one in landed)
    assert await stored(store, landed[0]) == GOOD


async def test_unverified_results_are_landed_again_with_requests(store: ObjectStore) -> None:
    await store.identity()
    alone = await landing(store, arriving(GOOD[::-1]), None, 20)
    assert not alone.verified
    checked = await landing(store, arriving(GOOD[::-1]), await manifest_of(store, 20), 20)
    assert checked.verified
    assert await stored(store, checked) == GOOD
    assert await landing(store, never(), None, 20) == alone


async def test_a_cancelled_download_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    reached = asyncio.Event()

    @asynccontextmanager
    async def stalling() -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            for n in range(3):
                yield b"".join(succeeded(f"r-{n}-{m}", "x" * 5_000) + b"\n" for m in range(400))
            reached.set()
            await asyncio.Event().wait()

        yield chunks()

    scratch = tmp_path / "scratch"
    task = asyncio.create_task(landing(store, stalling(), await manifest_of(store, 20), 20, scratch=scratch))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(scratch.iterdir()) == []
    assert await store.names("results/") == []


async def test_large_chunks_are_processed_as_they_are_and_small_ones_joined() -> None:
    async def chunks(size: int, count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * size

    seen: list[int] = []
    await process_in_thread(chunks(LARGE_CHUNK, 40), lambda data: seen.append(len(data)))
    assert seen == [LARGE_CHUNK] * 40
    seen.clear()
    await process_in_thread(chunks(100, 40), lambda data: seen.append(len(data)))
    assert seen == [4_000]


async def test_a_cancellation_waits_for_the_running_thread() -> None:
    started, released, done = threading.Event(), threading.Event(), threading.Event()

    def work(data: bytes) -> None:
        started.set()
        released.wait()
        done.set()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        await asyncio.Event().wait()

    task = asyncio.create_task(process_in_thread(chunks(), work))
    await asyncio.to_thread(started.wait)
    task.cancel()
    asyncio.get_running_loop().call_later(0.1, released.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_a_scratch_folder_that_fails_is_reported(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    manifest = await manifest_of(store, 20)
    with pytest.raises(StoreUnavailable, match="MESSAGE_BATCHES_SCRATCH"):
        await landing(store, arriving(GOOD), manifest, 20, scratch=tmp_path / "file" / "scratch")


IDS = [f"r-{n}" for n in range(20)]


async def proof(lines: list[bytes], ids: list[str] = IDS, **options: Any) -> bool:
    async with arriving(lines, **options) as chunks:
        return await are_ours(chunks, dict.fromkeys(ids, ANY))


async def test_exactly_our_ids_prove_a_batch_ours() -> None:
    assert await proof(GOOD[::-1])
    assert await proof(GOOD, size=7)


@pytest.mark.parametrize(
    "lines",
    [
        [succeeded(f"x-{n}") for n in range(20)],
        [succeeded(f"r-{n + 2}") for n in range(20)],
        [succeeded(f"x-{n}") for n in range(5_000)],
    ],
)
async def test_other_ids_prove_a_batch_foreign(lines: list[bytes]) -> None:
    assert not await proof(lines)


async def test_a_foreign_batch_need_not_be_read_to_its_end() -> None:
    lines = [succeeded(f"x-{n}", "y" * 20_000) for n in range(400)]
    assert not await proof(lines, size=10_000, error=ReplyLost("read too far"))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        GOOD[:19],
        [*GOOD, GOOD[0]],
        [*GOOD[:19], GOOD[0]],
        [*GOOD, succeeded("x")],
        [*GOOD[:19], succeeded("x")],
        [*GOOD, b"x"],
        [succeeded(f"x-{n}") for n in range(19)],
    ],
)
async def test_damaged_results_prove_nothing(lines: list[bytes]) -> None:
    with pytest.raises(ResultsIncomplete):
        await proof(lines)


async def test_a_broken_proof_is_passed_on() -> None:
    with pytest.raises(ReplyLost):
        await proof(GOOD, error=ReplyLost("cut"))
