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
from message_batches.errors import CostLimitExceeded, RequestsNotFound
from message_batches.jobs.base import plan_from_base
from message_batches.jobs.plan import JobPlan, Visitor, record_first_wave, split_requests
from message_batches.jobs.records import JobRecords, given_folder
from message_batches.jobs.waves import plan_next_wave, read_sent
from message_batches.prices import PriceList
from message_batches.requests.estimate import Estimator, check_limit, estimate_manifests, lowest_limit
from message_batches.requests.first_read import FirstRead
from message_batches.storage import job_paths
from message_batches.storage.interface import Store
from message_batches.temporal.namespaces import NamespaceRecords
from message_batches.temporal.search_attributes import UsableAttributes
from message_batches.webhooks.interface import NoWebhooks, Webhooks, check_names


class JobActivities:
    """The planning of a job's waves, over a store.

    Args:
        api: knows the keys of this worker.
        store: of the requests and the plans.
        scratch: a folder for temporary files; by default the system's.
        prices: by which the cost is estimated.
        max_cost: the most, in USD, that a job of this worker may cost.
        turns: the turns that large checks of the worker take.
        webhooks: those that a job may name.
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
        webhooks: Webhooks | None = None,
    ) -> None:
        self._api = api
        self._store = store
        self._namespaces = NamespaceRecords(store)
        self._search_attributes = UsableAttributes()
        self._scratch = scratch
        self._prices = prices or PriceList()
        self._max_cost = max_cost
        self._webhooks = webhooks or NoWebhooks()
        self._turns = turns or asyncio.Semaphore(MAX_LARGE_CHECKS)

    @activity.defn(name=ActivityType.PLAN_WAVE)
    async def plan_wave(self, given: PlanWaveInput) -> PlannedWave:
        """Split the requests of a wave into shards, put them into the store, and record them as the wave's plan.

        All problems are reported at once, and then nothing is written. A wave that has a plan keeps it.
        """
        with errors_as_failures():
            self._api.check(given.profile)
            check_names(given.notify, self._webhooks)
            async with heartbeats_counting_lost_attempts():
                if given.store_id:
                    await check_store(self._store, given.store_id)
                store_id = await self._store.identity()
                await self._namespaces.record_once(activity.client())
                plan = await self._plan(given)
                over_limit = await self._over_limit(given, plan) if plan.before and given.base is None else None
                return PlannedWave(
                    store_id=store_id,
                    folder=plan.folder,
                    shards=len(plan.shards),
                    requests=sum(shard.count for shard in plan.shards),
                    planned_before=plan.before,
                    attempted_before=activity.info().attempt > 1,
                    search_attributes=await self._search_attributes.names(activity.client()),
                    over_limit=over_limit,
                )

    async def _plan(self, given: PlanWaveInput) -> JobPlan:
        if given.wave:
            return await self._plan_later(given)
        if (uri := given.requests_uri) is None:
            return await self._plan_given(given)
        first = FirstRead(self._store, given.job_id, given.first_run_id)
        plan = await self._plan_given(given.model_copy(update={"requests_uri": await first.address(uri)}))
        holds = await first.record(uri, self._store.uri(job_paths.plan_path(plan.folder, 0)))
        folder = job_paths.folder_of_plan(self._store.name(holds))
        return plan if folder in (None, plan.folder) else await self._recorded(given.job_id, folder)

    async def _plan_given(self, given: PlanWaveInput) -> JobPlan:
        return await (self._plan_first(given) if given.base is None else self._plan_from_base(given, given.base))

    async def _plan_later(self, given: PlanWaveInput) -> JobPlan:
        if given.folder is None:
            raise RequestsNotFound(f"The folder of {given.job_id} is not known, of which wave {given.wave} is planned")
        records = JobRecords(self._store, given.folder)
        limit = lowest_limit(given.max_cost, self._max_cost) if given.retries.waves else None
        left = None
        if limit and await records.plan(given.wave) is None:
            sent = await read_sent(self._store, records, given.job_id)
            async with self._turns:
                left = await sent.limit(self._store, *limit, self._prices)
        return await plan_next_wave(
            self._store,
            records,
            given.wave,
            limits=given.limits,
            retries=given.retries,
            void=given.void,
            limit=left,
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
            return await self._recorded(given.job_id, folder)
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

    async def _over_limit(self, given: PlanWaveInput, plan: JobPlan) -> str | None:
        """Return why what an earlier run of the job has planned, and not sent, may not be sent; None if it may.

        Raises `CostLimitExceeded` where nothing of the job was sent at all.
        """
        limit = lowest_limit(given.max_cost, self._max_cost)
        if limit is None:
            return None
        sent = await read_sent(self._store, JobRecords(self._store, plan.folder), given.job_id)
        if not (unsent := sent.unsent.get(given.wave)):
            return None
        try:
            async with self._turns:
                left = await sent.limit(self._store, *limit, self._prices)
                left.check(await estimate_manifests(self._store, unsent, self._prices))
        except CostLimitExceeded as error:
            if len(unsent) == len(plan.shards) and not given.wave:
                raise
            return f"{CostLimitExceeded.__name__}: {error}"
        return None

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
