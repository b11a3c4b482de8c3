"""The activities of a submission, each called alone over an API and a store."""

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.batch import GONE_AFTER_ATTEMPTS, MessageBatchActivities
from activities.models import AdoptInput, DeleteInput, FindCandidatesInput, PostWindow, SubmitInput, Submitted
from activities.submission import MAX_RIVALS, SubmissionActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile, KeyOwner
from message_batches.emulator import Emulator
from message_batches.models import Anchor, Manifest
from message_batches.requests.manifest import write_inline_manifest
from message_batches.result_models import ResultsFile
from message_batches.storage.interface import Store
from message_batches.storage.object_store import open_store
from message_batches.storage.submission_records import SubmissionIntent, SubmissionOutcome, SubmissionRecords, Submitter
from tests.harness.gateway import Answer, gateway_to
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

    async def submit_as(
        self, first_run_id: str = "", *, number: int = 1, within: timedelta = TIMEOUT, deadline: datetime | None = None
    ) -> Submitted:
        given = SubmitInput(
            profile=PROFILE,
            manifest=self.manifest,
            submitter=self.submitter(first_run_id=first_run_id),
            number=number,
            anchor=self.anchor,
            timeout=within,
            began=self.began,
            deadline=deadline,
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
    slow = emulator.faults.add("slow", operation="create", seconds=2, times=1)
    sending = asyncio.create_task(alone.submit_as("deleted"))
    # Its intent alone would not do: it reads those of others once more before the POST.
    await eventually(lambda: slow.applied, "its POST")

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
        await alone.submit_as("deleted", within=timedelta(seconds=1))
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


ELSEWHERE = SecretStr("sk-ant-emulated-of-another-workspace")


@pytest.fixture
async def anchored(alone: Alone) -> Alone:
    """Return the activities with the anchor that a worker with the key `default` has read."""
    alone.anchor = await ActivityEnvironment().run(SubmissionActivities(alone.api, alone.store).find_anchor, PROFILE)
    return alone


def operations(emulator: Emulator) -> list[str]:
    return [call.operation or "" for call in emulator.calls]


async def test_a_worker_with_a_key_of_another_account_sends_nothing(anchored: Alone, emulator: Emulator) -> None:
    async with http_client(emulator.url) as http:
        others = HttpBatchApi(http, ApiKeys({"default": ELSEWHERE}))
        mine, anchored.api = anchored.api, others
        with pytest.raises(ApplicationError) as refused:
            await anchored.submit()
        # Known from its answers by now.
        with pytest.raises(ApplicationError):
            await anchored.submit_as(number=2)
    anchored.api = mine
    sent = await anchored.submit_as(number=3)

    assert (refused.value.type, refused.value.non_retryable) == ("OtherWorkspace", True)
    assert anchored.anchor.workspace_id
    assert anchored.anchor.workspace_id in refused.value.message
    assert sent.batch
    assert sent.earlier_anchor is None
    assert [batch.id for batch in emulator.batches] == [sent.batch.id]


async def test_the_account_of_a_key_is_asked_for_once_a_process(anchored: Alone, emulator: Emulator) -> None:
    keys = {"default": KEYS["default"]}
    async with http_client(emulator.url) as http:
        anchored.api = HttpBatchApi(http, ApiKeys(keys))
        for number in (1, 2, 3):
            await anchored.submit_as(number=number)
        asked = operations(emulator)
        keys["default"] = ELSEWHERE
        with pytest.raises(ApplicationError) as refused:
            await anchored.submit_as(number=4)

    assert asked == ["list", "list", "create", "create", "create"]
    assert refused.value.type == "OtherWorkspace"
    assert operations(emulator)[len(asked) :] == ["list"]


async def test_a_key_that_is_of_the_right_account_again_may_send(anchored: Alone, emulator: Emulator) -> None:
    async with gateway_to(emulator.url) as gateway, http_client(gateway.url) as http:

        def of_another(answer: Answer) -> None:
            answer.headers["anthropic-workspace-id"] = "wrkspc_of_another"

        anchored.api = HttpBatchApi(http, ApiKeys(KEYS))
        gateway.change = of_another
        with pytest.raises(ApplicationError, match="wrkspc_of_another"):
            await anchored.submit()
        gateway.change = lambda _: None

        assert (await anchored.submit_as(number=2)).batch


@pytest.mark.parametrize("fault", ["500", "529", "cut", "429"])
async def test_an_account_that_cannot_be_read_leaves_no_doubt_that_nothing_was_sent(
    anchored: Alone, emulator: Emulator, fault: str
) -> None:
    emulator.faults.add(fault, operation="list", times=1)
    async with http_client(emulator.url) as http:
        anchored.api = HttpBatchApi(http, ApiKeys(KEYS))
        with pytest.raises(ApplicationError) as failed:
            await anchored.submit()

        assert (await anchored.submit_as(number=2)).batch

    assert failed.value.type == ("RateLimited" if fault == "429" else "NotSent")
    assert len(emulator.batches) == 1


@pytest.mark.parametrize("missing", ["anthropic-workspace-id", "anthropic-organization-id", "anthropic-"])
async def test_behind_a_gateway_that_removes_the_ids_a_key_sends(
    anchored: Alone, emulator: Emulator, missing: str
) -> None:
    async with gateway_to(emulator.url) as gateway, http_client(gateway.url) as http:

        def remove(answer: Answer) -> None:
            for name in [name for name in answer.headers if name.startswith(missing)]:
                del answer.headers[name]

        gateway.change = remove
        anchored.api = HttpBatchApi(http, ApiKeys(KEYS))

        assert (await anchored.submit_as()).batch
        assert (anchored.api.owner(PROFILE) == KeyOwner()) is (missing == "anthropic-")
        anchored.anchor = await ActivityEnvironment().run(
            SubmissionActivities(anchored.api, anchored.store).find_anchor, PROFILE
        )
        listed = operations(emulator).count("list")
        assert (await anchored.submit_as(number=2)).batch
        assert operations(emulator).count("list") == listed


async def test_a_reset_run_with_a_key_of_another_account_does_not_send_again_what_it_cannot_see(
    anchored: Alone, emulator: Emulator
) -> None:
    emulator.faults.add("accept-then-drop", operation="create", times=1)
    with pytest.raises(ApplicationError):
        await anchored.submit_as("reset")
    first = anchored.anchor
    async with http_client(emulator.url) as http:
        anchored.api = HttpBatchApi(http, ApiKeys({"default": ELSEWHERE}))
        # The other account's newest batch is older than the anchor of the first one.
        found = await ActivityEnvironment().run(SubmissionActivities(anchored.api, anchored.store).find_anchor, PROFILE)
        anchored.anchor = found.model_copy(update={"created_at": first.created_at - timedelta(hours=1)})

        assert await anchored.submit_as("reset") == Submitted(earlier_anchor=first)

        anchored.anchor = first
        with pytest.raises(ApplicationError) as refused:
            await anchored.submit_as("reset", number=2)

    assert refused.value.type == "OtherWorkspace"
    assert len(emulator.batches) == 1


async def test_a_batch_of_another_account_than_the_requests_were_sent_to_is_not_adopted(
    anchored: Alone, emulator: Emulator
) -> None:
    adopted = AdoptInput(
        profile=PROFILE, batch_id=await anchored.submit(), claim=anchored.submitter().claim, anchor=anchored.anchor
    )
    environment, activities = ActivityEnvironment(), SubmissionActivities(anchored.api, anchored.store)
    async with http_client(emulator.url) as http:
        others = SubmissionActivities(HttpBatchApi(http, ApiKeys({"default": ELSEWHERE})), anchored.store)
        theirs = await environment.run(others.find_anchor, PROFILE)

    with pytest.raises(ApplicationError) as refused:
        await environment.run(activities.find_batch_to_adopt, adopted.model_copy(update={"anchor": theirs}))

    assert refused.value.type == "OtherWorkspace"
    assert (await environment.run(activities.find_batch_to_adopt, adopted)).id == adopted.batch_id


async def test_a_batch_that_a_key_of_another_account_does_not_find_is_not_deleted(
    anchored: Alone, emulator: Emulator
) -> None:
    batch_id = await anchored.submit()
    await anchored.store.create("landed.jsonl", b"{}\n")
    given = DeleteInput(
        profile=PROFILE,
        batch_id=batch_id,
        store_id=anchored.manifest.store_id,
        results_file=ResultsFile(
            uri=anchored.store.uri("landed.jsonl"), bytes=3, lines=1, sha256=hashlib.sha256(b"{}\n").hexdigest()
        ),
        claim=anchored.submitter().claim,
        anchor=anchored.anchor,
    )
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=GONE_AFTER_ATTEMPTS)
    async with http_client(emulator.url) as http:
        others = MessageBatchActivities(HttpBatchApi(http, ApiKeys({"default": ELSEWHERE})), anchored.store)
        with pytest.raises(ApplicationError) as failed:
            await environment.run(others.delete_batch, given)
        # Of the own account a batch that is not found is gone.
        await environment.run(
            MessageBatchActivities(anchored.api, anchored.store).delete_batch,
            given.model_copy(update={"batch_id": "msgbatch_gone"}),
        )

    assert failed.value.type == "OtherWorkspace"
    assert [batch.id for batch in emulator.batches] == [batch_id]


async def test_a_post_whose_turn_comes_after_the_deadline_is_not_made(alone: Alone, emulator: Emulator) -> None:
    with pytest.raises(ApplicationError, match="deadline has passed") as caught:
        await alone.submit_as(deadline=datetime.now(UTC) - timedelta(seconds=1))

    records = await SubmissionRecords(alone.store).records_of_workflow(
        alone.manifest, api_key="default", workflow_id="run"
    )
    assert caught.value.type == "NotSent"
    assert [record.created_nothing for record in records] == [True]
    assert not emulator.batches
