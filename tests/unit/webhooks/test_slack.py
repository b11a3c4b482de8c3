"""The shape for a chat, compared with the documented limits of Block Kit.

Source: https://docs.slack.dev/reference/block-kit/blocks
"""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from message_batches.webhooks.events import EventType
from message_batches.webhooks.slack import slack_body
from tests.unit.webhooks.events import an_event, the_largest_event


def text(kind: str, longest: int) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", "text"],
        "additionalProperties": False,
        "properties": {"type": {"const": kind}, "text": {"type": "string", "minLength": 1, "maxLength": longest}},
    }


def block(kind: str, required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", *required],
        "additionalProperties": False,
        "properties": {"type": {"const": kind}, **properties},
    }


SCHEMA = {
    "type": "object",
    "required": ["text", "blocks"],
    "additionalProperties": False,
    "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": 40_000},
        "blocks": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "items": {
                "oneOf": [
                    block("header", ["text"], text=text("plain_text", 150)),
                    block(
                        "section",
                        ["fields"],
                        fields={"type": "array", "minItems": 1, "maxItems": 10, "items": text("mrkdwn", 2000)},
                    ),
                    block("section", ["text"], text=text("mrkdwn", 3000)),
                    block(
                        "context",
                        ["elements"],
                        elements={"type": "array", "minItems": 1, "maxItems": 10, "items": text("mrkdwn", 3000)},
                    ),
                ]
            },
        },
    },
}


@pytest.mark.parametrize("kind", EventType)
def test_each_event_is_a_valid_message(kind: EventType) -> None:
    for event in (an_event(kind), the_largest_event().model_copy(update={"type": kind})):
        body = slack_body(event)

        Draft202012Validator(SCHEMA).validate(json.loads(body))
        assert len(body) < 20_000


def test_the_schema_refuses_what_is_too_long() -> None:
    message = json.loads(slack_body(an_event()))
    message["blocks"][0]["text"]["text"] = "x" * 151

    assert not Draft202012Validator(SCHEMA).is_valid(message)


def test_nothing_in_a_message_mentions_anybody_or_is_a_link() -> None:
    event = an_event(workflow_id="<!channel> <https://evil.example|here> & `code`", outcome="<@U1>")

    sent = slack_body(event).decode()

    assert "<" not in sent
    assert "&lt;!channel&gt;" in sent


def test_a_message_says_what_came_back_and_what_it_cost() -> None:
    sent = slack_body(the_largest_event()).decode()

    assert "Batch landed" in sent
    assert "1,000,000,000 succeeded" in sent
    assert "123456789.12 USD, not of all models" in sent
