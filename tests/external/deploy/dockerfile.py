"""Dockerfile executed without an engine, as far as Python is concerned: each stage is a folder in place of its `/`."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.project import ROOT

FILE = ROOT / "Dockerfile"

_PIP = r"python -m pip --python /opt/\w+/bin/python install"
_KNOWN = (
    r"python -m venv --without-pip /opt/\w+",
    rf"{_PIP} --require-hashes --only-binary :all: -r [\w.]+",
    rf"{_PIP} --no-deps --no-index dist/\*\.whl",
    r"/opt/\w+/bin/hatchling build --target wheel --directory dist",
    r"python -m compileall -q \.",
    r"install -d -m 1777 /scratch",
)
_NO_ANSWER = re.compile(r"Retrying .* after connection broken by")


class NoPackageIndex(Exception):
    """pip reached no package index."""


def instructions() -> Iterator[tuple[str, str]]:
    """Return each instruction and its arguments, on one line."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, text.splitlines()):
        keyword, _, arguments = line.partition(" ")
        yield keyword, arguments.strip()


def known(command: str) -> bool:
    """Return whether all steps are harmless on a developer's machine; in a container any would be."""
    steps = [step.strip() for step in command.split("&&")]
    return all(any(re.fullmatch(form, " ".join(step.split())) for form in _KNOWN) for step in steps)


def admitted(source: str) -> bool:
    """Return whether .dockerignore, which excludes everything, allows this path in a build."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    path = source.rstrip("/")
    return any(path == line[1:] or path.startswith(f"{line[1:]}/") for line in lines if line.startswith("!"))


@dataclass
class BuildStage:
    """A stage under construction, then an image: `root` replaces `/`, and folders of this machine its mounts."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    mounts: Mapping[str, Path] = field(default_factory=dict)

    def place(self, path: str) -> Path:
        """Return the path on this machine of a path of the image."""
        inside = os.path.join(self.folder, path)
        return self.mounts.get(inside, self.root / inside.lstrip("/"))

    def here(self, text: str) -> str:
        """Replace the absolute paths in a command or a value by those of this machine."""
        paths = "|".join(["/opt", "/src", "/app", "/scratch", *self.mounts])
        return re.sub(rf"(?:(?<=file://)|(?<![\w./]))(?:{paths})\b", lambda path: str(self.place(path[0])), text)

    def variables(self) -> dict[str, str]:
        """Return the environment of a process in the image, without this machine's variables."""
        variables = {name: self.here(value) for name, value in self.environment.items()}
        path = variables.get("PATH", "$PATH")
        # In the first stage, `python` is the interpreter of the tests.
        return {**variables, "PATH": path.replace("$PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")}


def build(folder: Path) -> BuildStage:
    """Execute the file; return the last stage. Raise `NoPackageIndex` if pip cannot install from one."""
    stages: dict[str, BuildStage] = {}
    stage = BuildStage(folder)
    for keyword, arguments in instructions():
        match keyword:
            case "FROM":
                name = arguments.partition(" AS ")[2] or "last"
                stage = stages[name] = BuildStage(folder / name)
                stage.root.mkdir()
            case "ENV":
                for word in shlex.split(arguments):
                    name, _, value = word.partition("=")
                    stage.environment[name] = value
            case "WORKDIR":
                stage.folder = arguments
                stage.place(".").mkdir(parents=True)
            case "COPY":
                _copy(stage, stages, arguments.split())
            case "RUN":
                _run(stage, arguments, folder)
            case "USER" | "EXPOSE" | "ENTRYPOINT" | "CMD":
                pass
            case _:
                raise AssertionError(f"not known how to carry out: {keyword} {arguments}")
    return stage


def _run(stage: BuildStage, command: str, home: Path) -> None:
    assert known(command), f"not to be carried out outside a container unless `known` says so: RUN {command}"
    # The source of packages on this machine.
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = subprocess.run(
        ["sh", "-c", stage.here(command)],
        cwd=stage.place("."),
        env={**stage.variables(), **pip, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode and _NO_ANSWER.search(done.stdout):
        raise NoPackageIndex(done.stdout.splitlines()[-1])
    assert done.returncode == 0, f"RUN {command}\n{done.stdout}"


def _copy(stage: BuildStage, stages: dict[str, BuildStage], words: list[str]) -> None:
    if words[0].startswith("--from="):
        _, source, target = words
        shutil.copytree(stages[words[0].removeprefix("--from=")].place(source), stage.place(target), symlinks=True)
        return
    *sources, target = words
    for source in sources:
        assert admitted(source), f".dockerignore keeps {source} out"
        if source.endswith("/"):
            shutil.copytree(ROOT / source, stage.place(target), ignore=shutil.ignore_patterns("__pycache__"))
        else:
            stage.place(target).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, stage.place(target))
