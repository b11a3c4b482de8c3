"""Comparison of the pages' tables with the code."""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio.api.common.v1 import Payload
from typer.main import get_command

import message_batches.contract as contract
import starter
from message_batches.contract_schemas import SCHEMAS
from message_batches.emulator.fault_kinds import FAULT_KINDS
from message_batches.emulator.faults import read_fault
from message_batches.encryption.codec import EncryptionCodec
from message_batches.errors import ERRORS_BY_NAME, CannotDecrypt
from message_batches.job_models import JobInput, JobOutput, JobProgress, MergedResults
from message_batches.models import BatchInput, BatchOutput, FailureDetails, RequestsInput, Resolution
from message_batches.observability.logs import FIELDS
from message_batches.observability.metrics import METRICS
from message_batches.result_models import Summary
from message_batches.temporal.search_attributes import NEEDS_ATTENTION, SEARCH_ATTRIBUTES, BatchOutcome, BatchStatus
from tests.harness.encryption import key
from tests.harness.metrics import RULES, exported
from tests.harness.pages import PAGES, README, ROOT, page
from workflows.job import MessageBatchJobWorkflow
from workflows.jobs.failed_shards import CONCERN_ALL, PASSING, REFUSED
from workflows.message_batch import MessageBatchWorkflow
from workflows.submit_step import SubmitStep


def test_every_variable_is_read_and_every_variable_read_is_named() -> None:
    named = {name for name in page("docs/configuration.md").column("variable") if "_" in name}
    ours = {name for name in named if name.startswith(("ANTHROPIC_", "MESSAGE_BATCHES_"))}
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "message_batches").rglob("*.py"))
    read = set(re.findall(r'"((?:ANTHROPIC|MESSAGE_BATCHES)_[A-Z_]+[A-Z])"', code))

    assert {re.sub("_<NAME>", "", name) for name in ours} - {"ANTHROPIC_API_KEY_TEAM_A"} == read
    assert len(README.column("variable")) == 6
    assert set(README.column("variable")) <= named


def test_every_failure_type_is_one_that_a_run_can_end_with() -> None:
    named = set(page("docs/errors.md").column("type"))
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflows").rglob("*.py"))

    ours = {"NothingLanded", "SubmissionUnknown", "BatchNotEnded", "DeadlinePassed", "InvalidInput", "ActivityFailed"}
    assert {name for name in named if name not in ERRORS_BY_NAME} <= ours
    assert all(f'"{name}"' in code for name in ours)
    assert set(ERRORS_BY_NAME) - named <= {
        "MessageBatchesError",
        "ApiError",
        "OwnerUndecided",
        "StoreUnavailable",
        "WrongStore",
        "OwnedByAnotherRun",
        "SentByAnotherRun",
    }


def test_the_details_of_a_failure_are_those_of_the_model() -> None:
    assert page("docs/errors.md").column("field") == [info.alias for info in FailureDetails.model_fields.values()]


def test_the_inputs_and_outputs_are_those_of_the_models() -> None:
    given, returned = (set(re.findall(r"`([\w.]+)`", "".join(fields(part)))) for part in ("## Input", "## Output"))
    outputs = {info.alias or name for name, info in BatchOutput.model_fields.items()}

    assert given == {*leaves(BatchInput), "poll", "submission"}
    assert returned == outputs
    assert {name for cell in fields("## Summary") for name in re.findall(r"`(\w+)`", cell)} == leaves_of_summary()


def leaves_of_summary() -> set[str]:
    return {info.alias or name for name, info in Summary.model_fields.items()}


def leaves(model: type[BaseModel]) -> Iterator[str]:
    """Yield the fields of a model that hold no model, with the names of those that they are in."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from (f"{info.alias or name}.{inner}" for inner in leaves(info.annotation))
        else:
            yield info.alias or name


def fields(heading: str) -> list[str]:
    """Return the first cells of the table under a heading of docs/calling.md."""
    section = page("docs/calling.md").text.split(f"{heading}\n", 1)[1].split("\n## ", 1)[0]
    return [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]


def test_the_messages_are_those_of_the_contract() -> None:
    messages = page("docs/messages.md").text
    names = (contract.PROGRESS, contract.POLL_NOW, contract.CANCEL_BATCH, contract.RESOLVE_SUBMISSION)

    assert re.findall(r"^\| (?:query|signal|update) \| `(\w+)`", messages, re.M) == list(names)
    assert all(f'"{info.alias or name}"' in messages for name, info in Resolution.model_fields.items())


def test_the_table_of_the_schemas_has_all_of_them() -> None:
    section = page("docs/calling.md").text.split("## JSON Schema\n", 1)[1].split("\n## ", 1)[0]
    rows = [row.split("|")[2] for row in section.splitlines() if row.startswith("| ") and "`" in row]

    assert sorted(name for row in rows for name in re.findall(r"`([\w-]+)`", row)) == sorted(SCHEMAS)


def test_the_contract_of_a_job_is_that_of_its_models() -> None:
    jobs = page("docs/jobs.md")
    contract_of_jobs = jobs.text.split("## Contract\n", 1)[1]
    named = dict(re.findall(r"^\| (query|signal|update) `(\w+)`", contract_of_jobs, re.M)[::-1])
    updates = re.findall(r"^\| update `(\w+)`.*Refused as `(\w+)`", contract_of_jobs, re.M)
    run = MessageBatchJobWorkflow

    assert (named["query"], named["signal"]) == (contract.PROGRESS, contract.POLL_NOW)
    assert updates == [
        (contract.CANCEL_JOB, *failure_types(run._may_cancel_job, run.cancel_job)),
        (contract.RESUME_JOB, *failure_types(run._may_resume_job, run.resume_job)),
    ]
    for heading, model, elsewhere in (
        ("### Output of a job", JobOutput, set(MergedResults.model_fields)),
        ("### Progress of a job", JobProgress, set[str]()),
    ):
        section = contract_of_jobs.split(f"{heading}\n", 1)[1].split("\n### ", 1)[0]
        listed = {name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)}
        assert listed == {info.alias for name, info in model.model_fields.items() if name not in elsewhere}
    results = jobs.text.split("## Results\n", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"^\| `(\w+)`", results, re.M)) == {
        info.alias for info in MergedResults.model_fields.values()
    }
    own = {info.alias for name, info in JobInput.model_fields.items() if name not in RequestsInput.model_fields}
    given = jobs.text.split("## Input\n", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"^\| `(\w+)`", given, re.M)) == own


def test_the_failures_that_a_job_waits_for_are_listed() -> None:
    rows = page("docs/jobs.md").text.split("## When a shard fails\n", 1)[1].split("\n## ", 1)[0].splitlines()
    listed = [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in rows if row.startswith("| `")]

    assert listed == [CONCERN_ALL, PASSING, REFUSED]


def test_every_failure_type_of_an_update_is_listed() -> None:
    run = MessageBatchWorkflow
    raised = {
        contract.CANCEL_BATCH: failure_types(run._may_cancel_batch, run.cancel_batch),
        contract.RESOLVE_SUBMISSION: failure_types(run._may_resolve, run.resolve_submission, SubmitStep.resolve),
    }
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page("docs/messages.md").text, re.M)

    assert sorted(rows) == sorted((kind, update) for update, kinds in raised.items() for kind in kinds)
    assert page("docs/messages.md").column("type") == [kind for kind, _ in rows]


def failure_types(*functions: Callable[..., Any]) -> set[str]:
    """Return the types of the failures that functions raise themselves."""
    source = "".join(inspect.getsource(function) for function in functions)
    return set(re.findall(r'\bfailure\(\s*"(\w+)"', source))


def test_the_map_names_every_module_of_the_run_and_every_part_of_the_library() -> None:
    library = ROOT / "message_batches"
    run = [path for folder in ("workflows", "activities") for path in (ROOT / folder).rglob("*.py")]
    packages = {f"message_batches/{path.parent.name}/" for path in library.glob("*/__init__.py")}
    modules = {str(path.relative_to(ROOT)) for path in (*run, *library.glob("*.py")) if path.name != "__init__.py"}
    architecture = page("docs/architecture.md")
    named = [*architecture.column("module"), *_parts_of_the_library()]

    assert sorted(modules | packages) == sorted(named)
    assert {"workflows/", "activities/", "message_batches/"} <= set(architecture.column("where"))


def _parts_of_the_library() -> list[str]:
    """Return the first cells of the table under the heading "The library"."""
    section = page("docs/architecture.md").text.split("### The library\n", 1)[1].split("\n## ", 1)[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_every_fault_is_one_of_the_emulator() -> None:
    assert sorted(set(page("docs/emulator.md").column("fault"))) == sorted(FAULT_KINDS)


def test_every_fault_that_is_written_out_can_be_ordered() -> None:
    shown = re.findall(r"\{\"fault\".*?\}", page("docs/emulator.md").text)

    assert len({read_fault(json.loads(fault)).name for fault in shown}) >= 5


def test_attributes_metrics_alerts_and_log_fields_are_listed() -> None:
    observability = page("docs/observability.md")

    assert observability.column("attribute") == [attribute.name for attribute in SEARCH_ATTRIBUTES]
    assert observability.column("`BatchStatus`") == list(BatchStatus)
    assert observability.column("metric") == [exported(metric) for metric in METRICS]
    assert sorted(observability.column("alert")) == sorted(rule["alert"] for rule in RULES)
    assert set(observability.column("field")) >= set(FIELDS.values())
    assert all(f"`{outcome}`" in observability.text for outcome in BatchOutcome)
    attention = next(command.text for command in observability.commands if "BatchStatus IN" in command.text)
    assert all(f'"{status}"' in attention for status in NEEDS_ATTENTION)


async def test_a_process_without_the_key_prints_the_message_on_the_page() -> None:
    [shown] = [block.text for block in page("docs/encryption.md").blocks if block.language == "text"]
    [payload] = await EncryptionCodec([key("2026-11")]).encode([Payload(data=b"text")])

    with pytest.raises(CannotDecrypt) as caught:
        await EncryptionCodec([key("2027-02")]).decode([payload])

    assert str(caught.value).split() == shown.split()


def test_the_options_of_the_programs_are_listed() -> None:
    for name, program in (
        ("docs/operating.md", "worker.py"),
        ("docs/encryption.md", "message_batches/codec_server/__main__.py"),
    ):
        source = (ROOT / program).read_text(encoding="utf-8")
        named = {cell.split()[0] for cell in page(name).column("option") if cell.startswith("--")}
        assert named == set(re.findall(r'"(--[a-z-]+)"', source)), name


def options_of(command: Any) -> set[str]:
    """Return the arguments and options of a command."""
    return {option for given in command.params for option in given.opts}


def test_every_command_and_option_that_is_named_exists() -> None:
    commands = get_command(starter.app).commands  # type: ignore[attr-defined]
    options = {
        name: {option for each in (command, *getattr(command, "commands", {}).values()) for option in options_of(each)}
        for name, command in commands.items()
    }
    for one in PAGES:
        for name, rest in re.findall(r"starter\.py ([a-z]+)\b([^`\n|]*)", one.text):
            assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= {*options[name], "--help"}, (one.name, name, rest)

    for table in (page("docs/cli.md"), README):
        assert {cell.split()[0] for cell in table.column("command") if cell[0] != "-"} == set(options)
