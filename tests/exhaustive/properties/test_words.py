"""Messages and displays: texts from outside stay within their bounds, and a key is never repeated."""

import json
import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from message_batches.api.keys import KEY_NAME, ApiKeys, check_key_name
from message_batches.api.responses import LONGEST_RETRY_AFTER, date_of, error_of
from message_batches.errors import ApiError, UnknownKey
from message_batches.formatting import (
    MAX_TEXT,
    format_duration,
    format_size,
    format_time,
    markdown_code,
    markdown_table,
    markdown_text,
    plural,
    truncate_payload,
)
from message_batches.serialization import nested_deeper_than
from tests.exhaustive.properties.lines import ODD, VALUES

MARKDOWN = MarkdownIt("commonmark").enable("table")
ANY_TEXT = st.text() | st.lists(ODD | st.text("`|*_<>[]()#\\~$&!"), max_size=10).map("".join)


@given(name=st.text() | st.from_regex(r"sk-[a-z0-9-]{1,40}") | st.from_regex(KEY_NAME))
@example(name="default\n")
@example(name="\u0430dmin")  # A Cyrillic letter that looks like an a.
def test_a_text_that_may_be_a_key_is_refused_with_the_same_message(name: str) -> None:
    fine = len(name) <= 32 and not name.startswith("sk-") and re.fullmatch(r"[a-z0-9-]+", name, re.ASCII)
    if fine:
        check_key_name(name)
        return

    with pytest.raises(UnknownKey) as usual:
        check_key_name("Not A Name")
    for check in (check_key_name, ApiKeys({}).secret):
        with pytest.raises(UnknownKey) as caught:
            check(name)
        assert str(caught.value) == str(usual.value)


@given(text=ANY_TEXT, most=st.integers(10, 400))
def test_a_truncated_text_is_a_prefix_within_its_limit(text: str, most: int) -> None:
    cut = truncate_payload(text, most)

    assert len(json.dumps(cut, ensure_ascii=False).encode(errors="replace")) <= most
    assert cut == text or text.startswith(cut.removesuffix("…"))
    assert cut == text or cut.endswith("…")


@given(text=ANY_TEXT)
def test_a_text_from_outside_stays_on_its_line_and_is_escaped_in_markdown(text: str) -> None:
    shown = markdown_text(text)

    assert len(shown.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_{}\[\]<>()#+!|~&$:@-]", shown)
    assert len(re.sub(r"\\(.)", r"\1", shown)) <= MAX_TEXT
    shown.encode()


@given(text=ANY_TEXT)
def test_a_name_in_monospace_cannot_end_it(text: str) -> None:
    shown = markdown_code(text)

    assert shown.count("`") == 2
    assert shown[0] == shown[-1] == "`"
    assert len(shown.splitlines()) == 1


@given(cells=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=4))
@example(cells=[("a|![t](http://evil.example/x.png)|b", "")])
@example(cells=[("a\\|<b>|", "a\\\\|<b>|")])
def test_no_cell_of_a_table_adds_a_row_or_a_column(cells: list[tuple[str, str]]) -> None:
    shown = markdown_table(
        ("a", "b"),
        [(markdown_text(first), f"{markdown_code(first)} {markdown_code(second)}") for first, second in cells],
    )

    rows = shown.splitlines()
    assert len(rows) == len(cells) + 2
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows} == {3}
    inside = [child for token in MARKDOWN.parse(shown) for child in token.children or ()]
    assert {token.type for token in inside} <= {"text", "text_special", "code_inline"}


@given(
    value=st.text(st.characters(codec="latin-1"), max_size=40)
    | st.floats().map(str)
    | st.datetimes().map(lambda time: time.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    | st.sampled_from(
        ["1e400", "9" * 5000, "Mon, 99 Jan 2026 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359", "0 0 0 0 0"]
    )
)
def test_any_retry_after_is_ignored_or_at_most_an_hour(value: str) -> None:
    answer = httpx.Response(429, headers=[(b"retry-after", value.encode("latin-1"))])

    wait = error_of(answer).retry_after

    assert wait is None or timedelta(0) < wait <= LONGEST_RETRY_AFTER
    date = date_of(value)
    assert date is None or date.tzinfo


@given(
    status=st.integers(201, 599),
    content=st.binary(max_size=100)
    | VALUES.map(lambda value: json.dumps({"error": value}).encode())
    | st.fixed_dictionaries(
        {"type": VALUES, "message": VALUES, "details": st.fixed_dictionaries({"error_code": VALUES})}
    ).map(lambda error: json.dumps({"error": error}).encode()),
    request_id=st.text(st.characters(codec="latin-1"), max_size=300),
)
@example(status=400, content=b'{"error":' + b"[" * 10_000, request_id="")
@example(status=400, content=b'{"error":{"type":"x","details":{"error_code":[]}}}', request_id="")
@example(status=400, content=b'{"error":{"type":"' + b"x" * 10**6 + b'"}}', request_id="")
@example(status=400, content=b'{"error":{"message":"\\u001b[2J\\u0007"}}', request_id="\x1b[2J")
def test_any_response_becomes_one_of_our_errors_in_a_line_or_two(status: int, content: bytes, request_id: str) -> None:
    error = error_of(httpx.Response(status, content=content, headers=[(b"request-id", request_id.encode("latin-1"))]))

    assert isinstance(error, ApiError)
    assert str(status) in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 1000


@given(value=VALUES, levels=st.integers(0, 8))
def test_nesting_is_counted_as_a_recursion_would(value: object, levels: int) -> None:
    def depth(inner: object) -> int:
        if isinstance(inner, dict | list):
            return 1 + max((depth(each) for each in (inner.values() if isinstance(inner, dict) else inner)), default=0)
        return 0

    assert nested_deeper_than(value, levels) == (depth(value) > levels)


@given(
    duration=st.timedeltas(),
    count=st.integers(0, 10**15),
    time=st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)),
)
def test_sizes_times_and_numbers_are_short(duration: timedelta, count: int, time: datetime) -> None:
    assert re.fullmatch(r"(\d+:)?\d{1,2}:\d\d", format_duration(duration))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", format_time(time))
    assert re.fullmatch(r"[\d,.]+ (bytes|KB|MB)", format_size(count))
    assert plural(count, "request").endswith("request" if count == 1 else "requests")
