"""The requests that a job sends again: those whose last answer is worth a retry, in the order of all."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from message_batches.errors import CostLimitExceeded
from message_batches.job_models import Retries, RetryKind, ShardLimits, shard_workflow_id
from message_batches.jobs.plan import JobPlan
from message_batches.jobs.waves import CostLimit, plan_next_wave, read_sent
from message_batches.models import Anchor, Manifest
from message_batches.prices import PriceList
from message_batches.requests.estimate import estimate_manifests
from message_batches.requests.manifest import read_ids
from message_batches.results.reader import ResultsChanged
from message_batches.storage.accounts import AccountRecords
from message_batches.storage.submission_records import SubmissionIntent, SubmissionOutcome, SubmissionRecords, Submitter
from tests.harness.jobs import StoredJob
from tests.harness.landed import error, reply, without_reply
from tests.harness.requests import request
from tests.harness.stack import ACCOUNT

PASSING = Retries()
ALL = ShardLimits()
INVALID = error("c", "invalid_request_error", "messages: at least one message is required")
UNUSABLE = Retries(what=RetryKind.UNUSABLE, max_tokens=1000)


async def next_wave(
    job: StoredJob, wave: int, retries: Retries = PASSING, limits: ShardLimits = ALL, **options: Any
) -> JobPlan:
    return await plan_next_wave(job.store, job.records, wave, limits=limits, retries=retries, **options)


async def ids_of(job: StoredJob, plan: JobPlan) -> list[list[str]]:
    return [await read_ids(job.store, manifest) for manifest in plan.shards]


async def lines_of(job: StoredJob, plan: JobPlan) -> list[bytes]:
    contents = [await job.store.read(job.store.name(manifest.uri)) for manifest in plan.shards]
    return b"".join(content or b"" for content in contents).splitlines()


async def test_what_failed_in_passing_is_sent_again_in_order_and_as_it_was(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    first, second = [request(each, f"é {each}") for each in "dbca"], [request(each) for each in "fe"]
    await job.plan(0, first, second)
    await job.land(0, 0, without_reply("d", "expired"), reply("b"), INVALID, error("a"))
    await job.land(0, 1, without_reply("f", "canceled"), reply("e", stop_reason="max_tokens"))

    plan = await next_wave(job, 1)

    assert await ids_of(job, plan) == [["d", "a", "f"]]
    sent = b"".join([await job.store.read(job.store.name(each.uri)) or b"" for each in await job.records.planned(0)])
    assert await lines_of(job, plan) == [line for line in sent.splitlines() if json.loads(line)["custom_id"] in "daf"]
    assert (plan.folder, plan.before) == (job.records.folder, False)
    assert plan.shards == await job.records.planned(1)


async def test_the_last_answer_decides(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request(each) for each in "abc"])
    await job.land(0, 0, error("a"), error("b"), error("c"))
    await job.plan(1, [request(each) for each in "abc"])
    await job.land(1, 0, reply("a"), error("b"), INVALID)

    assert await ids_of(job, await next_wave(job, 2)) == [["b"]]


async def test_cut_off_replies_are_sent_again_with_a_higher_limit(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    asked = [request("a", max_tokens=10), request("b", max_tokens=10), request("c", max_tokens=2000), request("d")]
    await job.plan(0, asked)
    await job.land(
        0,
        0,
        reply("a", stop_reason="max_tokens"),
        error("b"),
        reply("c", stop_reason="max_tokens"),
        reply("d", stop_reason="refusal"),
    )

    plan = await next_wave(job, 1, UNUSABLE)
    limits = {each["custom_id"]: each["params"]["max_tokens"] for each in map(json.loads, await lines_of(job, plan))}

    assert limits == {"a": 1000, "b": 10}


async def test_what_was_raised_once_stays_raised(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a", max_tokens=10)])
    await job.land(0, 0, reply("a", stop_reason="max_tokens"))
    await job.plan(1, [request("a", max_tokens=500)])
    await job.land(1, 0, without_reply("a", "expired"))

    [line] = await lines_of(job, await next_wave(job, 2))

    assert json.loads(line)["params"]["max_tokens"] == 500


async def test_the_wave_is_split_by_the_limits(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a"), request("b")], [request("c"), request("d"), request("e")])
    await job.land(0, 0, error("a"), error("b"))
    await job.land(0, 1, *(error(each) for each in "cde"))

    plan = await next_wave(job, 1, limits=ShardLimits(max_requests=2))

    assert await ids_of(job, plan) == [["a", "b"], ["c", "d"], ["e"]]


async def test_nothing_of_a_shard_without_results_is_sent_again(tmp_path: Path) -> None:
    """Its batch may be paid for: an operator settles it, and then its results land."""
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a"), request("b"), request("c")], [request("d")])
    await job.land(0, 0, error("a"), error("b"), error("c"))
    await job.plan(1, [request("a"), request("b")], [request("c")])
    await job.land(1, 1, error("c"))

    assert await ids_of(job, await next_wave(job, 2)) == [["c"]]


async def test_a_shard_that_the_api_refuses_as_it_is_leaves_its_requests_to_the_next_wave(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a"), request("b"), request("c")])
    await job.land(0, 0, error("a"), reply("b"), error("c"))
    await job.plan(1, [request("a")], [request("c")])

    assert await ids_of(job, await next_wave(job, 2, void={1: [1]})) == [["c"]]


async def test_a_wave_is_planned_once_and_none_where_nothing_failed_or_no_waves_are_left(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a"), request("b")])
    await job.land(0, 0, error("a"), reply("b"))

    none_left = await next_wave(job, 1, Retries(waves=0))
    first = await next_wave(job, 1)
    again = await next_wave(job, 1, Retries(waves=0), ShardLimits(max_requests=1))

    assert (none_left.shards, none_left.before) == ((), False)
    assert again == first._replace(before=True)
    await job.land(1, 0, reply("a"))
    assert await next_wave(job, 2) == JobPlan(job.records.folder, (), before=False)
    assert await job.records.plan(2) is None


async def test_a_wave_that_may_cost_more_than_what_is_left_is_not_planned(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a", max_tokens=1_000), request("b")])
    await job.land(0, 0, error("a"), reply("b"))
    limit = CostLimit(Decimal(5), "maxCost of the input", Decimal("4.995"))
    before = await job.store.names("manifests/")

    with pytest.raises(
        CostLimitExceeded, match=r"what is left of \$5\.00, maxCost of the input: \$\S+ is spent"
    ) as caught:
        await next_wave(job, 1, limit=limit)

    assert caught.value.limit == Decimal("0.005")
    assert await job.store.names("manifests/") == before
    assert await job.records.plan(1) is None
    assert await ids_of(job, await next_wave(job, 1, limit=CostLimit(Decimal(5), "maxCost", Decimal(4)))) == [["a"]]


async def test_more_was_spent_than_allowed(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")])
    await job.land(0, 0, error("a"))

    with pytest.raises(CostLimitExceeded) as caught:
        await next_wave(job, 1, limit=CostLimit(Decimal(5), "maxCost", Decimal(6)))

    assert caught.value.limit == 0


async def test_requests_that_have_changed_are_not_sent_again(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")])
    await job.land(0, 0, error("a"))
    manifest = await job.manifest(0, 0)
    await job.overwrite(manifest.uri, json.dumps(request("a", "another text")).encode() + b"\n")

    with pytest.raises(ResultsChanged):
        await next_wave(job, 1)
    assert await job.records.plan(1) is None


async def submit(job: StoredJob, wave: int, number: int, outcome: SubmissionOutcome | None) -> Manifest:
    """Record that a shard was submitted, as its run would have, without results."""
    manifest, now = await job.manifest(wave, number), datetime.now(UTC)
    shard_id = shard_workflow_id(job.job_id, wave, number)
    submitter = Submitter.of(manifest, api_key=ACCOUNT.api_key, workflow_id=shard_id, first_run_id="1")
    intent = SubmissionIntent(
        workflow_id=shard_id,
        first_run_id="1",
        number=1,
        anchor=Anchor(created_at=now),
        sha256=manifest.sha256,
        time=now,
        timeout=timedelta(seconds=1),
        nonce="1",
    )
    records = SubmissionRecords(job.store)
    await AccountRecords(job.store).record(ACCOUNT)
    await records.record_intent(submitter, intent)
    if outcome:
        await records.record_outcome(submitter, 1, outcome)
    return manifest


async def limit_of(job: StoredJob) -> CostLimit:
    sent = await read_sent(job.store, job.records, job.job_id)
    return await sent.limit(job.store, Decimal(5), "maxCost of the input", PriceList())


async def test_what_was_submitted_and_has_no_results_counts_by_its_estimate(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, *([request(each)] for each in "abcde"))
    landed = await job.land(0, 0, reply("a"))
    left = await submit(job, 0, 1, SubmissionOutcome(batch_id="msgbatch_1"))
    unknown = await submit(job, 0, 2, None)
    refused = await submit(job, 0, 3, SubmissionOutcome(created=False))
    estimate = await estimate_manifests(job.store, [left, unknown], PriceList())

    sent = await read_sent(job.store, job.records, job.job_id)

    assert landed.cost
    assert landed.cost.amount
    assert estimate.amount
    assert (await limit_of(job)).spent == landed.cost.amount + estimate.amount
    assert sent.unsent == {0: [refused, await job.manifest(0, 4)]}


async def test_replies_without_a_price_count_by_the_estimate_of_their_requests(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a"), request("b")])
    record = await job.land(0, 0, reply("a"), reply("b", model="a-model-without-a-price"))
    estimate = await estimate_manifests(job.store, [await job.manifest(0, 0)], PriceList())

    assert record.cost
    assert record.cost.partial
    assert (await limit_of(job)).spent == estimate.amount


async def test_with_requests_without_a_price_under_way_nothing_more_is_sent_under_a_limit(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a", model="a-model-without-a-price")])
    await submit(job, 0, 0, SubmissionOutcome(batch_id="msgbatch_1"))

    with pytest.raises(CostLimitExceeded, match="no price for a-model-without-a-price") as caught:
        await limit_of(job)

    assert caught.value.estimate is None


async def test_what_the_base_has_landed_costs_nothing(tmp_path: Path) -> None:
    job = StoredJob.new(tmp_path)
    await job.plan(0, [request("a")])
    await job.land(0, 0, reply("a"))

    assert (await read_sent(job.store, job.records, "another")).cost == 0
