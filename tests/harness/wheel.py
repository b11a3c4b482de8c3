"""An empty environment with the wheel, and with those installed packages that a test names."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.harness.project import ROOT


def build_wheel(folder: Path) -> Path:
    """Build the wheel into a folder."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def make_environment(folder: Path, wheel: Path) -> Path:
    """Create an environment that holds only the wheel; return its interpreter."""
    venv.create(folder)
    interpreter = folder / "bin" / "python"
    # With the pip of this environment: installing another one would take longer than all the rest.
    install = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    return interpreter


def installed_by(extra: str) -> list[str]:
    """Return the distributions that an extra of the project installs, without what these require."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: list[str] = []
    wanted = [*project["dependencies"], *project["optional-dependencies"][extra]]
    while wanted:
        name, extras = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", wanted.pop()).groups()  # type: ignore[union-attr]  # Each has a name.
        if name == project["name"]:
            wanted += [each for extra in extras.split(",") for each in project["optional-dependencies"][extra]]
        else:
            found.append(name)
    return found


def with_only(names: Sequence[str], folder: Path) -> Mapping[str, str]:
    """Return variables with which only these installed distributions and their requirements can be imported.

    They contain none of this machine's own settings; the folder is the home.
    """
    wanted, seen = list(names), set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        distribution = importlib.metadata.distribution(name)
        for requirement in distribution.requires or []:
            if ";" not in requirement:
                wanted += re.findall(r"^[\w.-]+", requirement)
        for file in distribution.files or []:
            top = file.parts[0]
            source = Path(str(distribution.locate_file(top)))
            if top not in ("..", "__pycache__") and source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source)
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder)}
