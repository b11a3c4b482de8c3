"""Texts of others at a terminal: shown, with control characters spelled out, and never obeyed."""

import json
from uuid import uuid4

import pytest

from message_batches.contract import WORKFLOW_TYPE
from tests.harness.command_line import CommandLine, Ended
from tests.harness.stack import Stack, failure_of

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e"


def assert_harmless(ended: Ended) -> None:
    for said in (ended.out, ended.err):
        assert all(each.isprintable() or each == "\n" for each in said), ascii(said)


@pytest.mark.parametrize("command", ["status", "watch", "results", "list"])
async def test_neither_an_id_nor_an_input_is_obeyed(starter: CommandLine, live: Stack, command: str) -> None:
    run = await live.client.start_workflow(
        WORKFLOW_TYPE,
        {"requestsUri": f"file:///x{HOSTILE}.jsonl"},
        id=f"hostile-{HOSTILE}-{uuid4()}",
        task_queue=live.task_queue,
    )
    await failure_of(run)
    argument = () if command == "list" else (run.id,)

    shown = await starter(command, *argument)
    document = await starter(command, *argument, "--json")

    for ended in (shown, document):
        assert_harmless(ended)
    # Rich leaves out five control characters, BEL among them, before anybody sees the text.
    assert r"\x1b]0;owned\x1b[2J\x9b31m\x7f\u202e" in shown.out + shown.err
    assert json.dumps(HOSTILE)[1:-1] in document.out


async def test_neither_is_the_reason_given_for_a_termination_nor_an_argument(starter: CommandLine, live: Stack) -> None:
    run = await live.client.start_workflow(WORKFLOW_TYPE, {}, id=f"ended-{uuid4()}", task_queue="nobody-polls")
    await run.terminate(reason=HOSTILE)

    for arguments in (("status", run.id), ("results", run.id), ("list",), (HOSTILE,), ("list", "--limit", HOSTILE)):
        assert_harmless(await starter(*arguments))
