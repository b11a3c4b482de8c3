"""The activities of a submission, each called alone over an API and a store."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.batch import MessageBatchActivities
from activities.models import FindCandidatesInput, SubmitInput
from activities.submission import MAX_RIVALS, SubmissionActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile
from message_batches.emulator import Emulator
from message_batches.models import Anchor, Manifest
from message_batches.requests.manifest import write_inline_manifest
from message_batches.storage.interface import Store
from message_batches.storage.object_store import open_store
from message_batches.storage.submission_records import SubmissionIntent, SubmissionRecords, Submitter
from tests.harness.requests import requests
from tests.harness.stack import KEYS
from tests.harness.waiting import eventually

PROFILE = ApiProfile()
TIMEOUT = timedelta(minutes=1)


@dataclasses.dataclass
class Alone:
    """The activities without a workflow; `run` is the one that submits."""

    api: HttpBatchApi
    store: Store
    folder: Path
    manifest: Manifest
    anchor: Anchor

    def submitter(self, workflow_id: str = "run") -> Submitter:
        return Submitter.of(self.manifest, api_key="default", workflow_id=workflow_id, first_run_id=f"{workflow_id}-1")

    async def submit(self) -> str:
        given = SubmitInput(
            profile=PROFILE,
            manifest=self.manifest,
            submitter=self.submitter(),
            number=1,
            anchor=self.anchor,
            timeout=TIMEOUT,
        )
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, started_time=datetime.now(UTC))
        submitted = await environment.run(MessageBatchActivities(self.api, self.store).submit_batch, given)
        assert submitted.batch
        return submitted.batch.id


@pytest.fixture
async def alone(emulator: Emulator, tmp_path: Path) -> AsyncIterator[Alone]:
    store = open_store(tmp_path.as_uri())
    async with http_client(emulator.url) as http:
        manifest = await write_inline_manifest(store, requests(3))
        anchor = Anchor(created_at=datetime.now(UTC) - timedelta(hours=1))
        yield Alone(HttpBatchApi(http, ApiKeys(KEYS)), store, tmp_path, manifest, anchor)


async def test_a_claim_that_fails_once_is_written_before_the_post_returns(alone: Alone) -> None:
    claims = alone.folder / "claims"
    claims.write_text("no folder")

    submitting = asyncio.create_task(alone.submit())
    await eventually(lambda: list(alone.folder.glob("submissions/**/*.outcome.json")), "the outcome")
    await asyncio.sleep(0.2)  # The claim follows right after it, and its failure is not reported.
    claims.unlink()

    assert await SubmissionRecords(alone.store).owner_of(await submitting) == "run"


async def test_only_some_of_many_rivals_are_named(alone: Alone) -> None:
    records = SubmissionRecords(alone.store)
    for number in range(MAX_RIVALS + 40):
        rival = alone.submitter(f"rival-{number:02}")
        intent = SubmissionIntent(
            workflow_id=rival.workflow_id,
            first_run_id=rival.first_run_id,
            number=1,
            anchor=alone.anchor,
            sha256=alone.manifest.sha256,
            time=datetime.now(UTC),
            timeout=TIMEOUT,
            nonce="of its own",
        )
        assert await records.record_intent(rival, intent) is None
    batch_id = await alone.submit()

    found = await ActivityEnvironment().run(
        SubmissionActivities(alone.api, alone.store).find_candidates,
        FindCandidatesInput(
            profile=PROFILE,
            manifest=alone.manifest,
            submitter=alone.submitter(),
            number=0,
            anchor=alone.anchor,
            until=datetime.now(UTC) + TIMEOUT,
        ),
    )

    (match,) = found.matches
    assert match.candidate.batch_id == batch_id
    assert match.rivals == tuple(f"rival-{number:02}" for number in range(MAX_RIVALS))
