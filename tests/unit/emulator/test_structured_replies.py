"""Structured replies: a forced tool and a JSON schema are answered with an instance of the schema."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import httpx
import jsonschema
import pytest
from pydantic import BaseModel, ConfigDict, Field

from message_batches.emulator.schema_instances import instance_of
from tests.harness.emulated_api import by_id, create, http, request
from tests.unit.emulator.conftest import Start


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sku: str = Field(pattern=r"^[A-Z]{2}-\d{4}$")
    quantity: int = Field(ge=1, le=5)
    price: Decimal = Field(gt=0, max_digits=8, decimal_places=2)
    colour: Colour | None = None


class Person(BaseModel):
    kind: Literal["person"] = "person"
    name: str = Field(min_length=3, max_length=12)
    born: date


class Company(BaseModel):
    kind: Literal["company"] = "company"
    vat: str = Field(pattern=r"^DE[0-9]{9}$")
    share: float = Field(gt=0, lt=0.001)


class Node(BaseModel):
    name: str
    children: list[Node] = Field(min_length=1)
    parent: Node | None = None


class Invoice(BaseModel):
    number: str
    at: datetime
    id: UUID
    lines: list[Line] = Field(min_length=2, max_length=4)
    buyer: Annotated[Person | Company, Field(discriminator="kind")]
    notes: dict[str, list[int]]
    size: tuple[int, str]
    tags: set[Colour]
    total: float = Field(multiple_of=0.5, ge=10)
    paid: bool
    anything: Any


class Tree(BaseModel):
    """One branch ends, or validation could not."""

    name: str
    left: Tree | None = None
    right: Tree | None = None
    others: list[Tree] = []


SCHEMAS: dict[str, dict[str, Any]] = {
    "required": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]},
    "enum": {"type": "object", "properties": {"a": {"enum": ["x", 7, None]}}, "required": ["a"]},
    "const": {"type": "object", "properties": {"a": {"const": {"x": [1]}}}, "required": ["a"]},
    "types": {"type": "object", "properties": {"a": {"type": ["integer", "null"]}, "b": {"type": "null"}}},
    "no types": {"properties": {"a": {"items": {"minimum": 3}}, "b": {"maxLength": 2}}, "required": ["a", "b"]},
    "array": {"type": "array", "items": {"type": "boolean"}, "minItems": 7, "maxItems": 7},
    "unique": {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": 4},
        "minItems": 4,
        "uniqueItems": True,
    },
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2},
    "contains": {"type": "array", "items": {}, "contains": {"const": 3}},
    "closed": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"a": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.01}},
        "required": ["a"],
    },
    "mapping": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3},
    "named mapping": {"type": "object", "propertyNames": {"pattern": "^k[0-9]{2}$"}, "minProperties": 1},
    "any of": {"anyOf": [{"type": "object", "required": ["x"]}, {"type": "array", "minItems": 1}]},
    "one of": {"oneOf": [{"type": "string", "minLength": 400}, {"type": "integer", "multipleOf": 7, "minimum": 1}]},
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"$ref": "#/definitions/count"}}, "required": ["b"]},
        ],
        "definitions": {"count": {"type": "integer", "maximum": -5}},
    },
    "recursive": {"type": "object", "properties": {"next": {"$ref": "#"}, "v": {"type": "integer"}}, "required": ["v"]},
    "formats": {
        "type": "object",
        "properties": {
            name: {"type": "string", "format": name} for name in ("date", "date-time", "email", "uuid", "ipv4", "ipv6")
        },
    },
    "patterns": {
        "type": "object",
        "properties": {
            str(number): {"type": "string", "pattern": pattern}
            for number, pattern in enumerate(
                (
                    r"^\+49[ -]?\d{3,5}$",
                    r"^(?!000)\d{3}-(?:AB|CD)+$",
                    r"^([a-f])\1[^a-z\d]$",
                    r"^(yes|no)$",
                    r"\S{3}",
                    r"^[\w.+-]+@[\w-]+\.[a-z]{2,}$",
                    r"^.{5}$",
                )
            )
        },
    },
    "numbers": {
        "type": "array",
        "minItems": 5,
        "prefixItems": [
            {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6},
            {"type": "number", "maximum": -3.5},
            {"type": "number", "multipleOf": 0.25, "minimum": 0.1, "maximum": 0.6},
            {"type": "integer", "minimum": -7, "maximum": -7},
            {"type": "number", "minimum": -1e9, "exclusiveMaximum": 0},
        ],
    },
    "as zod writes them": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "email": {
                "type": "string",
                "format": "email",
                "pattern": r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]"
                r"@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
            },
            "count": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991},
            "any": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
            "id": {"type": "string", "pattern": r"^[cC][^\s-]{8,}$"},
        },
        "required": ["email", "count", "any", "id"],
        "additionalProperties": False,
    },
    "names+min": {"type": "object", "propertyNames": {"pattern": "^k[0-9]$"}, "minProperties": 6},
    "names enum": {"type": "object", "propertyNames": {"enum": ["a", "b", "c"]}, "minProperties": 3},
    "names+addl": {
        "type": "object",
        "propertyNames": {"maxLength": 4},
        "additionalProperties": {"type": "integer", "minimum": 3},
        "minProperties": 3,
    },
    "props+min": {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "additionalProperties": {"type": "boolean"},
        "minProperties": 4,
    },
    "pattern+min": {
        "type": "object",
        "patternProperties": {"^x": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 3,
    },
    "mult .1": {"type": "number", "multipleOf": 0.1},
    "mult .01": {"type": "number", "multipleOf": 0.01, "minimum": 0.05, "maximum": 3},
    "mult 0.3": {"type": "number", "multipleOf": 0.3},
    "mult 1e-3": {"type": "number", "multipleOf": 0.001},
    "int mult 2.5": {"type": "integer", "multipleOf": 2.5},
    "mult excl": {"type": "number", "multipleOf": 5, "exclusiveMinimum": 5, "maximum": 10},
    "mult 1e-12": {"type": "number", "multipleOf": 1e-12, "minimum": 1, "maximum": 2},
    "const any": {"anyOf": [{"const": "a"}, {"const": 7}], "type": "string"},
    "enum anyOf": {"enum": ["a", 1, None], "anyOf": [{"type": "string"}, {"type": "null"}]},
    "enum allOf": {"allOf": [{"enum": ["a", "b", "c"]}, {"enum": ["b", "c", "d"]}]},
    "enum type": {"type": "integer", "enum": ["x", 3]},
    "const allOf": {"allOf": [{"type": "string"}, {"const": "z"}]},
    "bounds": {"allOf": [{"type": "integer", "minimum": 5}, {"minimum": 1, "maximum": 9}]},
    "props twice": {
        "allOf": [
            {"properties": {"a": {"minLength": 3}}, "required": ["a"]},
            {"properties": {"a": {"type": "string", "maxLength": 4}}},
        ]
    },
    "ref rec": {
        "$ref": "#/$defs/n",
        "$defs": {
            "n": {
                "type": "object",
                "properties": {
                    "v": {"type": "integer"},
                    "kids": {"type": "array", "items": {"$ref": "#/$defs/n"}},
                    "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]},
                },
                "required": ["v", "kids", "next"],
                "additionalProperties": False,
            }
        },
    },
    "uniq enum": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
    "uniq bool": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "uniqueItems": True},
    "uniq 1/true": {"type": "array", "items": {"enum": [1, True, 0, False]}, "minItems": 4, "uniqueItems": True},
    "uniq big": {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": 12},
        "minItems": 12,
        "uniqueItems": True,
    },
    "uniq str": {"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 5, "uniqueItems": True},
    "addl": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}, "minItems": 1}},
    "pattern len": {"type": "string", "pattern": "^[a-z]+$", "minLength": 10, "maxLength": 12},
    "pattern star": {"type": "string", "pattern": "^[A-Z]*$", "minLength": 20},
    "fmt len": {"type": "string", "format": "uri", "minLength": 5},
    "depReq": {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "dependentRequired": {"a": ["b"]},
    },
    "min contains": {"type": "array", "contains": {"type": "integer"}, "minContains": 3, "items": {"type": "integer"}},
    "max props": {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "integer"},
            "c": {"type": "integer"},
            "d": {"type": "integer"},
        },
        "maxProperties": 2,
        "required": ["b"],
    },
    "min of optional": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "minProperties": 2,
        "maxProperties": 2,
    },
    "lengths": {"type": "string", "minLength": 300, "maxLength": 301},
    "nothing": {},
    "escaped reference": {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}},
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_an_instance_meets_its_schema(schema: dict[str, Any]) -> None:
    check = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    for seed in range(40):
        check.validate(instance_of(schema, seed, "What is it? (0123)"))


@pytest.mark.parametrize("model", [Invoice, Line, Person, Company, Tree])
def test_an_instance_of_a_pydantic_model_is_valid(model: type[BaseModel]) -> None:
    for seed in range(40):
        model.model_validate_json(json.dumps(instance_of(model.model_json_schema(), seed, "About")))


def test_bounds_in_a_description_are_met() -> None:
    """The official client moves those that the API's schemas do not have there."""
    schema = {
        "type": "array",
        "description": "Some numbers\n\n{minItems: 3, maxItems: 3, uniqueItems: True, title: X}",
        "items": {"type": "integer", "description": "{minimum: 7, exclusiveMaximum: 11}"},
    }

    for seed in range(20):
        made = instance_of(schema, seed, "About")
        assert isinstance(made, list)
        assert (len(made), len({*made} & {7, 8, 9, 10})) == (3, 3)


def test_a_schema_without_an_end_gets_an_answer_all_the_same() -> None:
    """Every node must have a child, which no finite instance has."""
    made = instance_of(Node.model_json_schema(), 1, "About")

    assert isinstance(made, dict)
    assert made["children"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/nowhere"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"anyOf": []},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"type": "string", "pattern": "(a{999}){999}"},
        {"type": "string", "pattern": "(unclosed"},
        {"type": "string", "pattern": r"\p{L}+"},
        {"type": "integer", "minimum": 5, "maximum": 1},
        {"type": "string", "enum": []},
        {"type": "what-is-this"},
        {"type": ["integer", 7]},
        {"type": "string", "minLength": "x"},
        {"type": "integer", "minimum": "a"},
        {"type": "number", "minimum": 10**400},
        {"type": "number", "multipleOf": 0},
        {"type": "array", "maxItems": None},
        {"type": "object", "properties": {"a": {"$ref": 7}}},
        {"type": "object", "properties": [], "required": "a"},
        {"type": "object", "properties": {"a": True, "b": False}},
        {"type": "object", "minProperties": 10**9},
    ],
    ids=str,
)
def test_a_schema_that_nothing_meets_costs_little(schema: dict[str, Any]) -> None:
    made = json.dumps(instance_of(schema, 1, "About"))

    assert len(made) < 1_000_000


def test_the_same_seed_gives_the_same_instance() -> None:
    schema = Invoice.model_json_schema()

    made = [json.dumps(instance_of(schema, seed, "About")) for seed in (1, 1, 2)]

    assert made[0] == made[1] != made[2]


INVOICE = {"name": "record_invoice", "description": "Record it", "input_schema": Invoice.model_json_schema()}
OTHER = {"name": "other", "input_schema": {"type": "object", "properties": {}}}
SEARCH = {"type": "web_search_20260318", "name": "web_search"}


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([OTHER, INVOICE], {"type": "tool", "name": "record_invoice"}),
        ([INVOICE, OTHER], {"type": "any"}),
        ([SEARCH, INVOICE], {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
async def test_a_forced_tool_is_used_with_an_instance_of_its_schema(
    client: httpx.AsyncClient, tools: list[Any], choice: dict[str, Any]
) -> None:
    made = await create(client, *(request(f"r{n}", f"Text {n}", tools=tools, tool_choice=choice) for n in range(5)))

    for number, message in (await by_id(client, made["id"])).items():
        [block] = message["message"]["content"]
        assert (message["message"]["stop_reason"], block["type"]) == ("tool_use", "tool_use")
        assert (block["name"], block["id"].startswith("toolu_")) == ("record_invoice", True)
        invoice = Invoice.model_validate(block["input"])
        assert f"Text {number[1:]}" in invoice.number


USED = [
    {"type": "tool_use", "id": "toolu_1", "name": "record_invoice", "input": {}},
    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "recorded"},
]


def conversation(used: list[Any]) -> list[dict[str, Any]]:
    """Return a question, and what came of it: the use of a tool, and its result."""
    turns = [{"role": role, "content": [block]} for role, block in zip(("assistant", "user"), used, strict=False)]
    return [{"role": "user", "content": "Text"}, *turns]


@pytest.mark.parametrize(
    ("choice", "used", "expected"),
    [
        ({"type": "auto"}, [], "record_invoice"),
        (..., [], "record_invoice"),
        ({"type": "auto"}, USED, "other"),
        ({"type": "any"}, USED, "other"),
        ({"type": "none"}, [], None),
    ],
)
async def test_a_model_that_may_choose_uses_each_tool_once(
    client: httpx.AsyncClient, choice: Any, used: list[Any], expected: str | None
) -> None:
    messages = conversation(used)
    made = await create(client, request("a", tools=[INVOICE, OTHER], tool_choice=choice, messages=messages))

    message = (await by_id(client, made["id"]))["a"]["message"]
    assert message["stop_reason"] == ("end_turn" if expected is None else "tool_use")
    assert message["content"][0].get("name") == expected


async def test_after_its_tools_an_agent_gets_its_answer(client: httpx.AsyncClient) -> None:
    asked: dict[str, Any] = {"tools": [INVOICE, SEARCH], "messages": conversation(USED)}
    made = await create(client, request("text", **asked), request("any", **asked, tool_choice={"type": "any"}))

    got = {name: result["message"] for name, result in (await by_id(client, made["id"])).items()}
    assert (got["text"]["stop_reason"], got["text"]["content"][0]["type"]) == ("end_turn", "text")
    assert got["text"]["content"][0]["text"].startswith('On "recorded"')
    assert got["any"]["content"][0]["name"] == "record_invoice"


FORMAT = {"type": "json_schema", "schema": Invoice.model_json_schema()}


@pytest.mark.parametrize("params", [{"output_config": {"format": FORMAT, "effort": "low"}}, {"output_format": FORMAT}])
async def test_a_json_schema_is_answered_with_json_of_it(client: httpx.AsyncClient, params: dict[str, Any]) -> None:
    made = await create(client, request("a", 'Say "hi" \\ \u2028 🙂 and half of one: \ud83d', **params))

    message = (await by_id(client, made["id"]))["a"]["message"]
    [block] = message["content"]
    invoice = Invoice.model_validate_json(block["text"])
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["output_tokens"] == -(-len(block["text"]) // 4)
    assert 'Say "hi" \\' in invoice.number


async def test_a_structured_reply_is_cut_at_max_tokens(client: httpx.AsyncClient) -> None:
    forced = {"tools": [INVOICE], "tool_choice": {"type": "any"}}
    asked: dict[str, dict[str, Any]] = {"format": {"output_config": {"format": FORMAT}}, "tool": forced}
    made = await create(client, *(request(name, max_tokens=20, **params) for name, params in asked.items()))

    got = {name: result["message"] for name, result in (await by_id(client, made["id"])).items()}
    assert [message["stop_reason"] for message in got.values()] == ["max_tokens"] * 2
    assert [message["usage"]["output_tokens"] for message in got.values()] == [20, 20]
    assert len(got["format"]["content"][0]["text"]) == 80
    assert len(json.dumps(got["tool"]["content"][0]["input"])) <= 90


async def test_structured_replies_repeat_with_the_seed(start: Start) -> None:
    replies = []
    for seed in (7, 7, 8):
        emulator = await start(processing_time=timedelta(), seed=seed)
        async with http(emulator) as client:
            made = await create(client, request("a", tools=[INVOICE], tool_choice={"type": "any"}))
            replies.append((await by_id(client, made["id"]))["a"]["message"]["content"])
    assert replies[0] == replies[1] != replies[2]
