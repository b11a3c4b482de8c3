"""What `results` makes of a landed batch: requests to send again, a check of structured answers, tables."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]  # It ships no types.

from message_batches.results.tables import COLUMNS
from tests.harness.command_line import QUICK, CommandLine, Ended
from tests.harness.gateway import Gateway, errored, results_of, succeeded
from tests.harness.golden import assert_golden
from tests.harness.requests import fresh
from tests.integration.cli.output.runs import named

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
FORMAT = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
TOOL = {"tools": [{"name": "save", "input_schema": SCHEMA}], "tool_choice": {"type": "tool", "name": "save"}}
LONG = "long " * 200_000


def call(**given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": "save", "input": given}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "formula": ({}, succeeded('=HYPERLINK("http://example.invalid")')),
    "markup": ({}, succeeded('<script>alert(1)</script>\n"quoted", and more')),
    "long": ({}, succeeded(LONG)),
    "control": ({}, succeeded("a\0b \u202eright to left\u2028 \x1b[31m \u05d0")),
    "cut": ({}, succeeded("and so", stop_reason="max_tokens", output_tokens=256)),
    "cut_high": ({"max_tokens": 8192}, succeeded("and so", stop_reason="max_tokens", output_tokens=8192)),
    "full": ({}, succeeded("and so", stop_reason="model_context_window_exceeded")),
    "refused": ({}, succeeded("", stop_reason="refusal")),
    "paused": ({}, succeeded("let me", stop_reason="pause_turn")),
    "overloaded": ({}, errored("Overloaded", "overloaded_error")),
    "wrong": ({}, errored("max_tokens: Field required")),
    "valid": (FORMAT, succeeded('{"n": 1}')),
    "mismatch": (FORMAT, succeeded('{"n": "one"}')),
    "prose": (FORMAT, succeeded('{"n": ')),
    "strange": (FORMAT, succeeded('{"n": 1, "\\u001b[31m \\u202e": 2}')),
    "unreadable": ({"output_format": {"type": "json_schema", "schema": {"pattern": "("}}}, succeeded('"text"')),
    "cut_json": (FORMAT, succeeded('{"n": ', stop_reason="max_tokens", output_tokens=256)),
    "called": (TOOL, succeeded(call(n=1), stop_reason="tool_use")),
    "miscalled": (TOOL, succeeded(call(m=1), stop_reason="tool_use")),
}


@pytest.fixture
async def run(behind: CommandLine, gateway: Gateway) -> str:
    """The id of a run with a result of each kind, which wait in a folder of the user's."""
    requests = fresh(len(CASES))
    for one, (name, (params, _)) in zip(requests, CASES.items(), strict=True):
        one["custom_id"] = name
        one["params"] |= params
    gateway.change = results_of(**{name: result for name, (_, result) in CASES.items()})
    ended = await behind("start", behind.file(requests), "--wait", "--strict", "--json", *QUICK)
    assert ended.code == 1, ended.err
    assert ended.json["output"]["summary"]["usable"] == 11
    return str(ended.json["workflowId"])


def lines_of(file: Path) -> dict[str, dict[str, Any]]:
    return {line["custom_id"]: line["params"] for line in map(json.loads, file.read_text().splitlines())}


def rows_of(text: str) -> dict[str, dict[str, str]]:
    csv.field_size_limit(len(text))
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    return {row["custom_id"]: row for row in rows}


async def test_a_dash_for_a_file_is_standard_output(behind: CommandLine, run: str) -> None:
    for options in ([], ["--text"], ["--failed"]):
        written, plain = await behind("results", run, *options, "-o", "-"), await behind("results", run, *options)

        assert (written.code, written.out, written.err) == (0, plain.out, plain.err)
        assert written.out
    page = await behind("report", run, "-o", "-")

    assert (page.code, page.out) == (2, "")
    assert not (behind.folder / "-").exists()


async def test_what_to_do_about_results(behind: CommandLine, run: str, tmp_path: Path) -> None:
    folder = behind.folder
    starter = named(behind)

    async def results(*options: str) -> Ended:
        return await starter("results", run, *options)

    errors = await results("--failed", "-o", "errors.jsonl", "--json")
    unusable = await results("--failed=unusable", "-o", "unusable.jsonl", "--json")
    raised = await results("--failed=unusable", "--max-tokens", "4096", "-o", "raised.jsonl", "--json")
    invalid = await results("--failed=invalid", "-o", "invalid.jsonl", "--json")
    everything = await results("--failed=all", "--max-tokens=4096", "-o", "all.jsonl", "--json")
    checked, strict = await results("--check-schema", "--json"), await results("--check-schema", "--strict")
    shown = {
        "unusable": await results("--failed=unusable", "-o", "first.jsonl"),
        "unusable, with a higher limit": await results("--failed=unusable", "--max-tokens", "4096", "-o", "more.jsonl"),
        "invalid": await results("--failed=invalid"),
        "all": await results("--failed=all", "--max-tokens=4096", "-o", "last.jsonl"),
        "the schemas": strict,
    }

    assert list(lines_of(folder / "errors.jsonl")) == ["overloaded"]
    assert list(lines_of(folder / "errors.invalid.jsonl")) == ["wrong"]
    assert (errors.json["again"], errors.json["invalid"], errors.json["reasons"]) == (1, 1, {})

    assert not (folder / "unusable.jsonl").exists()
    assert list(lines_of(folder / "unusable.invalid.jsonl")) == [
        *("cut", "cut_high", "full", "refused", "paused", "cut_json")
    ]
    assert unusable.json["reasons"] == {
        "max_tokens": 3,
        "model_context_window_exceeded": 1,
        "refusal": 1,
        "pause_turn": 1,
    }

    assert {name: line["max_tokens"] for name, line in lines_of(folder / "raised.jsonl").items()} == {
        "cut": 4096,
        "cut_json": 4096,
    }
    assert (raised.json["again"], raised.json["raised"], raised.json["invalid"]) == (2, 2, 4)
    assert list(lines_of(folder / "invalid.jsonl")) == ["mismatch", "prose", "strange", "miscalled"]
    assert [invalid.json[name] for name in ("mismatched", "notCompared", "again", "invalid")] == [4, 1, 4, 0]
    assert set(lines_of(folder / "all.jsonl")) == {
        *("overloaded", "cut", "cut_json", "mismatch", "prose", "strange", "miscalled")
    }
    assert (everything.json["again"], everything.json["invalid"]) == (7, 5)

    report = checked.json
    assert {
        name: report[name] for name in ("asked", "valid", "invalid", "unchecked", "cutOff", "notJson", "noAnswer")
    } == {**{"asked": 8, "valid": 2, "invalid": 4, "unchecked": 1, "cutOff": 1, "notJson": 1, "noAnswer": 0}}
    assert {(each["path"], each["rule"]): each["customIds"] for each in report["failures"]} == {
        ("$.n", "type"): ["mismatch"],
        ("$", "json"): ["prose"],
        ("$", "required"): ["miscalled"],
        ("$", "additionalProperties"): ["strange", "miscalled"],
    }
    assert all(each.isprintable() or each == "\n" for each in strict.out)
    assert (checked.code, strict.code) == (0, 1)
    assert_golden("results_to_send_again", shown, tmp_path)


async def test_tables_of_results(behind: CommandLine, run: str) -> None:
    folder = behind.folder
    names = [*CASES][::-1][1:]
    rows = [f'{name},"a, of {name}\nin two lines",{-number}' for number, name in enumerate(names)]
    (folder / "data.csv").write_text("\n".join(["id,text,amount", *rows, "stranger,x,0"]), encoding="utf-8-sig")
    joining = ("--join", "data.csv", "--on", "id")

    plain = await behind("results", run, "--csv", "plain.csv", "--bom", "--json")
    again = await behind("results", run, "--csv", "plain.csv")
    printed = await behind("results", run, "--csv", "-")
    joined = await behind("results", run, "--csv", "joined.csv", *joining, "--json")
    stored = await behind("results", run, "--parquet", "rows.parquet", *joining)
    refused = await behind("results", run, "--csv", "other.csv", "--join", "data.csv", "--json")

    onto_itself = await behind("results", run, "--csv", "data.csv", *joining, "--force", "--json")

    text = (folder / "plain.csv").read_bytes().decode("utf-8")
    assert text.startswith("\ufeffcustom_id,outcome,")
    table = rows_of(text)
    assert [*table] == [*CASES]
    assert tuple(table["formula"]) == COLUMNS
    assert table["formula"]["text"] == '\'=HYPERLINK("http://example.invalid")'
    assert table["markup"]["text"] == '<script>alert(1)</script>\n"quoted", and more'
    assert table["long"]["text"] == LONG
    assert table["control"]["text"] == "a\ufffdb \u202eright to left\u2028 \ufffd[31m \u05d0"
    assert (table["cut"]["stop_reason"], table["cut"]["output_tokens"]) == ("max_tokens", "256")
    assert (table["overloaded"]["outcome"], table["overloaded"]["error"]) == ("errored", "overloaded_error: Overloaded")
    assert table["overloaded"]["cost"] == table["overloaded"]["input_tokens"] == ""
    assert printed.out.replace("\r\n", "\n") == text.removeprefix("\ufeff").replace("\r\n", "\n")
    assert again.code == 2

    landed = (await behind("results", run, "--json")).json["cost"]
    assert sum(Decimal(row["cost"] or 0) for row in table.values()) == Decimal(landed["amount"])
    assert Decimal(plain.json["cost"]) == Decimal(landed["amount"])

    assert joined.json["join"] == {"matched": len(names), "withoutRow": 1, "unused": 1}
    both = rows_of((folder / "joined.csv").read_bytes().decode("utf-8"))
    assert list(both["formula"]) == ["id", "joined_text", "amount", *COLUMNS]
    assert both["cut"]["joined_text"] == "a, of cut\nin two lines"
    assert both["cut"]["amount"] == str(-names.index("cut"))
    assert both["miscalled"]["id"] == ""

    assert stored.code == 0, stored.err
    columns = parquet.read_table(folder / "rows.parquet").to_pydict()
    assert list(columns) == ["id", "joined_text", "amount", *COLUMNS]
    assert columns["custom_id"] == [*CASES]
    assert sum(cost for cost in columns["cost"] if cost) == Decimal(landed["amount"])
    assert columns["text"][0] == '=HYPERLINK("http://example.invalid")'
    assert columns["input_tokens"][:2] == [10, 10]
    assert columns["id"][-1] is None

    assert (refused.code, refused.json["error"]["type"]) == (2, "FileNotJoined")
    assert not (folder / "other.csv").exists()
    assert (onto_itself.code, onto_itself.json["error"]["type"]) == (2, "FileNotWritten")
    assert (folder / "data.csv").read_text("utf-8-sig").startswith("id,text,amount\n")


@pytest.mark.slow
async def test_a_reply_that_was_cut_off_is_had_whole_with_a_higher_limit(starter: CommandLine) -> None:
    requests = fresh(2)
    requests[0]["params"]["max_tokens"] = 4
    strictly = ("--wait", "--strict", *QUICK)

    cut = await starter("start", starter.file(requests), *strictly)
    run = (await starter("start", starter.file(requests), "--json")).json["workflowId"]
    written = await starter("results", run, "--failed=unusable", "--max-tokens", "512", "-o", "retry.jsonl", "--json")
    whole = await starter("start", "retry.jsonl", *strictly, "--json")

    assert cut.code == 1
    assert "--failed=unusable --max-tokens N -o" in cut.said
    assert (written.json["again"], written.json["raised"]) == (1, 1)
    assert whole.code == 0
    assert whole.json["output"]["summary"]["usable"] == 1
