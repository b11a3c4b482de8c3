"""What a job sends again: the requests whose last answer is worth a retry, as the plan of its next wave."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

from message_batches.concurrency import run_in_thread
from message_batches.formatting import format_money
from message_batches.job_models import Retries, RetryKind, ShardLimits
from message_batches.jobs.answers import Answer, Answers, Wave, read_waves
from message_batches.jobs.plan import JobPlan, split_requests
from message_batches.jobs.records import JobRecords
from message_batches.jobs.shards import Shard, ShardReader
from message_batches.jsonl import join
from message_batches.models import Manifest
from message_batches.prices import PriceList
from message_batches.requests.estimate import Estimator, check_limit, estimate_manifests
from message_batches.requests.manifest import store_manifest
from message_batches.result_models import CostEstimate
from message_batches.results.failed import FailedRequests, Wanted, with_max_tokens
from message_batches.storage.interface import Store


@dataclass(frozen=True)
class CostLimit:
    """The most, in USD, that all waves may cost.

    Attributes:
        source: names what has set it.
        spent: what has cost so much, or may, of what was submitted so far.
    """

    amount: Decimal
    source: str
    spent: Decimal

    def check(self, estimate: CostEstimate) -> None:
        """Raise `CostLimitExceeded` unless requests of that estimate cost at most what is left."""
        left = max(self.amount - self.spent, Decimal(0))
        spent = f"what is left of {format_money(self.amount)}, {self.source}: {format_money(self.spent)} is spent"
        check_limit(estimate, left, spent if self.spent else self.source)


@dataclass(frozen=True)
class SentShards:
    """What a job has submitted so far, in whichever of its runs, and what is planned and was not submitted yet.

    Attributes:
        cost: of the shards that have landed, as far as it is known.
        unpriced: those whose cost is not known: their batch has no results yet, or their replies have no price.
        unsent: those of which nothing was ever created, by their wave.
    """

    cost: Decimal
    unpriced: Sequence[Manifest]
    unsent: Mapping[int, Sequence[Manifest]]

    async def limit(self, store: Store, amount: Decimal, source: str, prices: PriceList) -> CostLimit:
        """Return the limit on what is sent next: what was submitted counts by its estimate if its cost is not known.

        Raises `CostLimitExceeded` where that cannot be estimated.
        """
        estimate = await estimate_manifests(store, self.unpriced, prices)
        if estimate.partial or estimate.unseen:
            check_limit(estimate, amount, f"{source}, and these were submitted before")
        return CostLimit(amount, source, self.cost + (estimate.amount or 0))


async def read_sent(store: Store, records: JobRecords, job_id: str) -> SentShards:
    """Read what a job has submitted, of all waves that are planned; what its base has landed costs it nothing."""
    reader, cost = ShardReader(store), Decimal(0)
    unpriced: list[Manifest] = []
    unsent: dict[int, list[Manifest]] = {}
    for number, wave in enumerate(await read_waves(records)):
        for place, manifest in enumerate(wave.manifests):
            shard, record = Shard(job_id, number, place, manifest), wave.landed.get(place)
            if record and record.workflow_id != shard.workflow_id:
                continue
            if record and record.cost and record.cost.amount is not None and not record.cost.partial:
                cost += record.cost.amount
            elif record or not all(post.created_nothing for post in await reader.submitted(shard)):
                unpriced.append(manifest)
            else:
                unsent.setdefault(number, []).append(manifest)
    return SentShards(cost, unpriced, unsent)


async def plan_next_wave(
    store: Store,
    records: JobRecords,
    wave: int,
    *,
    limits: ShardLimits,
    retries: Retries,
    void: Mapping[int, Collection[int]] | None = None,
    limit: CostLimit | None = None,
    prices: PriceList | None = None,
    scratch: Path | None = None,
    turns: asyncio.Semaphore | None = None,
) -> JobPlan:
    """Plan a wave after the first, from the last answer that each request has got so far; a planned one keeps its plan.

    Nothing is sent again of a shard that has not landed, in whichever wave: its batch may have been paid for. Raises
    `CostLimitExceeded`, `ResultsNotFound` or `ResultsChanged`, and then no plan is recorded.

    Args:
        store: of the job.
        records: of the job.
        wave: the number of the new wave.
        limits: of each shard.
        retries: which requests are sent again; where its `waves` are none, no new plan is made.
        void: of earlier waves the shards that the API has refused as they were; what they hold may be sent again.
        limit: of the cost.
        prices: by which the cost is estimated.
        scratch: a folder for unnamed files, of the size of the requests in all; by default the system's.
        turns: the turns that large checks of the process take.
    """
    if planned := await records.plan(wave):
        return JobPlan(records.folder, planned, before=True)
    nothing = JobPlan(records.folder, (), before=False)
    if not retries.waves:
        return nothing
    estimator = Estimator(prices or PriceList())
    with split_requests(limits, scratch) as requests:
        waves = [
            replace(earlier, void=(void or {}).get(number, ()))
            for number, earlier in enumerate(await read_waves(records, wave))
        ]
        await requests.read(failed_lines(store, waves, retries), turns)
        if not requests.check.count:
            return nothing
        await requests.measure((lambda request, line, *_: estimator.add(request, line)) if limit else None)
        if limit:
            limit.check(estimator.result())
        shards = [await store_manifest(store, await run_in_thread(shard.checked)) for shard in requests.shards]
        recorded = await records.record_plan(wave, shards)
        return JobPlan(records.folder, recorded, before=list(recorded) != shards)


async def failed_lines(store: Store, waves: Sequence[Wave], retries: Retries) -> AsyncIterator[bytes]:
    """Yield the requests that are worth a retry, one a line, byte for byte but for a `max_tokens` that is raised."""
    unusable = retries.what is RetryKind.UNUSABLE
    wanted = Wanted(unusable=unusable, max_tokens=retries.max_tokens if unusable else None)
    answers = Answers(store, waves, with_requests=True, settled=True)
    async with aclosing(answers.blocks()) as blocks:
        async for block in blocks:
            if lines := await run_in_thread(partial(_failed, block, wanted)):
                yield lines


def _failed(block: Sequence[Answer], wanted: Wanted) -> bytes:
    failed = FailedRequests(wanted)
    for answer in block:
        failed.add(*answer)
    lines = [
        with_max_tokens(answer.request, wanted.max_tokens or 0)
        if answer.result.custom_id in failed.raised
        else answer.request
        for answer in block
        if answer.result.custom_id in failed.retryable
    ]
    return b"".join(join(lines)) if lines else b""
