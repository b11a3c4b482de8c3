"""A job's requests in shards: to the byte, each custom_id once, whatever their number."""

import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from message_batches.errors import InvalidRequests
from message_batches.job_models import MAX_SHARDS, ShardLimits
from message_batches.jobs.plan import JobPlan, record_first_wave, split_requests
from message_batches.jobs.records import JobRecords
from message_batches.jsonl import LONG_LINE
from message_batches.models import Manifest
from message_batches.requests.manifest import content_of_items, read_ids, request_body
from message_batches.storage.object_store import ObjectStore
from tests.harness.requests import request, requests

JOB = "job-of-a-test"


def jsonl(items: list[Any]) -> bytes:
    return b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items)


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def plan(store: ObjectStore, data: bytes, *, job_id: str = JOB, size: int = 1000, **limits: int) -> JobPlan:
    with split_requests(ShardLimits(**limits)) as split:
        await split.read(pieces(data, size))
        await split.measure()
        return await record_first_wave(store, job_id, split.content_sha256, split.shards)


async def body_of(store: ObjectStore, shard: Manifest) -> bytes:
    body = b"".join([chunk async for chunk in request_body(store, shard)])
    assert len(body) == shard.body_bytes
    return body


async def objects(store: ObjectStore) -> list[str]:
    return sorted([*await store.names("manifests/"), *await store.names("jobs/")])


async def refused(store: ObjectStore, data: bytes, **limits: Any) -> InvalidRequests:
    before = await objects(store)
    with pytest.raises(InvalidRequests) as caught:
        await plan(store, data, **limits)
    assert await objects(store) == before
    return caught.value


@pytest.mark.parametrize("size", [1, 100_000])
async def test_the_shards_hold_all_requests_in_their_order(store: ObjectStore, size: int) -> None:
    items = requests(25)

    made = await plan(store, b"\xef\xbb\xbf\n" + jsonl(items).replace(b"\n", b" \r\n\n"), size=size, max_requests=10)

    assert [shard.count for shard in made.shards] == [10, 10, 5]
    bodies = [json.loads(await body_of(store, shard))["requests"] for shard in made.shards]
    assert [item for body in bodies for item in body] == items
    assert [custom_id for shard in made.shards for custom_id in await read_ids(store, shard)] == [
        item["custom_id"] for item in items
    ]
    assert await JobRecords(store, made.folder).plan(0) == made.shards


async def test_each_shard_is_the_manifest_that_a_run_of_its_requests_would_have(store: ObjectStore) -> None:
    items = requests(12)

    made = await plan(store, jsonl(items), max_requests=5)

    parts = [items[:5], items[5:10], items[10:]]
    assert [shard.content_sha256 for shard in made.shards] == [content_of_items(part) for part in parts]
    assert [shard.sha256 for shard in made.shards] == [hashlib.sha256(jsonl(part)).hexdigest() for part in parts]


async def test_the_content_of_all_names_the_folder_whatever_the_limits_and_the_spelling(store: ObjectStore) -> None:
    items = requests(12)
    content = content_of_items(items)
    for data, count in ((jsonl(items), 5), (jsonl(items).replace(b'": ', b'":'), 100)):
        with split_requests(ShardLimits(max_requests=count)) as split:
            await split.read(pieces(data))
            await split.measure()
            assert split.content_sha256 == content
            assert split.sha256 == hashlib.sha256(data).hexdigest()
    with split_requests(ShardLimits(max_requests=7)) as split:
        await split.items(items)
        await split.measure()
        assert split.content_sha256 == content

    assert (await plan(store, jsonl(items))).folder == f"jobs/{JOB}-{content[:16]}"


async def test_a_shard_is_as_large_as_the_limit_to_the_byte(store: ObjectStore) -> None:
    items = requests(9)
    three = len(json.dumps({"requests": items[:3]}, separators=(",", ":")))
    lines = b"".join(json.dumps(item, separators=(",", ":")).encode() + b"\n" for item in items)

    full = await plan(store, lines, job_id="full", max_bytes=three)
    below = await plan(store, lines, job_id="below", max_bytes=three - 1)

    assert [(shard.count, shard.body_bytes) for shard in full.shards] == [(3, three)] * 3
    assert [shard.count for shard in below.shards] == [2, 2, 2, 2, 1]
    for shard in below.shards:
        assert json.loads(await body_of(store, shard))["requests"]


async def test_a_request_that_is_too_large_alone_is_named_with_its_line(store: ObjectStore) -> None:
    items = [request("a"), request("b", "x" * 500), request("c")]
    alone = len(b'{"requests":[' + jsonl(items[1:2]).strip() + b"]}")

    assert len((await plan(store, jsonl(items), max_bytes=alone)).shards) == 3
    error = await refused(store, jsonl(items), max_bytes=alone - 1)

    assert error.problems == (
        f"line 2: too large for a batch: the body has {alone:,} bytes with it alone, and the limit is {alone - 1:,}",
    )


async def test_a_long_line_is_a_shard_of_its_own_where_it_has_to_be(store: ObjectStore) -> None:
    items = [request("a"), request("b", "x" * LONG_LINE), request("c")]

    made = await plan(store, jsonl(items), max_bytes=LONG_LINE + 200)

    assert [shard.count for shard in made.shards] == [1, 1, 1]
    assert made.folder.endswith(content_of_items(items)[:16])
    assert json.loads(await body_of(store, made.shards[1])) == {"requests": items[1:2]}


async def test_a_custom_id_that_is_in_two_shards_is_named_with_both_lines(store: ObjectStore) -> None:
    items = [request(f"r-{number % 7}", str(number)) for number in range(9)]

    error = await refused(store, jsonl(items), max_requests=3)

    assert error.problems == (
        "line 8, custom_id: 'r-0' is also the custom_id of line 1",
        "line 9, custom_id: 'r-1' is also the custom_id of line 2",
    )
    assert str(error).startswith("2 problems in 9 requests; nothing was sent")


async def test_all_problems_are_reported_at_once_in_the_order_of_their_lines(store: ObjectStore) -> None:
    good, bad = request("a"), {"custom_id": "b b", "params": {}}
    data = jsonl([good, bad, good, request("c"), bad, request("c")]) + b"nonsense\n"

    error = await refused(store, data, max_requests=2)

    places = [problem.partition(":")[0] for problem in error.problems]
    assert places == [
        "line 2, custom_id",
        "line 3, custom_id",
        "line 5, custom_id",
        "line 6, custom_id",
        "line 7",
    ]
    assert "is also the custom_id of line 1" in error.problems[1]
    assert "is also the custom_id of line 4" in error.problems[3]


async def test_of_many_problems_the_first_are_named_and_all_are_counted(store: ObjectStore) -> None:
    items = [request(f"r-{number % 1000}") for number in range(3000)]
    items[1010] = {"custom_id": "", "params": {}}

    error = await refused(store, jsonl(items), max_requests=100)

    assert len(error.problems) == 20
    assert error.problems[9].startswith("line 1010, custom_id: 'r-9'")
    assert error.problems[10].startswith("line 1011, custom_id: ''")
    assert error.problems[19].startswith("line 1020, custom_id: 'r-19'")
    assert "2,000 problems in 3,000 requests" in str(error)
    assert "and 1,980 more" in str(error)


async def test_a_line_that_is_longer_than_any_batch_is_named(store: ObjectStore) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield jsonl([request("a"), request("b")]) + b'{"custom_id":"'
        for _ in range(250):
            yield b"x" * 1024 * 1024

    with split_requests(ShardLimits()) as split, pytest.raises(InvalidRequests, match=r"^line 3: A line is longer"):
        await split.read(endless())


async def test_no_requests_are_refused(store: ObjectStore) -> None:
    error = await refused(store, b"\n \n")

    assert "there are no requests" in str(error)


async def test_planning_twice_writes_the_same_and_the_first_plan_stays(store: ObjectStore) -> None:
    data = jsonl(requests(10))
    first = await plan(store, data, max_requests=4)
    written = await objects(store)

    again = await plan(store, data, max_requests=4)
    other_limits = await plan(store, data, max_requests=3)

    assert (first.before, again.before, other_limits.before) == (False, True, True)
    assert first.shards == again.shards == other_limits.shards
    assert await objects(store) == written


MILLION = """
import asyncio, json, sys
from pathlib import Path
from message_batches.job_models import ShardLimits
from message_batches.jobs.files import read_files
from message_batches.jobs.plan import record_first_wave, split_requests
from message_batches.prices import PriceList
from message_batches.storage.object_store import open_store

async def lines(count):
    text = "x" * 120
    for start in range(0, count, 5000):
        yield b"".join(
            b'{"custom_id":"request-%09d","params":{"model":"claude-sonnet-5","max_tokens":100,'
            b'"messages":[{"role":"user","content":"%d %s"}]}}\\n' % (n, n, text.encode())
            for n in range(start, start + 5000)
        )

async def main(folder, count):
    if sys.argv[3] == "files":
        with (folder / "requests.jsonl").open("wb") as file:
            async for chunk in lines(count):
                file.write(chunk)
        with read_files([str(folder / "requests.jsonl")], scratch=folder, prices=PriceList()) as requests:
            report(requests.shards)
        return
    store = open_store((folder / "store").as_uri())
    with split_requests(ShardLimits(), folder) as requests:
        await requests.read(lines(count))
        await requests.measure()
        plan = await record_first_wave(store, "job", requests.content_sha256, requests.shards)
    report(plan.shards)

def report(shards):
    # Not getrusage: its peak begins with that of the process which started this one.
    [peak] = [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM:")]
    print(json.dumps({"peak": peak, "shards": [shard.count for shard in shards]}))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["planned", "files"])
def test_a_million_requests_take_little_memory_of_a_worker_and_of_the_starter(tmp_path: Path, way: str) -> None:
    command = [sys.executable, "-c", MILLION, str(tmp_path), "1000000", way]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert done["shards"] == [100_000] * 10
    assert done["peak"] < 200_000_000, f"{done['peak']:,} bytes"


async def test_more_shards_than_a_job_can_carry_are_refused(store: ObjectStore) -> None:
    error = await refused(store, jsonl(requests(MAX_SHARDS + 1)), max_requests=1)

    assert "10,001 shards are too many" in str(error)
