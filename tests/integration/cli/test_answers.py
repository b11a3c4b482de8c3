"""The starter before answers that a gateway, or the API on a bad day, gives: texts, errors, requests to repeat."""

import json

import pytest

from tests.harness.command_line import QUICK, CommandLine
from tests.harness.gateway import Answer, Gateway, errored, results_of
from tests.harness.requests import fresh
from tests.harness.waiting import eventually


@pytest.mark.slow
async def test_a_text_in_several_blocks_is_printed_as_one(behind: CommandLine, gateway: Gateway) -> None:
    blocks = [{"type": "text", "text": text} for text in ("The sky is ", "blue", ".")]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": blocks, "usage": {}}
    gateway.change = results_of(request_0000={"type": "succeeded", "message": message})
    ended = await behind("start", behind.file(fresh(1)), "--wait", "--json", *QUICK)

    texts = await behind("results", ended.json["workflowId"], "--text")

    assert texts.out == "request-0000\nThe sky is blue.\n\n"


async def test_errors_are_told_apart_by_their_messages_and_requests_by_the_cause(
    behind: CommandLine, gateway: Gateway
) -> None:
    low_credit = errored("Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing")
    not_fetched = errored("messages.0.content.1: Unable to download the file. Please verify the URL and try again.")
    gateway.change = results_of(
        request_0000=low_credit,
        request_0001=not_fetched,
        request_0002=errored("messages.0.content.1: Input should be a valid list"),
        request_0003=errored("messages.7.content.0: Input should be a valid list"),
        request_0004=errored("model: claude-haiku-5", "not_found_error"),
        request_0005=low_credit,
    )
    ended = await behind("start", behind.file(fresh(7)), "--wait", "--json", *QUICK)

    failed = await behind("results", ended.json["workflowId"], "--failed", "-o", "again.jsonl", "--json")

    groups = {tuple(group["customIds"]) for group in ended.json["output"]["summary"]["errors"]}
    assert groups == {
        ("request-0000", "request-0005"),
        ("request-0001",),
        ("request-0002", "request-0003"),
        ("request-0004",),
    }
    assert (failed.json["again"], failed.json["invalid"]) == (3, 3)
    again = [json.loads(line)["custom_id"] for line in (behind.folder / "again.jsonl").read_text().splitlines()]
    assert again == ["request-0000", "request-0001", "request-0005"]


async def test_a_post_too_large_for_a_gateway_says_what_was_sent(behind: CommandLine, gateway: Gateway) -> None:
    gateway.refuse("POST /v1/messages/batches", 413, b"<html>", content_type="text/html")

    ended = await behind("start", behind.file(fresh()), "--wait", "--json", *QUICK)

    assert ended.code == 1
    failure = ended.json["failure"]
    assert failure["type"] == "RequestRefused"
    assert "A gateway" in failure["message"]
    assert "256,000,000" in failure["message"]


async def test_a_field_that_a_gateway_re_shapes_is_named(behind: CommandLine, gateway: Gateway) -> None:
    def renumbered(answer: Answer) -> None:
        answer.body = answer.body.replace(b'"msgbatch_', b'"projects/p/msgbatch_')

    gateway.change = renumbered
    workflow_id = (await behind("start", behind.file(fresh()), "--json", *QUICK)).json["workflowId"]

    async def failing() -> str:
        retrying = (await behind("status", workflow_id, "--json")).json["retrying"]
        return retrying[0]["failure"] if retrying else ""

    assert "data.0.id (" in await eventually(failing, "an activity that fails")
