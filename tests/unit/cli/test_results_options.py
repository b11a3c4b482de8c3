"""The options of `results`: a `--failed` alone, and options that make no sense together."""

import pytest
from typer.main import get_command

import starter


def parsed(*arguments: str) -> dict[str, object]:
    command = get_command(starter.app).commands["results"]  # type: ignore[attr-defined]
    params: dict[str, object] = command.make_context("results", list(arguments)).params
    return {name: value for name, value in params.items() if value}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("ID", {}),
        ("ID --failed", {"failed": "errors"}),
        ("--failed ID", {"failed": "errors"}),
        ("ID --failed -o x", {"failed": "errors", "output": "x"}),
        ("--failed -- --failed", {"failed": "errors", "identity": "--failed"}),
        ("ID --failed=invalid", {"failed": "invalid"}),
        ("ID --max-tokens=9 --failed=all --json", {"failed": "all", "max_tokens": "9", "as_json": "True"}),
        ("ID --csv -", {"csv": "-"}),
        ("ID --csv a --bom --join b --force", {"csv": "a", "bom": "True", "join": "b", "force": "True"}),
        ("ID --parquet a --join b --on c --json", {"parquet": "a", "join": "b", "on": "c", "as_json": "True"}),
        ("ID --check-schema --strict", {"check_schema": "True", "strict": "True"}),
        ("ID --text -o -", {"text": "True", "output": "-"}),
        ("ID --text -o x", {"text": "True", "output": "x"}),
    ],
)
def test_options_are_read(arguments: str, options: dict[str, str]) -> None:
    found = {name: str(value) for name, value in parsed(*arguments.split()).items()}

    assert found == {"identity": "ID"} | options


@pytest.mark.parametrize(
    "options",
    [
        "--failed --text",
        "--failed --csv a",
        "--text --parquet a",
        "--csv a --parquet b",
        "--check-schema --failed=invalid",
        "--max-tokens 9",
        "--failed --max-tokens 9",
        "--failed=invalid --max-tokens 9",
        "--failed=all --max-tokens 0",
        "--strict",
        "--failed --strict",
        "--bom",
        "--parquet a --bom",
        "--join a",
        "--csv a --on b",
        "--csv a -o b",
        "--check-schema -o a",
        "--parquet -",
        "--csv - --json",
        "-o - --json",
        "--failed -o - --json",
        "--failed=other",
        "--failed unusable",
    ],
)
def test_options_that_make_no_sense_together_are_refused(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = starter.main(["results", "ID", *options.split()])

    assert code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith("(`starter.py --help` shows how)"), said
