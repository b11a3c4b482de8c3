"""The pure functions of the starter: durations, ids, the choice of requests to send again."""

import json
from typing import Any

import pytest

from message_batches.api.models import ApiProfile
from message_batches.cli.options import read_duration
from message_batches.results.failed import FailedRequests
from message_batches.results.parser import ResultLine, read_result
from message_batches.results.replies import read_reply
from message_batches.runs.deduplication import workflow_id_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1m", 60), ("0.2s", 0.2), ("2h", 7200), ("250ms", 0.25), (" 1.5m ", 90)]
)
def test_a_duration_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert read_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "1 m", "-1s", "0s", "8d", "1e3s", "1m30s", "9" * 400 + "h"])
def test_an_invalid_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"30s|7 days"):
        read_duration(text)


def test_the_workflow_id_depends_on_bytes_version_betas_and_key() -> None:
    plain = workflow_id_of("ab", ApiProfile())

    assert plain == workflow_id_of("ab", ApiProfile())
    assert plain.startswith("batch-")
    betas = [workflow_id_of("ab", ApiProfile(anthropic_beta=names)) for names in (("x", "y"), ("y", "x"))]
    others = [workflow_id_of("cd", ApiProfile()), workflow_id_of("ab", ApiProfile(api_key="team-a")), betas[0]]
    assert betas[0] == betas[1]
    assert len({plain, *others}) == 4


@pytest.mark.parametrize(
    ("kind", "message", "again"),
    [
        ("invalid_request_error", "why", False),
        ("not_found_error", "why", False),
        ("not_found_error", "model: claude-does-not-exist-9", False),
        ("not_found_error", "The requested model 'claude-x' was not found", False),
        ("not_found_error", "File not found: file_011CNha8iCJcU1wXNR6q4V8w", True),
        ("not_found_error", "The requested resource could not be found", True),
        ("request_too_large", "why", False),
        ("api_error", "why", True),
        ("overloaded_error", "why", True),
        ("rate_limit_error", "why", True),
        ("timeout_error", "why", True),
        ("billing_error", "why", True),
        ("permission_error", "why", True),
        ("an_error_of_next_year", "why", True),
        ("invalid_request_error", "Your credit balance is too low to access the Anthropic API. Please go to ...", True),
        ("invalid_request_error", "You have reached your specified API usage limits. You will regain access on", True),
        ("invalid_request_error", "You have reached your specified workspace API usage limits.", True),
        ("invalid_request_error", "Credit balance too low", True),
        ("invalid_request_error", "Your organization has reached its monthly usage limit", True),
        ("invalid_request_error", "This request would exceed your workspace's spend limit", True),
        ("invalid_request_error", "Number of requests has exceeded your rate limit", True),
        ("invalid_request_error", "This organization has been disabled.", True),
        ("invalid_request_error", "Your account is suspended", True),
        ("invalid_request_error", "Unable to download the file. Please verify the URL and try again.", True),
        ("invalid_request_error", "messages.0.content.1.image.source: Could not fetch the image", True),
        ("invalid_request_error", "The document could not be downloaded", True),
        ("invalid_request_error", "Timed out while downloading the image", True),
        ("invalid_request_error", "Download of https://files.invalid/a.pdf timed out", True),
        ("invalid_request_error", "Connection refused by the host of the image", True),
        ("invalid_request_error", "Overloaded", True),
        ("invalid_request_error", "The model is currently overloaded. Please try again later.", True),
        ("invalid_request_error", "Internal server error", True),
        ("invalid_request_error", "Request timed out", True),
        ("invalid_request_error", "Service temporarily unavailable", True),
        ("invalid_request_error", "Unable to download the image from 'https://a.example/x.png'.", True),
        ("invalid_request_error", "messages.0.content.1: Fetching https://a.example/b failed", True),
        ("invalid_request_error", "The request to the remote host timed out. Error while fetching the document", True),
        ("invalid_request_error", "An unexpected error has occurred internal to Anthropic's systems.", True),
        ("invalid_request_error", "claude-opus-4-1 is temporarily overloaded", True),
        (
            "invalid_request_error",
            "This request would exceed your organization's rate limit of 80,000 input tokens per minute.",
            True,
        ),
        ("invalid_request_error", "Your monthly spend limit has been reached.", True),
        ("invalid_request_error", "Spend limit exceeded for this workspace.", True),
        ("invalid_request_error", "The usage limit of your organization was hit", True),
        ("invalid_request_error", "You have no remaining credits. Add funds to continue.", True),
        ("invalid_request_error", "No credits left. Please top up.", True),
        ("invalid_request_error", "Please add more credits to your account", True),
        ("invalid_request_error", "Your prepaid balance ($0.32) is insufficient", True),
        ("invalid_request_error", "Your API credits have been exhausted", True),
        ("invalid_request_error", "Your credits have run out", True),
        ("invalid_request_error", "Your workspace has reached its monthly budget", True),
        ("invalid_request_error", "The workspace budget has been exceeded", True),
        ("invalid_request_error", "Payment required", True),
        ("invalid_request_error", "This request requires more credits, or fewer max_tokens.", True),
        ("invalid_request_error", "Credit limit reached for this billing period", True),
        ("invalid_request_error", "Your account has a negative balance of $-3.20", True),
        ("invalid_request_error", "Your free trial credits have expired", True),
        ("invalid_request_error", "Please check your plan and billing details", True),
        ("invalid_request_error", "Unable to download https://a.example/a.pdf: connection reset by peer", True),
        ("invalid_request_error", "upstream request timeout", True),
        ("invalid_request_error", "upstream connect error. reset reason: connection timeout", True),
        ("invalid_request_error", "We are experiencing high demand. Please retry your request.", True),
        ("invalid_request_error", "Due to unusually high traffic, our servers are currently busy", True),
        ("invalid_request_error", "The service is at full capacity. Please try again shortly", True),
        ("invalid_request_error", "We are temporarily unable to process your request", True),
        ("invalid_request_error", "The API is undergoing maintenance", True),
        ("invalid_request_error", "Error resolving host for image URL https://cdn.example.com/x.png", True),
        ("invalid_request_error", "Could not resolve host: cdn.example.com", True),
        (
            "invalid_request_error",
            "messages.0.content.0.image.source.url: DNS lookup failed for host cdn.example.com",
            True,
        ),
        ("invalid_request_error", "messages.0: Could not fetch image from https://a.example/a.png: HTTP 503", True),
        ("invalid_request_error", "Fetching the document failed with status code 502", True),
        ("invalid_request_error", "DNS resolution failed for cdn.example.com", True),
        ("invalid_request_error", "We're currently experiencing elevated error rates", True),
        ("invalid_request_error", "Failed to resolve hostname cdn.example.com", True),
        ("invalid_request_error", "TLS handshake error while fetching the document", True),
        ("invalid_request_error", "max_tokens: 100 exceeds the thinking budget", False),
        ("invalid_request_error", "`max_tokens` must exceed the thinking budget of 2000 tokens", False),
        ("invalid_request_error", "tools.0.description: 'insufficient funds' is not allowed", False),
        ("invalid_request_error", "tools.0.name: insufficient balance of brackets", False),
        ("invalid_request_error", "messages.1: no credits are given in an assistant turn", False),
        ("invalid_request_error", "system: the account is suspended", False),
        ("invalid_request_error", "messages.1: more credits than the document has", False),
        ("invalid_request_error", "connection reset reason is not a field of the tool", False),
        ("invalid_request_error", "high_demand: Extra inputs are not permitted", False),
        ("invalid_request_error", "tools.0: high demand schema is not valid", False),
        ("invalid_request_error", "Error resolving reference '#/$defs/a' in input_schema", False),
        ("invalid_request_error", "the tool is busy with an invalid schema", False),
        ("invalid_request_error", "connection refused otherwise", False),
        ("invalid_request_error", "tools.0: connection refused otherwise", False),
        ("invalid_request_error", "You refused to fetch: overloaded methods are not allowed", False),
        ("invalid_request_error", "you refused to connect, and methods that are overloaded are not allowed", False),
        ("invalid_request_error", "`on_error` failed to fetch a valid schema of the tool", False),
        ("invalid_request_error", "tool_choice: failed to reach a consensus on the tool's type", False),
        ("invalid_request_error", "tools.0.name: 'service unavailable' does not match '^[a-z]+$'", False),
        ("invalid_request_error", "system: a retry policy with 'try again later' is not supported", False),
        ("invalid_request_error", "the word internal error is not a valid stop sequence", False),
        ("invalid_request_error", "overloaded: Extra inputs are not permitted", False),
        ("invalid_request_error", "fetch_failed: Extra inputs are not permitted", False),
        ("invalid_request_error", "Could not process image", False),
        ("invalid_request_error", "This URL is disallowed by the website's robots.txt file", False),
        ("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", False),
        ("invalid_request_error", "max_tokens: 9999999 > 64000, which is the maximum allowed number", False),
        ("invalid_request_error", "tools.0.name: String should match pattern '^[a-z]+$'", False),
    ],
)
def test_an_errored_request_is_to_be_corrected_only_where_it_is_the_cause(kind: str, message: str, again: bool) -> None:
    selection = FailedRequests()

    selection.add(ResultLine("a", "errored", (kind, message)))

    assert ("a" in selection.retryable, "a" in selection.invalid) == (again, not again)


def test_the_code_of_an_error_goes_before_its_type_and_message() -> None:
    selection = FailedRequests()
    error = {"type": "invalid_request_error", "message": "why", "details": {"error_code": "cmek_key_disabled"}}
    line = {"custom_id": "a", "result": {"type": "errored", "error": {"type": "error", "error": error}}}

    selection.add(read_result(json.dumps(line).encode()))

    assert selection.retryable == {"a"}


def test_expired_and_canceled_requests_are_worth_sending_again_and_succeeded_ones_are_not() -> None:
    selection = FailedRequests()

    for outcome in ("succeeded", "expired", "canceled"):
        selection.add(ResultLine(outcome, outcome))

    assert selection.retryable == {"expired", "canceled"}
    assert not selection.invalid


def test_a_reply_is_shown_as_its_texts_and_tool_calls() -> None:
    line = (
        b'{"custom_id":"a","result":{"type":"succeeded","message":{"content":[{"type":"thinking","thinking":"hm"},'
        b'{"type":"text","text":"Hello \\ud83d"},{"type":"tool_use","name":"look","input":{"at":1}}]}}}'
    )

    reply = read_reply(line)

    assert reply.outcome == "succeeded"
    assert reply.text == 'Hello ?\nlook({"at": 1})'


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        (["The sky", " is blue", "."], "The sky is blue."),
        (['{"a": [1,', " 2]}"], '{"a": [1, 2]}'),
        (["", "a", ""], "a"),
        (["ends\n", "begins"], "ends\nbegins"),
        (["before", {"type": "tool_use", "name": "look", "input": {}}, "af", "ter"], "before\nlook({})\nafter"),
        (["one", {"type": "web_search_tool_result", "content": []}, "two"], "one\ntwo"),
        (["one", 7, "two"], "one\ntwo"),
    ],
)
def test_adjacent_texts_of_a_reply_are_one_text(blocks: list[Any], text: str) -> None:
    content = [{"type": "text", "text": each} if isinstance(each, str) else each for each in blocks]
    line = json.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": {"content": content}}})

    assert read_reply(line.encode()).text == text


def test_a_landed_line_of_an_older_version_that_is_not_utf8_is_shown() -> None:
    line = b'{"custom_id":"a","result":{"type":"succeeded","message":{"content":[{"type":"text","text":"\xff!"}]}}}'

    assert read_reply(line).text == "\ufffd!"


def test_a_reply_without_a_message_is_shown_by_its_outcome_alone() -> None:
    assert read_reply(b'{"custom_id":"a","result":{"type":"expired"}}').text == ""
