"""The activity that plans the waves of a job: which requests are sent, and in which shards."""

import asyncio
from decimal import Decimal
from pathlib import Path

from temporalio import activity

from activities.batch import MAX_LARGE_CHECKS
from activities.failures import check_store, errors_as_failures
from activities.job_models import PlannedWave, PlanWaveInput
from activities.timeouts import heartbeats_counting_lost_attempts
from message_batches.api.interface import BatchApi
from message_batches.contract import ActivityType
from message_batches.errors import RequestsNotFound
from message_batches.job_models import shard_workflow_id
from message_batches.jobs.base import given_folder, plan_from_base
from message_batches.jobs.plan import JobPlan, Visitor, record_first_wave, split_requests
from message_batches.jobs.records import JobRecords
from message_batches.jobs.waves import CostLimit, plan_next_wave
from message_batches.prices import PriceList
from message_batches.requests.estimate import Estimator, check_limit, estimate_manifests, lowest_limit
from message_batches.storage import job_paths
from message_batches.storage.interface import Store
from message_batches.temporal.namespaces import NamespaceRecords
from message_batches.temporal.search_attributes import UsableAttributes


class JobActivities:
    """The planning of a job's waves, over a store.

    Args:
        api: knows the keys of this worker.
        store: of the requests and the plans.
        scratch: a folder for temporary files; by default the system's.
        prices: by which the cost is estimated.
        max_cost: the most, in USD, that a job of this worker may cost.
        turns: the turns that large checks of the worker take.
    """

    def __init__(
        self,
        api: BatchApi,
        store: Store,
        *,
        scratch: Path | None = None,
        prices: PriceList | None = None,
        max_cost: Decimal | None = None,
        turns: asyncio.Semaphore | None = None,
    ) -> None:
        self._api = api
        self._store = store
        self._namespaces = NamespaceRecords(store)
        self._search_attributes = UsableAttributes()
        self._scratch = scratch
        self._prices = prices or PriceList()
        self._max_cost = max_cost
        self._turns = turns or asyncio.Semaphore(MAX_LARGE_CHECKS)

    @activity.defn(name=ActivityType.PLAN_WAVE)
    async def plan_wave(self, given: PlanWaveInput) -> PlannedWave:
        """Split the requests of a wave into shards, put them into the store, and record them as the wave's plan.

        All problems are reported at once, and then nothing is written. A wave that has a plan keeps it.
        """
        with errors_as_failures():
            self._api.check(given.profile)
            async with heartbeats_counting_lost_attempts():
                if given.store_id:
                    await check_store(self._store, given.store_id)
                store_id = await self._store.identity()
                await self._namespaces.record_once(activity.client())
                plan = await self._plan(given)
                return PlannedWave(
                    store_id=store_id,
                    folder=plan.folder,
                    shards=len(plan.shards),
                    requests=sum(shard.count for shard in plan.shards),
                    planned_before=plan.before,
                    attempted_before=activity.info().attempt > 1,
                    search_attributes=await self._search_attributes.names(activity.client()),
                )

    async def _plan(self, given: PlanWaveInput) -> JobPlan:
        if given.wave:
            return await self._plan_later(given)
        return await (self._plan_first(given) if given.base is None else self._plan_from_base(given, given.base))

    async def _plan_later(self, given: PlanWaveInput) -> JobPlan:
        if given.folder is None:
            raise RequestsNotFound(f"The folder of {given.job_id} is not known, of which wave {given.wave} is planned")
        limit = lowest_limit(given.max_cost, self._max_cost)
        return await plan_next_wave(
            self._store,
            JobRecords(self._store, given.folder),
            given.wave,
            limits=given.limits,
            retries=given.retries,
            limit=CostLimit(*limit, spent=given.spent) if limit else None,
            prices=self._prices,
            scratch=self._scratch,
            turns=self._turns,
        )

    async def _plan_from_base(self, given: PlanWaveInput, base: str) -> JobPlan:
        return await plan_from_base(
            activity.client(),
            self._store,
            given.job_id,
            base,
            account=self._api.account(given.profile).part,
            folder=await given_folder(self._store, given.job_id, given.requests, given.requests_uri),
            scratch=self._scratch,
            turns=self._turns,
        )

    async def _plan_first(self, given: PlanWaveInput) -> JobPlan:
        limit = lowest_limit(given.max_cost, self._max_cost)
        uri = given.requests_uri
        path = self._store.name(uri) if uri is not None else ""
        if folder := job_paths.folder_of_plan(path):
            plan = await self._recorded(given.job_id, folder)
            if limit:
                await self._check_rest(given.job_id, plan, limit)
            return plan
        estimator = Estimator(self._prices) if limit else None
        visit: Visitor | None = (lambda request, line, *_: estimator.add(request, line)) if estimator else None
        with split_requests(given.limits, self._scratch) as requests:
            if uri is not None:
                try:
                    await requests.read(self._store.stream(path), self._turns)
                except FileNotFoundError as error:
                    raise RequestsNotFound(
                        f"{uri} is not a file in this worker's store, {self._store.uri('')} (links are not followed): "
                        "put it there first"
                    ) from error
            else:
                await requests.items(given.requests or [])
            await requests.measure(visit)
            if limit and estimator:
                check_limit(estimator.result(), *limit)
            return await record_first_wave(self._store, given.job_id, requests.content_sha256, requests.shards)

    async def _check_rest(self, job_id: str, plan: JobPlan, limit: tuple[Decimal, str]) -> None:
        """Check what has not landed yet, by an earlier run of the job, against what is left of the limit."""
        landed = {
            each.number: each for each in await JobRecords(self._store, plan.folder).all_landed(0, len(plan.shards))
        }
        own = (each for each in landed.values() if each.workflow_id == shard_workflow_id(job_id, 0, each.number))
        spent = sum((each.cost.amount for each in own if each.cost and each.cost.amount), Decimal(0))
        if rest := [shard for number, shard in enumerate(plan.shards) if number not in landed]:
            async with self._turns:
                CostLimit(*limit, spent=spent).check(await estimate_manifests(self._store, rest, self._prices))

    async def _recorded(self, job_id: str, folder: str) -> JobPlan:
        """Return the plan that the starter of the job has recorded; each shard checks its requests in its run."""
        if not job_paths.is_folder_of(folder, job_id):
            raise RequestsNotFound(
                f"{self._store.uri(folder)} is the plan of another job than {job_id}: name the requests instead"
            )
        shards = await JobRecords(self._store, folder).plan(0)
        if shards is None:
            raise RequestsNotFound(f"{self._store.uri(folder)} has no plan any more: start the job from its requests")
        return JobPlan(folder, shards, before=True)
