"""Parents in two languages use the output of our run, and their batch ends with them."""

import json
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError, ChildWorkflowError

from message_batches.emulator import EmulatorOptions
from message_batches.models import BatchOutput
from tests.external.examples.parents import Parent, batch_of, run_command, worker
from tests.harness.processes import lasting_port
from tests.harness.stack import Stack

QUESTIONS = ["Why is the sky blue?", "Why is the sea blue? “Ozean” 🌊"]
LONG_BATCHES = EmulatorOptions(processing_time=timedelta(minutes=10), cancel_time=timedelta(seconds=0.3))
LONG_REPLIES = EmulatorOptions(processing_time=timedelta(seconds=0.3), reply_bytes=4000)
ONE_A_LANGUAGE = pytest.mark.parametrize("parent", ["python, typed", "typescript"], indirect=True)


def content(uri: str) -> list[str]:
    """Return the lines of a file, which end only at a newline."""
    return Path(unquote(urlsplit(uri).path)).read_text(encoding="utf-8").removesuffix("\n").split("\n")


async def test_the_command_prints_the_answer_to_every_question(live: Stack, parent: Parent) -> None:
    answers = await parent.answers(*QUESTIONS)

    senders, numbers = zip(*(custom_id.split("-question-") for custom_id in answers["answers"]), strict=True)
    assert (len(set(senders)), numbers) == (1, ("0", "1"))
    given = list(answers["answers"].values())
    assert [question in answer for question, answer in zip(QUESTIONS, given, strict=True)] == [True, True]
    assert answers["report"].startswith("2 of 2 answered in ")
    assert not answers["unanswered"]


async def test_the_answers_are_the_results_of_the_run_and_missing_ones_have_a_reason(
    live: Stack, parent: Parent
) -> None:
    run = await parent.start(live.client, [*QUESTIONS, ""])

    answers = await run.result()

    output = BatchOutput.model_validate(await batch_of(live.client, run).result())
    assert output.results is not None
    texts = {
        line["custom_id"]: line["result"]["message"]["content"][0]["text"]
        for line in output.results
        if line["result"]["type"] == "succeeded"
    }
    tokens = sum(used.output for used in output.summary.usage)
    assert answers["answers"] == texts
    assert answers["report"] == f"{len(texts)} of 3 answered in {tokens} tokens"
    [(custom_id, why)] = answers["unanswered"].items()
    assert custom_id.endswith("-question-2")
    assert why.startswith("invalid_request_error: messages")


@pytest.mark.parametrize("options", [LONG_REPLIES], ids=["long replies"])
async def test_results_too_large_for_a_payload_are_read_by_an_activity(live: Stack, parent: Parent) -> None:
    live.emulator.faults.add("u2028", operation="results")

    run = await parent.start(live.client, ["", *(f"Question {number}" for number in range(80))])

    answers = await run.result()
    output = BatchOutput.model_validate(await batch_of(live.client, run).result())
    assert output.results is None
    assert output.results_file.bytes > 256 * 1024
    assert answers["report"].startswith("80 of 81 answered in ")
    assert answers["report"].endswith(str(output.results_omitted))
    assert not answers["answers"]
    results, written = content(output.results_file.uri), content(answers["file"])
    assert "\u2028" in "".join(results)
    numbers = [json.loads(line)["custom_id"].split("-question-")[1] for line in written]
    assert numbers == [str(number) for number in range(81)]
    assert json.loads(written[0])["unanswered"].startswith("invalid_request_error: messages")
    assert [json.loads(line)["answer"] for line in written[1:]] == [
        json.loads(line)["result"]["message"]["content"][0]["text"] for line in results[1:]
    ]


@pytest.mark.parametrize("options", [LONG_BATCHES], ids=["long batches"])
async def test_a_cancelled_parent_ends_as_soon_as_its_batch_has_been_stopped(live: Stack, parent: Parent) -> None:
    run = await parent.start(live.client, QUESTIONS)
    await live.saw("retrieve")

    await run.cancel()

    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    assert isinstance(caught.value.cause, CancelledError)
    [batch] = live.emulator.batches
    assert batch.cancel_initiated_at
    ended, child_ended = (await run.describe()).close_time, (await batch_of(live.client, run).describe()).close_time
    assert ended
    assert child_ended
    assert child_ended <= ended


@pytest.mark.parametrize("options", [LONG_BATCHES], ids=["long batches"])
async def test_a_terminated_parent_takes_its_batch_with_it(live: Stack, parent: Parent) -> None:
    run = await parent.start(live.client, QUESTIONS)
    await live.saw("retrieve")

    await run.terminate()

    with pytest.raises(WorkflowFailureError) as caught:
        await batch_of(live.client, run).result()
    assert isinstance(caught.value.cause, CancelledError)
    [batch] = live.emulator.batches
    assert batch.cancel_initiated_at


async def test_a_parent_that_is_run_again_under_its_id_submits_nothing(live: Stack, parent: Parent) -> None:
    first = await parent.start(live.client, QUESTIONS)
    await first.result()

    again = await parent.start(live.client, QUESTIONS, workflow_id=first.id)

    with pytest.raises(WorkflowFailureError) as caught:
        await again.result()
    assert str(caught.value.cause) == "Workflow execution already started"
    assert len(live.emulator.batches) == 1


async def test_questions_that_cannot_be_sent_are_reported_by_the_type_of_the_failure(
    live: Stack, parent: Parent
) -> None:
    run = await parent.start(live.client, [])

    if parent.workflow == "answer-questions-by-name":  # it leaves failures to its caller
        with pytest.raises(WorkflowFailureError) as caught:
            await run.result()
        assert isinstance(caught.value.cause, ChildWorkflowError)
        assert isinstance(caught.value.cause.cause, ApplicationError)
        assert caught.value.cause.cause.type == "InvalidRequests"
    else:
        assert (await run.result())["report"].startswith("Nothing was sent. ")
    assert not live.emulator.batches


@ONE_A_LANGUAGE
async def test_the_worker_ends_on_sigterm(parent: Parent, tmp_path: Path) -> None:
    async with worker(parent.worker, tmp_path / "log", parent.environment) as running:
        assert await running.terminate() == 0, running.output


@ONE_A_LANGUAGE
async def test_without_a_server_both_commands_end_with_a_sentence(parent: Parent) -> None:
    environment = {**parent.environment, "TEMPORAL_ADDRESS": f"127.0.0.1:{lasting_port()}"}

    for command in (parent.worker, (*parent.ask, "Why?")):
        ended = await run_command(command, environment)

        assert ended.code == 2, ended.err
        assert ended.err.startswith(f"No Temporal server answers at {environment['TEMPORAL_ADDRESS']}. "), ended.err
        assert len(ended.err.splitlines()) == 1, ended.err


@pytest.mark.parametrize("options", [EmulatorOptions(api_keys=("another",))], ids=["a key that is refused"])
async def test_the_command_reports_the_failure_of_its_parent_in_a_sentence(live: Stack, parent: Parent) -> None:
    ended = await run_command((*parent.ask, "Why?"), parent.environment)

    assert ended.code == 1, ended.err
    [_, said] = ended.err.splitlines()
    assert "ended without answers: " in said
    assert "401" in said


@ONE_A_LANGUAGE
@pytest.mark.parametrize("cadence", ["abc", "nan", "0", "Infinity"])
async def test_a_cadence_that_is_not_a_number_of_seconds_is_refused(parent: Parent, cadence: str) -> None:
    ended = await run_command((*parent.ask, "--cadence", cadence, "Why?"), parent.environment)

    assert ended.code == 2, ended.err
    assert "--cadence" in ended.err
    assert cadence in ended.err
