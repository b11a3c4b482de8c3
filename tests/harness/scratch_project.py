"""A project of somebody else's, with the tests that docs/testing-your-code.md shows."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from message_batches.temporal.dev_server import temporal_command
from tests.harness.pages import page


def write_project(folder: Path) -> list[str]:
    """Write each snippet of the page to the file that its first line names; return the names of the files."""
    folder.mkdir()
    names = []
    for snippet in page("docs/testing-your-code.md").snippets():
        name = re.match(r"# (\w+\.py)\n", snippet)
        assert name, snippet
        (folder / name[1]).write_text(snippet)
        names.append(name[1])
    return names


def with_temporal(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the variables with a PATH on which there is nothing but the command `temporal`."""
    found = temporal_command()
    assert found, "there is no `temporal` command: install the extra `demo`"
    folder.mkdir()
    (folder / "temporal").symlink_to(shutil.which(found) or found)
    return {**environment, "PATH": str(folder)}


def run_pytest(
    python: Path | str, folder: Path, environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, with all warnings as errors."""
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments]
    variables = {**environment, "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if cores := os.environ.get("GOMAXPROCS"):
        variables["GOMAXPROCS"] = cores
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
