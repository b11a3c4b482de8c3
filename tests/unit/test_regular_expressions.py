"""Every regular expression takes linear time, whatever text it meets.

All of the package and the application are found in the source, so that a new one fails until it is entered here, with
texts made for its shape: the longest partial matches that fail at their end. Those in the `pattern` of a model's field
are not Python's: the engine of pydantic never goes back.
"""

import ast
import importlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import pytest

from message_batches.api.redaction import redact
from message_batches.arazzo.yaml_source import CORE_SCALARS
from message_batches.error_causes import cause_of
from tests.harness.project import ROOT

SIZE = 5_000
FAST = 0.02
"""Seconds of CPU: far more than linear time takes for four times `SIZE`, far less than quadratic time does."""

FUNCTIONS = ("compile", "findall", "finditer", "fullmatch", "match", "search", "split", "sub")


class Call(NamedTuple):
    """A call of `re`, and the value of its pattern; None if that is made when it runs."""

    module: str
    function: str
    pattern: re.Pattern[str] | re.Pattern[bytes] | None


def calls() -> Iterator[tuple[str, Call]]:
    """Yield the calls of `re` by module and the name that they are given, or the function that they are in."""
    seen: Counter[str] = Counter()
    for folder in ("message_batches", "workflows", "activities"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for place, function, call in _calls(ast.parse(path.read_text()), ""):
                name = f"{module}:{place}"
                seen[name] += 1
                yield (
                    name if seen[name] == 1 else f"{name}#{seen[name]}",
                    Call(module, function, _value(module, call)),
                )


def _calls(node: ast.AST, place: str) -> Iterator[tuple[str, str, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        inner = place
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                inner = name
            case ast.Assign(targets=[ast.Name(id=name)]) if not place:
                inner = name
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=function)) if function in FUNCTIONS:
                yield place, function, child
        yield from _calls(child, inner)


def _value(module: str, call: ast.Call) -> re.Pattern[str] | re.Pattern[bytes] | None:
    flags = call.args[1] if ast.unparse(call.func) == "re.compile" and len(call.args) > 1 else ast.Constant(0)
    try:
        names = vars(importlib.import_module(module))
        return re.compile(eval(ast.unparse(call.args[0]), names), eval(ast.unparse(flags), names))
    except NameError:
        return None


class Attack(NamedTuple):
    """A text of any length: a unit, repeated, between a start and an end."""

    start: str
    unit: str
    end: str = "\0"


class Entry(NamedTuple):
    """The way in which a pattern is used, by the name of a method or as a call, and texts that are made for it."""

    use: str | Callable[[str], object]
    attacks: tuple[Attack, ...]


def fullmatch(*attacks: Attack) -> Entry:
    return Entry("fullmatch", attacks)


def match(*attacks: Attack) -> Entry:
    return Entry("match", attacks)


def search(*attacks: Attack) -> Entry:
    """Enter a pattern that is looked for everywhere in a text, each time where the last one ended."""
    return Entry("findall", attacks)


def _cause(text: str) -> object:
    return cause_of("invalid_request_error", text)


def _redact(text: str) -> object:
    return redact(text, ["abababababababab-aaaaaaaaaaaaaaa"])


def _scalars(text: str) -> object:
    return [pattern.match(text) for _, pattern, _ in CORE_SCALARS]


A = Attack
WORD = fullmatch(A("", "a"), A("", "a-"), A("", "0"))
"""Of a class of characters, or with a bound: there is only one way to match."""

CAUSE = Entry(
    _cause,
    (
        A("", "download of "),
        A("", "exceed "),
        A("", "reached a "),
        A("overloaded", "!"),
        A("", "unable to be "),
        A("", "a file"),
        A("", "a: "),
        A("", "a.a"),
        A("", "'"),
        A("", "a"),
    ),
)
TEXT_OF_ESCAPES = A('"', '\\"', "")
REDACTED = Entry(
    _redact,
    (
        A("", "ab"),
        A("", "\\\\"),
        A("", "\\u0061"),
        A("", "a\\b"),
        A("", "%61"),
        A("", "&#97;"),
        A("", "\x1b[0"),
        A("", "\x1b[31m"),
        A("\x1b[", "0"),
    ),
)
ENTRIES = {
    "message_batches.schedules.create:_NAME": WORD,
    "message_batches.uri_template:_IN_BRACES": search(A("", "{"), A("", "{a"), A("{", "a"), A("", "}")),
    "message_batches.api.client:_MODEL_NAME": WORD,
    "message_batches.api.client:_path": WORD,
    "message_batches.api.credentials:_BASE_URL_FORM": fullmatch(
        A("https://", "a"), A("https://[", ":"), A("https://a/", "/"), A("https://a:", "0")
    ),
    "message_batches.api.credentials:_files": WORD,
    "message_batches.api.credentials:_headers": WORD,
    "message_batches.api.credentials:_workspace": WORD,
    "message_batches.api.keys:KEY_NAME": WORD,
    "message_batches.api.keys:_WORD_ENDS": search(A("", "a"), A("", " ")),
    "message_batches.api.network:_direct": search(A("", ", "), A("", ",a")),
    "message_batches.api.network:_direct#2": fullmatch(A("*.", "."), A("", "0"), A("", ":"), A("", "a/1")),
    "message_batches.api.network:_direct#3": fullmatch(A("", "a"), A("", "a."), A("", ".")),
    "message_batches.api.network:_address": WORD,
    "message_batches.api.redaction:_ESCAPED": REDACTED,
    "message_batches.api.redaction:_ESCAPE": REDACTED,
    "message_batches.api.redaction:_COLOUR": REDACTED,
    "message_batches.api.redaction:_without": REDACTED,
    "message_batches.api.transport:": fullmatch(
        A("a: ", " "), A("a: ", " b"), A("", "a"), A("a:", "\t"), A("a: b", " ")
    ),
    "message_batches.api.transport:#2": fullmatch(A("1;", " "), A("1;", "a"), A("1;", "\r"), A("1", " "), A("", "1")),
    "message_batches.arazzo.conditions:_TOKEN": match(
        A("", " "),
        A("'", "a"),
        A("'", "''", "a"),
        A('"', "a"),
        A("-", "0", "a"),
        A("0.", "0", "a"),
        A("1e", "0", "a"),
        A("$", ".a", "#"),
        A("$", "['a']", "#"),
        A("$.", "a", "#"),
        A("$", "a", "("),
        A("$['", "a"),
    ),
    "message_batches.arazzo.conditions:_MEMBER": search(
        A("", "."), A("", ".a"), A("['", "a"), A("", '["'), A("", "['a\"")
    ),
    "message_batches.arazzo.conditions:operand": fullmatch(A("$response.body#/", "/", "\n")),
    "message_batches.arazzo.interface:check_inputs": WORD,
    "message_batches.arazzo.loader:_POINTER": fullmatch(A("", "/"), A("", "/a"), A("/", "a", "\n"), A("a", "/")),
    "message_batches.arazzo.loader:_PATH": fullmatch(A("$", ".a"), A("$.", "a"), A("$", ".")),
    "message_batches.arazzo.loader:_expression": WORD,
    "message_batches.arazzo.plan:_DESCRIPTION": search(A("openapi", " "), A("", "\nopenapi "), A("", "{ ")),
    "message_batches.arazzo.normalize:_OTHER_BREAKS": search(A("", "\r"), A("", "a")),
    "message_batches.arazzo.operations:operation_of": fullmatch(
        A("$sourceDescriptions.", "a"), A("$sourceDescriptions.a.", ".", "\n")
    ),
    "message_batches.arazzo.operations:_by_path": fullmatch(
        A("$sourceDescriptions.", "a"), A("{$sourceDescriptions.", "}")
    ),
    "message_batches.arazzo.operations:_by_path#2": search(A("", "{"), A("", "{a"), A("{", "a"), A("", "}{")),
    "message_batches.arazzo.operations:_check_parameters": search(A("", "{"), A("", "{a"), A("", "{}"), A("{", "a")),
    "message_batches.arazzo.operations:origin_of": fullmatch(A("$steps.", "a"), A("$steps.a.outputs.", "a", "#")),
    "message_batches.arazzo.yaml_source:_SURROGATE": search(A("", "a")),
    "message_batches.arazzo.yaml_source:CORE_SCALARS": Entry(
        _scalars, (A("", "0"), A("0.", "0"), A("0e", "0"), A(".", "0"), A("0x", "a"), A("0o", "7"), A("-", "-"))
    ),
    "message_batches.library.options:_DATE_AND_TIME": match(A("", "0"), A("", "-"), A("0000-00-00", "T")),
    "message_batches.library.options:_TIME_OF_DAY": fullmatch(A("", "0"), A("0:", "0"), A("0:00", ":")),
    "message_batches.cli.options:_DURATION": fullmatch(A("", "0"), A("0.", "0"), A(".", "0"), A("", "0.")),
    "message_batches.codec_server.__main__:_origin": fullmatch(A("https://", "a"), A("https://a", "/")),
    "message_batches.content_rules:_TOOL_NAME": WORD,
    "message_batches.contract_schemas:_docstring": search(
        A("    ", "a"), A("    ", ", "), A("", "    a\n"), A("    a: ", "\n        ")
    ),
    "message_batches.contract_schemas:_docstring#2": search(A("", " "), A("", "\n a")),
    "message_batches.contract_schemas:_in_json": search(A("", "None"), A("", "Non ")),
    "message_batches.contract_schemas:_in_json#2": search(A("`", "a"), A("", "`a"), A("", "`")),
    "message_batches.emulator.auth:_OF_WORKSPACE": fullmatch(A("a", "=wrkspc_a"), A("a", "="), A("a=wrkspc_", "a")),
    "message_batches.emulator.auth:_LOCAL_NAME": fullmatch(A("", "a"), A("", "a."), A("", ".localhost"), A("a.", "-")),
    "message_batches.emulator.create_validation:_CUSTOM_ID": WORD,
    "message_batches.emulator.options:_DURATION": fullmatch(A("", "0"), A("0.", "0"), A(".", "0"), A("", "0.")),
    "message_batches.emulator.request_body:_SPACE": match(A("", " "), A("", "\n\t")),
    "message_batches.emulator.undocumented_checks:_SERVER_TOOL": fullmatch(A("", "_"), A("", "a_"), A("_", "0")),
    "message_batches.encryption.keys:_KEY_ID": WORD,
    "message_batches.error_causes:_MONEY": CAUSE,
    "message_batches.error_causes:_ACCESS": CAUSE,
    "message_batches.error_causes:_AMOUNT": search(A("", "$"), A("balance (", "a"), A("", "balance (")),
    "message_batches.error_causes:_OF_PARAMS": match(A("request", "."), A("tools.", "a"), A("requests[", "0]")),
    "message_batches.error_causes:_PLACE": CAUSE,
    "message_batches.error_causes:_VARIABLE": CAUSE,
    "message_batches.error_causes:_is_passing": CAUSE,
    "message_batches.error_causes:cause_of": CAUSE,
    "message_batches.error_causes:_PASSING": CAUSE,
    "message_batches.error_causes:_NOT_A_MODEL": CAUSE,
    "message_batches.formatting:_BAR": search(A("", "\\"), A("a", "\\\\"), A("", "|")),
    "message_batches.formatting:_SPECIAL": search(A("", "a"), A("", "*")),
    "message_batches.observability.metrics:label": WORD,
    "message_batches.observability.tracing:_TRACEPARENT": fullmatch(
        A("00-", "0"), A(f"00-{'0' * 32}-{'0' * 16}-01-", "-", "\n")
    ),
    "message_batches.requests.forms:_MEMBER": match(
        A("", " "),
        A("{", " "),
        A('{"', "a"),
        A('{"', "\\"),
        A('{"', '\\"'),
        A('{"', '"'),
        A('{"a"', " "),
        A('{"a":', " "),
    ),
    "message_batches.requests.forms:_CELLS": fullmatch(
        A("", "a"),
        A("", "a,"),
        A("", '"a",'),
        A("", " "),
        A("", "a;"),
        A("a,", "a"),
        A("a,a", ","),
        A("", '"'),
        A("", "a a,"),
    ),
    "message_batches.requests.forms:_QUOTED_CELL": match(
        A("", ","), A("", "a"), A('"', "a"), A('"', ","), A("", "\t;")
    ),
    "message_batches.requests.forms:form_of_text": match(A("", "a"), A("", "-"), A("", "a-")),
    "message_batches.requests.forms:form_of_text#2": match(A("[", "["), A("[", " "), A("{", "[ ")),
    "message_batches.requests.long_line:_BEFORE": match(
        A("{", " "),
        A('{"', "a"),
        TEXT_OF_ESCAPES._replace(start='{"'),
        A('{"a":"', '\\"'),
        A('{"a":"', "\\"),
        A('{"a"', " "),
        A('{"a":"b"', " "),
        A('{"a":"b",', " "),
        A('{"a":"b","', '\\"'),
        A("{", '"a":'),
        A("{", '"a":"a",'),
    ),
    "message_batches.requests.long_line:_BEHIND": fullmatch(
        A("", " "),
        A(",", " "),
        A(',"', "a"),
        A(',"', '\\"'),
        A(',"a":"', '\\"'),
        A(',"a":"b"', " "),
        A("}", " "),
        A("", ',"a":"b"'),
    ),
    "message_batches.requests.reader:_REQUESTS_MEMBER": match(
        A("{", " "), A('{"requests"', " "), A('{"requests":', " ")
    ),
    "message_batches.requests.reader:_refuse_json": search(A("", "(byte "), A("(byte ", "0"), A("", "(byte 0")),
    "message_batches.requests.validation:CUSTOM_ID": WORD,
    "message_batches.requests.validation:_UNKNOWN_FIELD": search(
        A("unknown field `", "a"), A("unknown field `", "\n"), A("unknown field `", "`")
    ),
    "message_batches.requests.validation:unknown_field": WORD,
    "message_batches.results.contradictions:_UNKNOWN_MODEL": fullmatch(
        A("model: claude-", "a"), A("model: claude-", "-")
    ),
    "message_batches.results.contradictions:_ABOVE_LIMIT": match(A("max_tokens: ", "1"), A("max_tokens: 1 > ", "1")),
    "message_batches.results.contradictions:_FAMILY": match(A("claude-", "a"), A("claude-", "opu")),
    "message_batches.results.contradictions:_names": search(A("", "-"), A("", "a-")),
    "message_batches.results.contradictions:_DATE": search(
        A("", "-"), A("", "-12345678"), A("-", "1"), A("", "-latest")
    ),
    "message_batches.results.expectations:_THINKS_ON_REQUEST": match(A("claude-", "a"), A("claude-opus-4", "-")),
    "message_batches.results.parser:TOKEN": search(
        TEXT_OF_ESCAPES,
        A("[" * 100 + '"', '\\"', ""),
        A('"', "\\", ""),
        A('"', "\\\\", ""),
        A("", '"'),
        A("", '"a'),
        A('"', "a", ""),
        A("", "["),
        A("", "]"),
        A("", '\\"'),
        A("", '"\\'),
        A('"', "a\\\n", "\\"),
    ),
    "message_batches.results.summary:_WORDS": search(A("", "a"), A("", "a ")),
    "message_batches.results.summary:_NUMBER": fullmatch(
        A("", "0"), A("", "0_"), A("-", "0"), A("", "0a"), A("0a", "0")
    ),
    "message_batches.results.summary:_GROUPS_OF_DIGITS": search(A("", "#."), A("", "#"), A("", "#,#")),
    "message_batches.results.summary:_ID": fullmatch(
        A("a_", "a"),
        A("a_", "1"),
        A("", "a_"),
        A("", "a"),
        A("", "0"),
        A("", "a0"),
        A("a_", "a1"),
        A("00000000-", "0000-"),
        A("a_", "_"),
    ),
    "message_batches.runs.control:_BATCH_ID_PATTERN": WORD,
    "message_batches.settings:codec_token": WORD,
    "message_batches.storage.names:UPLOAD_SUFFIX": search(A("", "#"), A("", "#1"), A("#", "1")),
    "message_batches.storage.failures:_CODE": search(
        A("", "<Code>"), A("<Code>", "A"), A("<Code>Aa", "a"), A("", "<Code>Aa")
    ),
    "message_batches.storage.failures:_FULL": search(A("", "os error "), A("", "Errno 2")),
    "message_batches.storage.failures:_NO_BUCKET": search(A("", "specified "), A("", "NoSuch")),
    "message_batches.storage.failures:_OS_ERROR": search(
        A("", "Os {"), A("Os {", " "), A("", "Os { "), A("Os {code: ", "1")
    ),
    "message_batches.storage.failures:_SERVER": search(
        A("", "Generic a error: "),
        A("Generic ", "a"),
        A("", "Generic a error: Error performing GET http://"),
        A("Generic a error: Error performing GET http://", "a"),
        A("Generic a error: Error performing GET http://", "a@"),
    ),
    "message_batches.webhooks.endpoints:_networks": search(A("", ","), A("", " "), A("a", ", ")),
    "message_batches.webhooks.events:WEBHOOK_NAME": WORD,
    "message_batches.webhooks.events:_ID": fullmatch(A("notify:", "0"), A(f"notify:{'0' * 36}:", "a-")),
    "message_batches.storage.failures:_STATUS": search(A("", "status code: "), A("", "status code: 12")),
    "message_batches.storage.failures:first_line": search(
        A("", "/"), A("//", "a"), A("", "//a"), A("", "?"), A("?", "a")
    ),
    "message_batches.storage.object_store:open_store": search(A("", '"'), A('"', "a"), A("", '"\n'), A("", '"a')),
    "message_batches.storage.groups:_LAYOUT": fullmatch(
        A("submissions/", "a"),
        A("submissions/a/", "1"),
        A(f"submissions/a/1-{'0' * 64}/", "-1"),
        A("claims/", "a"),
        A(f"submissions/a/1-{'0' * 64}/a-", "1"),
        A(f"submissions/a/1-{'0' * 64}/", "-1.outcome"),
        A("claims/", "a-"),
        A("claims/a-0123456789ab/", "a"),
        A("claims/a-0123456789ab/", ".json"),
        A("results/", "0"),
        A("results/a-0123456789ab/", "a"),
        A("results/a-0123456789ab/a/", "0"),
        A("manifests/", "0"),
        A("jobs/", "a"),
        A("jobs/", "0"),
        A("jobs/", f"-{'0' * 16}"),
        A(f"jobs/a-{'0' * 16}/", "0"),
        A(f"jobs/a-{'0' * 16}/0-", "0"),
    ),
    "message_batches.storage.job_paths:_PLAN_OF_ALL": fullmatch(A("jobs/", "a"), A("jobs/", "a/0.plan")),
    "message_batches.storage.paths:_ACCOUNT": fullmatch(
        A("accounts/", "a"), A("accounts/", "-"), A("accounts/a-", "0")
    ),
    "message_batches.storage.urls:directory_of": search(A("", "a")),
    "message_batches.storage.urls:shown_proxy": search(A("", "/"), A("//", "a"), A("", "//a"), A("//", "a@")),
    "message_batches.temporal.connection:_ADDRESS": fullmatch(
        A("", "a"), A("[", ":"), A("https://", "."), A("a:", "0")
    ),
    "message_batches.temporal.connection:_CERTIFICATE": search(
        A("-----BEGIN CERTIFICATE-----", "A"),
        A("", "-----BEGIN CERTIFICATE-----"),
        A("-----BEGIN CERTIFICATE-----", "\n"),
    ),
    "message_batches.temporal.connection:_FILE_NAME": fullmatch(A("", "a"), A("", "/"), A("sk-", "a")),
    "message_batches.temporal.connection:_reason": search(
        A("invalid ", "a"), A("invalid a: ", ", expecte"), A("", "invalid a: ")
    ),
    "message_batches.temporal.connection:_reason#2": search(A("", "'"), A("'", "a"), A("", "'a")),
    "message_batches.temporal.diagnosis:connection_problem": search(A("", "PrivateKey"), A("", "Certificate")),
    "message_batches.temporal.diagnosis:_short": search(A("", 'error: "'), A('error: "', "a"), A("", "message: ")),
    "message_batches.temporal.diagnosis:_short#2": search(A("", "kind: "), A("kind: ", "a")),
    "workflows.input_validation:_FIELD_NAME": WORD,
}
OF_THE_USER = {
    "message_batches.arazzo.criteria:_regex": "of the document, which is trusted as code is",
    "message_batches.emulator.schema_texts:_matching": "of a schema that the user of the emulator has written",
    "message_batches.emulator.schema_texts:matches": "the same",
    "message_batches.runs.start:again_id_of": "a workflow id and eight characters",
    "message_batches.settings:_release": "of a class of characters, with a bound",
}
"""Patterns that are made when they are needed: they meet no text of anybody but their author."""


@cache
def found() -> dict[str, Call]:
    """Return all calls by name."""
    return dict(calls())


def test_every_regular_expression_is_entered() -> None:
    assert found().keys() == ENTRIES.keys() | OF_THE_USER.keys()


@pytest.mark.parametrize("name", ENTRIES)
def test_a_regular_expression_takes_linear_time(name: str) -> None:
    entry, call = ENTRIES[name], found()[name]
    for attack in entry.attacks:
        use = _use(entry, call)
        assert any(_is_linear(use, attack) for _ in range(5)), attack
    assert entry.attacks


def _is_linear(use: Callable[[str], object], attack: Attack) -> bool:
    """Tell whether four times the text takes about four times as long: sixteen times if quadratic, on any machine."""
    return (longest := _seconds(use, attack, 4)) <= FAST or longest < 8 * _seconds(use, attack, 1)


def _use(entry: Entry, call: Call) -> Callable[[str], object]:
    if callable(entry.use):
        return entry.use
    assert call.pattern, "give a call for a pattern that is made when it runs"
    method = getattr(call.pattern, entry.use)
    return (lambda text: method(text.encode())) if isinstance(call.pattern.pattern, bytes) else method


def _seconds(use: Callable[[str], object], attack: Attack, times: int) -> float:
    text = attack.start + attack.unit * (SIZE * times // len(attack.unit)) + attack.end
    taken = []
    for _ in range(2):
        began = time.process_time()
        use(text)
        taken.append(time.process_time() - began)
    return min(taken)
