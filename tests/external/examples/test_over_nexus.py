"""Parents in two languages, in a namespace of their own, use our runs over Nexus."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from temporalio.client import Client, WorkflowFailureError

from message_batches.contract import DEFAULT_TASK_QUEUE
from message_batches.temporal.dev_server import DevServer
from message_batches.temporal.nexus_endpoints import ensure_endpoint
from tests.external.examples.parents import Parent, worker
from tests.external.examples.test_parents import LONG_BATCHES, LONG_REPLIES, QUESTIONS, content
from tests.harness.namespaces import new_namespace
from tests.harness.nexus import run_of
from tests.harness.stack import Stack
from tests.harness.waiting import eventually

ENDPOINT = "message-batches"


@pytest.fixture(scope="module")
async def theirs(temporal: DevServer) -> Client:
    """Return a client of a namespace from which an endpoint leads to our worker."""
    await ensure_endpoint(temporal.client, ENDPOINT, DEFAULT_TASK_QUEUE)
    return await new_namespace(temporal, {})


@pytest.fixture(scope="module", params=["python, typed", "typescript"])
def here(request: pytest.FixtureRequest) -> Parent:
    """Return a parent of each language, in our namespace."""
    parents: dict[str, Parent] = request.getfixturevalue(f"{request.param.split(',')[0]}_parents")
    return parents[request.param]


@pytest.fixture(scope="module")
async def parent(here: Parent, theirs: Client, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parent]:
    """Run its worker in the other namespace."""
    over = "OverNexus" if here.workflow == "answerQuestions" else "-over-nexus"
    environment = {**here.environment, "TEMPORAL_NAMESPACE": theirs.namespace}
    async with worker(here.worker, tmp_path_factory.mktemp("over-nexus") / "log", environment):
        yield replace(
            here,
            workflow=here.workflow + over,
            ask=[*here.ask, "--nexus", ENDPOINT],
            environment=environment,
            endpoint=ENDPOINT,
        )


async def test_the_command_prints_the_answer_to_every_question(live: Stack, parent: Parent) -> None:
    answers = await parent.answers(*QUESTIONS)

    given = list(answers["answers"].values())
    assert [question in answer for question, answer in zip(QUESTIONS, given, strict=True)] == [True, True]
    assert answers["report"].startswith("2 of 2 answered in ")
    assert len(live.emulator.batches) == 1


@pytest.mark.parametrize("options", [LONG_REPLIES], ids=["long replies"])
async def test_results_too_large_for_a_payload_are_read_by_an_activity(
    live: Stack, theirs: Client, parent: Parent
) -> None:
    caller = await parent.start(theirs, [f"Question {number}" for number in range(80)])

    answers = await caller.result()

    assert answers["report"].startswith("80 of 80 answered in ")
    assert len(content(answers["file"])) == 80


@pytest.mark.parametrize("options", [LONG_BATCHES], ids=["long batches"])
async def test_a_cancelled_parent_stops_its_batch_and_leaves_another_ones_alone(
    live: Stack, theirs: Client, parent: Parent
) -> None:
    first, second = await parent.start(theirs, QUESTIONS), await parent.start(theirs, QUESTIONS)
    run = await run_of(live.client, first)
    await live.saw("retrieve", 2)
    await eventually(lambda: len(live.emulator.batches) == 2, "two batches")

    await first.cancel()
    with pytest.raises(WorkflowFailureError):
        await first.result()

    canceled = {batch.id: bool(batch.cancel_initiated_at) for batch in live.emulator.batches}
    assert canceled == {batch_id: batch_id == (await run.query("progress"))["batchId"] for batch_id in canceled}
    live.emulator.clock.advance(LONG_BATCHES.processing_time)
    assert (await second.result())["report"].startswith("2 of 2 answered in ")


@pytest.mark.parametrize("options", [LONG_BATCHES], ids=["long batches"])
async def test_a_terminated_parent_leaves_its_batch_to_land(live: Stack, theirs: Client, parent: Parent) -> None:
    caller = await parent.start(theirs, QUESTIONS)
    run = await run_of(live.client, caller)
    await live.saw("retrieve")

    await caller.terminate()
    live.emulator.clock.advance(LONG_BATCHES.processing_time)

    output = await run.result()
    assert output.verified
    assert not live.emulator.batches[0].cancel_initiated_at


async def test_questions_that_cannot_be_sent_are_reported_by_the_type_of_the_failure(
    live: Stack, theirs: Client, parent: Parent
) -> None:
    answers = await (await parent.start(theirs, [])).result()

    assert answers["report"].startswith("Nothing was sent. ")
    assert not live.emulator.batches
