"""Every activity that reads or writes the store first checks that it is the run's own."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.batch import MessageBatchActivities
from activities.job_models import CancelShardsInput, MergeInput, PlanWaveInput, ReadShardsInput, StopShardsInput
from activities.jobs import JobActivities
from activities.models import (
    AdoptInput,
    BatchRef,
    DeleteInput,
    FindCandidatesInput,
    FindRequestsInput,
    PrepareInput,
    RecordOutcomeInput,
    RetrieveInput,
    SubmitInput,
    VerifyCandidateInput,
)
from activities.requests import RequestsActivities
from activities.shards import ShardActivities
from activities.submission import SubmissionActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile
from message_batches.contract import ActivityType
from message_batches.emulator import Emulator
from message_batches.job_models import Retries, ShardLimits
from message_batches.models import Anchor, Manifest
from message_batches.requests.manifest import write_inline_manifest
from message_batches.result_models import ResultsFile
from message_batches.storage.interface import Store
from message_batches.storage.object_store import open_store
from message_batches.storage.submission_records import Submitter
from tests.harness.requests import requests
from tests.harness.stack import KEYS

PROFILE = ApiProfile()
BATCH = "msgbatch_1"
NOW = datetime.now(UTC)
ANCHOR = Anchor(created_at=NOW)
WITHOUT_STORE = {
    ActivityType.FIND_ANCHOR: PROFILE,
    ActivityType.POLL_BATCH_STATUS: BatchRef(profile=PROFILE, batch_id=BATCH),
    ActivityType.CANCEL_BATCH: BatchRef(profile=PROFILE, batch_id=BATCH),
    ActivityType.STOP_SHARDS: StopShardsInput(workflow_ids=()),
}
WITHOUT_BATCH = (ActivityType.FIND_ANCHOR, ActivityType.STOP_SHARDS)
WITHOUT_API = (ActivityType.DELIVER_NOTIFICATION,)


def with_store(manifest: Manifest) -> dict[ActivityType, Any]:
    """Return the inputs of a run that began with the manifest's store."""
    who = Submitter.of(manifest, api_key="default", workflow_id="run", first_run_id="1")
    run: dict[str, Any] = {"profile": PROFILE, "store_id": manifest.store_id}
    batch = run | {"batch_id": BATCH}
    sent: dict[str, Any] = {"profile": PROFILE, "manifest": manifest, "submitter": who, "number": 1, "anchor": ANCHOR}
    file = ResultsFile(uri=manifest.uri, bytes=1, lines=1, sha256="")
    claim = who.claim
    return {
        ActivityType.FIND_REQUESTS: FindRequestsInput(requests_uri=manifest.uri, time=NOW, store_id=manifest.store_id),
        ActivityType.PREPARE_REQUESTS: PrepareInput(requests=requests(1), **run),
        ActivityType.PLAN_WAVE: PlanWaveInput(
            job_id="job", requests=requests(1), limits=ShardLimits(), retries=Retries(), **run
        ),
        ActivityType.READ_SHARDS: ReadShardsInput(job_id="job", folder="jobs/job", wave=0, numbers=(0,), **run),
        ActivityType.CANCEL_SHARDS: CancelShardsInput(job_id="job", folder="jobs/job", **run),
        ActivityType.MERGE_RESULTS: MergeInput(folder="jobs/job", waves=1, **run),
        ActivityType.SUBMIT_BATCH: SubmitInput(timeout=timedelta(minutes=1), **sent),
        ActivityType.RETRIEVE_RESULTS: RetrieveInput(manifest=manifest, expected_count=1, **batch),
        ActivityType.DELETE_BATCH: DeleteInput(results_file=file, claim=claim, **batch),
        ActivityType.FIND_CANDIDATES: FindCandidatesInput(until=NOW, **sent),
        ActivityType.VERIFY_CANDIDATE: VerifyCandidateInput(profile=PROFILE, manifest=manifest, batch_id=BATCH),
        ActivityType.FIND_BATCH_TO_ADOPT: AdoptInput(claim=claim, **batch),
        ActivityType.RECORD_OUTCOME: RecordOutcomeInput(
            submitter=who, claim=claim, store_id=manifest.store_id, numbers=(1,), batch_id=BATCH
        ),
    }


def activities(api: HttpBatchApi, store: Store) -> dict[str, Callable[..., Any]]:
    """Return the activities that a worker has, by type."""
    found = {}
    kinds = MessageBatchActivities, SubmissionActivities, JobActivities, ShardActivities
    for part in (RequestsActivities(store), *(kind(api, store) for kind in kinds)):
        for name in dir(part):
            definition = getattr(getattr(part, name), "__temporal_activity_definition", None)
            if definition:
                found[definition.name] = getattr(part, name)
    return found


@pytest.fixture
async def api(emulator: Emulator) -> AsyncIterator[HttpBatchApi]:
    async with http_client(emulator.url) as http:
        yield HttpBatchApi(http, ApiKeys(KEYS))


def test_every_activity_is_in_one_of_the_tables(api: HttpBatchApi, tmp_path: Path) -> None:
    assert set(activities(api, open_store(tmp_path.as_uri()))) == set(ActivityType) - {*WITHOUT_API}


@pytest.mark.parametrize("kind", sorted(set(ActivityType) - {*WITHOUT_STORE, *WITHOUT_API}))
async def test_an_activity_on_a_worker_with_another_store_does_nothing(
    kind: ActivityType, api: HttpBatchApi, emulator: Emulator, tmp_path: Path
) -> None:
    manifest = await write_inline_manifest(open_store((tmp_path / "ours").as_uri()), requests(1))
    other = open_store((tmp_path / "other").as_uri())
    await other.identity()
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, started_time=NOW)

    with pytest.raises(ApplicationError) as caught:
        await environment.run(activities(api, other)[kind], with_store(manifest)[kind])

    with pytest.raises(ApplicationError) as waiting:
        await environment.run(
            activities(api, open_store((tmp_path / "none").as_uri()))[kind], with_store(manifest)[kind]
        )

    assert caught.value.type == "WrongStore"
    assert (waiting.value.type, waiting.value.non_retryable) == ("WrongStore", False)
    assert not (tmp_path / "none").exists()
    assert [path.name for path in (tmp_path / "other").rglob("*")] == ["store.json"]
    assert [call.operation for call in emulator.calls if call.operation == "create"] == []


@pytest.mark.parametrize("kind", sorted(WITHOUT_STORE))
async def test_the_other_activities_use_no_store(kind: ActivityType, api: HttpBatchApi) -> None:
    used = activities(api, cast(Store, None))[kind]

    # It comes as far as the API, which has no such batch.
    answered = nullcontext() if kind in WITHOUT_BATCH else pytest.raises(ApplicationError, match="404")
    with answered:
        await ActivityEnvironment().run(used, WITHOUT_STORE[kind])
