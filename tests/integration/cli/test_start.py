"""`start` and `check`: from a file to a report, and what is refused before anything is sent."""

import json
import re
from pathlib import Path

import pytest
from temporalio.client import Client

from message_batches.models import BatchInput
from tests.harness.command_line import QUICK, CommandLine
from tests.harness.project import ROOT
from tests.harness.requests import fresh, mixed
from tests.harness.stack import Stack


async def given_to(client: Client, workflow_id: str) -> BatchInput:
    """Return the input that a run was started with."""
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        payloads = event.workflow_execution_started_event_attributes.input.payloads
        (given,) = await client.data_converter.decode(payloads, [BatchInput])
        assert isinstance(given, BatchInput)
        return given
    raise AssertionError("a history without a start")


async def test_a_file_is_submitted_waited_for_and_reported(starter: CommandLine, live: Stack) -> None:
    ended = await starter("start", starter.file(mixed()), "--wait", *QUICK)

    assert ended.code == 0, ended.err
    (batch,) = live.emulator.batches
    assert batch.id in ended.out
    assert re.search(rf"{re.escape(live.store_url)}/results/default-[0-9a-f]{{12}}/{batch.id}/", ended.out)
    assert batch.id in ended.err


async def test_waiting_with_json_prints_one_document(starter: CommandLine) -> None:
    ended = await starter("start", starter.file(mixed()), "--wait", "--json", *QUICK)

    assert ended.code == 0, ended.err
    assert ended.json["status"] == "completed"
    assert ended.json["output"]["summary"]["counts"] == {"succeeded": 2, "errored": 2, "canceled": 0, "expired": 0}


async def test_strict_makes_errored_requests_a_failure(starter: CommandLine) -> None:
    ended = await starter("start", starter.file(mixed()), "--wait", "--strict", "--json", *QUICK)

    assert ended.code == 1
    assert ended.json["output"]["summary"]["counts"]["errored"] == 2


async def test_strict_makes_replies_that_are_cut_off_a_failure(starter: CommandLine) -> None:
    cut = fresh(2)
    cut[1]["params"]["max_tokens"] = 3
    ended = [
        await starter("start", starter.file(cut), "--wait", "--json", *QUICK, *strict) for strict in ([], ["--strict"])
    ]

    assert [each.code for each in ended] == [0, 1]
    assert ended[0].json["output"]["summary"]["usable"] == 1


async def test_away_from_a_terminal_the_run_is_left_to_itself(starter: CommandLine, live: Stack) -> None:
    ended = await starter("start", starter.file(fresh()), "--json", *QUICK)

    assert ended.code == 0, ended.err
    assert ended.json["detached"]
    made, estimated = ended.err.splitlines()
    assert made == f"A new store has been made at {live.store_url}"
    assert "768 out" in estimated
    assert ended.json["estimate"]["outputTokens"] == 768
    assert (await live.client.get_workflow_handle(ended.json["workflowId"]).result())["verified"]


async def test_a_queue_without_a_worker_is_said_at_the_start(alone: CommandLine) -> None:
    ended = await alone("start", alone.file(fresh()))

    assert ended.code == 0
    assert alone.environment["MESSAGE_BATCHES_TASK_QUEUE"] in ended.err


@pytest.mark.parametrize("form", ["array", "object"])
async def test_standard_input_may_hold_an_array_or_an_object(starter: CommandLine, live: Stack, form: str) -> None:
    given = fresh(2)
    text = json.dumps(given if form == "array" else {"requests": given}, indent=2)

    ended = await starter("start", "-", "--wait", "--json", *QUICK, stdin=text)

    assert ended.code == 0, ended.err
    assert [request.custom_id for request in live.emulator.batches[0].requests] == ["request-0000", "request-0001"]


async def test_small_requests_travel_inline_and_large_ones_by_reference(starter: CommandLine, live: Stack) -> None:
    large = fresh(3)
    large[0]["params"]["messages"][0]["content"] = "é" * 100_000

    inline = await starter("start", starter.file(fresh()), "--json", *QUICK)
    by_reference = await starter("start", starter.file(large), "--wait", "--json", *QUICK)

    small = await given_to(live.client, inline.json["workflowId"])
    assert small.requests is not None
    assert small.requests_uri is None
    given = await given_to(live.client, by_reference.json["workflowId"])
    assert given.requests is None
    assert str(given.requests_uri).startswith(f"{live.store_url}/manifests/")
    assert given.store_id is not None
    assert by_reference.json["output"]["verified"]


async def test_the_cadence_comes_from_the_document_and_options_overrule_it(starter: CommandLine, live: Stack) -> None:
    ours = (ROOT / "arazzo" / "claude-batch-process-and-retrieve-results-workflow.yml").read_text(encoding="utf-8")
    assert "retryLimit: 2880" in ours
    document = starter.folder / "edited.yml"
    document.write_text(ours.replace("retryLimit: 2880", "retryLimit: 77"), encoding="utf-8")
    more = ("--poll-interval", "0.2s", "--quiet-period", "1m", "--submission-timeout", "2h", "--key", "team-a")

    ended = await starter(
        "start", starter.file(fresh()), "--json", "--document", document, *more, "--beta", "one", "--beta", "two"
    )

    given = await given_to(live.client, ended.json["workflowId"])
    assert given.poll.retry_limit == 77
    assert given.poll.retry_after.total_seconds() == 0.2
    assert given.submission.quiet_period.total_seconds() == 60
    assert given.submission.timeout.total_seconds() == 7200
    assert (given.api_key, given.anthropic_beta) == ("team-a", ("one", "two"))


async def test_a_document_that_cannot_be_honoured_is_refused(starter: CommandLine, live: Stack) -> None:
    document = starter.folder / "broken.yml"
    document.write_text("arazzo: 1.0.1\nworkflows: 3\n", encoding="utf-8")

    ended = await starter("start", starter.file(fresh()), "--document", document)

    assert ended.code == 2
    assert "broken.yml" in ended.err
    assert not live.emulator.calls


async def test_every_problem_in_the_requests_is_named_with_its_line_and_nothing_is_sent(
    starter: CommandLine, live: Stack
) -> None:
    file = starter.folder / "bad.jsonl"
    file.write_text('{"custom_id": "a b", "params": {}}\nno json\n{"params": {}}\n', encoding="utf-8")

    ended = await starter("start", file, "--json")

    assert ended.code == 2
    assert ended.json["error"]["type"] == "InvalidRequests"
    assert [problem[:6] for problem in ended.json["error"]["problems"]] == ["line 1", "line 2", "line 3"]
    assert not live.emulator.calls


@pytest.mark.parametrize("key", ["sk-ant-api03-secret-AAAA", "Not A Name", "sk-secret"])
async def test_a_raw_key_is_refused_and_its_text_repeated_nowhere(starter: CommandLine, live: Stack, key: str) -> None:
    ended = await starter("start", starter.file(fresh()), "--key", key, "--json")

    assert ended.code == 2
    assert ended.json["error"]["type"] == "Refused"
    assert key not in ended.out + ended.err
    assert not live.emulator.calls


@pytest.mark.parametrize(
    "command",
    [
        ("start", "FILE", "--beta", "KEY"),
        ("start", "FILE", "--anthropic-version", "KEY"),
        ("attach", "KEY"),
        ("resolve", "batch-1", "--adopt", "KEY"),
    ],
)
async def test_a_raw_key_in_another_place_is_refused_too(
    starter: CommandLine, live: Stack, command: tuple[str, ...]
) -> None:
    key = "sk-ant-api03-secret-AAAA"
    values = {"FILE": str(starter.file(fresh())), "KEY": key}

    ended = await starter(*(values.get(word, word) for word in command), "--json")

    assert ended.code == 2
    assert ended.json["error"]["type"] == "Refused"
    assert key not in ended.out + ended.err
    assert not live.emulator.calls


async def test_a_version_or_a_beta_that_can_be_no_header_is_refused(starter: CommandLine) -> None:
    for option in ("--anthropic-version", "--beta"):
        ended = await starter("start", starter.file(fresh()), option, "a b")

        assert ended.code == 2
        assert option in ended.err
    joined = await starter("start", starter.file(fresh()), "--beta", "a-2026-01-01,b-2026-01-01")
    assert joined.code == 2
    assert "--beta cannot be used: a beta has no comma: give each by itself" in joined.err


async def test_an_unknown_key_name_fails_the_run_with_nothing_sent(starter: CommandLine, live: Stack) -> None:
    ended = await starter("start", starter.file(fresh()), "--wait", "--json", "--key", "team-b", *QUICK)

    assert ended.code == 1
    assert ended.json["failure"]["type"] == "UnknownKey"
    assert "'team-b'" in ended.json["failure"]["message"]
    assert not live.emulator.calls


async def test_an_invalid_key_fails_the_run_at_once(starter: CommandLine, live: Stack) -> None:
    ended = await starter("start", starter.file(fresh()), "--wait", "--key", "revoked", "--json", *QUICK)

    assert ended.code == 1
    assert ended.json["failure"]["type"] == "AuthenticationFailed"
    assert not live.emulator.batches


async def test_without_a_server_one_line_says_what_to_start(tmp_path: Path) -> None:
    nowhere = CommandLine(tmp_path, {"TEMPORAL_ADDRESS": "127.0.0.1:1", "MESSAGE_BATCHES_STORE": tmp_path.as_uri()})

    started = await nowhere("start", nowhere.file(fresh()))
    listed = await nowhere("list", "--json")

    for ended in (started, listed):
        assert ended.code == 2
        assert len(ended.err.splitlines()) == 1
        assert "127.0.0.1:1" in ended.err
    assert listed.json["error"]["type"] == "TemporalUnreachable"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "nonsense"),
        (["start"], "FILE"),
        (["start", "there-is-none.jsonl"], "there-is-none.jsonl"),
        (["start", "x", "--poll-interval", "30"], "'30'"),
        (["start", "x", "--nonsense"], "--nonsense"),
        (["attach", "batch_1"], "'batch_1'"),
        (["resolve", "x"], "--adopt"),
        (["resolve", "x", "--adopt", "y"], "'y'"),
    ],
)
async def test_wrong_arguments_get_one_line(alone: CommandLine, arguments: list[str], named: str) -> None:
    ended = await alone(*arguments)

    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert named in ended.err
    assert ended.out == ""


async def test_a_store_that_is_none_is_refused_before_anything_is_sent(starter: CommandLine, live: Stack) -> None:
    elsewhere = CommandLine(starter.folder, {**starter.environment, "MESSAGE_BATCHES_STORE": "ftp://nowhere/x"})

    ended = await elsewhere("start", starter.file(fresh()))

    assert ended.code == 2
    assert "MESSAGE_BATCHES_STORE" in ended.err
    assert not live.emulator.calls


async def test_check_counts_and_warns_and_needs_no_server(tmp_path: Path) -> None:
    nowhere = CommandLine(tmp_path, {"TEMPORAL_ADDRESS": "127.0.0.1:1"})

    ended = await nowhere("check", nowhere.file(mixed()), "--json")

    assert ended.code == 0
    assert ended.json["count"] == 4
    assert ended.json["models"] == {"claude-sonnet-5": 3, "claude-does-not-exist-9": 1}
    assert ended.json["maxTokens"] == 4 * 256
    assert [each["customIds"] for each in ended.json["warnings"] if each["certain"]] == [["request-0002"]]


async def test_check_refuses_what_start_would_refuse(tmp_path: Path) -> None:
    nowhere = CommandLine(tmp_path)
    file = nowhere.file([*fresh(1), *fresh(1)])

    ended = await nowhere("check", file, "--json")

    assert ended.code == 2
    assert "line 2" in ended.json["error"]["problems"][0]


async def test_the_examples_can_be_sent(tmp_path: Path) -> None:
    ended = await CommandLine(tmp_path)("check", ROOT / "examples" / "requests.jsonl", "--json")

    assert ended.code == 0
    assert ended.json["count"] == 24
