"""Next steps, which are data, rendered as commands."""

import pytest

from message_batches.cli.next_steps import called, error_text, failure_text
from message_batches.contract import NextAction
from message_batches.errors import RunError
from message_batches.runs.history import RunFailure


@pytest.mark.parametrize(
    ("action", "command"),
    [
        (NextAction.ATTACH, "attach msgbatch_1`"),
        (NextAction.ATTACH_WITH_REQUESTS, "attach msgbatch_1 --requests FILE`"),
        (NextAction.CHECK_BATCHES, "start FILE --again`"),
        (NextAction.STORE_REQUESTS, "start FILE`"),
        (NextAction.START_WORKER, "status a-run`"),
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


def test_every_next_step_is_rendered() -> None:
    assert all(error_text(RunError("It was not done", action)) != "It was not done" for action in NextAction)


def test_a_failure_is_followed_by_the_command_of_its_next_step() -> None:
    failure = RunFailure("BatchNotEnded", "It has not ended.", "msgbatch_1", action=NextAction.ATTACH)

    assert failure_text(failure) == f"It has not ended. `{called()} attach msgbatch_1` takes it over"


def test_an_error_without_a_next_step_is_only_its_message() -> None:
    assert error_text(RunError("It was not done.")) == "It was not done."
