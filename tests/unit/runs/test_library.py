"""The package is a library: it loads no terminal, and its texts name no command."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import message_batches.runs

FOLDER = Path(message_batches.runs.__file__).parent
COMMAND_LINE = ("starter.py", "worker.py", "--")


def texts(path: Path) -> Iterator[str]:
    """Return every string of a module, docstrings included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_module_loads_a_printing_library() -> None:
    names = [f"message_batches.runs.{path.stem}" for path in FOLDER.glob("*.py") if path.stem != "__init__"]
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert names
    assert set(names) <= set(loaded)
    assert not {"rich", "typer", "message_batches.cli"} & set(loaded)


def test_no_text_names_a_command() -> None:
    named = [
        (path.name, text)
        for path in FOLDER.glob("*.py")
        for text in texts(path)
        if any(word in text for word in COMMAND_LINE)
    ]

    assert named == []
