"""Structured answers against the schemas of their requests; and schemas that cost more than they may."""

import json
import time
from typing import Any

import pytest

from message_batches.results.parser import read_result
from message_batches.results.structured_output import MAX_SLOW_OF_SCHEMA, SchemaCheck, SchemaReport, Verdict
from message_batches.schemas import SECONDS, Schema, Unchecked, within

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS = [{"name": "other", "input_schema": False}, {"type": "custom", "name": "save", "input_schema": NUMBER}]


def formatted(schema: Any = NUMBER, **params: Any) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}, **params}


def check(params: dict[str, Any], *content: Any, reason: str | None = "end_turn", kind: str = "succeeded") -> Verdict:
    return add(SchemaCheck(), params, *content, reason=reason, kind=kind)


def add(
    to: SchemaCheck,
    params: dict[str, Any],
    *content: Any,
    custom_id: str = "a",
    reason: str | None = "end_turn",
    kind: str = "succeeded",
) -> Verdict:
    blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]
    message = {"model": "m", "content": blocks, "stop_reason": reason}
    line = json.dumps({"custom_id": custom_id, "result": {"type": kind, "message": message}}).encode()
    request = json.dumps({"custom_id": custom_id, "params": {"model": "m", "messages": [], **params}}).encode()
    return to.add(read_result(line), line, request)


def report_of(params: dict[str, Any], *answers: str) -> SchemaReport:
    made = SchemaCheck()
    for number, answer in enumerate(answers):
        add(made, params, answer, custom_id=str(number))
    return made.report("msgbatch_1")


def call(name: str = "save", **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "t", "name": name, "input": given}


@pytest.mark.parametrize(
    ("params", "asked"),
    [
        ({}, False),
        (formatted(), True),
        ({"output_format": {"type": "json_schema", "schema": NUMBER}}, True),
        ({"output_config": {"effort": "low"}, "output_format": {"type": "json_schema", "schema": NUMBER}}, True),
        ({"output_config": {"format": None}}, False),
        ({"output_config": {"format": {"type": "text"}}}, False),
        ({"output_config": "json"}, False),
        ({"output_config": {"format": {"type": "json_schema"}}}, False),
        ({"tools": TOOLS}, False),
        ({"tools": TOOLS, "tool_choice": {"type": "any"}}, False),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "none"}}, False),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "save"}}, True),
        ({"tools": [1], "tool_choice": {"type": "tool", "name": "save"}}, False),
    ],
)
def test_a_request_asks_for_structured_output_or_does_not(params: dict[str, Any], asked: bool) -> None:
    assert (check(params, "x", kind="expired") is Verdict.NO_ANSWER) is asked
    assert (check(params, "x", kind="expired") is Verdict.NOT_ASKED) is not asked


FORCED = {"tools": TOOLS, "tool_choice": {"type": "tool", "name": "save"}}


@pytest.mark.parametrize(
    ("params", "content", "reason", "verdict"),
    [
        (formatted(), ['{"n": 1}'], "end_turn", Verdict.VALID),
        (formatted(), ['{"n"', ": 1}"], "stop_sequence", Verdict.VALID),
        (formatted(), [{"type": "thinking", "thinking": "so"}, '{"n": 1}'], "end_turn", Verdict.VALID),
        (formatted(), ['{"n": 1.0}'], "end_turn", Verdict.VALID),
        (formatted(), ['{"n": ' + "9" * 5000 + "}"], "end_turn", Verdict.UNCHECKED),
        (formatted({"multipleOf": 0.01}), ["19.99"], "end_turn", Verdict.VALID),
        (formatted({"multipleOf": 0.1}), ["0.3"], "end_turn", Verdict.VALID),
        (formatted({"multipleOf": 0.01}), ["19.995"], "end_turn", Verdict.INVALID),
        (formatted({"multipleOf": 3}), [f"{3 * 2**70}"], "end_turn", Verdict.VALID),
        (formatted({"multipleOf": 3}), ['"text"'], "end_turn", Verdict.VALID),
        (formatted({"multipleOf": 3}), ["true"], "end_turn", Verdict.VALID),
        (formatted(), ['{"n": "1"}'], "end_turn", Verdict.INVALID),
        (formatted(), ['```json\n{"n": 1}\n```'], "end_turn", Verdict.INVALID),
        (formatted(), ['{"n": 1} and so'], "end_turn", Verdict.INVALID),
        (formatted({}), ["NaN"], "end_turn", Verdict.INVALID),
        (formatted({}), [""], "end_turn", Verdict.INVALID),
        (formatted({}), [], "end_turn", Verdict.INVALID),
        (formatted(True), ["null"], "end_turn", Verdict.VALID),
        (formatted(False), ["null"], "end_turn", Verdict.INVALID),
        (formatted(), ['{"n": '], "max_tokens", Verdict.CUT_OFF),
        (formatted(), ['{"n": '], "model_context_window_exceeded", Verdict.CUT_OFF),
        (formatted(), ["no"], "refusal", Verdict.NO_ANSWER),
        (formatted(), ["let me"], "pause_turn", Verdict.NO_ANSWER),
        (formatted(), ["x"], None, Verdict.NO_ANSWER),
        (formatted(), [call(n=1)], "tool_use", Verdict.UNCHECKED),
        (formatted({}), ["[" * 100_000], "end_turn", Verdict.UNCHECKED),
        (formatted({}), ['"' + "a" * 2_000_000 + '"'], "end_turn", Verdict.UNCHECKED),
        (FORCED, [call(n=1)], "tool_use", Verdict.VALID),
        (FORCED, ["first", call(n=1), call(n=2)], "tool_use", Verdict.VALID),
        (FORCED, [call(n=1), call(m=2)], "tool_use", Verdict.INVALID),
        (FORCED, [call(n=2**70)], "tool_use", Verdict.VALID),
        (FORCED, [call("other", n=1)], "tool_use", Verdict.INVALID),
        (FORCED, ['{"n": 1}'], "end_turn", Verdict.INVALID),
        (FORCED, [call()], "max_tokens", Verdict.CUT_OFF),
        ({**FORCED, **formatted({"type": "array"})}, [call(n=1)], "tool_use", Verdict.VALID),
    ],
)
def test_an_answer_is_compared(params: dict[str, Any], content: list[Any], reason: str, verdict: Verdict) -> None:
    assert check(params, *content, reason=reason) is verdict


def test_failures_are_grouped_by_path_and_rule() -> None:
    item = {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price", "name"]}
    schema = {"type": "object", "properties": {"all of": {"type": "array", "items": item}}}
    bad = '{"all of": [{"price": "1"}, {"price": "2", "name": "x"}]}'

    report = report_of(formatted(schema), bad, bad, bad, bad, '{"all of": 5}', "prose", '{"all of": []}')

    assert (report.asked, report.valid, report.invalid, report.not_json) == (7, 1, 6, 1)
    assert [(each.path, each.rule, each.count, each.custom_ids) for each in report.failures] == [
        ('$["all of"][*]', "required", 4, ("0", "1", "2")),
        ('$["all of"][*].price', "type", 4, ("0", "1", "2")),
        ("$", "json", 1, ("5",)),
        ('$["all of"]', "type", 1, ("4",)),
    ]
    assert report.failures[0].message == "'name' is a required property"


def test_a_failure_has_the_rule_that_is_broken() -> None:
    rules = [report_of(formatted(schema), "0.07").failures[0].rule for schema in (False, {"multipleOf": 0.05})]

    assert rules == ["false", "multipleOf"]


def test_what_is_reported_is_bounded() -> None:
    schema = {"additionalProperties": {"type": "null"}}
    answers = [
        json.dumps({f"{number}{'k' * 500}": "v" * 1000 for number in range(each, each + 200)}) for each in range(5)
    ]

    report = report_of(formatted(schema), *answers)

    assert (report.invalid, len(report.failures)) == (5, 21)
    assert len(report.model_dump_json()) < 21 * 1000


def test_half_a_surrogate_pair_is_reported_as_a_question_mark() -> None:
    report = report_of(formatted({"additionalProperties": {"const": 1}}), '{"\\ud83d": "\\ude00"}')

    [failure] = report.failures
    assert (failure.path, failure.rule) == ('$["?"]', "const")
    assert report.model_dump_json()


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/none"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$schema": "http://127.0.0.1:9/schema.json", "type": "none"},
        {"$dynamicRef": "#none"},
        {"type": "none"},
        {"type": 5},
        {"pattern": "("},
        {"pattern": "\\p{L}"},
        {"items": {"multipleOf": 0}},
        [],
        "text",
        {"allOf": [{"$ref": "#"}]},
        {"$id": "http://[", "$ref": "x"},
        {"$schema": {}},
    ],
)
def test_a_schema_that_cannot_be_used_is_a_reason(schema: Any) -> None:
    made = SchemaCheck()

    assert add(made, formatted(schema), '"text"') is Verdict.UNCHECKED
    [reason] = made.report("b").unchecked_reasons
    assert (reason.count, reason.custom_ids) == (1, ("a",))
    assert 0 < len(reason.reason) < 300


def deep_union(levels: int) -> dict[str, Any]:
    """A schema of a few lines that asks for two to the power of `levels` comparisons."""
    levels_of = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**levels_of, f"d{levels}": {"type": "string"}}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"pattern": "^(a+)+$"}, json.dumps("a" * 40 + "b")),
        ({"patternProperties": {"^(a|a)*$": False}}, json.dumps({"a" * 40 + "b": 1})),
        (deep_union(40), '"x"'),
        ({"uniqueItems": True}, json.dumps([{str(n): n} for n in range(20_000)])),
    ],
)
def test_a_comparison_without_an_end_is_given_up_and_then_its_schema(schema: Any, answer: str) -> None:
    made = SchemaCheck()
    began = time.process_time()
    verdicts = [add(made, formatted(schema), answer) for _ in range(MAX_SLOW_OF_SCHEMA + 100)]

    assert set(verdicts) == {Verdict.UNCHECKED}
    assert time.process_time() - began < (MAX_SLOW_OF_SCHEMA + 2) * SECONDS
    assert [each.count for each in made.report("b").unchecked_reasons] == [MAX_SLOW_OF_SCHEMA, 100]


@pytest.mark.slow
def test_comparisons_that_end_just_in_time_are_given_up_as_well() -> None:
    made = SchemaCheck(max_slow=0.5)
    schemas = [{"pattern": f"^(a+)+$|^{number}$"} for number in range(1000)]

    verdicts = [add(made, formatted(schema), json.dumps("a" * 23 + "b")) for schema in schemas]

    [reason] = made.report("b").unchecked_reasons
    assert verdicts[0] is Verdict.INVALID
    assert verdicts[-1] is Verdict.UNCHECKED
    assert (reason.reason, reason.count) == ("too many comparisons took too long", verdicts.count(Verdict.UNCHECKED))


def test_work_is_ended_in_the_middle() -> None:
    began = time.process_time()

    assert within(0.05, lambda: json.dumps("done")) == '"done"'
    assert within(0.05, lambda: any(each for each in iter(int, 1))) is None
    assert time.process_time() - began < 1


def test_equal_schemas_are_compiled_once() -> None:
    from message_batches.schemas import compiled

    assert compiled(b'{"type": "null"}') is compiled(bytes(bytearray(b'{"type": "null"}')))
    with pytest.raises(Unchecked):
        Schema(b"{").faults(None)
