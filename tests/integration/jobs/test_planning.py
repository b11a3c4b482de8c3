"""The activity that plans the first wave of a job, with a real store and a real client."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.job_models import PlannedWave, PlanWaveInput
from activities.jobs import JobActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile
from message_batches.job_models import Retries, ShardLimits
from message_batches.jobs.records import JobRecords
from message_batches.requests.manifest import content_of_items
from message_batches.storage.job_paths import plan_path
from message_batches.storage.object_store import ObjectStore, open_store
from tests.harness.requests import fresh, requests
from tests.harness.stack import KEYS, Stack
from tests.unit.jobs.test_plan import jsonl, pieces
from workflows.jobs.state import JobState

JOB = "job-1"


class Planner:
    """Plans waves by the activity, as a worker would."""

    def __init__(self, live: Stack) -> None:
        self._live = live
        self.store: ObjectStore = open_store(live.store_url)

    async def __call__(
        self,
        *,
        limits: ShardLimits | None = None,
        job_id: str = JOB,
        worker_limit: Decimal | None = None,
        attempt: int = 1,
        **given: Any,
    ) -> PlannedWave:
        asked = PlanWaveInput(
            job_id=job_id,
            profile=given.pop("profile", ApiProfile()),
            limits=limits or ShardLimits(max_requests=4),
            retries=Retries(),
            **given,
        )
        async with http_client(self._live.emulator.url) as http:
            activities = JobActivities(HttpBatchApi(http, ApiKeys(KEYS)), self.store, max_cost=worker_limit)
            environment = ActivityEnvironment(client=self._live.client)
            environment.info = replace(environment.info, attempt=attempt)
            return await environment.run(activities.plan_wave, asked)

    async def failure(self, **given: Any) -> ApplicationError:
        """Return the failure of a plan, after which nothing is planned."""
        with pytest.raises(ApplicationError) as caught:
            await self(**given)
        return caught.value


@pytest.fixture
def planner(live: Stack) -> Planner:
    return Planner(live)


async def put(store: ObjectStore, data: bytes, name: str = "mine/requests.jsonl") -> str:
    await store.write(name, pieces(data))
    return store.uri(name)


async def test_requests_of_the_input_and_of_the_store_have_the_same_plan(planner: Planner) -> None:
    items = fresh(10)

    inline = await planner(requests=items)
    stored = await planner(requests_uri=await put(planner.store, jsonl(items)))

    assert (inline.shards, inline.requests, inline.planned_before) == (3, 10, False)
    assert inline.folder == f"jobs/{JOB}-{content_of_items(items)[:16]}"
    assert inline.store_id == await planner.store.identity()
    assert stored == inline.model_copy(update={"planned_before": True})


async def test_a_later_wave_whose_first_attempt_was_lost_counts_as_one_of_those_that_the_run_may_plan(
    planner: Planner,
) -> None:
    first, again = await planner(requests=fresh(4)), await planner(requests=fresh(4), attempt=2)
    state = JobState()
    state.on_planned(first)
    state.on_planned(again.model_copy(update={"planned_before": True}))

    assert state.planned == 1


async def test_the_plan_of_the_starter_is_taken_and_its_requests_are_not_read(planner: Planner) -> None:
    planned = await planner(requests=fresh(10))
    records = JobRecords(planner.store, planned.folder)
    for shard in await records.plan(0) or ():
        await planner.store.remove(planner.store.name(shard.uri))

    taken = await planner(requests_uri=planner.store.uri(plan_path(planned.folder, 0)))

    assert taken == planned.model_copy(update={"planned_before": True})


async def test_the_plan_of_another_job_or_one_that_is_gone_is_refused(planner: Planner) -> None:
    planned = await planner(requests=fresh(10))
    uri = planner.store.uri(plan_path(planned.folder, 0))

    other = await planner.failure(requests_uri=uri, job_id="job")
    gone = await planner.failure(requests_uri=planner.store.uri(f"jobs/{JOB}-{'0' * 16}/0.plan"))

    assert (other.type, gone.type) == ("RequestsNotFound", "RequestsNotFound")
    assert "another job" in other.message


@pytest.mark.parametrize("where", ["input", "store"])
async def test_problems_are_a_typed_failure_and_nothing_is_planned(planner: Planner, where: str) -> None:
    items = [*fresh(5), {"custom_id": "no params"}]
    given: dict[str, Any] = (
        {"requests": items} if where == "input" else {"requests_uri": await put(planner.store, jsonl(items))}
    )

    failure = await planner.failure(**given)

    assert (failure.type, failure.non_retryable) == ("InvalidRequests", True)
    assert ("requests[5]" if where == "input" else "line 6") in failure.message
    assert await planner.store.names("jobs/") == []
    assert await planner.store.names("manifests/") == []


async def test_requests_that_are_not_there_are_a_typed_failure(planner: Planner, tmp_path: Path) -> None:
    missing = await planner.failure(requests_uri=planner.store.uri("mine/none.jsonl"))
    outside = await planner.failure(requests_uri=(tmp_path / "elsewhere.jsonl").as_uri())
    other_store = await planner.failure(requests=requests(), store_id="another")

    assert (missing.type, outside.type, other_store.type) == ("RequestsNotFound", "RequestsNotFound", "WrongStore")


@pytest.mark.parametrize("limited_by", ["input", "worker"])
async def test_the_limit_of_the_cost_is_that_of_all_shards(planner: Planner, limited_by: str) -> None:
    # $0.0013 to $0.0019 each.
    items = fresh(10)

    async def plan(limit: str, **given: Any) -> PlannedWave:
        by_input, by_worker = (Decimal(limit), None) if limited_by == "input" else (None, Decimal(limit))
        return await planner(max_cost=by_input, worker_limit=by_worker, **given)

    with pytest.raises(ApplicationError) as caught:
        await plan("0.01", requests=items)
    assert caught.value.type == "CostLimitExceeded"
    assert "10 requests" in caught.value.message
    assert await planner.store.names("jobs/") == []

    planned = await plan("0.02", requests=items)
    recorded = {"requests_uri": planner.store.uri(plan_path(planned.folder, 0))}
    with pytest.raises(ApplicationError, match="10 requests may cost"):
        await plan("0.01", **recorded)
    assert (await plan("0.02", **recorded)).shards == 3


async def test_a_key_that_the_worker_does_not_hold_is_a_typed_failure(planner: Planner) -> None:
    failure = await planner.failure(requests=fresh(), profile=ApiProfile(api_key="nobody"))

    assert (failure.type, failure.non_retryable) == ("UnknownKey", False)


async def test_a_later_wave_that_an_earlier_run_has_planned_is_taken_up_and_not_sent_above_the_limit(
    planner: Planner,
) -> None:
    planned = await planner(requests=fresh(4))
    records = JobRecords(planner.store, planned.folder)
    await records.record_plan(1, await records.planned(0))
    later: dict[str, Any] = {"wave": 1, "folder": planned.folder}

    above = await planner(max_cost=Decimal("0.0001"), **later)
    below = await planner(max_cost=Decimal(1), **later)

    assert (above.shards, below.shards) == (1, 1)
    assert above.over_limit
    assert above.over_limit.startswith("CostLimitExceeded: 4 requests may cost")
    assert below.over_limit is None


async def test_a_second_run_of_a_jobs_chain_plans_what_the_first_one_has_read(planner: Planner) -> None:
    chain = "0199a1b2-c3d4-7000-8000-000000000001"
    uri = await put(planner.store, jsonl(fresh(4)))
    first = await planner(requests_uri=uri, first_run_id=chain)
    await put(planner.store, jsonl(fresh(5)))

    again = await planner(requests_uri=uri, first_run_id=chain)
    other = await planner(requests_uri=uri, first_run_id=chain.replace("1b2", "1b3"))

    assert (again.folder, again.requests, again.planned_before) == (first.folder, 4, True)
    assert (other.requests, other.planned_before) == (5, False)
