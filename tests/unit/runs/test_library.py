"""The packages are a library: they load no terminal, and their texts name no command."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.project import ROOT

PACKAGES = pytest.mark.parametrize("package", ["runs", "library"])
COMMAND_LINE = ("starter.py", "worker.py", "--")


def texts(path: Path) -> Iterator[str]:
    """Return every string of a module, docstrings included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def modules(package: str) -> list[Path]:
    return sorted((ROOT / "message_batches" / package).glob("*.py"))


@PACKAGES
def test_no_module_loads_a_printing_library(package: str) -> None:
    names = [f"message_batches.{package}.{path.stem}" for path in modules(package) if path.stem != "__init__"]
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert names
    assert set(names) <= set(loaded)
    assert not {"rich", "typer", "message_batches.cli"} & set(loaded)


@PACKAGES
def test_no_text_names_a_command(package: str) -> None:
    named = [
        (path.name, text)
        for path in modules(package)
        for text in texts(path)
        if any(word in text for word in COMMAND_LINE)
    ]

    assert named == []
