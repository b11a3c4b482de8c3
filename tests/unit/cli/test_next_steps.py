"""Next steps, which are data, rendered as commands."""

from datetime import UTC, datetime

import pytest

from message_batches.cli.next_steps import called, error_text, failure_text, raise_limit, take_up
from message_batches.contract import NextAction
from message_batches.errors import RunError
from message_batches.runs.forgotten import ForgottenSubmission
from message_batches.runs.history import RunFailure


@pytest.mark.parametrize(
    ("action", "command"),
    [
        (NextAction.ATTACH, "attach msgbatch_1`"),
        (NextAction.ATTACH_WITH_REQUESTS, "attach msgbatch_1 --requests FILE`"),
        (NextAction.CHECK_BATCHES, "start FILE --again`"),
        (NextAction.STORE_REQUESTS, "start FILE`"),
        (NextAction.START_WORKER, "status a-run`"),
        (NextAction.CHECK_RUN, "status a-run`"),
        (NextAction.REPEAT_START, "start FILE`"),
        (NextAction.REPEAT_AGAIN, "start FILE --again --workflow-id a-run`"),
        (NextAction.WATCH, "watch a-run`"),
        (NextAction.LIST_RUNS, "list`"),
        (NextAction.REGISTER_SEARCH_ATTRIBUTES, "setup`"),
    ],
)
def test_an_error_is_followed_by_the_command_of_its_next_step(action: NextAction, command: str) -> None:
    error = RunError("It was not done.", action, workflow_id="a-run", batch_id="msgbatch_1")

    text = error_text(error)

    assert text.startswith("It was not done. ")
    assert f"`{called()} {command}" in text


@pytest.mark.parametrize(("key", "option"), [("team-a", " --key team-a"), ("default", ""), (None, "")])
@pytest.mark.parametrize(
    "action",
    [
        NextAction.ATTACH,
        NextAction.ATTACH_WITH_REQUESTS,
        NextAction.CHECK_BATCHES,
        NextAction.LAND_AGAIN,
        NextAction.STORE_REQUESTS,
        NextAction.REPEAT_START,
        NextAction.REPEAT_AGAIN,
    ],
)
def test_a_command_that_starts_a_run_names_its_key(action: NextAction, key: str | None, option: str) -> None:
    of_error = error_text(RunError("It was not done", action, workflow_id="a-run", api_key=key))
    of_failure = failure_text(RunFailure("Failed", "It has failed", "msgbatch_1", action=action, api_key=key))

    for text in (of_error, of_failure):
        commands = text.split("`")[1::2]
        assert commands
        assert all(command.endswith(option) and ("--key" in command) is bool(option) for command in commands)


@pytest.mark.parametrize("batch_id", ["msgbatch_1", None])
@pytest.mark.parametrize("uri", ["file:///a%20b/c.jsonl", "s3://bucket/c.jsonl", None])
def test_a_forgotten_submission_is_taken_up_with_its_key(batch_id: str | None, uri: str | None) -> None:
    now = datetime(2026, 11, 26, tzinfo=UTC)

    command = take_up(ForgottenSubmission("a-run", now, batch_id, uri, "team-a"))

    assert f" attach {batch_id or 'MSGBATCH_ID'}" in command
    assert command.endswith(" --key team-a")
    assert "--key" not in take_up(ForgottenSubmission("a-run", now, batch_id, uri))


def test_every_next_step_is_rendered() -> None:
    assert all(error_text(RunError("It was not done", action)) != "It was not done" for action in NextAction)


def test_a_failure_is_followed_by_the_command_of_its_next_step() -> None:
    failure = RunFailure("BatchNotEnded", "It has not ended.", "msgbatch_1", action=NextAction.ATTACH)

    assert failure_text(failure) == f"It has not ended. `{called()} attach msgbatch_1` takes it over"


def test_an_error_without_a_next_step_is_only_its_message() -> None:
    assert error_text(RunError("It was not done.")) == "It was not done."


def test_a_limit_is_raised_to_twice_that_of_the_longest_reply_that_reached_it() -> None:
    assert [raise_limit(longest) for longest in (0, 256)] == ["--max-tokens N", "--max-tokens 512"]
