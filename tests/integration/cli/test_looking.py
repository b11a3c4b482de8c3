"""`status`, `watch`, `list` and `results`: what they show, with a worker and without one."""

import asyncio
import json
import os
import shlex
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

import pytest

from message_batches.contract import WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, STARTER, CommandLine, command_line
from tests.harness.requests import fresh, mixed, request
from tests.harness.stack import QUICK_POLL, Stack, failure_of, running_stack

COMMANDS = ("status", "watch", "results", "cancel")


async def landed(starter: CommandLine, *options: str) -> str:
    """The workflow id of a run whose results have landed: two replies, two errors."""
    ended = await starter("start", starter.file(mixed()), "--wait", "--json", *QUICK, *options)
    workflow_id: str = ended.json["workflowId"]
    return workflow_id


@pytest.mark.parametrize("command", COMMANDS)
async def test_an_unknown_id_gets_one_line(alone: CommandLine, command: str) -> None:
    ended = await alone(command, "no-such-run")

    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "'no-such-run'" in ended.err


async def test_a_landed_run_is_shown_by_status_and_watch_alike(starter: CommandLine) -> None:
    workflow_id = await landed(starter)

    status = await starter("status", workflow_id)
    watch = await starter("watch", workflow_id)
    strict = await starter("watch", workflow_id, "--strict", "--json")

    assert (status.code, watch.code, strict.code) == (0, 0, 1)
    assert status.out == watch.out != ""
    assert strict.json["output"]["verified"]


async def test_results_are_streamed_as_they_landed(starter: CommandLine, live: Stack) -> None:
    workflow_id = await landed(starter)
    (batch,) = live.emulator.batches

    by_run = await starter("results", workflow_id)
    by_batch = await starter("results", batch.id)
    document = await starter("results", workflow_id, "--json")

    ids = [json.loads(line)["custom_id"] for line in by_run.out.splitlines()]
    assert ids == ["request-0000", "request-0001", "request-0002", "request-0003"]
    assert by_batch.out == by_run.out
    assert document.json["results"] == [json.loads(line) for line in by_run.out.splitlines()]


@pytest.mark.parametrize(
    "command",
    [
        "results",
        "status",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("results --text", "results --failed", "start")),
    ],
)
async def test_results_that_have_changed_since_they_landed_are_not_given_out_as_they_were(
    starter: CommandLine, live: Stack, command: str
) -> None:
    workflow_id = await landed(starter)
    (file,) = live.store_folder.glob("results/*/*/*.jsonl")
    # The last line: the first of them alone do not show it.
    before, at, after = file.read_bytes().rpartition(b"succeeded")
    file.write_bytes(before + at.upper() + after)
    wanted, (name, *options) = starter.folder / "results.jsonl", command.split()

    shown = await starter(name, starter.folder / "requests.jsonl" if name == "start" else workflow_id, *options)

    assert "has changed since it was written" in shown.err
    assert "SUCCEEDED" not in shown.out
    if name == "results":
        assert (shown.code, shown.out) == (2, "")
        assert (await starter(*command.split(), workflow_id, "-o", wanted)).code == 2
        assert not wanted.exists()
    else:
        assert shown.code == 1
        assert "request-0003" not in shown.out


async def test_requests_that_have_changed_since_they_were_checked_are_not_sent_again(
    starter: CommandLine, live: Stack
) -> None:
    workflow_id = await landed(starter)
    for file in live.store_folder.glob("manifests/*.jsonl"):
        file.write_bytes(file.read_bytes().replace(b'"max_tokens"', b'"max_tokenz"'))
    wanted = starter.folder / "retry.jsonl"

    shown = await starter("results", workflow_id, "--failed")
    written = await starter("results", workflow_id, "--failed", "-o", wanted)

    assert (shown.code, written.code, shown.out) == (2, 2, "")
    assert "has changed since it was written" in shown.err
    assert not list(starter.folder.glob("*retry*"))


async def test_results_are_written_to_a_file_and_over_none(starter: CommandLine) -> None:
    workflow_id = await landed(starter)
    file = starter.folder / "results.jsonl"

    first = await starter("results", workflow_id, "-o", file)
    second = await starter("results", workflow_id, "-o", file)
    forced = await starter("results", workflow_id, "-o", file, "--force", "--json")
    nowhere = await starter("results", workflow_id, "-o", starter.folder / "none" / "results.jsonl")

    assert (first.code, second.code, forced.code, nowhere.code) == (0, 2, 0, 2)
    assert len(file.read_text(encoding="utf-8").splitlines()) == 4
    assert forced.json["lines"] == 4
    assert [path.name for path in starter.folder.iterdir() if path.name.startswith(".results")] == []


@pytest.mark.slow
async def test_what_failed_for_good_is_kept_apart_from_what_is_worth_sending_again(
    temporal: DevServer, tmp_path: Path
) -> None:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.3), error_rate=0.5, seed=7)) as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as live,
    ):
        starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
        given = [*mixed(), *({**item, "custom_id": f"more-{n}"} for n, item in enumerate(fresh(20)))]
        ended = await starter("start", starter.file(given), "--wait", "--json", *QUICK)
        retry, invalid = starter.folder / "retry.jsonl", starter.folder / "retry.invalid.jsonl"

        failed = await starter("results", ended.json["workflowId"], "--failed", "-o", retry)
        counted = await starter("results", ended.json["workflowId"], "--failed", "--json")
        streamed = await starter("results", ended.json["workflowId"], "--failed")

    errored = ended.json["output"]["summary"]["counts"]["errored"]
    assert failed.code == 0, failed.err
    by_id = {item["custom_id"]: item for item in given}
    again = [json.loads(line) for line in retry.read_text(encoding="utf-8").splitlines()]
    to_correct = [json.loads(line) for line in invalid.read_text(encoding="utf-8").splitlines()]
    assert all(item == by_id[item["custom_id"]] for item in [*again, *to_correct])
    assert {item["custom_id"] for item in to_correct} == {"request-0001", "request-0002"}
    assert len(again) == errored - 2 > 0
    assert (counted.json["again"], counted.json["invalid"]) == (len(again), 2)
    assert streamed.out == retry.read_text(encoding="utf-8")


@pytest.mark.slow
async def test_where_all_succeeded_there_is_nothing_to_send_again(starter: CommandLine) -> None:
    ended = await starter("start", starter.file(fresh()), "--wait", "--json", *QUICK)

    failed = await starter("results", ended.json["workflowId"], "--failed", "-o", "retry.jsonl", "--json")

    assert failed.code == 0
    assert (failed.json["again"], failed.json["invalid"]) == (0, 0)
    assert not (starter.folder / "retry.jsonl").exists()


async def test_a_run_is_listed_with_its_batch(starter: CommandLine, live: Stack) -> None:
    workflow_id = await landed(starter)
    (batch,) = live.emulator.batches

    shown = await starter("list")
    listed = await starter("list", "--json", "--limit", "1000")

    (ours,) = [run for run in listed.json if run["workflowId"] == workflow_id]
    assert (ours["status"], ours["batchId"]) == ("completed", batch.id)
    assert workflow_id in shown.out


async def test_the_next_step_of_a_failed_run_names_its_key(patient: CommandLine, pending: Stack) -> None:
    run = await pending.start(fresh(), api_key="team-a", poll=QUICK_POLL.model_copy(update={"retry_limit": 0}))
    assert (await failure_of(run)).type == "BatchNotEnded"
    (batch,) = pending.emulator.batches

    for command in ("status", "results"):
        shown = await patient(command, run.id)
        assert f"attach {batch.id} --key team-a`" in shown.said


async def test_fields_of_the_input_that_are_not_read_are_named(patient: CommandLine, pending: Stack) -> None:
    run = await pending.client.start_workflow(
        WORKFLOW_TYPE,
        {"requests": fresh(), "poll": {"retryAfterSeconds": 2}, "maxTokens": 5},
        id=f"unread-{uuid4()}",
        task_queue=pending.task_queue,
    )
    await pending.saw("retrieve")

    status = await patient("status", run.id)

    assert "not read" in status.out
    assert "poll.retryAfterSeconds, maxTokens" in status.said
    await run.terminate()


@pytest.mark.slow
async def test_without_a_worker_a_run_is_shown_as_far_as_its_history_tells(temporal: DevServer, tmp_path: Path) -> None:
    options = EmulatorOptions(processing_time=timedelta(minutes=10))
    async with Emulator(options) as emulator:
        async with running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as live:
            starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
            started = await starter("start", starter.file(fresh()), "--json", *QUICK)
            await live.saw("retrieve", times=2)
        (batch,) = emulator.batches

        status = await starter("status", started.json["workflowId"], "--json")
        by_batch = await starter("status", batch.id)
        results = await starter("results", started.json["workflowId"], "--json")
        listed = await starter("list", "--json", "--limit", "1000")

    assert status.code == 0, status.err
    assert (status.json["status"], status.json["batchId"]) == ("running", batch.id)
    assert status.json["answeredByWorker"] is False
    assert status.json["progress"]["processingStatus"] == "in_progress"
    assert status.json["progress"]["polls"] >= 1
    assert batch.id in by_batch.out
    assert results.code == 2
    assert results.json["error"]["type"] == "ResultsNotFound"
    assert any(run["batchId"] == batch.id for run in listed.json)


async def test_status_tells_that_no_worker_polls_the_queue(alone: CommandLine) -> None:
    started = await alone("start", alone.file(fresh()), "--json")

    status = await alone("status", started.json["workflowId"], "--json")

    assert status.code == 0
    assert status.json["workerPolls"] is False


async def test_an_activity_that_keeps_failing_is_shown_with_its_attempt_and_failure(
    starter: CommandLine, live: Stack
) -> None:
    live.emulator.faults.add("529", operation="retrieve")
    started = await starter("start", starter.file(fresh()), "--json", *QUICK[2:])
    await live.saw("retrieve")

    async with asyncio.timeout(30):
        while not (status := await starter("status", started.json["workflowId"], "--json")).json["retrying"]:
            pass

    (trouble,) = status.json["retrying"]
    assert trouble["activity"] == "pollBatchStatus"
    assert trouble["attempt"] >= 2
    assert "529" in trouble["failure"]
    await live.client.get_workflow_handle(started.json["workflowId"]).terminate()


async def test_a_failed_run_is_shown_with_its_failure_and_exit_code_1(starter: CommandLine, live: Stack) -> None:
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    ended = await starter("start", starter.file(fresh()), "--wait", "--json", *QUICK)
    workflow_id = ended.json["workflowId"]

    status = await starter("status", workflow_id, "--json")
    results = await starter("results", workflow_id, "--json")

    assert (ended.code, status.code) == (1, 1)
    assert status.json["failure"]["type"] == "SpendLimitReached"
    assert results.code == 2
    assert results.json["error"]["type"] == "ResultsNotFound"


@pytest.mark.slow
async def test_an_output_that_cannot_be_written_gets_one_line(starter: CommandLine) -> None:
    workflow_id = await landed(starter)
    command = f"{shlex.quote(sys.executable)} {STARTER} results {workflow_id}"

    for redirected, lines in (
        (f"{command} > /dev/full", 1),
        (f"{command} | head -c 1 > /dev/null", 0),
        (f"{command} --csv - | true", 0),
    ):
        process = await asyncio.create_subprocess_shell(
            redirected, stderr=asyncio.subprocess.PIPE, env=starter.variables, cwd=starter.folder
        )
        _, err = await process.communicate()
        assert (process.returncode, len(err.splitlines())) == (2 * lines, lines)
        assert b"Error" not in err


@pytest.mark.slow
@pytest.mark.parametrize("options", [pytest.param((), marks=pytest.mark.slow), ("--json",)])
async def test_a_full_device_does_not_make_a_landed_run_a_failed_one(
    starter: CommandLine, live: Stack, options: tuple[str, ...]
) -> None:
    arguments: tuple[str | Path, ...] = ("start", starter.file(fresh()), "--wait", *options, *QUICK)
    full = os.open("/dev/full", os.O_WRONLY)
    with TemporaryFile() as err:
        code = await exit_code(starter, *arguments, stdout=full, stderr=err.fileno())
        both = await exit_code(starter, *arguments, stdout=full, stderr=full)
        err.seek(0)
        said = err.read().decode().splitlines()
    os.close(full)

    assert (code, both) == (0, 0)
    assert [line for line in said if "No space left on device" in line] == said[-1:]
    assert live.operations().count("create") == 1


SIGNS = "…“日本”"


async def exit_code(
    starter: CommandLine, *arguments: str | Path, stdout: int, stderr: int = 2, encoding: str = "utf-8"
) -> int:
    """Run the starter in an interpreter of its own, on these streams."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(STARTER),
        *map(str, arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env={**starter.variables, "PYTHONIOENCODING": encoding},
        cwd=starter.folder,
    )
    return await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict"])
async def test_an_encoding_that_cannot_show_the_replies_does_not_fail_the_command(
    starter: CommandLine, live: Stack, encoding: str
) -> None:
    given = [request("request-0000", f"Say {SIGNS} to {encoding}")]
    with TemporaryFile() as out, TemporaryFile() as err:
        code = await exit_code(
            starter,
            *("start", starter.file(given), "--wait", *QUICK),
            stdout=out.fileno(),
            stderr=err.fileno(),
            encoding=encoding,
        )
        out.seek(0)
        err.seek(0)
        shown, said = out.read(), err.read()

    assert code == 0, said
    assert b"1 succeeded" in shown
    assert b"?" in shown
    assert b"Error" not in said
    assert len(live.emulator.batches) == 1


async def test_results_to_standard_output_are_their_bytes_in_any_encoding(starter: CommandLine, live: Stack) -> None:
    output = await live.run([request("request-0000", f"Say {SIGNS}")])
    with TemporaryFile() as out:
        code = await exit_code(starter, "results", output.batch_id, stdout=out.fileno(), encoding="ascii")
        out.seek(0)
        shown = out.read()

    assert code == 0
    assert SIGNS in shown.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    "closed", ["both", *(pytest.param(name, marks=pytest.mark.slow) for name in ("stdout", "stderr"))]
)
async def test_a_reader_that_has_closed_the_output_does_not_change_the_exit_code(
    starter: CommandLine, closed: str
) -> None:
    workflow_id = await landed(starter)
    read, write = os.pipe()
    os.close(read)
    with TemporaryFile() as rest:
        out, err = (write if closed in (name, "both") else rest.fileno() for name in ("stdout", "stderr"))
        codes = [
            await exit_code(starter, *arguments, stdout=out, stderr=err)
            for arguments in (("watch", workflow_id, "--strict"), ("results", workflow_id))
        ]
    os.close(write)

    assert codes == [1, 0]
