"""An empty environment that the wheel is installed in, and as much of what is installed here as a test says."""

import importlib.metadata
import os
import subprocess
import sys
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
    """Make an environment that holds the wheel and nothing else; its interpreter."""
    venv.create(folder)
    interpreter = folder / "bin" / "python"
    # By the pip that is here: one of its own would take longer to install than all the rest.
    install = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    return interpreter


def with_only(names: Sequence[str], folder: Path) -> Mapping[str, str]:
    """Variables by which, of all that is installed here, only these distributions and their needs can be imported.

    Nothing of this machine's own settings is among them; the folder is the home.
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
                wanted.append(requirement.split("[")[0].split("<")[0].split(">")[0].split("=")[0].split("!")[0].strip())
        for file in distribution.files or []:
            top = file.parts[0]
            source = Path(str(distribution.locate_file(top)))
            if top not in ("..", "__pycache__") and source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source)
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder)}
