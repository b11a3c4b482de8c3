"""Jobs from the command line: seen, stopped, resumed, retried, settled; their results, whole and in part."""

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from message_batches.contract import JOB_WORKFLOW_TYPE
from message_batches.job_models import JobInput
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, CommandLine, Ended
from tests.harness.requests import fresh
from tests.harness.retention import after_retention
from tests.harness.running_jobs import sent, start_job
from tests.harness.stack import Stack
from tests.harness.waiting import eventually

SHARDS = ("--shard-requests", "2", *QUICK)
LOST = ("--poll-interval", "0.1s", "--quiet-period", "0.1s", "--submission-timeout", "2s", "--shard-requests", "2")


async def started(starter: CommandLine, requests: list[dict[str, Any]], *options: str) -> str:
    """Start a job and leave it; return its workflow id."""
    return str((await starter("start", starter.file(requests), *(options or SHARDS), "--json")).json["workflowId"])


async def status_when(starter: CommandLine, job: str, condition: str) -> Ended:
    """The job's status as soon as its progress has such a field that is not empty."""

    async def look() -> Ended | None:
        ended = await starter("status", job, "--json")
        return ended if (ended.json["progress"] or {}).get(condition) else None

    return await eventually(look, f"a job that has {condition}")


async def landed_shards(starter: CommandLine, job: str, count: int) -> None:
    """Wait until so many shards of the first wave have landed."""

    async def look() -> bool:
        waves = (await starter("status", job, "--json")).json["progress"]["waves"]
        return bool(waves) and waves[0]["landed"] == count

    await eventually(look, f"{count} landed shards")


def failing(live: Stack, custom_id: str, batches: int) -> None:
    """Let a request fail in passing, if it is in one of the next so many batches."""
    fault: dict[str, Any] = {"type": "errored", "error": "overloaded_error", "custom_id": custom_id}
    live.emulator.faults.add("outcome", operation="create", times=batches, **fault)


async def needing(starter: CommandLine, job: str) -> list[dict[str, Any]]:
    """What `list --needs-attention` says of a job."""
    found = (await starter("list", "--needs-attention", "--limit", "1000", "--json")).json
    return [each for each in found if each["workflowId"] == job]


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_a_job_is_one_line_of_the_list_and_its_results_are_those_of_all_shards(
    starter: CommandLine, live: Stack
) -> None:
    given = fresh(5)
    ended = await starter("start", starter.file(given), *SHARDS, "--wait", "--json")
    job = ended.json["workflowId"]

    async def listed() -> list[dict[str, Any]]:
        found = (await starter("list", "--limit", "100", "--json")).json
        return [each for each in found if each["workflowId"].startswith(job)]

    await eventually(listed, "the job in Temporal's index, which lags behind")
    (line,) = await listed()
    written = await starter("results", job, "-o", "all.jsonl", "--json")
    table = await starter("results", job, "--csv", "all.csv")
    texts = await starter("results", job, "--text")

    assert ended.code == 0, ended.err
    assert (line["job"], line["batchRequests"], line["batchStatus"]) == (True, 5, "landed")
    assert written.json == {"batchId": None, "job": job, "file": "all.jsonl", "lines": 5}
    assert [each["custom_id"] for each in lines_of(starter.folder / "all.jsonl")] == [
        each["custom_id"] for each in given
    ]
    assert table.code == 0, table.err
    assert len((starter.folder / "all.csv").read_text().splitlines()) == 6
    assert texts.out.count("request-000") == 5
    assert (await starter("results", job, "--json")).json["shards"]["count"] == 3


@pytest.mark.slow
async def test_the_page_of_a_job_has_its_waves_and_the_command_that_sends_again(
    starter: CommandLine, live: Stack
) -> None:
    failing(live, "request-0001", batches=4)
    job = await started(starter, fresh(5), *SHARDS, "--retry-waves", "1")
    await starter("watch", job)

    made = await starter("report", job, "-o", "page.html", "--json")
    page = (starter.folder / "page.html").read_text()

    assert made.code == 0, made.err
    assert (made.json["workflowId"], made.json["batchId"], made.json["results"]) == (job, None, 5)
    assert "Job report" in page
    assert "4 of 5 requests" in page
    assert "Wave 0: 5 requests in 3 shards, 4 usable. Wave 1: 1 request in 1 shard, 0 usable." in page
    assert f"retry {job}" in page
    assert all(
        moment in page for moment in ("job started", "first wave planned", "last shard landed", "results merged")
    )


async def test_what_has_failed_of_a_run_is_sent_again_and_merged(starter: CommandLine, live: Stack) -> None:
    given = fresh(4)
    failing(live, "request-0002", batches=1)
    run = (await starter("start", starter.file(given), *QUICK, "--wait", "--json")).json["workflowId"]

    retried = await starter("retry", run, "--wait", "--json")

    assert retried.code == 0, retried.err
    output = retried.json["output"]
    assert (output["summary"]["counts"]["succeeded"], output["verified"]) == (4, True)
    assert [wave["sent"] for wave in output["waves"]] == [4, 1]
    assert sent(live) == {"request-0000": 1, "request-0001": 1, "request-0002": 2, "request-0003": 1}
    nothing = await starter("retry", run)
    assert nothing.code == 2
    assert "has failed" in nothing.err
    assert (await starter("results", retried.json["workflowId"], "--failed")).out == ""


@pytest.mark.slow
async def test_a_retry_of_a_run_is_of_its_own_results_also_where_the_same_requests_have_another_run(
    starter: CommandLine, live: Stack
) -> None:
    given, runs = fresh(3), []
    for failed, again in (("request-0001", ()), ("request-0002", ("--again",)), ("request-0000", ("--again",))):
        failing(live, failed, batches=1)
        ended = await starter("start", starter.file(given), *again, *QUICK, "--wait", "--json")
        runs.append(ended.json["workflowId"])
        live.emulator.faults.clear()

    jobs = {}
    for run in (runs[1], runs[0], runs[2]):
        retried = await starter("retry", run, "--wait", "--json")
        assert retried.code == 0, retried.err
        jobs[run] = retried.json["workflowId"]
        output = retried.json["output"]
        assert [wave["sent"] for wave in output["waves"]] == [3, 1]
        assert (output["summary"]["counts"]["succeeded"], output["verified"]) == (3, True)
        merged = await starter("results", jobs[run], "--json")
        lines = Path(merged.json["shards"]["uri"].removeprefix("file://"))
        assert lines_of(lines)[0]["workflowId"] == run
    repeated = await starter("retry", runs[1])
    same = await starter("start", starter.file(given), "--retry-waves", "1", "--json", *QUICK)

    assert len(set(jobs.values())) == 3
    assert all(job.startswith(jobs[runs[0]]) for job in jobs.values())
    assert (same.json["workflowId"], repeated.code) == (jobs[runs[0]], 2)
    assert f"{jobs[runs[1]]} has failed" in repeated.err
    assert sent(live) == {each["custom_id"]: 4 for each in given}


@pytest.mark.slow
async def test_a_retry_of_the_run_that_took_a_batch_over_is_that_of_the_run_which_sent_it(
    patient: CommandLine, pending: Stack
) -> None:
    file = patient.file(fresh(2))
    failing(pending, "request-0001", batches=1)
    run = (await patient("start", file, "--json", *QUICK)).json["workflowId"]
    await pending.saw("retrieve")
    await pending.client.get_workflow_handle(run).terminate()
    attached = (await patient("start", file, "--json", *QUICK)).json["workflowId"]
    pending.emulator.clock.advance(timedelta(minutes=11))
    await patient("watch", attached)

    retried = await patient("retry", attached, "--json")
    joined = await patient("start", file, "--retry-waves", "1", "--json", *QUICK)

    assert attached.startswith("attach-")
    assert (retried.code, retried.json["base"]) == (0, attached), retried.err
    assert joined.json["workflowId"] == retried.json["workflowId"]
    await patient("cancel", joined.json["workflowId"], "--abandon")


@pytest.mark.slow
async def test_a_retry_of_a_shard_is_refused_and_names_that_of_its_job(starter: CommandLine, live: Stack) -> None:
    failing(live, "request-0001", batches=1)
    job = await started(starter, fresh(3), *SHARDS, "--concurrency", "1", "--retry-waves", "0")
    await starter("watch", job)
    batch = live.emulator.batches[0].id

    refused = [await starter("retry", each) for each in (f"{job}-0-0", batch)]
    retried = await starter("retry", job, "--retry-waves", "1", "--wait", "--json")

    for each in refused:
        assert each.code == 2
        assert f"{job}-0-0 is a shard of {job}" in each.err
        assert f" retry {job}`" in each.err
    assert retried.json["output"]["verified"], retried.err
    assert sum(sent(live).values()) == 4


@pytest.mark.slow
async def test_a_retry_has_as_many_waves_as_it_is_given(starter: CommandLine, live: Stack) -> None:
    failing(live, "request-0001", batches=20)
    run = (await starter("start", starter.file(fresh(2)), *QUICK, "--wait", "--json")).json["workflowId"]

    once = await starter("retry", run, "--retry-waves", "1", "--wait", "--json")
    thrice = await starter("retry", once.json["workflowId"], "--retry-waves", "3", "--wait", "--json")
    none = await starter("retry", run, "--retry-waves", "0")

    assert len(once.json["output"]["waves"]) == 2, once.err
    assert len(thrice.json["output"]["waves"]) == 5, thrice.err
    assert none.code == 2
    assert sent(live) == {"request-0000": 1, "request-0001": 5}


@pytest.mark.slow
async def test_what_has_failed_of_a_job_is_sent_again_in_another_wave(starter: CommandLine, live: Stack) -> None:
    failing(live, "request-0003", batches=4)
    job = await started(starter, fresh(5), *SHARDS, "--retry-waves", "1")
    first = await starter("watch", job, "--json")
    failed = await starter("results", job, "--failed")

    retried = await starter("retry", job, "--wait", "--json")

    assert first.json["output"]["summary"]["counts"]["errored"] == 1
    assert json.loads(failed.out)["custom_id"] == "request-0003"
    assert retried.json["output"]["summary"]["counts"]["succeeded"] == 5
    assert [wave["sent"] for wave in retried.json["output"]["waves"]] == [5, 1, 1]
    assert sent(live)["request-0003"] == 3
    assert sent(live)["request-0000"] == 1


@pytest.mark.slow
async def test_a_paused_job_needs_attention_and_goes_on_once_it_is_resumed(starter: CommandLine, live: Stack) -> None:
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    job = await started(starter, fresh(5), *SHARDS, "--concurrency", "1")
    paused = await status_when(starter, job, "paused")

    shown = await starter("status", job)
    attention = await needing(starter, job)
    resumed = await starter("resume", job, "--wait", "--json")
    again = await starter("resume", job)

    assert "SpendLimitReached" in paused.json["progress"]["paused"]
    assert f"resume {job}" in shown.said
    assert [each["command"].split()[-2:] for each in attention] == [["resume", job]]
    assert "SpendLimitReached" in attention[0]["why"]
    assert resumed.code == 0, resumed.err
    assert resumed.json["output"]["verified"]
    assert set(sent(live).values()) == {1}
    assert again.code == 2
    assert "nothing to resume" in again.err


@pytest.mark.slow
async def test_a_job_that_is_stopped_lands_and_merges_what_has_finished(patient: CommandLine, pending: Stack) -> None:
    job = await started(patient, fresh(4), *SHARDS, "--concurrency", "1")
    await pending.saw("retrieve")

    stopped = await patient("cancel", job)
    pending.emulator.clock.advance(timedelta(minutes=11))
    ended = await patient("watch", job, "--json")

    assert stopped.code == 0, stopped.err
    assert f"{job} is being stopped" in stopped.out
    assert ended.json["output"]["unfinished"] == {"count": 2, "customIds": ["request-0002", "request-0003"]}
    assert ended.json["output"]["resultsFile"]["lines"] == 2
    assert ended.code == 3
    assert (await patient("cancel", job)).code == 2


@pytest.mark.slow
async def test_ctrl_c_leaves_a_job_that_is_watched_to_itself(patient: CommandLine, pending: Stack) -> None:
    job = await started(patient, fresh(3))
    await pending.saw("retrieve")
    watching = await patient.begin("watch", job)
    assert watching.stderr
    await asyncio.wait_for(watching.stderr.readline(), 30)

    watching.send_signal(signal.SIGINT)
    _, said = await watching.communicate()

    assert watching.returncode == 0
    assert "The job continues" in said.decode()
    assert (await patient("status", job, "--json")).json["status"] == "running"
    await patient("cancel", job, "--abandon")


@pytest.mark.slow
async def test_a_job_that_is_abandoned_lands_nothing(patient: CommandLine, pending: Stack) -> None:
    job = await started(patient, fresh(3))
    await pending.saw("retrieve", 2)

    abandoned = await patient("cancel", job, "--abandon", "--json")
    ended = await patient("watch", job, "--json")

    assert abandoned.json == {"workflowId": job, "abandoned": True}
    assert (ended.code, ended.json["status"]) == (1, "canceled")
    await pending.saw("cancel", 2)


@pytest.mark.slow
async def test_what_has_landed_so_far_is_merged_for_a_file(patient: CommandLine, pending: Stack) -> None:
    job = await started(patient, fresh(4), *SHARDS, "--concurrency", "1")
    await pending.saw("create")
    early = await patient("results", job, "--partial")
    await pending.saw("retrieve")
    pending.emulator.clock.advance(timedelta(minutes=11))
    await landed_shards(patient, job, 1)

    part = await patient("results", job, "--partial", "-o", "part.jsonl", "--json")
    none = await patient("results", job)

    assert early.code == 2
    assert part.json["lines"] == 2
    assert "2 requests" in part.err
    assert [each["custom_id"] for each in lines_of(patient.folder / "part.jsonl")] == ["request-0000", "request-0001"]
    assert none.code == 2
    assert "--partial" in none.err
    await patient("cancel", job, "--abandon")


@pytest.mark.slow
@pytest.mark.parametrize("decision", ["adopt", "submit again"])
async def test_a_shard_whose_submission_is_unknown_is_settled_and_taken_up(
    starter: CommandLine, live: Stack, decision: str
) -> None:
    given = fresh(4)
    live.emulator.faults.add("refuse-then-5xx", operation="create")
    job = await started(starter, given, *LOST, "--concurrency", "1")
    await status_when(starter, job, "failedShards")
    live.emulator.faults.clear()
    # Its own batch, which the API has shown to nobody while it was looked for.
    batch_id = await live.post_by_a_stranger(given[:2]) if decision == "adopt" else None
    ended = await starter("watch", job, "--json")
    (shard,) = ended.json["failedShards"]

    attention = await needing(starter, job)
    option = ("--adopt", batch_id) if batch_id else ("--submit-again",)
    settled = await starter("resolve", shard["workflowId"], *option, "--json")
    resumed = await starter("resume", job, "--wait", "--json")

    assert ended.code == 1
    assert shard["type"] == "SubmissionUnknown"
    assert f"resolve {shard['workflowId']}" in shard["command"]
    assert [each["command"] for each in attention] == [shard["command"]]
    assert settled.json["job"] == job, settled.err
    assert resumed.code == 0, resumed.err
    assert resumed.json["output"]["verified"]
    assert set(sent(live).values()) == {1}
    assert await needing(starter, job) == []


@pytest.mark.slow
async def test_the_limit_of_a_retry_is_compared_with_what_is_left_to_send(starter: CommandLine, live: Stack) -> None:
    failing(live, "request-0001", batches=2)
    given = fresh(4)
    for each in given:
        each["params"]["max_tokens"] = 60_000
    job = await started(starter, given, *SHARDS, "--retry-waves", "0")
    await starter("watch", job)

    # Below the estimate of all requests, and above that of one.
    retried = await starter("retry", job, "--max-cost", "1", "--wait", "--json")

    assert retried.code == 0, retried.err
    assert retried.json["output"]["summary"]["counts"]["succeeded"] == 4
    assert sum(sent(live).values()) == 5


@pytest.mark.slow
async def test_a_shard_whose_batch_is_known_is_not_submitted_again(starter: CommandLine, live: Stack) -> None:
    live.emulator.faults.add("missing-line", operation="results", line=1, times=5)
    job = await started(starter, fresh(4), *SHARDS, "--concurrency", "1")
    (shard,) = (await starter("watch", job, "--json")).json["output"]["failedShards"]

    refused = await starter("resolve", shard["workflowId"], "--submit-again")
    resumed = await starter("resume", job, "--wait", "--json")

    assert refused.code == 2
    assert f"is known, {shard['batchId']}" in refused.err
    assert resumed.json["output"]["verified"]
    assert set(sent(live).values()) == {1}


async def test_a_run_that_has_landed_is_the_base_of_a_job_whose_shards_are_smaller(
    starter: CommandLine, live: Stack
) -> None:
    file = starter.file(fresh(5))
    run = await starter("start", file, *QUICK, "--wait", "--json")

    job = await starter("start", file, *SHARDS, "--wait", "--json")

    assert run.code == 0, run.err
    assert job.json["output"]["verified"], job.err
    assert set(sent(live).values()) == {1}


@pytest.mark.slow
async def test_a_job_that_temporal_no_longer_knows_is_shown_from_the_store(
    starter: CommandLine, live: Stack, forgetful: DevServer
) -> None:
    job = await started(starter, fresh(3))
    await starter("watch", job)

    async with after_retention(forgetful, starter, live) as later:
        shown = await later("status", job, "--json")
        written = await later("results", job, "-o", "later.jsonl")

    assert shown.code == 0, shown.err
    assert (shown.json["workflowId"], shown.json["output"]["resultsFile"]["lines"]) == (job, 3)
    assert written.code == 0, written.err


async def test_a_job_without_a_worker_shows_what_the_store_has_of_it(alone: CommandLine, temporal: DevServer) -> None:
    job = await started(alone, fresh(3))

    shown = await alone("status", job, "--json")
    stopped = await alone("cancel", job)

    assert [wave["shards"] for wave in shown.json["progress"]["waves"]] in ([], [2])
    assert shown.json["obstacles"][0]["cause"] == "no-worker"
    assert stopped.code == 1
    await temporal.client.get_workflow_handle(job).terminate()


@pytest.mark.slow
async def test_a_terminated_job_is_started_again_by_resume_and_buys_only_the_rest(
    patient: CommandLine, pending: Stack
) -> None:
    job = await started(patient, fresh(4), *SHARDS, "--concurrency", "1")
    await pending.saw("retrieve")
    await pending.client.get_workflow_handle(job).terminate()
    over = await patient("status", job)

    resumed = await patient("resume", job, "--json")
    pending.emulator.clock.advance(timedelta(minutes=11))
    await eventually(lambda: len(pending.emulator.batches) == 2, "the batch of the second shard")
    pending.emulator.clock.advance(timedelta(minutes=11))
    ended = await patient("watch", job, "--json")

    assert over.code == 1
    assert f"resume {job}" in over.said
    assert resumed.json == {"workflowId": job, "startedAgain": True}
    assert ended.json["output"]["verified"], ended.err
    assert set(sent(pending).values()) == {1}


@pytest.mark.slow
async def test_a_job_that_its_deadline_has_stopped_exits_with_3_and_is_resumed_without_it(
    patient: CommandLine, pending: Stack
) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=15)
    run = await start_job(pending, fresh(4), concurrency=1, deadline=deadline)
    shown = await status_when(patient, run.id, "deadline")
    ended = await patient("watch", run.id, "--json")

    again = await patient("resume", run.id)
    assert again.code == 0, (again.err, ended.out)
    await eventually(lambda: len(pending.emulator.batches) == 2, "the batch of the other shard")
    pending.emulator.clock.advance(timedelta(minutes=11))
    resumed = await patient("watch", run.id, "--json")

    assert datetime.fromisoformat(shown.json["progress"]["deadline"]) == deadline
    assert ended.code == 3, ended.err
    assert ended.json["output"]["unfinished"]["count"] == 2
    assert resumed.json["output"]["unfinished"] is None, resumed.err
    assert resumed.json["output"]["summary"]["counts"]["succeeded"] == 2


@pytest.mark.slow
async def test_a_job_of_another_program_is_shown_too(alone: CommandLine, temporal: DevServer) -> None:
    run = await temporal.client.start_workflow(
        JOB_WORKFLOW_TYPE, JobInput(requests=fresh(1)), id="nightly, all of it", task_queue="nobody-polls"
    )
    shown = await alone("status", run.id)

    assert "nightly, all of it" in shown.out
    await run.terminate()
