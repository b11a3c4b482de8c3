"""The merged results of a job: every request once, in order, the last answer of each, byte for byte."""

import asyncio
import hashlib
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

import pytest

from message_batches.errors import StoreUnavailable
from message_batches.job_models import ShardRecord, Unfinished
from message_batches.jobs.answers import Answers, read_waves
from message_batches.jobs.merge import MergedLines, merge
from message_batches.prices import total_cost
from message_batches.results.reader import ResultsChanged, ResultsNotFound
from message_batches.storage.object_store import open_store
from tests.harness import local_s3
from tests.harness.jobs import StoredJob
from tests.harness.landed import error, reply, without_reply
from tests.harness.requests import request

ODD = (
    b'{"custom_id": "a", "result": {"type":"succeeded","message":{"model":"claude-sonnet-5","stop_reason":"end_turn",'
    b'"usage":{"input_tokens":1,"output_tokens":1},"content":[{"type":"text","text":"\xe2\x80\xa8\xc2\x85 \\ud83d"}]}}}'
    b" \r"
)
"""With separators that are lines to others, half a surrogate pair, and blanks at its end."""


async def merged_content(job: StoredJob, waves: int) -> list[bytes]:
    merged = await merge(job.store, job.records, waves)
    content = await job.store.read(job.store.name(merged.results_file.uri))
    assert content is not None
    assert hashlib.sha256(content).hexdigest() == merged.results_file.sha256
    assert len(content) == merged.results_file.bytes
    lines = content.split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == merged.results_file.lines == sum(dict(merged.summary.counts).values())
    return lines


async def test_the_results_of_all_shards_are_in_one_file_in_order_byte_for_byte(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("b"), request("a")], [request("d"), request("c")])
    lines = {each: reply(each, f"é {each}") for each in "bcd"} | {"a": ODD}
    await job.land(0, 1, lines["c"], lines["d"])
    await job.land(0, 0, lines["a"], lines["b"])

    assert await merged_content(job, 1) == [lines[each] for each in "badc"]
    merged = await merge(job.store, job.records, 1)
    assert (merged.verified, merged.unfinished) == (True, None)
    assert merged.shards.count == 2


async def test_a_bucket_is_merged_like_a_directory() -> None:
    with local_s3.buckets("bucket") as client:
        options = {"endpoint": client.meta.endpoint_url, **local_s3.KEYS}
        job = StoredJob(open_store("s3://bucket/store", **options))
        await job.plan(0, [request("a"), request("b")], [request("c")])
        await job.land(0, 0, error("a"), reply("b"))
        await job.plan(1, [request("a")])
        await job.land(1, 0, reply("a"))

        assert await merged_content(job, 2) == [reply("a"), reply("b")]
        assert await merge(job.store, job.records, 2) == await merge(job.store, job.records, 2)


async def test_the_last_answer_of_each_request_wins(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a"), request("b"), request("c")], [request("d"), request("e")])
    await job.land(0, 0, error("a"), reply("b"), without_reply("c", "expired"))
    await job.land(0, 1, without_reply("d", "expired"), error("e"))
    await job.plan(1, [request("a"), request("c")], [request("d"), request("e")])
    await job.land(1, 0, reply("a", "second"), error("c", "overloaded_error"))
    await job.land(1, 1, reply("d", "second"), without_reply("e", "canceled"))
    await job.plan(2, [request("c"), request("e")])
    await job.land(2, 0, reply("c", "third"), error("e", "timeout_error"))

    assert await merged_content(job, 3) == [
        reply("a", "second"),
        reply("b"),
        reply("c", "third"),
        reply("d", "second"),
        error("e", "timeout_error"),
    ]
    merged = await merge(job.store, job.records, 3)
    assert merged.summary.counts.succeeded == merged.summary.usable == 4
    assert [(group.type, group.count) for group in merged.summary.errors] == [("timeout_error", 1)]
    assert await merged_content(job, 2) != await merged_content(job, 3)


async def test_a_reply_is_replaced_by_another_reply_only(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    cut = reply("a", stop_reason="max_tokens")
    await job.plan(0, [request("a"), request("b")])
    await job.land(0, 0, cut, error("b"))
    await job.plan(1, [request("a"), request("b")])
    await job.land(1, 0, error("a", "invalid_request_error"), without_reply("b", "expired"))
    assert await merged_content(job, 2) == [cut, without_reply("b", "expired")]

    await job.plan(2, [request("a")])
    await job.land(2, 0, reply("a", "whole"))
    assert await merged_content(job, 3) == [reply("a", "whole"), without_reply("b", "expired")]


async def test_the_cost_is_that_of_all_waves(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a"), request("b")])
    first = await job.land(0, 0, reply("a", stop_reason="max_tokens"), reply("b"))
    await job.plan(1, [request("a")])
    second = await job.land(1, 0, reply("a"))

    merged = await merge(job.store, job.records, 2)

    assert first.cost
    assert second.cost
    assert merged.cost == total_cost([first.cost, second.cost])
    assert merged.cost
    assert merged.cost.amount == (first.cost.amount or 0) + (second.cost.amount or 0) > Decimal(0)
    assert sum(usage.requests for usage in merged.summary.usage) == 2


async def test_the_summary_does_not_repeat_a_secret_that_the_file_has(tmp_path: Path) -> None:
    secret = "sk-ant-a-secret-of-the-call"
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")])
    await job.land(0, 0, error("a", message=f"the key {secret} is not valid"))

    merged = await merge(job.store, job.records, 1, hidden=[secret])

    assert secret not in merged.summary.model_dump_json()
    assert merged.summary.errors[0].count == 1
    assert secret.encode() in (await merged_content(job, 1))[0]


async def test_a_shard_that_has_not_landed_leaves_its_requests_unfinished(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a"), request("b")], [request(f"m{n}") for n in range(5)], [request("z")])
    await job.land(0, 0, reply("a"), error("b"))
    await job.land(0, 2, reply("z"))
    await job.plan(1, [request("b")])

    assert await merged_content(job, 2) == [reply("a"), error("b"), reply("z")]
    partly = await merge(job.store, job.records, 2)
    assert not partly.verified
    assert partly.unfinished == Unfinished(count=5, custom_ids=("m0", "m1", "m2"))

    await job.land(1, 0, reply("b", "again"))
    await job.land(0, 1, *(reply(f"m{n}") for n in range(5)))
    whole = await merge(job.store, job.records, 2)

    assert (whole.verified, whole.unfinished, whole.results_file.lines) == (True, None, 8)
    assert whole.results_file != partly.results_file


async def test_nothing_landed_gives_an_empty_file_that_is_not_verified(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")])

    merged = await merge(job.store, job.records, 1)

    assert (merged.results_file.lines, merged.results_file.bytes, merged.verified) == (0, 0, False)
    assert merged.cost is None


async def test_the_list_of_shards_names_each_that_is_merged(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")], [request("b")], [request("c")])
    records = [await job.land(0, 2, reply("c")), await job.land(0, 0, error("a"))]
    await job.plan(1, [request("a")])
    records.append(await job.land(1, 0, reply("a")))

    merged = await merge(job.store, job.records, 2)
    listed = await job.store.read(job.store.name(merged.shards.uri))

    assert listed
    assert [ShardRecord.model_validate_json(line) for line in listed.splitlines()] == [records[n] for n in (1, 0, 2)]


async def test_merging_again_returns_what_was_published_and_a_late_twin_leaves_nothing(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")])
    await job.land(0, 0, reply("a"))

    results = await asyncio.gather(*(merge(job.store, job.records, 1) for _ in range(4)))

    assert len({merged.results_file.uri for merged in results}) == 1
    assert await merge(job.store, job.records, 1) == results[0]
    names = [name.rsplit(".", 1)[-1] for name in await job.store.names(f"{job.records.folder}/")]
    assert sorted(names) == ["json", "json", "jsonl", "plan", "shards"]


async def test_a_merged_file_that_is_gone_is_made_again(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")])
    await job.land(0, 0, reply("a"))
    first = await merge(job.store, job.records, 1)
    await job.store.remove(job.store.name(first.results_file.uri))

    again = await merge(job.store, job.records, 1)

    assert again.results_file.uri != first.results_file.uri
    assert again.results_file.sha256 == first.results_file.sha256
    assert await merge(job.store, job.records, 1) == again


async def test_changed_or_missing_results_are_never_merged(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")])
    record = await job.land(0, 0, reply("a", "one"))
    await job.overwrite(record.results_file.uri, reply("a", "two") + b"\n")

    with pytest.raises(ResultsChanged):
        await merge(job.store, job.records, 1)
    await job.store.remove(job.store.name(record.results_file.uri))
    with pytest.raises(ResultsNotFound):
        await merge(job.store, job.records, 1)
    assert [name for name in await job.store.names(f"{job.records.folder}/") if name.endswith(".jsonl")] == []


@pytest.mark.parametrize("lines", [[reply("b"), reply("a")], [reply("a")], [reply("a"), reply("b"), reply("c")]])
async def test_results_that_are_not_those_of_the_requests_are_refused(tmp_path: Path, lines: list[bytes]) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a"), request("b")])
    record = await job.land(0, 0, reply("a"), reply("b"))
    data = b"".join(line + b"\n" for line in lines)
    await job.overwrite(record.results_file.uri, data)
    file = record.results_file.model_copy(update={"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})
    await job.records.record_landed(record.model_copy(update={"results_file": file}), instead_of=record)

    with pytest.raises(ResultsChanged):
        await merge(job.store, job.records, 1)


async def test_an_answer_of_a_request_that_the_job_does_not_have_is_refused(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a"), request("b")])
    await job.land(0, 0, reply("a"), reply("b"))
    await job.plan(1, [request("x")])
    await job.land(1, 0, reply("x"))

    with pytest.raises(ResultsChanged, match="x is in a later wave"):
        await merge(job.store, job.records, 2)


async def test_a_damaged_publication_is_named(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")])
    merged = await merge(job.store, job.records, 1)
    names = await job.store.names(f"{job.records.folder}/")
    [publication] = [name for name in names if name.endswith(".json")]
    await job.overwrite(job.store.uri(publication), b"{")

    with pytest.raises(StoreUnavailable, match="is damaged"):
        await merge(job.store, job.records, 1)
    assert merged.results_file.lines == 0


async def test_what_has_landed_so_far_can_be_read_without_publishing_it(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")], [request("b")])
    await job.land(0, 1, error("b"))
    await job.plan(1, [request("b")])
    await job.land(1, 0, reply("b"))
    before = await job.store.names(f"{job.records.folder}/")

    lines = MergedLines(job.store, await read_waves(job.records))
    async with aclosing(lines.chunks()) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == reply("b") + b"\n"

    assert (lines.lines, lines.summary.usable) == (1, 1)
    assert lines.unfinished == Unfinished(count=1, custom_ids=("a",))
    assert await job.store.names(f"{job.records.folder}/") == before


async def test_each_answer_comes_with_the_request_that_it_is_of(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a", max_tokens=10), request("b", max_tokens=10)], [request("c")])
    await job.land(0, 0, reply("a", stop_reason="max_tokens"), reply("b"))
    await job.plan(1, [request("a", max_tokens=99)])
    await job.land(1, 0, reply("a"))

    answers = Answers(job.store, await read_waves(job.records), with_requests=True)
    found = [answer async for block in answers.blocks() for answer in block]

    assert [(each.result.custom_id, b'"max_tokens":99' in each.request) for each in found] == [
        ("a", True),
        ("b", False),
    ]
    assert (answers.unfinished, answers.unfinished_ids) == (1, ["c"])
