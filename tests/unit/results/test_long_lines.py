"""Lines of megabytes: landed, compared and refused without memory or time beyond their size."""

import gc
import json
import time
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from message_batches.concurrency import consume_in_thread, process_in_thread, run_in_thread
from message_batches.errors import ResultsIncomplete
from message_batches.jsonl import LONG_LINE, MAX_RESULT_BYTES
from message_batches.results.contradictions import Expected, contradiction_of
from message_batches.results.landing import land
from message_batches.results.ownership import are_ours
from message_batches.results.parser import ResultLine, read_result
from message_batches.results.validation import ResultCollector
from message_batches.storage.object_store import ObjectStore
from message_batches.storage.scratch import scratch_file
from tests.harness.stack import ACCOUNT
from tests.harness.waiting import eventually

SIZE = 4 * LONG_LINE
FEW_COPIES = 3


def filled(start: str, unit: str, end: str, size: int = SIZE) -> bytes:
    """Return a line of about a size, a unit repeated between a start and an end."""
    return (start + unit * (size // len(unit.encode())) + end).encode()


async def each(items: Iterable[int]) -> AsyncIterator[int]:
    for item in items:
        yield item


def peak(work: Callable[[], object]) -> int:
    """Return the most memory that some work takes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SUCCEEDED = '{"custom_id":"a","result":{"type":"succeeded","message":{"model":"claude-x"'
# Made when they are used: each process of the tests would keep them.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "content of many blocks": lambda: filled(SUCCEEDED + ',"content":[{}', ",{}", "]}}}"),
    "unknown values": lambda: filled(SUCCEEDED + ',"x":[{}', ",{}", "]}}}"),
    "unknown names": lambda: filled(SUCCEEDED + ',"x":1', ',"a":1', "}}}"),
    "iterations": lambda: filled(SUCCEEDED + ',"usage":{"output_tokens":1,"iterations":[{}', ",{}", "]}}}}"),
    "a field of another type": lambda: filled('{"custom_id":"a","result":{"type":1,"x":[{}', ",{}", "]}}"),
    "never closed": lambda: filled('{"custom_id":"a","result":{"type":"x","x":[{}', ",{}", ""),
    "nested without end": lambda: filled('{"custom_id":"a","result":', "[", ""),
    "a text that is never closed": lambda: filled('{"custom_id":"a","result":' + "[" * 900 + '"', '\\"', ""),
    "half a surrogate pair": lambda: filled('{"custom_id":"a","result":{"type":"x","x":["\\ud83d"', ",{}", "]}}"),
    "a wide custom_id": lambda: filled('{"custom_id":"😀', "a", '","result":{"type":"expired"}}'),
    "a wide type": lambda: filled('{"custom_id":"a","result":{"type":"😀', "a", '"}}'),
    "a wide model": lambda: filled('{"custom_id":"a","result":{"type":"succeeded","message":{"model":"😀', "a", '"}}}'),
    "a wide message": lambda: filled(
        '{"custom_id":"a","result":{"type":"errored","error":{"error":{"type":"x","message":"😀', "a", '"}}}}'
    ),
    "digits": lambda: filled(SUCCEEDED + ',"usage":{"output_tokens":', "1", "}}}}"),
    "an array": lambda: filled("[{}", ",{}", "]"),
    "a text": lambda: filled('"', "a", '"'),
    "blanks": lambda: filled("", " ", ""),
    "behind a BOM": lambda: filled("\ufeff" + SUCCEEDED + ',"x":[{}', ",{}", "]}}}"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_long_line_takes_no_more_memory_than_a_few_copies_of_it(name: str, tmp_path: Path) -> None:
    line = HOSTILE[name]()

    def collect() -> None:
        with scratch_file(tmp_path) as file:
            collector = ResultCollector(file, ["a"], 1)
            for start in range(0, len(line), LONG_LINE):
                collector.feed(line[start : start + LONG_LINE])
            collector.finish()
            collector.defects()
            collector.summary.build()

    assert peak(collect) < FEW_COPIES * len(line)
    assert peak(lambda: contradiction_of(line, Expected(model="claude-y"))) < FEW_COPIES * len(line)


@pytest.mark.parametrize("name", HOSTILE)
async def test_the_owner_of_a_long_line_is_found_in_little_memory(name: str) -> None:
    line = HOSTILE[name]()

    async def chunks() -> AsyncIterator[bytes]:
        yield line

    tracemalloc.start()
    try:
        with pytest.raises(ResultsIncomplete, match="undecided"):
            await are_ours(chunks(), {"a": Expected(), "b": Expected()})
        assert tracemalloc.get_traced_memory()[1] < FEW_COPIES * len(line)
    finally:
        tracemalloc.stop()


def test_a_long_line_is_read_like_a_short_one() -> None:
    def lines(text: str) -> list[bytes]:
        usage = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 4, "more": {}}
        message = {"content": [{"type": "text", "text": text}], "model": "claude-é", "usage": usage}
        error = {"type": "invalid_request_error", "message": "bad é", "details": {"error_code": "c"}, "more": text}
        results = [
            {"type": "succeeded", "message": message},
            {"type": "errored", "error": {"type": "error", "error": error}},
            {"type": "errored", "error": error},
            {"type": "expired", "more": text},
            {"type": "errored", "error": {"type": "error", "error": {"more": text}}},
        ]
        return [json.dumps({"custom_id": "a-é", "result": result}).encode() for result in results]

    short, long = ([read_result(line) for line in lines(text)] for text in ("x", "x" * LONG_LINE))
    assert long == short
    assert long[0] == ResultLine("a-é", "succeeded", None, "claude-é", (1, 2, 0, 0, 4, 0, 0))


def test_a_long_line_that_only_lenient_readers_read_is_a_defect_with_its_number_and_size(tmp_path: Path) -> None:
    line = filled(SUCCEEDED + ',"x":"\\ud83d', "a", '"}}}', 2 * LONG_LINE)
    with scratch_file(tmp_path) as file:
        collector = ResultCollector(file, ["a", "b"], 2)
        collector.feed(b'{"custom_id":"b","result":{"type":"expired"}}\n' + line + b"\n")
        collector.finish()
    assert f"line 2: {len(line):,} bytes" in collector.defects()
    assert read_result(line, landed=True).custom_id == "a"


@pytest.mark.slow
async def test_a_line_over_the_limit_is_not_read_and_kept_with_the_others(store: ObjectStore) -> None:
    others = [json.dumps({"custom_id": name, "result": {"type": "expired"}}).encode() for name in ("a", "c")]
    long = filled(SUCCEEDED + ',"x":"', "a", '"}}}', MAX_RESULT_BYTES)
    answer = b"\n".join([others[0], long, others[1], b""])

    @asynccontextmanager
    async def download() -> AsyncIterator[AsyncIterator[bytes]]:
        yield (answer[start : start + LONG_LINE] async for start in each(range(0, len(answer), LONG_LINE)))

    options: dict[str, Any] = {"account": ACCOUNT.part, "batch_id": "msgbatch_1", "manifest": None, "expected_count": 3}
    tracemalloc.start()
    try:
        with pytest.raises(ResultsIncomplete, match=rf"line 2: {len(long):,} bytes.* 64,000,000\)") as incomplete:
            await land(store, download(), keep_partial=True, **options)
        assert tracemalloc.get_traced_memory()[1] < 16 * LONG_LINE
    finally:
        tracemalloc.stop()
    (kept,) = await store.names("results/")
    assert store.uri(kept) in str(incomplete.value)
    assert await store.read(kept) == answer


@pytest.mark.parametrize("custom_id", ["a" * 64, "é" * 64, "a" * 65, "a" * LONG_LINE, "é" * LONG_LINE])
def test_a_custom_id_that_no_batch_has_is_no_result(custom_id: str, tmp_path: Path) -> None:
    with scratch_file(tmp_path) as file:
        collector = ResultCollector(file, None, 1)
        for ensure_ascii in (True, False):
            line = {"custom_id": custom_id, "result": {"type": "expired"}}
            collector.feed(json.dumps(line, ensure_ascii=ensure_ascii).encode() + b"\n")
    assert ("2 lines that are not results" in collector.defects()) is (len(custom_id) > 64)


def test_custom_ids_without_bound_are_never_kept(tmp_path: Path) -> None:
    lines = [filled(f'{{"custom_id":"{n}', "a", '","result":{"type":"expired"}}\n', LONG_LINE // 2) for n in range(20)]

    def collect() -> None:
        with scratch_file(tmp_path) as file:
            collector = ResultCollector(file, None, 20)
            for line in lines:
                collector.feed(line)
            assert "20 lines that are not results" in collector.defects()

    assert peak(collect) < 4 * LONG_LINE


def test_a_text_that_is_never_closed_takes_linear_time() -> None:
    def seconds(escapes: int) -> float:
        line = b'{"custom_id":"a","result":' + b"[" * 200_000 + b'"' + b'\\"' * escapes
        began = time.process_time()
        with pytest.raises(ValueError, match="Expecting value"):
            read_result(line)
        return time.process_time() - began

    # 25 s for 32,000, with the interpreter's lock held, where each quote is tried as the beginning of a text.
    assert min(seconds(400_000) for _ in range(3)) < 1


class Held:
    """Work that fails with itself, and what it holds, in the frames of its traceback."""

    def __call__(self, data: bytes = b"") -> NoReturn:
        raise ResultsIncomplete("incomplete")


async def fail_in_a_stream(held: Held) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * LONG_LINE

    await process_in_thread(chunks(), held)


async def fail_in_an_iterator(held: Held) -> None:
    with ThreadPoolExecutor(1) as executor:
        (await consume_in_thread(map(held, [b"x"]), list, executor)).result()


@pytest.mark.parametrize("fail", [fail_in_a_stream, fail_in_an_iterator, run_in_thread])
async def test_what_failed_in_a_thread_is_let_go_at_once(fail: Callable[[Held], Awaitable[None]]) -> None:
    async def failed() -> weakref.ref[Held]:
        held = Held()
        with pytest.raises(ResultsIncomplete):
            await fail(held)
        return weakref.ref(held)

    # A cycle of its frames and its error would keep all that was held, until the garbage collector next looks at all
    # objects: a worker that downloads again has the lines of each download.
    gc.disable()
    try:
        held = await failed()
        await eventually(lambda: held() is None, "the end of all that held it, such as the thread's own call")
    finally:
        gc.enable()
