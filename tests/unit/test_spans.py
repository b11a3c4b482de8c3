"""The parts of an activity as spans: their places, their outcome, and what they may hold."""

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from message_batches import spans
from message_batches.errors import ApiUnavailable
from message_batches.log_context import log_request_id
from message_batches.spans import Span, record

BATCHES = "/v1/messages/batches"
KEY = "sk-ant-nobody-may-see"


def recorded(ended: list[Span]) -> dict[str, Span]:
    return {span.name: span for span in ended}


def test_spans_are_parts_of_the_one_that_is_under_way() -> None:
    with record(Span("whole", 7)) as ended:
        with spans.span("outer") as attributes, spans.call("GET", f"{BATCHES}/msgbatch_1"):
            attributes["lines"] = 3
        with spans.span("next"):
            pass

    found = recorded(ended)
    whole, outer = found["whole"], found["outer"]
    assert [span.name for span in ended] == [f"GET {BATCHES}/{{id}}", "outer", "next", "whole"]
    assert (whole.parent_id, outer.parent_id, found["next"].parent_id) == (7, whole.span_id, whole.span_id)
    assert found[f"GET {BATCHES}/{{id}}"].parent_id == outer.span_id
    assert outer.attributes == {"lines": 3}
    assert whole.started <= outer.started <= outer.ended <= whole.ended
    assert len({span.span_id for span in ended}) == 4


def test_nothing_is_recorded_where_nobody_records() -> None:
    with spans.span("alone") as attributes, spans.call("GET", BATCHES):
        attributes["lines"] = 3

    with record(Span("later", None)) as ended:
        pass
    assert [span.name for span in ended] == ["later"]


async def test_activities_beside_each_other_record_their_own() -> None:
    async def one(name: str) -> list[str]:
        with record(Span(name, None)) as ended:
            await asyncio.sleep(0)
            with spans.span(f"part of {name}"):
                await asyncio.sleep(0)
        return [span.name for span in ended]

    found = await asyncio.gather(one("a"), one("b"))

    assert list(found) == [["part of a", "a"], ["part of b", "b"]]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (BATCHES, f"POST {BATCHES}"),
        (f"https://user:{KEY}@gateway/{KEY}{BATCHES}/msgbatch_1/results", f"POST {BATCHES}/{{id}}/results"),
        (f"https://gateway{BATCHES}/{KEY}{BATCHES}/msgbatch_1", f"POST {BATCHES}/{{id}}"),
        (f"https://gateway/{KEY}/v1/models/claude", "POST"),
    ],
)
def test_a_call_is_named_by_what_is_asked_and_not_by_where(url: str, name: str) -> None:
    with record(Span("whole", None)) as ended, spans.call("POST", url):
        log_request_id("req_1")

    assert ended[0].name == name
    assert ended[0].calls_out
    assert ended[0].attributes["http.response.status_code"] == 200
    assert ended[0].attributes["anthropic.request_id"] == "req_1"
    assert KEY not in str(ended)


def test_a_failed_call_has_its_status_and_the_error_by_name_without_its_text() -> None:
    with (
        record(Span("whole", None)) as ended,
        pytest.raises(ApiUnavailable),
        spans.call("GET", BATCHES),
    ):
        raise ApiUnavailable(f"repeats {KEY}", status=503, request_id="req_2")

    assert ended[0].error == "ApiUnavailable"
    assert ended[0].attributes["http.response.status_code"] == 503
    assert ended[0].attributes["anthropic.request_id"] == "req_2"
    assert KEY not in str(ended)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ApplicationError("text", type="InvalidRequests"), "InvalidRequests"),
        (ApplicationError("text", type=f"not a name {KEY}"), "ApplicationError"),
        (ApplicationError("text"), "ApplicationError"),
        (ValueError(KEY), "ValueError"),
    ],
)
def test_an_error_is_named_by_its_type(error: Exception, name: str) -> None:
    assert spans.error_name(error) == name
