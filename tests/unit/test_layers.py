"""Imports go one way between packages, and each layer loads only what its reader needs."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.harness.project import ROOT

LIBRARY = "message_batches"
APPLICATION = ["activities", "workflows", "worker", "starter"]
HEAVY = ["temporalio", "httpx", "obstore", "aiohttp", "msgspec", "yaml", "typer", "rich", "anthropic", "cryptography"]
HEAVY += ["genai_prices", "jinja2", "jsonschema", "pyarrow", "opentelemetry"]

ALLOWED: Mapping[str, str] = {
    "activities": (
        "api contract errors formatting job_models jobs log_context models observability prices requests result_models "
        "results serialization storage temporal uri_template webhooks"
    ),
    "api": "concurrency error_causes errors jsonl log_context serialization spans",
    "arazzo": "api errors formatting models",
    "cli": (
        "api contract emulator errors formatting job_models jobs library models observability prices report requests "
        "result_models results retention runs schedules serialization settings storage temporal uri_template"
    ),
    "content_rules": "prompt_rules",
    "contract_schemas": "api job_models models webhooks",
    "codec_server": "encryption errors listener settings",
    "emulator": "claude_models content_rules listener",
    "encryption": "errors",
    "prices": "arazzo result_models",
    "result_models": "serialization",
    "errors": "contract",
    "formatting": "job_models models result_models",
    "job_models": "api contract models result_models serialization",
    "jobs": (
        "concurrency contract errors formatting job_models jsonl models prices requests result_models results runs "
        "storage temporal uri_template"
    ),
    "jsonl": "errors",
    "library": (
        "api arazzo concurrency contract errors formatting job_models jobs jsonl models requests result_models results "
        "runs serialization settings storage temporal webhooks"
    ),
    "listener": "errors",
    "models": "api contract result_models serialization webhooks",
    "nexus": "contract job_models models",
    "observability": (
        "claude_models contract errors formatting listener log_context result_models runs spans storage temporal"
    ),
    "report": "contract error_causes formatting job_models models prices result_models results runs storage",
    "requests": (
        "claude_models concurrency content_rules contract errors formatting jsonl models prices result_models "
        "serialization storage"
    ),
    "results": (
        "api claude_models concurrency contract error_causes errors formatting jsonl models prices requests "
        "result_models schemas serialization spans storage"
    ),
    "retention": "contract errors job_models models requests result_models runs schedules storage temporal",
    "runs": (
        "api contract errors formatting job_models models prices requests result_models results serialization storage "
        "temporal"
    ),
    "schedules": (
        "api contract errors formatting job_models jobs models requests runs serialization storage temporal "
        "uri_template"
    ),
    "settings": "api contract encryption errors models prices webhooks",
    "spans": "errors log_context",
    "starter": "cli contract formatting library temporal worker",
    "storage": "api concurrency errors models serialization",
    "uri_template": "errors",
    "temporal": "api encryption errors serialization settings storage",
    "testing": "emulator errors observability settings temporal worker",
    "worker": (
        "activities api concurrency contract errors formatting listener observability prices settings storage "
        "temporal webhooks workflows"
    ),
    "webhooks": "api contract errors result_models serialization",
    "workflows": (
        "activities api contract errors formatting job_models models observability result_models serialization storage "
        "temporal webhooks"
    ),
}
"""The packages that each package may import, without the library's name; a package not listed imports none."""

LAYERS: Mapping[str, tuple[str, str]] = {
    "contract": (
        "message_batches message_batches.contract message_batches.models message_batches.api.models "
        "message_batches.api.interface message_batches.storage.interface message_batches.errors "
        "message_batches.settings message_batches.storage.submission_records "
        "message_batches.log_context message_batches.nexus message_batches.contract_schemas",
        "",
    ),
    "document": ("message_batches.arazzo.plan", "yaml"),
    "api": ("message_batches.api.client", "httpx msgspec rich"),
    "temporal": (
        "message_batches.temporal.connection message_batches.encryption.codec "
        "message_batches.temporal.search_attributes message_batches.observability.metrics "
        "message_batches.observability.logs",
        "temporalio",
    ),
    "codec server": ("message_batches.codec_server", "temporalio aiohttp"),
    "webhooks": ("message_batches.webhooks.endpoints message_batches.webhooks.interface", ""),
    "delivery of webhooks": ("message_batches.webhooks.delivery", "httpx msgspec rich"),
    "store": ("message_batches.storage.object_store", "obstore"),
    "requests and results": ("message_batches.results.landing message_batches.requests.reader", "msgspec"),
    "fixtures": ("message_batches.testing", "aiohttp"),
    "runs": ("message_batches.runs.start message_batches.runs.control", "temporalio msgspec"),
    "schedules": ("message_batches.schedules.create message_batches.schedules.control", "temporalio msgspec"),
    "library": ("message_batches.library", "temporalio msgspec obstore"),
    "report": ("message_batches.report.page", "temporalio msgspec"),
    "emulator": ("message_batches.emulator", "aiohttp"),
    "inputs of activities": ("activities.models", "activities"),
    "activities": ("activities.batch activities.submission activities.jobs", "activities temporalio msgspec"),
    "decisions of the workflow": ("workflows.submission.protocol", "activities workflows"),
    "workflow": ("workflows.message_batch workflows.job", "activities workflows temporalio msgspec"),
    "command line": ("starter", "starter typer rich"),
}
"""The modules that a user of each layer imports, and the heavy and the application's modules that they may load."""


def package_of(module: str) -> str:
    """Return the package of the library or the application that a module, or a name in one, is in; "" for any other."""
    top, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    if top == LIBRARY:
        is_there = (ROOT / top / first).is_dir() or (ROOT / top / f"{first}.py").is_file()
        return first if first and is_there else top
    return top if top in APPLICATION else ""


def imported_by(source: str) -> Iterator[str]:
    """Return all imports of a module, late ones and those for types too; of `from a import b` both, as `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def arrows() -> dict[str, set[str]]:
    """Return the other packages that each package imports."""
    found: dict[str, set[str]] = {}
    files = [path for top in (LIBRARY, *APPLICATION) for path in [ROOT / f"{top}.py", *(ROOT / top).rglob("*.py")]]
    for path in filter(Path.is_file, files):
        importer = package_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        others = {package_of(module) for module in imported_by(path.read_text())} - {"", importer, LIBRARY}
        # The library's own __init__ only exports public names, each loaded when it is first used.
        if others and importer != "__init__":
            found.setdefault(importer, set()).update(others)
    return found


def test_no_two_packages_import_each_other() -> None:
    # Raises a CycleError that names them.
    order = list(TopologicalSorter(arrows()).static_order())

    assert {*order[-2:]} == {"starter", "testing"}


def test_a_package_imports_only_allowed_packages() -> None:
    too_many = {package: others - {*ALLOWED.get(package, "").split()} for package, others in arrows().items()}

    assert {package: others for package, others in too_many.items() if others} == {}


def test_every_allowed_import_is_used() -> None:
    """An import that was removed leaves the table too, or it could come back unnoticed."""
    found = arrows()
    unused = {package: {*others.split()} - found.get(package, set()) for package, others in ALLOWED.items()}

    assert {package: others for package, others in unused.items() if others} == {}


@pytest.mark.parametrize(
    ("source", "packages"),
    [
        ("from message_batches.cli.context import CommandContext", {"cli"}),
        ("from message_batches import cli, BatchInput", {"cli", "message_batches"}),
        ("import message_batches.cli.context as context, json", {"cli", ""}),
        ("def late():\n    from workflows import activity_options", {"workflows"}),
        ("if TYPE_CHECKING:\n    import worker", {"worker"}),
        ("from dataclasses import field", {""}),
    ],
)
def test_every_form_of_import_is_detected(source: str, packages: set[str]) -> None:
    assert {package_of(module) for module in imported_by(source)} == packages


def loaded_by(modules: list[str]) -> dict[str, set[str]]:
    """Return the top-level names that each of these modules loads; one interpreter imports them one after the other."""
    code = (
        "import importlib, json, sys\n"
        "found = {}\n"
        "for module in sys.argv[1:]:\n"
        "    importlib.import_module(module)\n"
        "    found[module] = sorted({name.partition('.')[0] for name in sys.modules})\n"
        "print(json.dumps(found))\n"
    )
    command = [sys.executable, "-c", code, *modules]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return {module: set(names) for module, names in json.loads(output).items()}


@pytest.mark.parametrize(("modules", "allowed"), LAYERS.values(), ids=LAYERS)
def test_a_layer_loads_only_allowed_modules(modules: str, allowed: str) -> None:
    loaded = loaded_by(modules.split())

    watched = {*HEAVY, *APPLICATION} - {*allowed.split()}
    assert {module: names & watched for module, names in loaded.items() if names & watched} == {}


def test_a_run_reads_the_time_from_one_clock() -> None:
    workflows = ROOT / "workflows"

    assert [path.name for path in workflows.rglob("*.py") if "workflow.now()" in path.read_text()] == ["context.py"]
