import json

import pytest

from message_batches.errors import InvalidRequests, MessageBatchesError, ResultsIncomplete
from message_batches.jsonl import Splitter
from message_batches.requests.validation import BODY_END, BODY_START, MAX_REQUESTS, RequestCheck


def request(custom_id: str = "a", **params: object) -> bytes:
    return json.dumps({"custom_id": custom_id, "params": params}, ensure_ascii=False).encode()


def problems(*lines: bytes) -> tuple[str, ...]:
    check = RequestCheck()
    check.lines(list(lines))
    with pytest.raises(InvalidRequests) as caught:
        check.finish()
    return caught.value.problems


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_end_at_the_newline_byte_and_nowhere_else(size: int) -> None:
    data = "eins\u2028\u0085\x0b\x0c\x1c\r\n\n\r zwei ü\n".encode() + b"\xff\nlast"
    splitter = Splitter()
    lines = [line for at in range(0, len(data), size) for line in splitter.feed(data[at : at + size])]
    assert [*lines, *splitter.end()] == data.split(b"\n")
    assert splitter.end() == []


def test_a_line_in_very_many_pieces_takes_linear_time() -> None:
    splitter = Splitter()
    for _ in range(100_000):
        assert splitter.feed(b"x" * 100) == []
    assert [len(line) for line in splitter.feed(b"\n")] == [10_000_000]


@pytest.mark.parametrize(("error", "most"), [(InvalidRequests, 256_000_000), (ResultsIncomplete, 64_000_000)])
def test_a_line_that_is_too_long_is_not_kept_in_memory(error: type[MessageBatchesError], most: int) -> None:
    splitter = Splitter(error)
    data = b"x" * 64_000_000
    splitter.feed(b"\n" + data)
    for _ in range(most // len(data) - 1):
        splitter.feed(data)
    with pytest.raises(error, match=f"{most:,}"):
        splitter.feed(b"x")
    assert splitter.end() == []


def test_lines_are_kept_byte_for_byte_but_for_the_blanks_around_them() -> None:
    odd = b'{"params" :  {"x": 1.0e2, "more": [null], "y":"\\u00e9\xe2\x80\xa8"},"custom_id":"b"}'
    check = RequestCheck()
    kept = check.lines([b"\xef\xbb\xbf" + request("a") + b"\r", b"", b" \t\r", b"  " + odd])
    check.finish()
    assert kept == [request("a"), odd]
    assert check.ids == ["a", "b"]
    assert check.body_bytes == len(BODY_START + request("a") + b"," + odd + BODY_END)


def test_numbers_beyond_a_double_pass_through() -> None:
    check = RequestCheck()
    check.lines([b'{"custom_id":"a","params":{"x":1e999,"y":123456789012345678901234567890}}'])
    check.finish()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "line 1: a JSON value over several lines"),
        (b"{x", "line 1: not JSON: Expecting property name enclosed in double quotes (column 2)"),
        (b"nonsense", "line 1: text, not JSON: write each request as"),
        (request() + b" x", "line 1: not JSON: Extra data (column 34)"),
        (b"[1]", "line 1: not an object but an array"),
        (b"null", "line 1: not an object but null"),
        (b"1", "line 1: not an object but a number"),
        (b'{"custom_id":"a","params":{"x":NaN}}', "line 1: not JSON: NaN is not a number in JSON"),
        (b'{"custom_id":"a","params":{"x":-Infinity}}', "line 1: not JSON: -Infinity is not a number in JSON"),
        (b'{"custom_id":"a","params":{"x":"\xff"}}', "line 1: not UTF-8 (byte 32)"),
        (b'{"custom_id":"a","params":{"x":"\xed\xa0\x80"}}', "line 1: not UTF-8 (byte 32)"),
        (b'{"custom_id":"a","params":{"x":"\\ud83d"}}', "line 1: half of a surrogate pair"),
        (b'{"custom_id":"a","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 1: nested too deeply"),
        (b'{"custom_id":"a","params":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "line 1: nested too deeply"),
        (b'{"params":{}}', "line 1, custom_id: missing"),
        (b'{"custom_id":"a"}', "line 1, params: missing"),
        (b'{"custom_id":1,"params":{}}', "line 1, custom_id: not a string but a number"),
        (b'{"custom_id":"a","params":null}', "line 1, params: not an object but null"),
        (request(""), "line 1, custom_id: '' is not 1 to 64"),
        (request("a b"), "line 1, custom_id: 'a b' is not 1 to 64"),
        (request("a\n"), "line 1, custom_id: 'a\\n' is not 1 to 64"),
        (request("ü"), "line 1, custom_id: 'ü' is not 1 to 64"),
        (request("x" * 65), "line 1, custom_id: 'xxx"),
    ],
)
def test_each_problem_is_reported_with_its_line(line: bytes, problem: str) -> None:
    (found,) = problems(line)
    assert found.startswith(problem)


def test_all_problems_are_reported_at_once() -> None:
    assert problems(request("a"), b"", b"{}", request("a"), request("ok"), b"x") == (
        "line 3, custom_id: missing",
        "line 3, params: missing",
        "line 4, custom_id: 'a' is also the custom_id of line 1",
        "line 6: not JSON: Expecting value (column 1)",
    )


def test_the_first_20_problems_are_named_and_the_rest_counted() -> None:
    check = RequestCheck()
    check.lines([b"1"] * 1_030)
    with pytest.raises(InvalidRequests, match=r"^1,030 .* 1,030 ") as caught:
        check.finish()
    assert len(caught.value.problems) == 20
    assert " 1,010 " in str(caught.value)


def test_no_requests_are_refused() -> None:
    check = RequestCheck()
    check.lines([b"", b" "])
    with pytest.raises(InvalidRequests, match="no requests"):
        check.finish()


def test_the_longest_custom_id_is_accepted() -> None:
    check = RequestCheck()
    check.lines([request("aZ09_-" + "x" * 58)])
    check.finish()


def test_100_000_requests_are_accepted_and_one_more_is_refused() -> None:
    check = RequestCheck()
    check.lines([b'{"custom_id":"%d","params":{}}' % n for n in range(MAX_REQUESTS)])
    check.finish()
    check.lines([request("more")])
    with pytest.raises(InvalidRequests, match=r"(?s)100,001 requests .* 2 batches .* attach"):
        check.finish()


@pytest.mark.slow
def test_256_million_bytes_are_accepted_and_one_more_is_refused() -> None:
    head, tail = b'{"custom_id":"a","params":{"x":"', b'"}}'
    room = 256_000_000 - len(BODY_START + head + tail + BODY_END)
    check = RequestCheck()
    check.lines([head + b"x" * room + tail])
    assert check.body_bytes == 256_000_000
    check.finish()
    check = RequestCheck()
    check.lines([head + b"x" * (room + 1) + tail, *[request(str(n), x="y" * 1_000_000) for n in range(257)]])
    with pytest.raises(InvalidRequests, match=r"(?s)258 requests .*513,\d+,\d+ bytes.* 3 batches"):
        check.finish()
