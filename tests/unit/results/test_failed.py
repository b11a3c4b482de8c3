"""The choice of requests to send again, and the one change that is made to them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from message_batches.errors import MessageBatchesError
from message_batches.results import reader
from message_batches.results.failed import FailedRequests, Wanted, failed_requests, requests_of, with_max_tokens
from message_batches.results.parser import ResultLine, read_result

EVERYTHING = Wanted(errors=True, unusable=True, invalid=True)


def reply(reason: str | None, **usage: int) -> bytes:
    text = {"type": "text", "text": '"prose"'}
    message = {"model": "m", "content": [text], "stop_reason": reason, "usage": usage}
    return json.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": message}}).encode()


def request(limit: Any = 100, **params: Any) -> bytes:
    return json.dumps({"custom_id": "a", "params": {"max_tokens": limit, **params}}).encode()


def add(wanted: Wanted, line: bytes, asked: bytes = b"") -> FailedRequests:
    failed = FailedRequests(wanted)
    failed.add(read_result(line), line, asked or request())
    return failed


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        ("max_tokens", False),
        ("model_context_window_exceeded", False),
        ("refusal", False),
        ("pause_turn", False),
        ("a_reason_of_next_year", True),
        (None, True),
        ("end_turn", None),
        ("tool_use", None),
        ("stop_sequence", None),
    ],
)
def test_an_unusable_reply_is_sorted_by_its_stop_reason(reason: str | None, again: bool | None) -> None:
    failed, unwanted = add(EVERYTHING, reply(reason)), add(Wanted(), reply(reason))

    assert failed.retryable == ({"a"} if again else set())
    assert failed.invalid == ({"a"} if again is False else set())
    assert dict(failed.reasons) == ({reason: 1} if again is False else {})
    assert not unwanted.retryable | unwanted.invalid


def test_the_longest_reply_that_was_cut_off_shows_its_limit() -> None:
    failed = FailedRequests(Wanted(unusable=True))
    found = []
    for reason, tokens in (("refusal", 900), ("max_tokens", 0), ("max_tokens", 256), ("max_tokens", 64)):
        line = reply(reason, output_tokens=tokens)
        failed.add(read_result(line), line, request())
        found.append(failed.longest_cut)

    assert found == [0, 0, 256, 256]


@pytest.mark.parametrize("limit", [1, 99, 99.0, 1e1, 100, 100.0, 101, 1e3, 10**30, "100", None, 1.5])
def test_a_limit_is_only_raised(limit: Any) -> None:
    failed = add(Wanted(unusable=True, max_tokens=100), reply("max_tokens"), request(limit))
    full = add(Wanted(unusable=True, max_tokens=100), reply("model_context_window_exceeded"), request(1))

    assert failed.raised == failed.retryable == ({"a"} if limit in (1, 99, 10) else set())
    assert failed.invalid == ({"a"} if limit not in (1, 99, 10) else set())
    assert (full.raised, full.invalid) == (set(), {"a"})


def test_errors_are_left_out_where_they_are_not_wanted() -> None:
    failed = FailedRequests(Wanted(errors=False, unusable=True))
    failed.add(ResultLine("a", "expired"))
    failed.add(ResultLine("b", "errored", ("api_error", "why")))

    assert not failed.retryable | failed.invalid


@pytest.mark.parametrize(("schema", "mismatched", "not_compared"), [({"type": "null"}, 1, 0), ({"pattern": "("}, 0, 1)])
def test_an_answer_that_cannot_be_compared_is_counted_apart(schema: Any, mismatched: int, not_compared: int) -> None:
    asked = request(output_config={"format": {"type": "json_schema", "schema": schema}})

    failed = add(Wanted(invalid=True), reply("end_turn"), asked)

    assert (failed.mismatched, failed.not_compared, len(failed.retryable)) == (mismatched, not_compared, mismatched)


@pytest.mark.parametrize(
    "text",
    [
        '{"custom_id":"a","params":{"max_tokens":~,"model":"m"}}',
        '{"params":{"model":"m","max_tokens":~},"custom_id":"max_tokens"}',
        '{ "custom_id" : "params" , "params" :\t{ "model" : "m" , "max_tokens" : ~ } }',
        '{"params":{"max_tokens"  :  ~  , "messages":[{"role":"user","content":"\\"max_tokens\\": 5, {"}]}}',
        '{"params":{"thinking":{"max_tokens":5},"tools":[{"max_tokens":5}],"max_tokens":~,"s":["max_tokens",5]}}',
        '{"par\\u0061ms":{"max\\u005ftokens":~}}',
        '{"params":{"max_tokens":~,"x":1.0e5,"y":[1e400,-0.0],"max_tokens":~}}',
        '{"params":{"metadata":"max_tokens","max_tokens":~,"system":"é \\ud83d \u2028 ]}"}}',
        '{"x":{"max_tokens":5},"params":{"max_tokens":~},"y":{"max_tokens":5},"max_tokens":5}',
    ],
)
def test_nothing_but_the_limit_is_changed(text: str) -> None:
    assert with_max_tokens(text.replace("~", "256").encode(), 4096).decode() == text.replace("~", "4096")


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_only_requests_that_are_raised_are_changed() -> None:
    lines = [b'{"custom_id":"%d", "params":{"max_tokens":1}}' % number for number in range(4)]

    written = [line async for line in requests_of(stream(*lines), {"0", "2", "3"}, {"2"}, 9)]

    assert written == [lines[0] + b"\n", lines[2].replace(b":1}", b":9}") + b"\n", lines[3] + b"\n"]


async def test_comparisons_can_be_ended_in_between() -> None:
    given = []

    async def pairs() -> AsyncIterator[reader.Pair]:
        for number in range(1000):
            given.append(number)
            yield reader.Pair(read_result(reply("end_turn")), reply("end_turn"), request())

    comparing = asyncio.create_task(failed_requests(pairs(), EVERYTHING))
    await asyncio.sleep(0)
    comparing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await comparing
    assert len(given) < 10


@pytest.mark.parametrize("ids", ["ab", "ba", "abcd", "a", ""])
async def test_results_in_another_order_than_their_requests_are_refused(ids: str) -> None:
    def lines(of: str, rest: str) -> AsyncIterator[bytes]:
        return stream(*(f'{{"custom_id":"{each}",{rest}}}\n'.encode() for each in of))

    pairs = reader.pairs(lines("abc", '"result":{"type":"expired"}'), lines(ids, '"params":{}'))

    with pytest.raises(MessageBatchesError, match="attach to the batch again"):
        await failed_requests(pairs, EVERYTHING)
