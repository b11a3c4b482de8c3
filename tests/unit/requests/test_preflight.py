"""Requests that the API accepts and returns as errored get a warning, with their line."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from message_batches.cli.next_steps import warning_text
from message_batches.contract import NextAction
from message_batches.requests.preflight import MAX_REASONS, MOST_TOKENS
from message_batches.requests.reader import CheckedRequests, read_requests
from tests.harness.requests import request
from tests.unit.requests.test_reader import dump


class Read(Protocol):
    def __call__(self, *items: Any, version: str = "2023-06-01", betas: tuple[str, ...] = ()) -> CheckedRequests: ...


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    with ExitStack() as opened:

        def read_(*items: Any, **options: Any) -> CheckedRequests:
            file = tmp_path / "requests.jsonl"
            file.write_bytes(b"".join(dump(item) + b"\n" for item in items))
            return opened.enter_context(read_requests(str(file), **options))

        yield read_


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **more}]}


CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]}
SOURCE = {"type": "url", "url": "https://example.com/a"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
CACHED = {"cache_control": {"type": "ephemeral"}}
TEXT = {"type": "text", "text": "hi"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}

WARNED = [
    ({"stream": True}, "`stream` is true"),
    ({"max_tokens": 0}, "`max_tokens` must be 1 or more"),
    ({"max_tokens": -1}, "`max_tokens` must be 1 or more"),
    ({"max_tokens": "100"}, "`max_tokens` is not a number"),
    ({"max_tokens": True}, "`max_tokens` is not a number"),
    ({"max_tokens": 0.5}, "`max_tokens` must be 1 or more"),
    ({"max_tokens": 1.5}, "`max_tokens` is not a whole number"),
    ({"max_tokens": 10**4299}, "`max_tokens` is over 300,000"),
    ({"max_tokens": 300_001}, "`max_tokens` is over 300,000"),
    ({"max_tokens": 128_001}, "`max_tokens` is over 128,000, the most that claude-sonnet-5 gives"),
    (
        {"model": "claude-haiku-4-5", "max_tokens": 64_001},
        "`max_tokens` is over 64,000, the most that claude-haiku-4-5",
    ),
    ({"model": "claude-haiku-4-5-20251001", "max_tokens": 64_001}, "`max_tokens` is over 64,000"),
    ({"model": "claude-opus-4-1-20250805", "max_tokens": 32_001}, "`max_tokens` is over 32,000"),
    ({"max_tokens": None}, "`max_tokens` is missing"),
    ({"messages": None}, "`messages` is missing"),
    ({"messages": "hi"}, "`messages` is not a list"),
    ({"messages": []}, "`messages` is empty"),
    ({"messages": ["hi"]}, "a message is not an object"),
    ({"messages": [{"content": "hi"}]}, "a message has no `role`"),
    ({"messages": [{"role": "tool", "content": "hi"}]}, "the role `tool` is none of user, assistant and system"),
    ({"messages": [{"role": "developer", "content": "hi"}]}, "the role `developer` is none of"),
    ({"messages": [{"role": "user"}]}, "a message has no `content`"),
    (user(""), "the content of a user's message is empty"),
    (user([]), "the content of a user's message is empty"),
    (user(7), "the content of a message is neither a text nor a list"),
    (user("hi", name="bob"), "`name` is not a field of a message"),
    (user("hi", tool_call_id="1"), "`tool_call_id` is not a field of a message"),
    (user(["hi"]), "a block of a message's content is not an object"),
    (user([{"text": "hi"}]), "a block of a message's content has no `type`"),
    (user([{"type": "text"}]), "a block of the type `text` has no text"),
    (user([{"type": "text", "text": ""}]), "a block of the type `text` is empty"),
    (user([{"type": "tool_result", "tool_use_id": "t1", "content": "x"}]), "a `tool_result` answers no `tool_use`"),
    (
        {"messages": [CALL, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t2"}]}]},
        "a `tool_result` answers no `tool_use`",
    ),
    ({"model": None}, "`model` is missing"),
    ({"model": 7}, "`model` is not a name"),
    ({"system": 7}, "`system` is neither a text nor a list"),
    ({"system": ["be brief"]}, "a block of `system` is not an object"),
    ({"system": [{"type": "image"}]}, "a block of `system` is not of the type `text`"),
    ({"system": [{"type": "text"}]}, "a block of `system` has no text"),
    ({"system": [{"type": "text", "text": ""}]}, "a block of `system` is empty"),
    ({"system": [{"type": "text", "text": "\n"}]}, "a block of `system` is blank"),
    ({"metadata": []}, "`metadata` is not an object"),
    ({"metadata": {"user_id": 7}}, "`metadata.user_id` is not a text"),
    ({"metadata": {"run{}": 7}}, "`run{}` is not a field of `metadata`, which has `user_id` alone"),
    ({"cache_control": 1}, "a `cache_control` is not an object"),
    ({"tools": [{**TOOL, "cache_control": {"type": "x"}}]}, "a `cache_control` is not of the type `ephemeral`"),
    (user([{**TEXT, "cache_control": {"type": "ephemeral", "ttl": 300}}]), "the `ttl` of a `cache_control` is neither"),
    (
        {"messages": [{"role": "assistant", "content": [{**THOUGHT, **CACHED}]}]},
        "`cache_control` is not a field of a block of the type `thinking`",
    ),
    (user([{**TEXT, **CACHED}] * 5), "more than 4 blocks have a `cache_control`"),
    (
        {"system": [{**TEXT, **CACHED}], "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        "a `cache_control` of 1h comes after one of 5m",
    ),
    (user([{"type": "image"}]), "a block of the type `image` has no `source`"),
    (user([{"type": "document", "source": "a.pdf"}]), "the source of a `document` is not an object"),
    (
        user([{"type": "image", "source": {"type": "path"}}]),
        "the source of a `image` is of none of the types base64, file, url",
    ),
    (user([{"type": "image", "source": {"type": "file"}}]), "a source of the type `file` has no `file_id`"),
    (
        user([{"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "eA=="}}]),
        "the `media_type` of a `image` is not image/jpeg or image/png or image/gif or image/webp",
    ),
    (
        user([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "data:image/png;b"}}]),
        "the `data` of a source is a URL: write what comes after `base64,` alone",
    ),
    (
        {
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": "{}"}]}
            ]
        },
        "the `input` of a `tool_use` is not an object",
    ),
    ({"stop_sequences": "x"}, "`stop_sequences` is not a list"),
    ({"stop_sequences": ["x", 7]}, "a stop sequence is not a text"),
    ({"stop_sequences": [" \n"]}, "a stop sequence is blank"),
    ({"service_tier": "batch"}, "`service_tier` is neither auto nor standard_only"),
    ({"tools": [{"name": "look"}]}, "a tool has no `input_schema`"),
    ({"tools": [{**TOOL, "name": "look at"}]}, "the name of a tool is not 1 to 128 of the characters"),
    ({"tools": [{**TOOL, "input_schema": {}}]}, "the `input_schema` of a tool is not of the type object"),
    ({"tools": [TOOL, TOOL]}, "two tools have the same name"),
    ({"output_config": "json"}, "`output_config` is not an object"),
    ({"output_config": {"effort": "huge"}}, "`output_config.effort` is none of low, medium, high, xhigh, max"),
    ({"output_config": {"format": {"type": "json_object"}}}, "`output_config.format` is not of the type json_schema"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "`output_config.format` has no `schema`"),
    ({"thinking": {"type": "enabled"}}, "`thinking` has no `budget_tokens`"),
    ({"temperature": 2}, "`temperature` must be from 0 to 1"),
    ({"temperature": "0"}, "`temperature` must be from 0 to 1"),
    ({"temperature": True}, "`temperature` must be from 0 to 1"),
    ({"top_p": -0.1}, "`top_p` must be from 0 to 1"),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 1023}, "max_tokens": 2000},
        "`thinking.budget_tokens` must be 1,0",
    ),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 2000},
        "`thinking.budget_tokens` must be less",
    ),
    ({"tools": "x"}, "`tools` is not a list"),
    ({"tools": ["look"]}, "a tool is not an object"),
    ({"tools": [{"type": "function", "function": TOOL}]}, "a tool of the type `function` is not accepted"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "see"}}, "`tool_choice` is of a tool that is not in"),
    ({"tool_choice": {"type": "tool", "name": "see"}}, "`tool_choice` is of a tool that is not in `tools`"),
    ({"tool_choice": {"type": "any"}}, "`tool_choice` asks for a tool, and there are no `tools`"),
    ({"tools": [TOOL], "tool_choice": "auto"}, "`tool_choice` is not an object"),
    ({"speed": "fast"}, "`speed` is not accepted in a batch"),
    ({"store": False}, "`store` is not accepted in a batch"),
    ({"previous_thread_event_id": "x"}, "`previous_thread_event_id` is not accepted"),
    ({"cache_hint": 1}, "`cache_hint` is not accepted"),
    ({"context_hint": 1}, "`context_hint` is not accepted"),
    ({"betas": ["x"]}, "`betas` is not a parameter of a message: betas and version are headers"),
    ({"anthropic-beta": ["x"]}, "`anthropic-beta` is not a parameter of a message: betas and version are headers"),
    ({"response_format": {"type": "json_object"}}, "`response_format` is not a parameter of a message"),
    ({"n": 2}, "`n` is not a parameter of a message"),
    ({"x" * 1000: 2}, f"`{'x' * 80}` is not a parameter of a message"),
    ({"research_preview_2026_02": "active"}, "`research_preview_2026_02` is not accepted"),
    ({"billing_policy": {"bill_to": "user_profile"}}, "`billing_policy.bill_to` user_profile is not accepted"),
]


@pytest.mark.parametrize(("params", "says"), WARNED)
def test_requests_that_will_be_errored_get_a_warning_with_their_line(
    read: Read, params: dict[str, Any], says: str
) -> None:
    (warning,) = read(request("fine"), request("a", **params)).warnings

    assert warning.message.startswith(says)
    assert (warning.count, warning.custom_ids, warning.places) == (1, ("a",), ("line 2",))
    assert warning.certain
    assert str(warning) == f"1 request will be errored: {warning.message} (a in line 2)"


UNSURE = [
    ({"model": "gpt-4o"}, "`gpt-4o` is not a model that this version knows of"),
    ({"model": "claude-haiku-5"}, "`claude-haiku-5` is not a model that this version knows of"),
    ({"model": "anthropic.claude-sonnet-5-v1:0"}, "`anthropic.claude-sonnet-5-v1:0` is not a model"),
    (user([{"type": "image_url", "image_url": {}}]), "`image_url` is not a type of content that this version knows of"),
    (user([{**TEXT, "name": "bob"}]), "`name` is not a field of a block of the type `text`"),
    ({"thinking": {"type": "adaptive", "effort": "low"}}, "`effort` is not a field of `thinking`"),
    ({"tools": [{**TOOL, "parameters": {}}]}, "`parameters` is not a field of a tool"),
    ({"cache_control": {"type": "ephemeral", "scope": "global"}}, "`scope` is not a field of `cache_control`"),
]


LONG = "1" * 5000
NUMBERS = [
    ('"max_tokens":%s', LONG, "`max_tokens` is over 300,000"),
    ('"max_tokens":%s', f"-{LONG}", "`max_tokens` must be 1 or more"),
    ('"max_tokens":%s', "1" * 4300, "`max_tokens` is over 300,000"),
    ('"max_tokens":%s', "1e300", "`max_tokens` is over 300,000"),
    ('"max_tokens":%s', "1e400", "`max_tokens` is over 300,000"),
    ('"max_tokens":%s', "-1e99999999999999999999", "`max_tokens` must be 1 or more"),
    ('"max_tokens":%s', "-0", "`max_tokens` must be 1 or more"),
    ('"max_tokens":%s', "1e-400", "`max_tokens` must be 1 or more"),
    ('"max_tokens":%s', "100.0", None),
    ('"max_tokens":9,"temperature":%s', LONG, "`temperature` must be from 0 to 1"),
    ('"max_tokens":9,"temperature":%s', "1e400", "`temperature` must be from 0 to 1"),
    ('"max_tokens":9,"temperature":%s', "1e-400", None),
    ('"max_tokens":9,"temperature":%s', "-0.0", None),
    ('"max_tokens":9,"thinking":{"budget_tokens":%s}', "1e400", "`thinking.budget_tokens` must be less"),
    ('"max_tokens":9,"container":{"id":%s}', LONG, None),
]


@pytest.mark.parametrize(("field", "number", "says"), NUMBERS, ids=range(len(NUMBERS)))
def test_a_number_beyond_all_bounds_gets_one_true_warning_or_none(
    tmp_path: Path, field: str, number: str, says: str | None
) -> None:
    params = f'"model":"claude-sonnet-5","messages":[{{"role":"user","content":"hi"}}],{field % number}'
    lines = [f'{{"custom_id":"{name}","params":{{{params}}}}}' for name in ("a", "b")]
    for written in ("\n".join(lines), f"[{','.join(lines)}]"):
        file = tmp_path / "requests"
        file.write_text(written)
        with read_requests(str(file)) as requests:
            assert [each.message.startswith(says or "-") for each in requests.warnings] == ([True] if says else [])
            assert 0 <= requests.max_tokens <= 2 * MOST_TOKENS


@pytest.mark.parametrize(("params", "says"), UNSURE)
def test_what_a_later_api_may_know_is_only_a_possible_error(read: Read, params: dict[str, Any], says: str) -> None:
    (warning,) = read(request("a", **params)).warnings

    assert warning.message.startswith(says)
    assert not warning.certain
    assert str(warning).startswith("1 request may be errored: ")


FINE: list[dict[str, Any]] = [
    {"stream": False, "temperature": 0.5, "research_preview_2026_02": "off", "max_tokens": 128_000, "tools": []},
    {"model": "claude-haiku-4-5-20251001", "max_tokens": 64_000, "temperature": 1.0, "top_p": 0},
    {"model": "claude-opus-4-5"},
    {"messages": [{"role": "system", "content": "be brief"}, {"role": "assistant", "content": ""}]},
    {"messages": [CALL, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]}], "tools": [TOOL]},
    {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "look"}},
    {"tools": [{"type": "mcp_toolset"}], "tool_choice": {"type": "tool", "name": "look"}},
    {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1025},
    {"thinking": {"type": "adaptive"}},
    {"stop_sequences": [], "service_tier": "auto", "output_config": {"format": None, "effort": "max"}},
    {"output_config": {"format": {"type": "json_schema", "schema": {"type": "array"}}}},
    {"system": [TEXT, {**TEXT, **CACHED}], "metadata": {"user_id": "u"}, "tools": [{**TOOL, "cache_control": None}]},
    {**user([{**TEXT, **CACHED}] * 4), **CACHED},
    user([{"type": "web_search_tool_result"}, {"type": "image", "source": SOURCE}]),
    user([{"type": "document", "source": SOURCE, "title": "t", "citations": {"enabled": True}}]),
]


@pytest.mark.parametrize("params", FINE)
def test_valid_requests_get_no_warning(read: Read, params: dict[str, Any]) -> None:
    assert read(request("a", **params)).warnings == []


def test_a_beta_raises_the_limits_that_it_is_for(read: Read) -> None:
    long = request("a", max_tokens=300_000)
    thinking = request("a", thinking={"type": "enabled", "budget_tokens": 4000}, max_tokens=2000)

    assert [len(read(item).warnings) for item in (long, thinking)] == [1, 1]
    assert read(long, betas=("x", "output-300k-2026-03-24")).warnings == []
    (shorter,) = read(
        request("a", model="claude-haiku-4-5", max_tokens=70_000), betas=("output-300k-2026-03-24",)
    ).warnings
    assert shorter.message == "`max_tokens` is over 64,000, the most that claude-haiku-4-5 gives"
    assert read(thinking, betas=("interleaved-thinking-2025-05-14",)).warnings == []


def test_an_empty_request_gets_every_warning(read: Read) -> None:
    warnings = read({"custom_id": "a", "params": {}}).warnings

    assert [w.message for w in warnings] == ["`model` is missing", "`messages` is missing", "`max_tokens` is missing"]


def test_a_request_that_only_lenient_readers_can_read_is_checked_as_well(tmp_path: Path) -> None:
    line = b'{"custom_id":"a","params":{"model":"claude-sonnet-5","max_tokens":9,"stream":true,"x":%s}}' % (b"1" * 400)
    (tmp_path / "odd.jsonl").write_bytes(line)

    with read_requests(str(tmp_path / "odd.jsonl")) as requests:
        warned = [warning.message.partition(" ")[0] for warning in requests.warnings]

    assert warned == ["`messages`", "`x`", "`stream`"]


REPEATED = {
    b'"temperature":0,"temperature":1': "temperature",
    b'"metadata":{"user_id":"a","user_id":"b"}': "user_id",
    b'"temperature":0,"temper\\u0061ture":1': "temperature",
    b'"system":"a","metadata":{"user_id":"a"},"system":"b"': "system",
}


@pytest.mark.parametrize(("written", "name"), REPEATED.items(), ids=range(len(REPEATED)))
def test_a_name_that_is_there_twice_is_warned_of_with_its_line(tmp_path: Path, written: bytes, name: str) -> None:
    fine = dump(request("a"))
    params = b'"model":"claude-sonnet-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]'
    (tmp_path / "twice.jsonl").write_bytes(fine + b'\n{"custom_id":"b","params":{%s,%s}}\n' % (params, written))

    with read_requests(str(tmp_path / "twice.jsonl")) as requests:
        (warning,) = requests.warnings

    assert warning.message == f"`{name}` is there twice in an object, and the API reads one of them"
    assert (warning.custom_ids, warning.places, warning.certain) == (("b",), ("line 2",), False)


@pytest.mark.parametrize("name", ["betas", "beta", "anthropic_beta", "anthropic-beta", "anthropic_version"])
def test_a_warning_of_betas_says_how_they_are_given(read: Read, name: str) -> None:
    options: dict[str, Any] = {name: ["x"]}

    (warning,) = read(request("a", **options)).warnings

    assert (warning.action is NextAction.GIVE_BETAS) == ("beta" in name)
    assert ("--beta NAME" in warning_text(warning)) == ("beta" in name)


def test_warnings_are_grouped_and_name_the_first_three(read: Read) -> None:
    warnings = read(*(request(f"r-{n}", stream=n > 5, speed="x") for n in range(10))).warnings

    assert [(warning.count, warning.custom_ids, warning.places) for warning in warnings] == [
        (10, ("r-0", "r-1", "r-2"), ("line 1", "line 2", "line 3")),
        (4, ("r-6", "r-7", "r-8"), ("line 7", "line 8", "line 9")),
    ]


def test_a_file_of_many_different_errors_has_few_warnings(read: Read) -> None:
    odd: list[dict[str, Any]] = [{f"x-{n}": 1} for n in range(500)]
    warnings = read(*(request(f"r-{n}", **params) for n, params in enumerate(odd))).warnings

    assert len(warnings) == MAX_REASONS + 1
    assert sum(warning.count for warning in warnings) == 500


STRICTER = [
    ({"temperature": 1}, "`temperature` is not accepted since version 2026-10-21"),
    ({"top_p": 1}, "`top_p`"),
    ({"top_k": 1}, "`top_k`"),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "document", "source": SOURCE}] * 2}]},
        "a `document` in an assistant",
    ),
    (user([{"type": "text", "text": "hi", "citations": [1]}]), "`citations` in a user's text"),
]


@pytest.mark.parametrize(("params", "says"), STRICTER)
def test_some_warnings_depend_on_the_api_version(read: Read, params: dict[str, Any], says: str) -> None:
    assert read(request("a", **params)).warnings == []
    (warning,) = read(request("a", **params), version="2026-10-21").warnings
    assert warning.message.startswith(says)


def test_names_of_the_file_are_shown_as_code_on_one_line(read: Read) -> None:
    name = "x`\n\x1b[31m**"
    odd: dict[str, Any] = {name: 1, "model": name}
    warnings = read(request("a", **odd)).warnings

    shown = [warning.message for warning in warnings if "**" in warning.message]
    assert [message.partition(" is ")[0] for message in shown] == ["`x'\\n\\x1b[31m**`"] * 2


def test_models_are_counted_and_tokens_added_up(read: Read) -> None:
    requests = read(
        request("a", max_tokens=100),
        request("b", model="claude-opus-5", max_tokens=7),
        request("c", model="claude-opus-5", max_tokens=1e2),
        request("d", model=1, max_tokens=100),
    )

    assert requests.models == {"claude-opus-5": 2, "claude-sonnet-5": 1, "(none)": 1}
    assert requests.max_tokens == 307
