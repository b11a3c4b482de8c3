"""The same content is the same run: what a second `start` does, by what became of the first."""

import asyncio
import json
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker

from activities.models import SubmitInput, Submitted
from activities.submission import SubmissionActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.contract import WORKFLOW_TYPE, calls_queue
from message_batches.emulator import Emulator
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.requests import fresh
from tests.harness.retention import after_retention
from tests.harness.stack import KEYS, Stack, progress_when
from worker import build_worker
from workflows.message_batch import MessageBatchWorkflow


async def over(client: Client, workflow_id: str) -> None:
    """Wait until a run has ended, however."""
    with pytest.raises(WorkflowFailureError):
        await client.get_workflow_handle(workflow_id).result()


async def test_while_it_runs_a_second_start_attaches_to_it(patient: CommandLine, pending: Stack) -> None:
    file = patient.file(fresh())
    first = await patient("start", file, "--json", *QUICK)
    await pending.saw("retrieve")

    second = await patient("start", file, "--json", *QUICK)

    assert second.code == 0
    assert second.json["workflowId"] == first.json["workflowId"]
    assert len(pending.emulator.batches) == 1


async def test_once_landed_a_second_start_shows_the_results(starter: CommandLine, live: Stack) -> None:
    file = starter.file(fresh())
    first = await starter("start", file, "--wait", "--json", *QUICK)

    second = await starter("start", file, "--json", *QUICK)

    assert second.code == 0
    assert second.json["output"]["resultsFile"] == first.json["output"]["resultsFile"]
    assert len(live.emulator.batches) == 1


@pytest.mark.slow
async def test_the_same_content_in_other_files_is_the_same_run(starter: CommandLine, live: Stack) -> None:
    items = fresh()
    lines = [json.dumps(dict(reversed(item.items())), separators=(",", ":")) for item in items]
    escaped = [line.replace("hello", "\\u0068ello").replace(":256", ":2.56e2") for line in lines]
    files = {"compact.jsonl": "\n".join(lines), "escaped.jsonl": "\r\n".join(escaped)}
    files |= {"array.json": json.dumps(items, indent=1), "body.json": json.dumps({"requests": items}, indent="\t")}
    for name, text in files.items():
        (starter.folder / name).write_text(text, encoding="utf-8")

    first = await starter("start", starter.file(items), "--wait", "--json", *QUICK)
    others = [await starter("start", name, "--json", *QUICK) for name in files]

    assert [other.code for other in others] == [0] * 4
    assert {other.json["workflowId"] for other in others} == {first.json["workflowId"]}
    assert {other.json["output"]["resultsFile"]["uri"] for other in others} == {
        first.json["output"]["resultsFile"]["uri"]
    }
    assert len(live.emulator.batches) == 1


@pytest.mark.slow
async def test_once_landed_and_forgotten_by_temporal_the_store_has_the_results(
    starter: CommandLine, live: Stack, forgetful: DevServer
) -> None:
    file = starter.file(fresh())
    first = await starter("start", file, "--wait", "--json", *QUICK)

    async with after_retention(forgetful, starter, live) as later:
        second = await later("start", file, "--json", *QUICK)
        results = await later("results", first.json["workflowId"])

    assert second.code == 0, second.err
    assert second.json["output"]["resultsFile"] == first.json["output"]["resultsFile"]
    assert len(results.out.splitlines()) == 3
    assert len(live.emulator.batches) == 1


@pytest.mark.slow
async def test_a_forgotten_run_that_had_attached_is_found_by_its_id_as_by_its_batch(
    starter: CommandLine, live: Stack, forgetful: DevServer
) -> None:
    batch_id, another = await live.post_by_a_stranger(fresh()), await live.post_by_a_stranger(fresh())
    attached = await starter("attach", batch_id, "--wait", "--json", *QUICK[:2])
    by_another_caller = await live.start(batch_id=another, workflow_id=f"nightly-{another}")
    await by_another_caller.result()

    async with after_retention(forgetful, starter, live) as later:
        by_run = await later("results", attached.json["workflowId"])
        by_batch = await later("results", batch_id)
        theirs = await later("results", by_another_caller.id)
        status = await later("status", attached.json["workflowId"], "--json")
        watch = await later("watch", batch_id)
        unknown = await later("status", "no-such-run")

    assert (by_run.code, by_batch.code, theirs.code) == (0, 0, 0), by_run.err
    assert by_run.out == by_batch.out
    assert len(theirs.out.splitlines()) == 3
    assert (status.code, watch.code) == (0, 0)
    assert status.json["output"]["batchId"] == batch_id
    assert batch_id in watch.out
    assert unknown.code == 2


async def test_a_run_reset_and_terminated_after_its_landing_still_has_its_results(
    starter: CommandLine, live: Stack
) -> None:
    run = await live.start(fresh())
    output = await run.result()
    handle = await live.client.start_workflow(
        WORKFLOW_TYPE, {"batchId": output.batch_id}, id=run.id, task_queue="nobody-polls"
    )
    await handle.terminate()

    found = await starter("results", run.id)
    status = await starter("status", run.id, "--json")
    watch = await starter("watch", run.id)

    assert found.code == 0, found.err
    assert len(found.out.splitlines()) == 3
    assert (status.code, status.json["status"], status.json["failure"]["type"]) == (0, "terminated", "Terminated")
    assert status.json["output"]["batchId"] == output.batch_id
    assert (watch.code, output.batch_id in watch.out) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["the file", "the folder"])
@pytest.mark.parametrize("command", ["start", "attach"])
async def test_landed_results_that_are_gone_from_the_store_are_landed_anew(
    starter: CommandLine, live: Stack, gone: str, command: str
) -> None:
    file = starter.file(fresh())
    first = await starter("start", file, "--wait", "--json", *QUICK)
    workflow_id, batch_id = first.json["workflowId"], first.json["batchId"]
    landed = list(live.store_folder.glob(f"results/*/{batch_id}/{'*.jsonl' if gone == 'the file' else '*'}"))
    for path in landed:
        path.unlink()

    missing = await starter("results", workflow_id, "--json")
    given = (batch_id, "--requests", file) if command == "attach" else (file,)
    again = await starter(command, *given, "--wait", "--json", *QUICK[:2])
    found = await starter("results", workflow_id)

    assert len(landed) == (1 if gone == "the file" else 2)
    assert missing.code == 2
    assert missing.json["error"]["type"] == "ResultsNotFound"
    requests = f"{live.store_folder}/manifests/" if gone == "the file" else "FILE"
    assert f"attach {batch_id} --requests {requests}" in missing.json["error"]["message"]
    assert again.code == 0, again.err
    assert again.json["workflowId"] == f"attach-{batch_id}"
    assert again.json["output"]["verified"]
    assert found.code == 0, found.err
    assert len(found.out.splitlines()) == 3
    assert live.operations().count("create") == 1
    assert live.operations().count("results") == 2


async def test_results_whose_publication_is_gone_are_shown(starter: CommandLine, live: Stack) -> None:
    first = await starter("start", starter.file(fresh()), "--wait", "--json", *QUICK)
    for path in (live.store_folder / "results").rglob("*.json"):
        path.unlink()

    found = await starter("results", first.json["workflowId"])

    assert found.code == 0, found.err
    assert len(found.out.splitlines()) == 3


@pytest.mark.slow
async def test_ended_otherwise_with_a_known_batch_a_second_start_attaches_to_that(
    patient: CommandLine, pending: Stack
) -> None:
    file = patient.file(fresh())
    first = await patient("start", file, "--json", *QUICK)
    await pending.saw("retrieve")
    run = pending.client.get_workflow_handle(first.json["workflowId"])
    await run.terminate(reason="an operator's mistake")
    pending.emulator.clock.advance(timedelta(minutes=11))

    second = await patient("start", file, "--wait", "--json", *QUICK)

    (batch,) = pending.emulator.batches
    assert second.code == 0, second.err
    assert second.json["workflowId"] == f"attach-{batch.id}"
    assert second.json["output"]["verified"]
    assert "an operator's mistake" in second.err
    third = await patient("start", file, "--json", *QUICK)
    assert third.json["output"]["batchId"] == batch.id


@pytest.mark.slow
async def test_a_batch_cut_off_by_the_limit_is_attached_to_from_the_stores_records_alone(
    patient: CommandLine, pending: Stack, forgetful: DevServer
) -> None:
    file = patient.file(fresh())
    first = await patient("start", file, "--json", "--poll-limit", "1", *QUICK)
    await over(pending.client, first.json["workflowId"])
    pending.emulator.clock.advance(timedelta(minutes=11))

    async with after_retention(forgetful, patient, pending) as later:
        second = await later("start", file, "--wait", "--json", *QUICK)

    (batch,) = pending.emulator.batches
    assert second.json["workflowId"] == f"attach-{batch.id}"
    assert second.json["output"]["verified"]


@pytest.mark.slow
async def test_where_nothing_was_sent_a_second_start_starts_anew(starter: CommandLine, live: Stack) -> None:
    file = starter.file(fresh())
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    first = await starter("start", file, "--wait", "--json", *QUICK)

    second = await starter("start", file, "--wait", "--json", *QUICK)

    assert first.json["failure"]["type"] == "SpendLimitReached"
    assert second.code == 0, second.err
    assert second.json["workflowId"] == first.json["workflowId"]
    assert second.json["runId"] != first.json["runId"]
    assert len(live.emulator.batches) == 1


async def test_where_the_outcome_is_unknown_a_second_start_is_refused(
    patient: CommandLine, pending: Stack, forgetful: DevServer
) -> None:
    file = patient.file(fresh())
    pending.emulator.faults.add("accept-then-drop", operation="create", times=1)
    first = await patient("start", file, "--json", *QUICK)
    run = pending.client.get_workflow_handle(first.json["workflowId"])
    await progress_when(run, lambda seen: bool(seen.candidates))
    await run.terminate()

    second = await patient("start", file, "--json", *QUICK)
    async with after_retention(forgetful, patient, pending) as later:
        third = await later("start", file, "--json", *QUICK)
    again = await patient("start", file, "--again", "--json", *QUICK)

    assert second.code == 2
    assert second.json["error"]["type"] == "Refused"
    assert third.code == 2
    assert third.json["error"]["type"] == "Refused"
    assert again.code == 0
    assert again.json["workflowId"].startswith(f"{first.json['workflowId']}-")


@pytest.mark.slow
async def test_a_post_that_a_worker_may_still_hold_is_not_taken_for_never_sent(
    temporal: DevServer, alone: CommandLine
) -> None:
    file, queue = alone.file(fresh()), alone.environment["MESSAGE_BATCHES_TASK_QUEUE"]
    url = alone.environment["MESSAGE_BATCHES_STORE"]
    async with Emulator() as emulator, http_client(emulator.url) as http:
        emulator.faults.add("429", operation="create", retry_after=2, times=1)
        api, store = HttpBatchApi(http, ApiKeys(KEYS)), open_store(url)
        first = await alone("start", file, "--json", *QUICK)
        run = temporal.client.get_workflow_handle(first.json["workflowId"])
        async with build_worker(temporal.client, api, store, task_queue=queue):
            live = Stack(temporal.client, emulator, url, queue)
            await live.saw("create")
        held = asyncio.Event()

        @activity.defn(name="submitBatch")
        async def hold(given: SubmitInput) -> Submitted:
            held.set()
            await asyncio.Event().wait()
            return Submitted()

        submission = SubmissionActivities(api, store)
        runs = Worker(temporal.client, task_queue=queue, workflows=[MessageBatchWorkflow])
        freezes = Worker(temporal.client, task_queue=calls_queue(queue), activities=[submission.find_anchor, hold])
        async with runs, freezes:
            await asyncio.wait_for(held.wait(), 60)
            await run.terminate()

        second = await alone("start", file, "--json", *QUICK)

    assert second.code == 2
    assert second.json["error"]["type"] == "Refused"


@pytest.mark.slow
async def test_a_post_looked_for_and_not_found_is_no_proof_that_nothing_was_bought(
    starter: CommandLine, live: Stack
) -> None:
    file = starter.file(fresh())
    live.emulator.faults.add("refuse-then-5xx", operation="create")
    quick = ("--poll-interval", "0.1s", "--quiet-period", "0.1s", "--submission-timeout", "2s")
    first = await starter("start", file, "--wait", "--json", *quick)

    second = await starter("start", file, "--json", *quick)

    assert first.json["failure"]["type"] == "SubmissionUnknown"
    assert second.code == 2
    assert second.json["error"]["type"] == "Refused"


@pytest.mark.slow
async def test_two_starters_at_once_buy_one_batch(starter: CommandLine, live: Stack) -> None:
    file = starter.file(fresh())

    both = await asyncio.gather(*(starter("start", file, "--wait", "--json", *QUICK) for _ in range(3)))

    assert [ended.code for ended in both] == [0, 0, 0], [ended.err for ended in both]
    assert len({ended.json["output"]["batchId"] for ended in both}) == 1
    assert len(live.emulator.batches) == 1


async def test_again_buys_the_same_once_more(starter: CommandLine, live: Stack) -> None:
    file = starter.file(fresh())
    await starter("start", file, "--wait", "--json", *QUICK)

    again = await starter("start", file, "--again", "--wait", "--json", *QUICK)

    assert again.code == 0
    assert len(live.emulator.batches) == 2


@pytest.mark.slow
async def test_another_key_version_or_beta_is_other_content(starter: CommandLine, live: Stack) -> None:
    file = starter.file(fresh())

    ids = [
        (await starter("start", file, "--json", *QUICK, *more)).json["workflowId"]
        for more in ((), ("--key", "team-a"), ("--beta", "one"), ("--anthropic-version", "2026-10-21"))
    ]

    assert len(set(ids)) == 4
