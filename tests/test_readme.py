"""README keeps to what there is: commands, options, variables, failure types, snippets."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from message_batches.emulator.faults import FAULT_KINDS
from message_batches.errors import BY_NAME
from message_batches.models import BatchInput, BatchOutput, Progress

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("message_batches", "workflows", "activities")
    for path in (ROOT / folder).rglob("*.py")
)


def section(title: str) -> str:
    """The text under a heading."""
    return README.split(f"{title}\n", 1)[1].split("\n## ", 1)[0]


def output_of(*command: str) -> str:
    """What a command of the project prints."""
    wide = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=wide, check=True, capture_output=True, text=True
    ).stdout


def test_every_command_and_option_exists() -> None:
    operate = section("## Operate").split("### What a run answers to")[0]
    named = {*re.findall(r"starter\.py ([a-z]+)", README), *re.findall(r"^\| `([a-z]+)", operate, re.M)}
    helps = {command: output_of("starter.py", command, "--help") for command in named}

    everything = "\n".join([*helps.values(), output_of("worker.py", "--help")])
    options = set(re.findall(r"(--[a-z][a-z-]+)", operate))
    assert named >= {"start", "check", "status", "results", "cancel", "resolve", "attach", "list", "demo"}
    assert {option for option in options - {"--help"} if option not in everything} == set()


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))

    assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", README)) <= targets


def test_every_variable_is_read_and_every_variable_read_is_named() -> None:
    ours = set(re.findall(r"(?:ANTHROPIC|MESSAGE_BATCHES)_[A-Z_]+[A-Z]", section("## Configure")))
    settings = (ROOT / "message_batches" / "settings.py").read_text()
    read = set(re.findall(r'"((?:ANTHROPIC|MESSAGE_BATCHES)_[A-Z_]+)"', settings))

    assert read <= ours
    assert ours - read <= {"ANTHROPIC_API_KEY_TEAM_A", "ANTHROPIC_API_KEY"}


def test_every_failure_type_is_one_that_a_run_can_end_with() -> None:
    table = section("### How a run fails").split("## Use it")[0]
    types = set(re.findall(r"`([A-Z][a-zA-Z]+)`", table))

    ours = {"SubmissionUnknown", "BatchNotEnded", "InvalidInput", "ActivityFailed"}
    assert {name for name in types if name not in BY_NAME} <= ours
    assert all(f'"{name}"' in CODE for name in ours)
    assert set(BY_NAME) - types <= {"MessageBatchesError", "ApiError", "StoreUnavailable", "WrongStore", "NotOurs"}


def test_every_fault_is_one_of_the_emulators() -> None:
    table = section("## The emulator").split("| fault |")[1].split("A fault names")[0]
    named = set(re.findall(r"`([a-z0-9-]+)`", table))

    assert named - {"seconds"} == set(FAULT_KINDS)


def test_the_inputs_and_outputs_are_the_models() -> None:
    fields = {
        info.alias
        for model in (BatchInput, BatchOutput, Progress)
        for info in model.model_fields.values()
        if info.alias
    }
    named = set(re.findall(r"`([a-z]+(?:[A-Z][a-z]+)+)`", section("## Use it from another workflow")))

    assert named <= fields | {"batchId"}


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", README, re.S), ids=lambda text: text[:40])
def test_a_python_snippet_compiles_and_what_it_imports_is_there(snippet: str) -> None:
    body = "\n".join(f"    {line}" for line in snippet.splitlines())
    compile(f"async def snippet():\n{body}\n", "README.md", "exec")

    for line in re.findall(r"^from .*", snippet, re.M):
        exec(line, {})


def test_what_check_prints_is_what_readme_shows() -> None:
    shown = README.split("starter.py check examples/requests.jsonl\n", 1)[1].split("\n\n", 1)[0]
    printed = output_of("starter.py", "check", "examples/requests.jsonl")

    assert [line.rstrip() for line in printed.splitlines()] == shown.splitlines()


def test_every_file_that_is_named_is_there() -> None:
    linked = re.findall(r"\]\(([a-z][\w/.-]+)\)", README)
    named = re.findall(r"`((?:workflows|activities|message_batches|tests|arazzo|examples)/[\w./-]*)`", README)

    assert [path for path in (*linked, *named) if not (ROOT / path).exists()] == []
