"""The activities of a submission, each called alone over an API and a store."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.batch import MessageBatchActivities
from activities.models import FindCandidatesInput, PostWindow, SubmitInput, Submitted
from activities.submission import MAX_RIVALS, SubmissionActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile
from message_batches.emulator import Emulator
from message_batches.models import Anchor, Manifest
from message_batches.requests.manifest import write_inline_manifest
from message_batches.storage.interface import Store
from message_batches.storage.object_store import open_store
from message_batches.storage.submission_records import SubmissionIntent, SubmissionOutcome, SubmissionRecords, Submitter
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
    began: datetime

    def submitter(self, workflow_id: str = "run", first_run_id: str = "") -> Submitter:
        first_run_id = first_run_id or f"{workflow_id}-1"
        return Submitter.of(self.manifest, api_key="default", workflow_id=workflow_id, first_run_id=first_run_id)

    async def submit(self) -> str:
        submitted = await self.submit_as()
        assert submitted.batch
        return submitted.batch.id

    async def submit_as(self, first_run_id: str = "", *, number: int = 1, deadline: timedelta = TIMEOUT) -> Submitted:
        given = SubmitInput(
            profile=PROFILE,
            manifest=self.manifest,
            submitter=self.submitter(first_run_id=first_run_id),
            number=number,
            anchor=self.anchor,
            timeout=deadline,
            began=self.began,
        )
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, started_time=datetime.now(UTC))
        return await environment.run(MessageBatchActivities(self.api, self.store).submit_batch, given)


@pytest.fixture
async def alone(emulator: Emulator, tmp_path: Path) -> AsyncIterator[Alone]:
    store = open_store(tmp_path.as_uri())
    async with http_client(emulator.url) as http:
        manifest = await write_inline_manifest(store, requests(3))
        anchor = Anchor(created_at=datetime.now(UTC) - timedelta(hours=1))
        yield Alone(HttpBatchApi(http, ApiKeys(KEYS)), store, tmp_path, manifest, anchor, datetime.now(UTC))


async def test_a_claim_that_fails_once_is_written_before_the_post_returns(alone: Alone) -> None:
    claims = alone.folder / "claims"
    claims.write_text("no folder")

    submitting = asyncio.create_task(alone.submit())
    await eventually(lambda: list(alone.folder.glob("submissions/**/*.outcome.json")), "the outcome")
    await asyncio.sleep(0.2)  # The claim follows right after it, and its failure is not reported.
    claims.unlink()

    assert await SubmissionRecords(alone.store).owners_of(await submitting) == [("default", "run")]


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


async def test_a_run_takes_the_batch_that_another_one_with_its_id_has_created_meanwhile(
    alone: Alone, emulator: Emulator
) -> None:
    batch_id = (await alone.submit_as("deleted")).batch

    taken = await alone.submit_as("successor")

    assert batch_id
    assert taken == Submitted(recorded=batch_id.id)
    assert len(emulator.batches) == 1


async def test_a_later_start_of_the_same_requests_is_a_submission_of_its_own(alone: Alone, emulator: Emulator) -> None:
    await alone.submit_as("landed")
    alone.began += timedelta(minutes=1)

    assert (await alone.submit_as("again")).batch
    assert len(emulator.batches) == 2


async def test_while_another_run_with_its_id_may_be_sending_a_run_sends_nothing(
    alone: Alone, emulator: Emulator
) -> None:
    emulator.faults.add("slow", operation="create", seconds=2, times=1)
    sending = asyncio.create_task(alone.submit_as("deleted"))
    await eventually(lambda: list(alone.folder.glob("submissions/**/*-1.json")), "its intent")

    with pytest.raises(ApplicationError) as refused:
        await alone.submit_as("successor")
    sent = await sending
    taken = await alone.submit_as("successor", number=2)

    assert refused.value.type == "SentByAnotherRun"
    assert sent.batch
    assert taken.recorded == sent.batch.id
    assert len(emulator.batches) == 1


async def test_a_lost_post_of_another_run_with_its_id_is_searched_for_once(alone: Alone, emulator: Emulator) -> None:
    emulator.faults.add("accept-then-drop", operation="create", times=1)
    with pytest.raises(ApplicationError):
        await alone.submit_as("deleted", deadline=timedelta(seconds=1))
    alone.began -= timedelta(minutes=1)
    for path in alone.folder.glob("submissions/**/*-1.json"):
        intent = json.loads(path.read_text())
        path.write_text(json.dumps(intent | {"time": (datetime.now(UTC) - timedelta(seconds=30)).isoformat()}))

    searched = await alone.submit_as("successor")
    await SubmissionRecords(alone.store).record_outcome(
        alone.submitter(first_run_id="successor"), 1, SubmissionOutcome()
    )
    sent = await alone.submit_as("successor", number=2)

    assert searched == Submitted(earlier_anchor=alone.anchor)
    assert sent.batch
    assert sent.earlier_anchor == alone.anchor


@pytest.mark.parametrize(
    ("since", "until", "found"), [(-5, 5, True), (-60, -1, True), (-60, -24, False), (30, 60, True), (60, 90, False)]
)
async def test_only_a_batch_of_the_time_of_a_post_is_a_candidate(
    alone: Alone, since: int, until: int, found: bool
) -> None:
    await alone.submit()
    now = datetime.now(UTC)
    window = PostWindow(since=now + timedelta(seconds=since), until=now + timedelta(seconds=until))
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, started_time=now)

    listed = await environment.run(
        SubmissionActivities(alone.api, alone.store).find_candidates,
        FindCandidatesInput(
            profile=PROFILE,
            manifest=alone.manifest,
            submitter=alone.submitter("another"),
            number=1,
            anchor=alone.anchor,
            until=now + timedelta(hours=1),
            windows=(window,),
        ),
    )

    assert bool(listed.matches) is found
